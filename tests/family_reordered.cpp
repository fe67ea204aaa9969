// Families that order the parts of a layer differently: OLMo 2 norms what a half gives, Command-R
// and StableLM 2 12B run the halves side by side, InternLM 2 fuses q, k and v by KV group.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

const std::string kLayer = "model.layers.#.";

bool is_tied(const FamilyConfig& c) {
  return c.flag("tie_word_embeddings", c.string("model_type") == "cohere");
}

// Parts that all of these have, under LLaMA's names.
void make_head(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  if (!is_tied(c)) m.matrix("lm_head.weight", s.vocab, s.dim);
}
void make_layer(TensorMaker& m, const Shapes& s, const std::string& at, bool qkv_bias) {
  m.linear(at + "self_attn.q_proj", s.heads * s.head_dim, s.dim, qkv_bias);
  m.linear(at + "self_attn.k_proj", s.kv_heads * s.head_dim, s.dim, qkv_bias);
  m.linear(at + "self_attn.v_proj", s.kv_heads * s.head_dim, s.dim, qkv_bias);
  m.linear(at + "self_attn.o_proj", s.dim, s.heads * s.head_dim);
  m.linear(at + "mlp.gate_proj", s.ffn, s.dim);
  m.linear(at + "mlp.up_proj", s.ffn, s.dim);
  m.linear(at + "mlp.down_proj", s.dim, s.ffn);
}

Matrix gated_mlp(const Net& net, const Matrix& x, const std::string& at) {
  return net.linear(map(net.linear(x, at + "gate_proj"), silu) * net.linear(x, at + "up_proj"),
                    at + "down_proj");
}

Attention plain_attention(const Shapes& s) {
  return {.n_heads = s.heads,
          .n_kv_heads = s.kv_heads,
          .head_dim = s.head_dim,
          .scale = 1 / std::sqrt(s.head_dim)};
}

void copy_plain(GgufWriter& out, const FamilyConfig& c) {
  out.copy("token_embd", "model.embed_tokens");
  out.copy("output_norm", "model.norm");
  if (!is_tied(c)) out.copy("output", "lm_head");
  out.copy_layers(Shapes(c).layers, {{"blk.#.attn_q", kLayer + "self_attn.q_proj"},
                                     {"blk.#.attn_k", kLayer + "self_attn.k_proj"},
                                     {"blk.#.attn_v", kLayer + "self_attn.v_proj"},
                                     {"blk.#.attn_output", kLayer + "self_attn.o_proj"},
                                     {"blk.#.ffn_gate", kLayer + "mlp.gate_proj"},
                                     {"blk.#.ffn_up", kLayer + "mlp.up_proj"},
                                     {"blk.#.ffn_down", kLayer + "mlp.down_proj"}});
}

// ---- OLMo 2: x += norm(attention(x)), x += norm(MLP(x)); norms of whole rows of q and k
// -----------

void make_olmo2(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  make_head(m, c);
  m.norm("model.norm.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    make_layer(m, s, at, false);
    m.norm(at + "self_attn.q_norm.weight", s.heads * s.head_dim);
    m.norm(at + "self_attn.k_norm.weight", s.kv_heads * s.head_dim);
    m.norm(at + "post_attention_layernorm.weight", s.dim);
    m.norm(at + "post_feedforward_layernorm.weight", s.dim);
  }
}

Matrix olmo2(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const Matrix q = net.rms_norm(net.linear(x, attention + "q_proj"), attention + "q_norm", eps);
    const Matrix k = net.rms_norm(net.linear(x, attention + "k_proj"), attention + "k_norm", eps);
    const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope),
                                net.linear(x, attention + "v_proj"), plain_attention(s));
    x = x +
        net.rms_norm(net.linear(mixed, attention + "o_proj"), at + "post_attention_layernorm", eps);
    x = x + net.rms_norm(gated_mlp(net, x, at + "mlp."), at + "post_feedforward_layernorm", eps);
  }
  return net.linear(net.rms_norm(x, "model.norm", eps), "lm_head");
}

std::string olmo2_gguf(const FamilyConfig& c, const Tensors& tensors) {
  GgufWriter out("olmo2", tensors);
  write_common_keys(out, c);
  copy_plain(out, c);
  out.copy_layers(Shapes(c).layers,
                  {{"blk.#.attn_q_norm", kLayer + "self_attn.q_norm"},
                   {"blk.#.attn_k_norm", kLayer + "self_attn.k_norm"},
                   {"blk.#.post_attention_norm", kLayer + "post_attention_layernorm"},
                   {"blk.#.post_ffw_norm", kLayer + "post_feedforward_layernorm"}});
  return out.build();
}

// ---- Command-R: x += attention(norm(x)) + MLP(norm(x)); RoPE of pairs; scaled logits
// --------------

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
  Rope rope = rope_of(c, s.head_dim, x.rows);
  rope.pairs = true;
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const Matrix h = net.layer_norm(x, at + "input_layernorm", eps);
    Matrix q = net.linear(h, attention + "q_proj"), k = net.linear(h, attention + "k_proj");
    if (c.flag("use_qk_norm")) {
      const Norm norm{.eps = eps, .centered = true, .group = s.head_dim};
      q = normalize(q, net.at(attention + "q_norm.weight"), norm);
      k = normalize(k, net.at(attention + "k_norm.weight"), norm);
    }
    const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope),
                                net.linear(h, attention + "v_proj"), plain_attention(s));
    x = x + net.linear(mixed, attention + "o_proj") + gated_mlp(net, h, at + "mlp.");
  }
  return net.linear(net.layer_norm(x, "model.norm", eps), "model.embed_tokens") *
         c.number("logit_scale");
}

std::string cohere_gguf(const FamilyConfig& c, const Tensors& tensors) {
  GgufWriter out("command-r", tensors);
  write_common_keys(out, c);
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
                                net.linear(h, attention + "v_proj"), plain_attention(s));
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

// ---- InternLM 2: LLaMA with q, k, v fused by KV group, and names of its own
// -----------------------

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
  const int q_dim = s.heads * s.head_dim, kv_dim = s.kv_heads * s.head_dim;
  Matrix x = net.embed(tokens, "model.tok_embeddings");
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    const Matrix qkv =
        pick_columns(net.linear(net.rms_norm(x, at + "attention_norm", eps), at + "attention.wqkv"),
                     grouped_qkv_order(s.kv_heads, s.heads / s.kv_heads, s.head_dim));
    const Matrix mixed = attend(rotate(columns(qkv, 0, q_dim), s.head_dim, rope),
                                rotate(columns(qkv, q_dim, kv_dim), s.head_dim, rope),
                                columns(qkv, q_dim + kv_dim, kv_dim), plain_attention(s));
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
  const auto q_rows = static_cast<uint64_t>(s.heads * s.head_dim),
             kv_rows = static_cast<uint64_t>(s.kv_heads * s.head_dim);
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

// ---- the configurations
// --------------------------------------------------------------------------

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
