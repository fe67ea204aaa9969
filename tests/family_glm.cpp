// GLM 4: gate and up in one matrix, biases of q, k and v, half of a head rotated in pairs; the
// models of 2025 also norm what a half gives.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

bool norms_outputs(const FamilyConfig& c) { return c.string("model_type") == "glm4"; }

int rotated(const FamilyConfig& c) {
  return static_cast<int>(Shapes(c).head_dim * c.number("partial_rotary_factor", 0.5));
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const bool bias = c.flag("attention_bias", true);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  m.matrix("lm_head.weight", s.vocab, s.dim);
  m.norm("model.norm.weight", s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    m.norm(at + "input_layernorm.weight", s.dim);
    make_attention(m, s, at + "self_attn.", bias);
    m.norm(at + "post_attention_layernorm.weight", s.dim);
    m.linear(at + "mlp.gate_up_proj", 2 * s.ffn, s.dim);
    m.linear(at + "mlp.down_proj", s.dim, s.ffn);
    if (!norms_outputs(c)) continue;
    m.norm(at + "post_self_attn_layernorm.weight", s.dim);
    m.norm(at + "post_mlp_layernorm.weight", s.dim);
  }
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const auto norm = [&](const Matrix& x, const std::string& name) {
    return net.rms_norm(x, name, c.number("rms_norm_eps"));
  };
  const auto output_norm = [&](const Matrix& x, const std::string& name) {
    return norms_outputs(c) ? norm(x, name) : x;
  };
  Matrix x = net.embed(tokens, "model.embed_tokens");
  Rope rope = rope_of(c, rotated(c), x.rows);
  rope.pairs = true;
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kLayer, i), attention = at + "self_attn.";
    const Matrix h = norm(x, at + "input_layernorm");
    const Matrix mixed = rotated_attention(net, h, attention, rope, s.attention());
    x = x + output_norm(net.linear(mixed, attention + "o_proj"), at + "post_self_attn_layernorm");
    const Matrix both =
        net.linear(norm(x, at + "post_attention_layernorm"), at + "mlp.gate_up_proj");
    x = x + output_norm(net.linear(gated(both), at + "mlp.down_proj"), at + "post_mlp_layernorm");
  }
  return net.linear(norm(x, "model.norm"), "lm_head");
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  GgufWriter out("glm4", tensors);
  write_common_keys(out, c);
  out.u32("rope.dimension_count", rotated(c));
  copy_ends(out);
  copy_attention(out, Shapes(c).layers);
  out.copy_layers(Shapes(c).layers,
                  {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                   {"blk.#.post_attention_norm", kLayer + "post_self_attn_layernorm"},
                   {"blk.#.ffn_norm", kLayer + "post_attention_layernorm"},
                   {"blk.#.ffn_up", kLayer + "mlp.gate_up_proj"},
                   {"blk.#.ffn_down", kLayer + "mlp.down_proj"},
                   {"blk.#.post_ffw_norm", kLayer + "post_mlp_layernorm"}});
  return out.build();
}

const FamilyConfig kGlm4(R"({"architectures":["Glm4ForCausalLM"],"attention_bias":true,
  "attention_dropout":0.0,"eos_token_id":[2,3],"head_dim":24,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,
  "max_position_embeddings":128,"model_type":"glm4","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":2,"pad_token_id":1,"partial_rotary_factor":0.5,
  "rms_norm_eps":1e-05,"rope_theta":10000.0,"tie_word_embeddings":false,
  "torch_dtype":"bfloat16","transformers_version":"4.52.0.dev0","use_cache":true,
  "vocab_size":91})");

}  // namespace

std::vector<FamilyCase> glm_cases() {
  return {
      {"glm4", kGlm4, make, reference, gguf},
      {"glm4, 0414: unbiased",
       kGlm4.without("partial_rotary_factor").with(R"({"attention_bias":false})"), make, reference,
       gguf},
      {"glm", kGlm4.with(R"({"architectures":["GlmForCausalLM"],"model_type":"glm"})"), make,
       reference},
  };
}

}  // namespace nibble::test
