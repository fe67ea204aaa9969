// Families after GPT-2: LayerNorm with biases, two matrices in the MLP. GPT-2 and StarCoder have
// learned positions, StarCoder 2 and GPT-NeoX (Pythia) rotate; GPT-NeoX runs the halves in
// parallel.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

// Shapes under GPT-2's keys.
struct GptShapes {
  explicit GptShapes(const FamilyConfig& c)
      : dim(c.integer("n_embd")),
        layers(c.integer("n_layer")),
        heads(c.integer("n_head")),
        kv_heads(c.flag("multi_query") ? 1 : heads),
        head_dim(dim / heads),
        ffn(c.integer("n_inner", 4 * dim)),
        vocab(c.integer("vocab_size")),
        positions(c.integer("n_positions")) {}
  int dim, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
};

// ---- GPT-2 and StarCoder -----------------------------------------------------------------------

bool is_gpt2(const FamilyConfig& c) { return c.string("model_type") == "gpt2"; }

// GPT-2's published file has no "transformer." before its names; most others have.
std::string gpt_prefix(const Tensors& tensors) {
  return tensors.contains("wte.weight") ? "" : "transformer.";
}

// GPT-2 stores its matrices [in, out] (Conv1D), StarCoder [out, in].
void make_gpt(TensorMaker& m, const FamilyConfig& c, const std::string& prefix) {
  const GptShapes s(c);
  const auto dense = [&](const std::string& name, int out, int in) {
    m.linear(name, out, in, true);
    Tensor& w = m.tensors[name + ".weight"];
    if (is_gpt2(c)) w = transposed(w);
  };
  m.matrix(prefix + "wte.weight", s.vocab, s.dim);
  m.matrix(prefix + "wpe.weight", s.positions, s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(prefix + "h.#.", i);
    m.layer_norm(at + "ln_1", s.dim);
    dense(at + "attn.c_attn", (s.heads + 2 * s.kv_heads) * s.head_dim, s.dim);
    dense(at + "attn.c_proj", s.dim, s.dim);
    m.layer_norm(at + "ln_2", s.dim);
    dense(at + "mlp.c_fc", s.ffn, s.dim);
    dense(at + "mlp.c_proj", s.dim, s.ffn);
    // The causal mask that old checkpoints carry along.
    if (is_gpt2(c) && prefix.empty())
      m.constant(at + "attn.bias",
                 {1, 1, static_cast<uint64_t>(s.positions), static_cast<uint64_t>(s.positions)}, 1);
  }
  m.layer_norm(prefix + "ln_f", s.dim);
}
void make_plain(TensorMaker& m, const FamilyConfig& c) { make_gpt(m, c, ""); }
void make_prefixed(TensorMaker& m, const FamilyConfig& c) { make_gpt(m, c, "transformer."); }

// StarCoder: one KV head behind all of q, or q, k, v of each head together.
std::vector<int> gpt_qkv_order(const FamilyConfig& c) {
  const GptShapes s(c);
  const bool by_head = !is_gpt2(c) && !c.flag("multi_query");
  if (by_head) return interleaved_qkv_order(s.heads, s.head_dim);
  std::vector<int> order;
  for (int i = 0; i < (s.heads + 2 * s.kv_heads) * s.head_dim; ++i) order.push_back(i);
  return order;
}

Matrix gpt(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const GptShapes s(c);
  const std::string prefix = gpt_prefix(net.tensors);
  const double eps = c.number("layer_norm_epsilon");
  const auto dense = [&](const Matrix& x, const std::string& name) {
    return is_gpt2(c) ? net.conv1d(x, name) : net.linear(x, name);
  };
  std::vector<int> positions;
  for (size_t t = 0; t < tokens.size(); ++t) positions.push_back(static_cast<int>(t));
  Matrix x = net.embed(tokens, prefix + "wte") + net.embed(positions, prefix + "wpe");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(prefix + "h.#.", i);
    const Matrix qkv = pick_columns(dense(net.layer_norm(x, at + "ln_1", eps), at + "attn.c_attn"),
                                    gpt_qkv_order(c));
    double scale = c.flag("scale_attn_weights", true) ? 1 / std::sqrt(s.head_dim) : 1;
    if (c.flag("scale_attn_by_inverse_layer_idx")) scale /= i + 1;
    const Matrix mixed = rotated_attention(
        qkv, {},
        {.n_heads = s.heads, .n_kv_heads = s.kv_heads, .head_dim = s.head_dim, .scale = scale});
    x = x + dense(mixed, at + "attn.c_proj");
    const Matrix up = dense(net.layer_norm(x, at + "ln_2", eps), at + "mlp.c_fc");
    x = x + dense(map(up, activation(c.string("activation_function"))), at + "mlp.c_proj");
  }
  return net.linear(net.layer_norm(x, prefix + "ln_f", eps), prefix + "wte");
}

std::string gpt_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const GptShapes s(c);
  const std::string prefix = gpt_prefix(tensors);
  GgufWriter out(is_gpt2(c) ? "gpt2" : "starcoder", tensors);
  out.u32("context_length", s.positions).u32("embedding_length", s.dim);
  out.u32("feed_forward_length", 4 * s.dim).u32("block_count", s.layers);
  out.u32("attention.head_count", s.heads);
  if (!is_gpt2(c)) out.u32("attention.head_count_kv", 1);
  out.f32("attention.layer_norm_epsilon", c.number("layer_norm_epsilon"));
  out.copy("token_embd", prefix + "wte");
  out.copy("position_embd", prefix + "wpe");
  out.copy("output_norm", prefix + "ln_f");
  const std::pair<const char*, const char*> parts[] = {
      {"attn_norm", "ln_1"}, {"attn_qkv", "attn.c_attn"}, {"attn_output", "attn.c_proj"},
      {"ffn_norm", "ln_2"},  {"ffn_up", "mlp.c_fc"},      {"ffn_down", "mlp.c_proj"}};
  for (int i = 0; i < s.layers; ++i)
    for (const auto& [to, from] : parts) {
      const std::string name = layer_name(prefix + "h.#.", i) + from;
      const std::string target = layer_name("blk.#.", i) + to;
      const Tensor& w = out.source(name + ".weight");
      out.tensor(target + ".weight", is_gpt2(c) && w.shape.size() == 2 ? transposed(w) : w);
      out.tensor(target + ".bias", out.source(name + ".bias"));
    }
  return out.build();
}

// ---- StarCoder 2 -------------------------------------------------------------------------------

void make_starcoder2(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const bool bias = c.flag("use_bias");
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    m.layer_norm(at + "input_layernorm", s.dim);
    make_attention(m, s, at + "self_attn.", bias, bias);
    m.layer_norm(at + "post_attention_layernorm", s.dim);
    m.linear(at + "mlp.c_fc", s.ffn, s.dim, bias);
    m.linear(at + "mlp.c_proj", s.dim, s.ffn, bias);
  }
  m.layer_norm("model.norm", s.dim);
  if (!c.flag("tie_word_embeddings", true)) m.matrix("lm_head.weight", s.vocab, s.dim);
}

Matrix starcoder2(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("norm_epsilon");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const Matrix h = net.layer_norm(x, at + "input_layernorm", eps);
    const Matrix mixed =
        rotated_attention(net, h, attention, rope, s.attention(c.integer("sliding_window", 0)));
    x = x + net.linear(mixed, attention + "o_proj");
    const Matrix up =
        net.linear(net.layer_norm(x, at + "post_attention_layernorm", eps), at + "mlp.c_fc");
    x = x + net.linear(map(up, activation(c.string("hidden_act"))), at + "mlp.c_proj");
  }
  return net.linear(net.layer_norm(x, "model.norm", eps),
                    c.flag("tie_word_embeddings", true) ? "model.embed_tokens" : "lm_head");
}

std::string starcoder2_gguf(const FamilyConfig& c, const Tensors& tensors) {
  GgufWriter out("starcoder2", tensors);
  write_common_keys(out, c);
  copy_ends(out);
  copy_attention(out, Shapes(c).layers);
  out.copy_layers(Shapes(c).layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                                     {"blk.#.ffn_norm", kLayer + "post_attention_layernorm"},
                                     {"blk.#.ffn_up", kLayer + "mlp.c_fc"},
                                     {"blk.#.ffn_down", kLayer + "mlp.c_proj"}});
  return out.build();
}

// ---- GPT-NeoX ----------------------------------------------------------------------------------

const std::string kNeoLayer = "gpt_neox.layers.#.";

void make_neox(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  m.matrix("gpt_neox.embed_in.weight", s.vocab, s.dim, std::sqrt(s.dim));
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kNeoLayer, i);
    m.layer_norm(at + "input_layernorm", s.dim);
    m.linear(at + "attention.query_key_value", 3 * s.dim, s.dim, true);
    m.linear(at + "attention.dense", s.dim, s.dim, true);
    m.layer_norm(at + "post_attention_layernorm", s.dim);
    m.linear(at + "mlp.dense_h_to_4h", s.ffn, s.dim, true);
    m.linear(at + "mlp.dense_4h_to_h", s.dim, s.ffn, true);
    // Buffers that published checkpoints carry along.
    m.constant(at + "attention.bias", {1, 1, 8, 8}, 1);
    m.constant(at + "attention.masked_bias", {}, -1e9f);
    m.constant(at + "attention.rotary_emb.inv_freq", {2}, 0.5f);
  }
  m.layer_norm("gpt_neox.final_layer_norm", s.dim);
  m.matrix("embed_out.weight", s.vocab, s.dim);
}

Matrix neox(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("layer_norm_eps");
  Matrix x = net.embed(tokens, "gpt_neox.embed_in");
  const Rope rope{rope_frequencies(c.number("rotary_emb_base"),
                                   static_cast<int>(s.head_dim * c.number("rotary_pct")))};
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kNeoLayer, i);
    const Matrix qkv = pick_columns(net.linear(net.layer_norm(x, at + "input_layernorm", eps),
                                               at + "attention.query_key_value"),
                                    interleaved_qkv_order(s.heads, s.head_dim));
    const Matrix mixed = rotated_attention(qkv, rope, s.attention());
    const Matrix after = x + net.linear(mixed, at + "attention.dense");
    const Matrix& seen = c.flag("use_parallel_residual") ? x : after;
    const Matrix up = net.linear(net.layer_norm(seen, at + "post_attention_layernorm", eps),
                                 at + "mlp.dense_h_to_4h");
    x = after + net.linear(map(up, activation(c.string("hidden_act"))), at + "mlp.dense_4h_to_h");
  }
  return net.linear(net.layer_norm(x, "gpt_neox.final_layer_norm", eps), "embed_out");
}

std::string neox_gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  GgufWriter out("gptneox", tensors);
  out.u32("context_length", c.integer("max_position_embeddings"));
  out.u32("embedding_length", s.dim).u32("block_count", s.layers);
  out.u32("feed_forward_length", s.ffn);
  out.u32("rope.dimension_count", static_cast<int>(s.head_dim * c.number("rotary_pct")));
  out.u32("attention.head_count", s.heads);
  out.boolean("use_parallel_residual", c.flag("use_parallel_residual"));
  out.f32("attention.layer_norm_epsilon", c.number("layer_norm_eps"));
  out.copy("token_embd", "gpt_neox.embed_in");
  out.copy("output_norm", "gpt_neox.final_layer_norm");
  out.copy("output", "embed_out");
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kNeoLayer + "input_layernorm"},
                             {"blk.#.attn_output", kNeoLayer + "attention.dense"},
                             {"blk.#.ffn_norm", kNeoLayer + "post_attention_layernorm"},
                             {"blk.#.ffn_up", kNeoLayer + "mlp.dense_h_to_4h"},
                             {"blk.#.ffn_down", kNeoLayer + "mlp.dense_4h_to_h"}});
  for (int i = 0; i < s.layers; ++i)
    for (const char* part : {".weight", ".bias"})
      out.tensor(
          layer_name("blk.#.attn_qkv", i) + part,
          pick_rows(out.source(layer_name(kNeoLayer, i) + "attention.query_key_value" + part),
                    interleaved_qkv_order(s.heads, s.head_dim)));
  return out.build();
}

// ---- the configurations ------------------------------------------------------------------------

const FamilyConfig kGpt2(R"({"activation_function":"gelu_new",
  "architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,"bos_token_id":1,"embd_pdrop":0.1,
  "eos_token_id":1,"initializer_range":0.02,"layer_norm_epsilon":1e-05,"model_type":"gpt2",
  "n_ctx":64,"n_embd":64,"n_head":4,"n_layer":3,"n_positions":64,"resid_pdrop":0.1,
  "summary_activation":null,"summary_first_dropout":0.1,"summary_proj_to_labels":true,
  "summary_type":"cls_index","summary_use_proj":true,
  "task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},
  "vocab_size":91})");

const FamilyConfig kStarCoder(R"({"activation_function":"gelu",
  "architectures":["GPTBigCodeForCausalLM"],"attention_softmax_in_fp32":true,"attn_pdrop":0.1,
  "bos_token_id":0,"embd_pdrop":0.1,"eos_token_id":0,"inference_runner":0,
  "initializer_range":0.02,"layer_norm_epsilon":1e-05,"max_batch_size":null,
  "max_sequence_length":null,"model_type":"gpt_bigcode","multi_query":true,"n_embd":64,
  "n_head":4,"n_inner":256,"n_layer":3,"n_positions":64,"pad_key_length":true,
  "pre_allocate_kv_cache":false,"resid_pdrop":0.1,"scale_attention_softmax_in_fp32":true,
  "scale_attn_weights":true,"summary_activation":null,"summary_first_dropout":0.1,
  "summary_proj_to_labels":true,"summary_type":"cls_index","summary_use_proj":true,
  "torch_dtype":"float32","transformers_version":"4.28.1","use_cache":true,
  "validate_runner_input":true,"vocab_size":91})");

const FamilyConfig kStarCoder2(R"({"activation_function":"gelu",
  "architectures":["Starcoder2ForCausalLM"],"attention_dropout":0.1,"bos_token_id":0,
  "embedding_dropout":0.1,"eos_token_id":0,"hidden_act":"gelu_pytorch_tanh","hidden_size":64,
  "initializer_range":0.018042,"intermediate_size":112,"layer_norm_epsilon":1e-05,
  "max_position_embeddings":128,"mlp_type":"default","model_type":"starcoder2",
  "norm_epsilon":1e-05,"norm_type":"layer_norm","num_attention_heads":4,"num_hidden_layers":3,
  "num_key_value_heads":2,"residual_dropout":0.1,"rope_theta":999999.4420358813,
  "sliding_window":4096,"torch_dtype":"float32","transformers_version":"4.37.0.dev0",
  "use_bias":true,"use_cache":true,"vocab_size":91})");

const FamilyConfig kNeox(R"({"architectures":["GPTNeoXForCausalLM"],"bos_token_id":0,
  "eos_token_id":0,"hidden_act":"gelu","hidden_size":64,"initializer_range":0.02,
  "intermediate_size":256,"layer_norm_eps":1e-05,"max_position_embeddings":128,
  "model_type":"gpt_neox","num_attention_heads":4,"num_hidden_layers":3,
  "rotary_emb_base":10000,"rotary_pct":0.25,"tie_word_embeddings":false,
  "torch_dtype":"float16","transformers_version":"4.24.0","use_cache":true,
  "use_parallel_residual":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> gpt_cases() {
  return {
      {"gpt2", kGpt2, make_plain, gpt, gpt_gguf},
      {"gpt2, prefixed", kGpt2.with(R"({"activation_function":"gelu","n_inner":96})"),
       make_prefixed, gpt},
      {"starcoder", kStarCoder, make_prefixed, gpt, gpt_gguf},
      {"starcoder, a KV head per head",
       kStarCoder.with(R"({"multi_query":false,"activation_function":"gelu_pytorch_tanh"})"),
       make_prefixed, gpt},
      {"starcoder2", kStarCoder2, make_starcoder2, starcoder2, starcoder2_gguf},
      {"starcoder2, window and apart",
       kStarCoder2.with(R"({"sliding_window":9,"tie_word_embeddings":false})"), make_starcoder2,
       starcoder2},
      {"gpt_neox", kNeox, make_neox, neox, neox_gguf},
      {"gpt_neox, in sequence", kNeox.with(R"({"use_parallel_residual":false,"rotary_pct":1.0})"),
       make_neox, neox, neox_gguf},
  };
}

}  // namespace nibble::test
