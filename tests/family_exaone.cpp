// EXAONE 3 and 3.5: LLaMA's wiring under names like GPT-2's.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

const std::string kBlock = "transformer.h.#.", kAttention = "transformer.h.#.attn.attention.";

int layers_of(const FamilyConfig& c) { return c.integer("num_layers"); }
// What all other configs call "num_hidden_layers".
Shapes shapes_of(const FamilyConfig& c) {
  return Shapes(c.with("{\"num_hidden_layers\":" + std::to_string(layers_of(c)) + "}"));
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s = shapes_of(c);
  m.matrix("transformer.wte.weight", s.vocab, s.dim, std::sqrt(s.dim));
  if (!c.flag("tie_word_embeddings")) m.matrix("lm_head.weight", s.vocab, s.dim);
  m.norm("transformer.ln_f.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kBlock, i), attention = layer_name(kAttention, i);
    m.norm(at + "ln_1.weight", s.dim);
    m.linear(attention + "q_proj", s.q_dim(), s.dim);
    m.linear(attention + "k_proj", s.kv_dim(), s.dim);
    m.linear(attention + "v_proj", s.kv_dim(), s.dim);
    m.linear(attention + "out_proj", s.dim, s.q_dim());
    m.norm(at + "ln_2.weight", s.dim);
    m.linear(at + "mlp.c_fc_0", s.ffn, s.dim);
    m.linear(at + "mlp.c_fc_1", s.ffn, s.dim);
    m.linear(at + "mlp.c_proj", s.dim, s.ffn);
  }
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s = shapes_of(c);
  const double eps = c.number("layer_norm_epsilon");
  Matrix x = net.embed(tokens, "transformer.wte");
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kBlock, i), attention = layer_name(kAttention, i);
    Matrix h = net.rms_norm(x, at + "ln_1", eps);
    const Matrix mixed = rotated_attention(net, h, attention, rope, s.attention());
    x = x + net.linear(mixed, attention + "out_proj");
    h = net.rms_norm(x, at + "ln_2", eps);
    const Matrix gate = map(net.linear(h, at + "mlp.c_fc_0"), silu);
    x = x + net.linear(gate * net.linear(h, at + "mlp.c_fc_1"), at + "mlp.c_proj");
  }
  return net.linear(net.rms_norm(x, "transformer.ln_f", eps),
                    c.flag("tie_word_embeddings") ? "transformer.wte" : "lm_head");
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s = shapes_of(c);
  GgufWriter out("exaone", tensors);
  out.u32("block_count", s.layers).u32("context_length", c.integer("max_position_embeddings"));
  out.u32("embedding_length", s.dim).u32("feed_forward_length", s.ffn);
  out.u32("attention.head_count", s.heads).u32("attention.head_count_kv", s.kv_heads);
  out.f32("attention.layer_norm_rms_epsilon", c.number("layer_norm_epsilon"));
  out.f32("rope.freq_base", c.number("rope_theta")).u32("rope.dimension_count", s.head_dim);
  if (c.has("rope_scaling")) out.tensor("rope_freqs.weight", llama3_divisors(c, s.head_dim));
  out.copy("token_embd", "transformer.wte");
  out.copy("output_norm", "transformer.ln_f");
  if (!c.flag("tie_word_embeddings")) out.copy("output", "lm_head");
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kBlock + "ln_1"},
                             {"blk.#.attn_q", kAttention + "q_proj"},
                             {"blk.#.attn_k", kAttention + "k_proj"},
                             {"blk.#.attn_v", kAttention + "v_proj"},
                             {"blk.#.attn_output", kAttention + "out_proj"},
                             {"blk.#.ffn_norm", kBlock + "ln_2"},
                             {"blk.#.ffn_gate", kBlock + "mlp.c_fc_0"},
                             {"blk.#.ffn_up", kBlock + "mlp.c_fc_1"},
                             {"blk.#.ffn_down", kBlock + "mlp.c_proj"}});
  return out.build();
}

const FamilyConfig kExaone(R"({"activation_function":"silu","architectures":["ExaoneForCausalLM"],
  "attention_dropout":0.0,
  "auto_map":{"AutoConfig":"configuration_exaone.ExaoneConfig",
              "AutoModelForCausalLM":"modeling_exaone.ExaoneForCausalLM"},
  "bos_token_id":1,"embed_dropout":0.0,"eos_token_id":2,"head_dim":16,"hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"layer_norm_epsilon":1e-05,
  "max_position_embeddings":128,"model_type":"exaone","num_attention_heads":4,
  "num_key_value_heads":2,"num_layers":3,"pad_token_id":0,
  "rope_scaling":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
                  "original_max_position_embeddings":64,"rope_type":"llama3"},
  "rope_theta":1000000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
  "transformers_version":"4.43.0","use_cache":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> exaone_cases() {
  return {{"exaone, 3.5", kExaone, make, reference, gguf},
          {"exaone, 3.0, tied", kExaone.with(R"({"tie_word_embeddings":true,"rope_scaling":null})"),
           make, reference, gguf}};
}

}  // namespace nibble::test
