// Families that order the parts of a layer differently: OLMo 2, OLMo 3 and EXAONE 4 norm what a
// half gives, Command-R and StableLM 2 12B run the halves side by side, InternLM 2 fuses q, k and v
// by KV group.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

bool is_tied(const FamilyConfig& c) {
  return c.flag("tie_word_embeddings", c.string("model_type").starts_with("cohere"));
}

// Parts that all of these have, under LLaMA's names.
void make_head(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  if (!is_tied(c)) m.matrix("lm_head.weight", s.vocab, s.dim);
}
void make_layer(TensorMaker& m, const Shapes& s, const std::string& at, bool qkv_bias) {
  make_attention(m, s, at + "self_attn.", qkv_bias);
  make_gated_mlp(m, s, at + "mlp.");
}

void copy_plain(GgufWriter& out, const FamilyConfig& c) {
  copy_ends(out);
  copy_attention(out, Shapes(c).layers);
  copy_gated_mlp(out, Shapes(c).layers);
}

// Models that alternate have the window in all layers but every fourth.
constexpr int kPeriod = 4;
int window_of(const FamilyConfig& c, int i) {
  return is_windowed(c, i, kPeriod) ? c.integer("sliding_window") : 0;
}

// ---- OLMo 2, OLMo 3, EXAONE 4 -------------------------------------------------------------------

// x += norm(attention(x)), x += norm(MLP(x)). OLMo norms whole rows of q and k; 3 has windows, and
// scales RoPE where there are none. EXAONE 4 norms heads, and does not rotate where there is no
// window.

bool is_exaone(const FamilyConfig& c) { return c.string("model_type") == "exaone4"; }

void make_olmo2(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  make_head(m, c);
  m.norm("model.norm.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    make_layer(m, s, at, false);
    m.norm(at + "self_attn.q_norm.weight", s.head_dim * (is_exaone(c) ? 1 : s.heads));
    m.norm(at + "self_attn.k_norm.weight", s.head_dim * (is_exaone(c) ? 1 : s.kv_heads));
    m.norm(at + "post_attention_layernorm.weight", s.dim);
    m.norm(at + "post_feedforward_layernorm.weight", s.dim);
  }
}

Matrix olmo2(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const int window = window_of(c, i);
    const bool unscaled = c.string("model_type") == "olmo3" && window > 0;
    Rope rope = rope_of(unscaled ? c.without("rope_scaling") : c, s.head_dim, x.rows);
    if (is_exaone(c) && c.has("sliding_window") && window == 0) rope.frequencies.clear();
    const Norm norm{.eps = eps, .group = is_exaone(c) ? s.head_dim : 0};
    const auto part = [&](const std::string& name) {
      const Matrix y = net.linear(x, attention + name + "_proj");
      return rotate(normalize(y, net.at(attention + name + "_norm.weight"), norm), s.head_dim,
                    rope);
    };
    const Matrix mixed =
        attend(part("q"), part("k"), net.linear(x, attention + "v_proj"), s.attention(window));
    x = x +
        net.rms_norm(net.linear(mixed, attention + "o_proj"), at + "post_attention_layernorm", eps);
    x = x + net.rms_norm(gated_mlp(net, x, at + "mlp."), at + "post_feedforward_layernorm", eps);
  }
  return net.linear(net.rms_norm(x, "model.norm", eps),
                    is_tied(c) ? "model.embed_tokens" : "lm_head");
}

std::string olmo2_gguf(const FamilyConfig& c, const Tensors& tensors) {
  GgufWriter out(is_exaone(c) ? "exaone4" : "olmo2", tensors);
  write_common_keys(out, c);
  if (c.has("sliding_window"))
    out.u32("attention.sliding_window", c.integer("sliding_window"))
        .booleans("attention.sliding_window_pattern", windowed_layers(c, kPeriod));
  if (is_exaone(c)) out.tensor("rope_freqs.weight", llama3_divisors(c, Shapes(c).head_dim));
  copy_plain(out, c);
  out.copy_layers(Shapes(c).layers,
                  {{"blk.#.attn_q_norm", kLayer + "self_attn.q_norm"},
                   {"blk.#.attn_k_norm", kLayer + "self_attn.k_norm"},
                   {"blk.#.post_attention_norm", kLayer + "post_attention_layernorm"},
                   {"blk.#.post_ffw_norm", kLayer + "post_feedforward_layernorm"}});
  return out.build();
}

// ---- Command-R ----------------------------------------------------------------------------------

// x += attention(norm(x)) + MLP(norm(x)); RoPE of pairs; scaled logits. R7B rotates only where it
// has a window.

void make_cohere(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  make_head(m, c);
  m.norm("model.norm.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    make_layer(m, s, at, false);
    m.norm(at + "input_layernorm.weight", s.dim);
    if (!c.flag("use_qk_norm")) continue;
    const auto heads = [&](const std::string& name, int n) {
      m.norm(at + name, n * s.head_dim);
      m.tensors[at + name].shape = {static_cast<uint64_t>(n), static_cast<uint64_t>(s.head_dim)};
    };
    heads("self_attn.q_norm.weight", s.heads);
    heads("self_attn.k_norm.weight", s.kv_heads);
  }
}

Matrix cohere(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("layer_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    Rope rope = rope_of(c, s.head_dim, x.rows);
    rope.pairs = true;
    const Attention how = s.attention(window_of(c, i));
    if (c.has("sliding_window") && how.window == 0) rope.frequencies.clear();
    const Matrix h = net.layer_norm(x, at + "input_layernorm", eps);
    Matrix q = net.linear(h, attention + "q_proj"), k = net.linear(h, attention + "k_proj");
    if (c.flag("use_qk_norm")) {
      const Norm norm{.eps = eps, .centered = true, .group = s.head_dim};
      q = normalize(q, net.at(attention + "q_norm.weight"), norm);
      k = normalize(k, net.at(attention + "k_norm.weight"), norm);
    }
    const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope),
                                net.linear(h, attention + "v_proj"), how);
    x = x + net.linear(mixed, attention + "o_proj") + gated_mlp(net, h, at + "mlp.");
  }
  return net.linear(net.layer_norm(x, "model.norm", eps), "model.embed_tokens") *
         c.number("logit_scale");
}

std::string cohere_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const bool r7b = c.string("model_type") == "cohere2";
  GgufWriter out(r7b ? "cohere2" : "command-r", tensors);
  write_common_keys(out, c);
  if (r7b)  // the pattern is not written
    out.u32("attention.sliding_window", c.integer("sliding_window"))
        .u32("rope.dimension_count", Shapes(c).head_dim);
  out.f32("logit_scale", c.number("logit_scale")).string("rope.scaling.type", "none");
  copy_plain(out, c);
  out.copy_layers(Shapes(c).layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"}});
  if (c.flag("use_qk_norm"))
    out.copy_layers(Shapes(c).layers, {{"blk.#.attn_q_norm", kLayer + "self_attn.q_norm"},
                                       {"blk.#.attn_k_norm", kLayer + "self_attn.k_norm"}});
  return out.build();
}

// ---- StableLM 2: LayerNorm, part of a head rotated; 12B: parallel, a LayerNorm per head
// -----------

void make_stablelm(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  make_head(m, c);
  m.layer_norm("model.norm", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    make_layer(m, s, at, c.flag("use_qkv_bias"));
    m.layer_norm(at + "input_layernorm", s.dim);
    if (!c.flag("use_parallel_residual")) m.layer_norm(at + "post_attention_layernorm", s.dim);
    if (!c.flag("qk_layernorm")) continue;
    const std::string attention = at + "self_attn.";
    for (int h = 0; h < s.heads; ++h)
      m.norm(attention + "q_layernorm.norms." + std::to_string(h) + ".weight", s.head_dim);
    for (int h = 0; h < s.kv_heads; ++h)
      m.norm(attention + "k_layernorm.norms." + std::to_string(h) + ".weight", s.head_dim);
  }
}

// Weights of the norms of all heads.
Tensor head_norms(const Tensors& tensors, const std::string& at, int heads) {
  std::vector<const Tensor*> parts;
  for (int h = 0; h < heads; ++h)
    parts.push_back(&tensors.at(at + ".norms." + std::to_string(h) + ".weight"));
  return stacked(parts);
}

Matrix stablelm(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("layer_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  const Rope rope =
      rope_of(c, static_cast<int>(s.head_dim * c.number("partial_rotary_factor")), x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const Matrix h = net.layer_norm(x, at + "input_layernorm", eps);
    Matrix q = net.linear(h, attention + "q_proj"), k = net.linear(h, attention + "k_proj");
    if (c.flag("qk_layernorm")) {
      const Norm norm{.eps = eps, .centered = true, .group = s.head_dim};
      q = normalize(q, head_norms(net.tensors, attention + "q_layernorm", s.heads), norm);
      k = normalize(k, head_norms(net.tensors, attention + "k_layernorm", s.kv_heads), norm);
    }
    const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope),
                                net.linear(h, attention + "v_proj"), s.attention());
    const Matrix after = x + net.linear(mixed, attention + "o_proj");
    x = after + gated_mlp(net,
                          c.flag("use_parallel_residual")
                              ? h
                              : net.layer_norm(after, at + "post_attention_layernorm", eps),
                          at + "mlp.");
  }
  return net.linear(net.layer_norm(x, "model.norm", eps), "lm_head");
}

std::string stablelm_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  GgufWriter out("stablelm", tensors);
  write_common_keys(out, c.without("rope_theta"));  // 10000, the default, is not written
  out.u32("rope.dimension_count", static_cast<int>(s.head_dim * c.number("partial_rotary_factor")));
  out.boolean("use_parallel_residual", c.flag("use_parallel_residual"));
  copy_plain(out, c);
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"}});
  if (!c.flag("use_parallel_residual"))
    out.copy_layers(s.layers, {{"blk.#.ffn_norm", kLayer + "post_attention_layernorm"}});
  if (c.flag("qk_layernorm"))
    for (int i = 0; i < s.layers; ++i) {
      const std::string at = layer_name(kLayer, i) + "self_attn.", to = layer_name("blk.#.", i);
      out.tensor(to + "attn_q_norm.weight", head_norms(tensors, at + "q_layernorm", s.heads));
      out.tensor(to + "attn_k_norm.weight", head_norms(tensors, at + "k_layernorm", s.kv_heads));
    }
  return out.build();
}

// ---- InternLM 2: LLaMA with q, k, v fused by KV group, and names of its own --------------------

void make_internlm2(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  m.matrix("model.tok_embeddings.weight", s.vocab, s.dim, std::sqrt(s.dim));
  m.matrix("output.weight", s.vocab, s.dim);
  m.norm("model.norm.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    m.norm(at + "attention_norm.weight", s.dim);
    m.linear(at + "attention.wqkv", (s.heads + 2 * s.kv_heads) * s.head_dim, s.dim);
    m.linear(at + "attention.wo", s.dim, s.heads * s.head_dim);
    m.norm(at + "ffn_norm.weight", s.dim);
    m.linear(at + "feed_forward.w1", s.ffn, s.dim);
    m.linear(at + "feed_forward.w3", s.ffn, s.dim);
    m.linear(at + "feed_forward.w2", s.dim, s.ffn);
  }
}

Matrix internlm2(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.tok_embeddings");
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    const Matrix qkv =
        pick_columns(net.linear(net.rms_norm(x, at + "attention_norm", eps), at + "attention.wqkv"),
                     grouped_qkv_order(s.kv_heads, s.heads / s.kv_heads, s.head_dim));
    const Matrix mixed = rotated_attention(qkv, rope, s.attention());
    x = x + net.linear(mixed, at + "attention.wo");
    const Matrix h = net.rms_norm(x, at + "ffn_norm", eps);
    x = x + net.linear(map(net.linear(h, at + "feed_forward.w1"), silu) *
                           net.linear(h, at + "feed_forward.w3"),
                       at + "feed_forward.w2");
  }
  return net.linear(net.rms_norm(x, "model.norm", eps), "output");
}

std::string internlm2_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  const auto q_rows = static_cast<uint64_t>(s.q_dim()), kv_rows = static_cast<uint64_t>(s.kv_dim());
  GgufWriter out("internlm2", tensors);
  write_common_keys(out, c);
  out.copy("token_embd", "model.tok_embeddings");
  out.copy("output_norm", "model.norm");
  out.copy("output", "output");
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "attention_norm"},
                             {"blk.#.attn_output", kLayer + "attention.wo"},
                             {"blk.#.ffn_norm", kLayer + "ffn_norm"},
                             {"blk.#.ffn_gate", kLayer + "feed_forward.w1"},
                             {"blk.#.ffn_up", kLayer + "feed_forward.w3"},
                             {"blk.#.ffn_down", kLayer + "feed_forward.w2"}});
  for (int i = 0; i < s.layers; ++i) {
    const std::string to = layer_name("blk.#.", i);
    const Tensor qkv = pick_rows(out.source(layer_name(kLayer, i) + "attention.wqkv.weight"),
                                 grouped_qkv_order(s.kv_heads, s.heads / s.kv_heads, s.head_dim));
    out.tensor(to + "attn_q.weight", halves_to_pairs(take_rows(qkv, 0, q_rows), s.heads));
    out.tensor(to + "attn_k.weight", halves_to_pairs(take_rows(qkv, q_rows, kv_rows), s.kv_heads));
    out.tensor(to + "attn_v.weight", take_rows(qkv, q_rows + kv_rows, kv_rows));
  }
  return out.build();
}

// ---- the configurations ------------------------------------------------------------------------

const FamilyConfig kOlmo2(R"({"architectures":["Olmo2ForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"olmo2","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":4,
  "pad_token_id":3,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":500000,
  "tie_word_embeddings":false,"torch_dtype":"float32","transformers_version":"4.47.0.dev0",
  "use_cache":true,"vocab_size":91})");

const FamilyConfig kCohere(R"({"architectures":["CohereForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"bos_token_id":5,"eos_token_id":6,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,"layer_norm_eps":1e-05,
  "logit_scale":0.0625,"max_position_embeddings":128,"model_max_length":128,
  "model_type":"cohere","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":4,
  "pad_token_id":0,"pretraining_tp":1,"rope_theta":8000000.0,"torch_dtype":"float16",
  "transformers_version":"4.38.2","use_cache":true,"vocab_size":91})");

constexpr const char* kCohere2 = R"({"architectures":["Cohere2ForCausalLM"],
  "cache_implementation":"hybrid","head_dim":16,"layer_switch":4,"model_type":"cohere2",
  "num_hidden_layers":5,"num_key_value_heads":2,"order_of_interleaved_layers":"local_attn_first",
  "position_embedding_type":"rope_gptj","rope_scaling":null,"rope_theta":50000,"rotary_pct":1.0,
  "sliding_window":9,"sliding_window_pattern":4,"use_embedding_sharing":true,
  "use_gated_activation":true,"use_parallel_block":true,"use_parallel_embedding":true,
  "use_qk_norm":false,"transformers_version":"4.48.0.dev0"})";

// OLMo 3's scaling is of its long contexts.
constexpr const char* kOlmo3 = R"({"architectures":["Olmo3ForCausalLM"],"model_type":"olmo3",
  "layer_types":["sliding_attention","sliding_attention","sliding_attention","full_attention",
                 "sliding_attention"],
  "num_hidden_layers":5,"sliding_window":9,"transformers_version":"4.57.0"})";
constexpr const char* kOlmo3Yarn = R"({"rope_scaling":{"attention_factor":1.2079441541679836,
  "beta_fast":32,"beta_slow":1,"factor":8.0,"original_max_position_embeddings":32,
  "rope_type":"yarn"}})";

const FamilyConfig kExaone4(R"({"architectures":["Exaone4ForCausalLM"],"attention_dropout":0.0,
  "bos_token_id":1,"eos_token_id":2,"head_dim":24,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,
  "layer_types":["sliding_attention","sliding_attention","sliding_attention","full_attention",
                 "full_attention"],
  "max_position_embeddings":128,"model_type":"exaone4","num_attention_heads":4,
  "num_hidden_layers":5,"num_key_value_heads":2,"pad_token_id":0,"rms_norm_eps":1e-05,
  "rope_scaling":{"factor":16.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
                  "original_max_position_embeddings":64,"rope_type":"llama3"},
  "rope_theta":1000000,"sliding_window":9,"sliding_window_pattern":"LLLG",
  "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.54.0.dev0",
  "use_cache":true,"vocab_size":91})");

// As many layers as end with one that sees everything anyway.
constexpr const char* kExaoneLast = R"({"num_hidden_layers":4})";
constexpr const char* kExaoneSmall = R"({"layer_types":["full_attention","full_attention"],
  "num_hidden_layers":2,"sliding_window":null,"sliding_window_pattern":null,
  "tie_word_embeddings":true})";

const FamilyConfig kStableLm(R"({"architectures":["StableLmForCausalLM"],"bos_token_id":1,
  "eos_token_id":1,"attention_dropout":0.0,"hidden_act":"silu","hidden_dropout":0.0,
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,"layer_norm_eps":1e-05,
  "max_position_embeddings":128,"model_type":"stablelm","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":4,"partial_rotary_factor":0.25,
  "qk_layernorm":false,"rope_scaling":null,"rope_theta":10000,"tie_word_embeddings":false,
  "torch_dtype":"float16","transformers_version":"4.38.0","use_cache":true,
  "use_parallel_residual":false,"use_qkv_bias":true,"vocab_size":91})");

const FamilyConfig kInternLm2(R"({"architectures":["InternLM2ForCausalLM"],
  "attn_implementation":"eager",
  "auto_map":{"AutoConfig":"configuration_internlm2.InternLM2Config",
              "AutoModelForCausalLM":"modeling_internlm2.InternLM2ForCausalLM",
              "AutoModel":"modeling_internlm2.InternLM2ForCausalLM"},
  "bias":false,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"internlm2","num_attention_heads":4,"num_hidden_layers":3,
  "num_key_value_heads":2,"pad_token_id":2,"pretraining_tp":1,"rms_norm_eps":1e-05,
  "rope_scaling":{"type":"dynamic","factor":2.0},"rope_theta":1000000,
  "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.41.0",
  "use_cache":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> reordered_cases() {
  return {
      {"olmo2", kOlmo2, make_olmo2, olmo2, olmo2_gguf},
      {"olmo2, grouped queries", kOlmo2.with(R"({"num_key_value_heads":2})"), make_olmo2, olmo2,
       olmo2_gguf},
      {"olmo3", kOlmo2.with(kOlmo3), make_olmo2, olmo2, olmo2_gguf},
      {"olmo3, yarn, default layers", kOlmo2.with(kOlmo3).with(kOlmo3Yarn).without("layer_types"),
       make_olmo2, olmo2, olmo2_gguf},
      {"exaone4", kExaone4, make_olmo2, olmo2, olmo2_gguf},
      {"exaone4, its pattern alone", kExaone4.without("layer_types").with(kExaoneLast), make_olmo2,
       olmo2, olmo2_gguf},
      {"exaone4, 1.2B", kExaone4.with(kExaoneSmall), make_olmo2, olmo2, olmo2_gguf},
      {"cohere2", kCohere.with(kCohere2), make_cohere, cohere, cohere_gguf},
      {"cohere", kCohere, make_cohere, cohere, cohere_gguf},
      {"cohere, norms of q and k", kCohere.with(R"({"use_qk_norm":true,"num_key_value_heads":2})"),
       make_cohere, cohere, cohere_gguf},
      {"stablelm", kStableLm, make_stablelm, stablelm, stablelm_gguf},
      {"stablelm, 12B", kStableLm.with(R"({"use_parallel_residual":true,"qk_layernorm":true,
         "use_qkv_bias":false,"num_key_value_heads":2})"),
       make_stablelm, stablelm, stablelm_gguf},
      {"internlm2", kInternLm2, make_internlm2, internlm2, internlm2_gguf},
      {"internlm2, longer than its context", kInternLm2.with(R"({"max_position_embeddings":24})"),
       make_internlm2, internlm2},
  };
}

}  // namespace nibble::test
