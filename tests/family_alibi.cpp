// Families of fused q, k, v and, but for Falcon 7B and 40B, of ALiBi: Falcon, MPT, BLOOM.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

struct BlockShapes {
  int dim, layers, heads, kv_heads, vocab;
  int head_dim() const { return dim / heads; }
  int kv_dim() const { return kv_heads * head_dim(); }
  int qkv_dim() const { return dim + 2 * kv_dim(); }
};

Attention block_attention(const BlockShapes& s) {
  return {.n_heads = s.heads,
          .n_kv_heads = s.kv_heads,
          .head_dim = s.head_dim(),
          .scale = 1 / std::sqrt(s.head_dim())};
}

// ---- Falcon ------------------------------------------------------------------------------------

const std::string kFalcon = "transformer.h.#.";

BlockShapes falcon_shapes(const FamilyConfig& c) {
  const int heads = c.integer("num_attention_heads");
  return {c.integer("hidden_size"), c.integer("num_hidden_layers"), heads,
          c.flag("new_decoder_architecture") ? c.integer("num_kv_heads", heads)
          : c.flag("multi_query")            ? 1
                                             : heads,
          c.integer("vocab_size")};
}

// Norms before each half: two in the new architecture unless it says one, one for both halves of a
// parallel layer, two in sequence.
bool has_two_parallel_norms(const FamilyConfig& c) {
  return c.flag("new_decoder_architecture") && c.integer("num_ln_in_parallel_attn", 2) == 2;
}
bool is_parallel(const FamilyConfig& c) {
  return c.flag("new_decoder_architecture") || c.flag("parallel_attn");
}

void make_falcon(TensorMaker& m, const FamilyConfig& c) {
  const BlockShapes s = falcon_shapes(c);
  const bool bias = c.flag("bias");
  m.matrix("transformer.word_embeddings.weight", s.vocab, s.dim, std::sqrt(s.dim));
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kFalcon, i);
    if (has_two_parallel_norms(c)) {
      m.layer_norm(at + "ln_attn", s.dim);
      m.layer_norm(at + "ln_mlp", s.dim);
    } else {
      m.layer_norm(at + "input_layernorm", s.dim);
      if (!is_parallel(c)) m.layer_norm(at + "post_attention_layernorm", s.dim);
    }
    m.linear(at + "self_attention.query_key_value", s.qkv_dim(), s.dim, bias);
    m.linear(at + "self_attention.dense", s.dim, s.dim, bias);
    m.linear(at + "mlp.dense_h_to_4h", 4 * s.dim, s.dim, bias);
    m.linear(at + "mlp.dense_4h_to_h", s.dim, 4 * s.dim, bias);
  }
  m.layer_norm("transformer.ln_f", s.dim);
  m.tensors["lm_head.weight"] = m.tensors["transformer.word_embeddings.weight"];  // as published
}

std::vector<int> falcon_order(const BlockShapes& s) {
  return grouped_qkv_order(s.kv_heads, s.heads / s.kv_heads, s.head_dim());
}

Matrix falcon(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const BlockShapes s = falcon_shapes(c);
  const double eps = c.number("layer_norm_epsilon");
  Attention how = block_attention(s);
  Rope rope{rope_frequencies(c.number("rope_theta", 10000), s.head_dim())};
  if (c.flag("alibi")) {  // added before the scores are scaled
    rope.frequencies.clear();
    for (const double slope : alibi_slopes(s.heads)) how.alibi.push_back(slope * how.scale);
  }
  Matrix x = net.embed(tokens, "transformer.word_embeddings");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kFalcon, i);
    const bool two = has_two_parallel_norms(c);
    const Matrix h = net.layer_norm(x, at + (two ? "ln_attn" : "input_layernorm"), eps);
    const Matrix qkv =
        pick_columns(net.linear(h, at + "self_attention.query_key_value"), falcon_order(s));
    const Matrix mixed = rotated_attention(qkv, rope, how);
    const Matrix after = x + net.linear(mixed, at + "self_attention.dense");
    const Matrix seen = two ? net.layer_norm(x, at + "ln_mlp", eps)
                        : is_parallel(c)
                            ? h
                            : net.layer_norm(after, at + "post_attention_layernorm", eps);
    x = after +
        net.linear(map(net.linear(seen, at + "mlp.dense_h_to_4h"), gelu), at + "mlp.dense_4h_to_h");
  }
  return net.linear(net.layer_norm(x, "transformer.ln_f", eps), "lm_head");
}

std::string falcon_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const BlockShapes s = falcon_shapes(c);
  GgufWriter out("falcon", tensors);
  out.u32("context_length", 2048).string("tensor_data_layout", "jploski");
  out.u32("embedding_length", s.dim).u32("feed_forward_length", 4 * s.dim);
  out.u32("block_count", s.layers).u32("attention.head_count", s.heads);
  out.u32("attention.head_count_kv", s.kv_heads);
  out.f32("attention.layer_norm_epsilon", c.number("layer_norm_epsilon"));
  out.copy("token_embd", "transformer.word_embeddings");
  out.copy("output_norm", "transformer.ln_f");
  out.copy("output", "lm_head");
  out.copy_layers(s.layers, {{"blk.#.attn_output", kFalcon + "self_attention.dense"},
                             {"blk.#.ffn_up", kFalcon + "mlp.dense_h_to_4h"},
                             {"blk.#.ffn_down", kFalcon + "mlp.dense_4h_to_h"}});
  if (has_two_parallel_norms(c))
    out.copy_layers(s.layers, {{"blk.#.attn_norm", kFalcon + "ln_mlp"},
                               {"blk.#.attn_norm_2", kFalcon + "ln_attn"}});
  else
    out.copy_layers(s.layers, {{"blk.#.attn_norm", kFalcon + "input_layernorm"}});
  for (int i = 0; i < s.layers; ++i)
    out.tensor(
        layer_name("blk.#.attn_qkv.weight", i),
        pick_rows(out.source(layer_name(kFalcon, i) + "self_attention.query_key_value.weight"),
                  falcon_order(s)));
  return out.build();
}

// ---- MPT ---------------------------------------------------------------------------------------

const std::string kMpt = "transformer.blocks.#.";

BlockShapes mpt_shapes(const FamilyConfig& c) {
  const int heads = c.integer("n_heads");
  return {c.integer("d_model"), c.integer("n_layers"), heads, heads, c.integer("vocab_size")};
}

void make_mpt(TensorMaker& m, const FamilyConfig& c) {
  const BlockShapes s = mpt_shapes(c);
  const int ffn = c.integer("expansion_ratio") * s.dim;
  m.matrix("transformer.wte.weight", s.vocab, s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kMpt, i);
    m.layer_norm(at + "norm_1", s.dim, false);
    m.linear(at + "attn.Wqkv", s.qkv_dim(), s.dim);
    m.linear(at + "attn.out_proj", s.dim, s.dim);
    m.layer_norm(at + "norm_2", s.dim, false);
    m.linear(at + "ffn.up_proj", ffn, s.dim);
    m.linear(at + "ffn.down_proj", s.dim, ffn);
  }
  m.layer_norm("transformer.norm_f", s.dim, false);
}

Matrix mpt(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const FamilyConfig attention = c.object("attn_config");
  const BlockShapes s = mpt_shapes(c);
  constexpr double kEps = 1e-5;  // not in config.json
  Attention how = block_attention(s);
  how.alibi = alibi_slopes(s.heads, attention.number("alibi_bias_max"));
  Matrix x = net.embed(tokens, "transformer.wte");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kMpt, i);
    Matrix qkv = net.linear(net.layer_norm(x, at + "norm_1", kEps), at + "attn.Wqkv");
    if (attention.has("clip_qkv")) {
      const double clip = attention.number("clip_qkv");
      qkv = map(qkv, [clip](double v) { return std::clamp(v, -clip, clip); });
    }
    x = x + net.linear(rotated_attention(qkv, {}, how), at + "attn.out_proj");
    const Matrix up = net.linear(net.layer_norm(x, at + "norm_2", kEps), at + "ffn.up_proj");
    x = x + net.linear(map(up, gelu), at + "ffn.down_proj");
  }
  return net.linear(net.layer_norm(x, "transformer.norm_f", kEps), "transformer.wte");
}

std::string mpt_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const BlockShapes s = mpt_shapes(c);
  const FamilyConfig attention = c.object("attn_config");
  GgufWriter out("mpt", tensors);
  out.u32("context_length", c.integer("max_seq_len")).u32("embedding_length", s.dim);
  out.u32("block_count", s.layers).u32("feed_forward_length", 4 * s.dim);
  out.u32("attention.head_count", s.heads).f32("attention.layer_norm_epsilon", 1e-5);
  if (attention.has("clip_qkv")) out.f32("attention.clamp_kqv", attention.number("clip_qkv"));
  out.f32("attention.max_alibi_bias", attention.number("alibi_bias_max"));
  out.copy("token_embd", "transformer.wte");
  out.copy("output_norm", "transformer.norm_f");
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kMpt + "norm_1"},
                             {"blk.#.attn_qkv", kMpt + "attn.Wqkv"},
                             {"blk.#.attn_output", kMpt + "attn.out_proj"},
                             {"blk.#.ffn_norm", kMpt + "norm_2"},
                             {"blk.#.ffn_up", kMpt + "ffn.up_proj"},
                             {"blk.#.ffn_down", kMpt + "ffn.down_proj"}});
  for (int i = 0; i < s.layers; ++i)  // of AWQ, if there are
    if (const Tensor* scales = out.find_source(layer_name(kMpt, i) + "ffn.act.scales"))
      out.tensor(layer_name("blk.#.ffn.act.scales", i), *scales);
  return out.build();
}

// ---- BLOOM -------------------------------------------------------------------------------------

BlockShapes bloom_shapes(const FamilyConfig& c) {
  const int heads = c.integer(c.has("n_head") ? "n_head" : "num_attention_heads");
  return {c.integer(c.has("n_embed") ? "n_embed" : "hidden_size"), c.integer("n_layer"), heads,
          heads, c.integer("vocab_size")};
}

std::string bloom_prefix(const Tensors& tensors) {
  return tensors.contains("word_embeddings.weight") ? "" : "transformer.";
}

void make_bloom(TensorMaker& m, const FamilyConfig& c, const std::string& prefix) {
  const BlockShapes s = bloom_shapes(c);
  m.matrix(prefix + "word_embeddings.weight", s.vocab, s.dim);
  m.layer_norm(prefix + "word_embeddings_layernorm", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(prefix + "h.#.", i);
    m.layer_norm(at + "input_layernorm", s.dim);
    m.linear(at + "self_attention.query_key_value", s.qkv_dim(), s.dim, true);
    m.linear(at + "self_attention.dense", s.dim, s.dim, true);
    m.layer_norm(at + "post_attention_layernorm", s.dim);
    m.linear(at + "mlp.dense_h_to_4h", 4 * s.dim, s.dim, true);
    m.linear(at + "mlp.dense_4h_to_h", s.dim, 4 * s.dim, true);
  }
  m.layer_norm(prefix + "ln_f", s.dim);
}
void make_bloom_plain(TensorMaker& m, const FamilyConfig& c) { make_bloom(m, c, ""); }
void make_bloom_prefixed(TensorMaker& m, const FamilyConfig& c) {
  make_bloom(m, c, "transformer.");
}

Matrix bloom(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const BlockShapes s = bloom_shapes(c);
  const std::string prefix = bloom_prefix(net.tensors);
  const double eps = c.number("layer_norm_epsilon");
  Attention how = block_attention(s);
  how.alibi = alibi_slopes(s.heads);
  Matrix x = net.layer_norm(net.embed(tokens, prefix + "word_embeddings"),
                            prefix + "word_embeddings_layernorm", eps);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(prefix + "h.#.", i);
    const Matrix qkv = pick_columns(net.linear(net.layer_norm(x, at + "input_layernorm", eps),
                                               at + "self_attention.query_key_value"),
                                    interleaved_qkv_order(s.heads, s.head_dim()));
    x = x + net.linear(rotated_attention(qkv, {}, how), at + "self_attention.dense");
    const Matrix up = net.linear(net.layer_norm(x, at + "post_attention_layernorm", eps),
                                 at + "mlp.dense_h_to_4h");
    x = x + net.linear(map(up, gelu_tanh), at + "mlp.dense_4h_to_h");
  }
  return net.linear(net.layer_norm(x, prefix + "ln_f", eps), prefix + "word_embeddings");
}

std::string bloom_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const BlockShapes s = bloom_shapes(c);
  const std::string prefix = bloom_prefix(tensors), layer = prefix + "h.#.";
  GgufWriter out("bloom", tensors);
  out.u32("context_length", c.integer("seq_length")).u32("embedding_length", s.dim);
  out.u32("feed_forward_length", 4 * s.dim).u32("block_count", s.layers);
  out.u32("attention.head_count", s.heads).u32("attention.head_count_kv", s.heads);
  out.f32("attention.layer_norm_epsilon", c.number("layer_norm_epsilon"));
  out.copy("token_embd", prefix + "word_embeddings");
  out.copy("token_embd_norm", prefix + "word_embeddings_layernorm");
  out.copy("output_norm", prefix + "ln_f");
  out.copy_layers(s.layers, {{"blk.#.attn_norm", layer + "input_layernorm"},
                             {"blk.#.attn_output", layer + "self_attention.dense"},
                             {"blk.#.ffn_norm", layer + "post_attention_layernorm"},
                             {"blk.#.ffn_up", layer + "mlp.dense_h_to_4h"},
                             {"blk.#.ffn_down", layer + "mlp.dense_4h_to_h"}});
  for (int i = 0; i < s.layers; ++i)
    for (const char* part : {".weight", ".bias"})
      out.tensor(
          layer_name("blk.#.attn_qkv", i) + part,
          pick_rows(out.source(layer_name(layer, i) + "self_attention.query_key_value" + part),
                    interleaved_qkv_order(s.heads, s.head_dim())));
  return out.build();
}

// ---- the configurations ------------------------------------------------------------------------

const FamilyConfig kFalcon7(R"({"alibi":false,
  "apply_residual_connection_post_layernorm":false,"architectures":["FalconForCausalLM"],
  "attention_dropout":0.0,
  "auto_map":{"AutoConfig":"configuration_falcon.FalconConfig",
              "AutoModelForCausalLM":"modeling_falcon.FalconForCausalLM"},
  "bias":false,"bos_token_id":11,"eos_token_id":11,"hidden_dropout":0.0,"hidden_size":64,
  "initializer_range":0.02,"layer_norm_epsilon":1e-05,"model_type":"falcon",
  "multi_query":true,"new_decoder_architecture":false,"num_attention_heads":4,
  "num_hidden_layers":3,"parallel_attn":true,"torch_dtype":"bfloat16",
  "transformers_version":"4.27.4","use_cache":true,"vocab_size":91})");

const FamilyConfig kMptBase(R"({"architectures":["MPTForCausalLM"],
  "attn_config":{"alibi":true,"alibi_bias_max":8,"attn_impl":"torch","attn_pdrop":0,
    "attn_type":"multihead_attention","attn_uses_sequence_id":false,"clip_qkv":null,
    "prefix_lm":false,"qk_ln":false,"softmax_scale":null},
  "auto_map":{"AutoConfig":"configuration_mpt.MPTConfig",
              "AutoModelForCausalLM":"modeling_mpt.MPTForCausalLM"},
  "d_model":64,"emb_pdrop":0,"embedding_fraction":1.0,"expansion_ratio":4,
  "init_config":{"emb_init_std":null,"fan_mode":"fan_in","init_gain":0,
    "init_nonlinearity":"relu","name":"kaiming_normal_","verbose":0},
  "init_device":"cpu","learned_pos_emb":true,"logit_scale":null,"max_seq_len":128,
  "model_type":"mpt","n_heads":4,"n_layers":3,"no_bias":true,
  "norm_type":"low_precision_layernorm","resid_pdrop":0,
  "tokenizer_name":"EleutherAI/gpt-neox-20b","torch_dtype":"bfloat16",
  "transformers_version":"4.28.1","use_cache":false,"verbose":0,"vocab_size":91})");
// StoryWriter's.
constexpr const char* kMptClipped = R"({"n_heads":6,"d_model":72,
  "attn_config":{"alibi":true,"alibi_bias_max":16,"attn_impl":"torch","attn_pdrop":0,
    "attn_type":"multihead_attention","attn_uses_sequence_id":false,"clip_qkv":0.8,
    "prefix_lm":false,"qk_ln":false,"softmax_scale":null}})";

// bloom-560m's keys.
const FamilyConfig kBloom(R"({"apply_residual_connection_post_layernorm":false,
  "attention_dropout":0.0,"attention_softmax_in_fp32":true,
  "architectures":["BloomForCausalLM"],"bias_dropout_fusion":true,"bos_token_id":1,
  "eos_token_id":2,"hidden_dropout":0.0,"initializer_range":0.02,"layer_norm_epsilon":1e-05,
  "masked_softmax_fusion":true,"model_type":"bloom","n_embed":64,"n_inner":null,"n_layer":3,
  "num_attention_heads":4,"offset_alibi":100,"pad_token_id":3,"pretraining_tp":2,
  "seq_length":128,"skip_bias_add":true,"skip_bias_add_qkv":false,"slow_but_exact":false,
  "transformers_version":"4.20.0.dev0","unk_token_id":0,"use_cache":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> alibi_cases() {
  const char* const falcon40 = R"({"new_decoder_architecture":true,"num_kv_heads":2})";
  return {
      {"falcon", kFalcon7, make_falcon, falcon, falcon_gguf},
      {"falcon, 40B", kFalcon7.with(falcon40), make_falcon, falcon, falcon_gguf},
      {"falcon, 11B",
       kFalcon7.with(falcon40).with(R"({"num_ln_in_parallel_attn":1,"rope_theta":500042.0})"),
       make_falcon, falcon},
      {"falcon, RW",
       kFalcon7.with(R"({"alibi":true,"bias":true,"multi_query":false,"parallel_attn":false})"),
       make_falcon, falcon},
      {"mpt", kMptBase, make_mpt, mpt, mpt_gguf},
      {"mpt, clipped, six heads", kMptBase.with(kMptClipped), make_mpt, mpt, mpt_gguf},
      {"bloom", kBloom, make_bloom_plain, bloom, bloom_gguf},
      {"bloom, prefixed, six heads",
       kBloom.without("n_embed")
           .without("num_attention_heads")
           .with(R"({"hidden_size":72,"n_head":6})"),
       make_bloom_prefixed, bloom, bloom_gguf},
  };
}

}  // namespace nibble::test
