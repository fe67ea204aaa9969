// Phi-3, Phi-3.5 and Phi-4 mini: LLaMA's wiring with q, k, v in one matrix and gate, up in another;
// LongRoPE; part of a head rotated.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

int rotated(const FamilyConfig& c) {
  return static_cast<int>(Shapes(c).head_dim * c.number("partial_rotary_factor", 1));
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    m.norm(at + "input_layernorm.weight", s.dim);
    m.linear(at + "self_attn.qkv_proj", (s.heads + 2 * s.kv_heads) * s.head_dim, s.dim);
    m.linear(at + "self_attn.o_proj", s.dim, s.q_dim());
    m.norm(at + "post_attention_layernorm.weight", s.dim);
    m.linear(at + "mlp.gate_up_proj", 2 * s.ffn, s.dim);
    m.linear(at + "mlp.down_proj", s.dim, s.ffn);
  }
  m.norm("model.norm.weight", s.dim);
  if (!c.flag("tie_word_embeddings")) m.matrix("lm_head.weight", s.vocab, s.dim);
}

Matrix attention(const Net& net, const Matrix& x, const std::string& at) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const Matrix mixed =
      rotated_attention(net.linear(x, at + "qkv_proj"), rope_of(c, rotated(c), x.rows),
                        s.attention(c.integer("sliding_window", 0)));
  return net.linear(mixed, at + "o_proj");
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    x = x + attention(net, net.rms_norm(x, at + "input_layernorm", eps), at + "self_attn.");
    const Matrix both =
        net.linear(net.rms_norm(x, at + "post_attention_layernorm", eps), at + "mlp.gate_up_proj");
    x = x + net.linear(gated(both), at + "mlp.down_proj");
  }
  return net.linear(net.rms_norm(x, "model.norm", eps),
                    c.flag("tie_word_embeddings") ? "model.embed_tokens" : "lm_head");
}

Tensor as_tensor(const std::vector<double>& values) {
  return {{values.size()}, {values.begin(), values.end()}};
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  GgufWriter out("phi3", tensors);
  write_common_keys(out, c);
  const int original = c.integer("original_max_position_embeddings");
  out.u32("rope.scaling.original_context_length", original);
  out.u32("rope.dimension_count", rotated(c));
  out.u32("attention.sliding_window", c.integer("sliding_window", 0));
  if (c.has("rope_scaling")) {
    const double scale = c.number("max_position_embeddings") / original;
    out.f32("rope.scaling.attn_factor",
            scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(original)) : 1);
    const FamilyConfig scaling = c.object("rope_scaling");
    out.tensor("rope_factors_long.weight", as_tensor(scaling.numbers("long_factor")));
    out.tensor("rope_factors_short.weight", as_tensor(scaling.numbers("short_factor")));
  }
  copy_ends(out);
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                             {"blk.#.attn_qkv", kLayer + "self_attn.qkv_proj"},
                             {"blk.#.attn_output", kLayer + "self_attn.o_proj"},
                             {"blk.#.ffn_norm", kLayer + "post_attention_layernorm"},
                             {"blk.#.ffn_up", kLayer + "mlp.gate_up_proj"},
                             {"blk.#.ffn_down", kLayer + "mlp.down_proj"}});
  return out.build();
}

const FamilyConfig kPhi3(R"({"_name_or_path":"Phi-3-mini-4k-instruct",
  "architectures":["Phi3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
  "auto_map":{"AutoConfig":"configuration_phi3.Phi3Config",
              "AutoModelForCausalLM":"modeling_phi3.Phi3ForCausalLM"},
  "bos_token_id":1,"embd_pdrop":0.0,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":64,
  "model_type":"phi3","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":4,
  "original_max_position_embeddings":64,"pad_token_id":2,"resid_pdrop":0.0,
  "rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"sliding_window":9,
  "torch_dtype":"bfloat16","tie_word_embeddings":false,"transformers_version":"4.40.2",
  "use_cache":true,"vocab_size":91})");

constexpr const char* kLongRope = R"({"max_position_embeddings":256,"sliding_window":262144,
  "rope_scaling":{"long_factor":[1.1,1.3,2.5,4.0,8.5,17.0,31.0,33.0],
                  "short_factor":[1.0,1.05,1.1,1.15,1.2,1.3,1.5,1.8],"type":"longrope"}})";
// Phi-4 mini: grouped queries, three quarters of a head rotated, tied.
constexpr const char* kPhi4 = R"({"_name_or_path":"Phi-4-mini-instruct","full_attn_mod":1,
  "interpolate_factor":1,"lm_head_bias":false,"mlp_bias":false,"max_position_embeddings":256,
  "num_key_value_heads":2,"partial_rotary_factor":0.75,"sliding_window":262144,
  "tie_word_embeddings":true,
  "rope_scaling":{"long_factor":[1.0,1.2,2.5,4.0,8.5,31.0],
                  "short_factor":[1.0,1.0,1.1,1.15,1.2,1.3],"type":"longrope"}})";

}  // namespace

std::vector<FamilyCase> phi_cases() {
  const FamilyConfig longrope = kPhi3.with(kLongRope), phi4 = kPhi3.with(kPhi4);
  const char* const longer = R"({"original_max_position_embeddings":24})";
  return {
      {"phi3", kPhi3, make, reference, gguf},
      {"phi3, longrope in the original context", longrope, make, reference, gguf},
      {"phi3, longrope beyond it", longrope.with(longer), make, reference, gguf},
      {"phi4 mini", phi4, make, reference, gguf},
      {"phi4 mini, beyond its original context", phi4.with(longer), make, reference, gguf},
  };
}

}  // namespace nibble::test
