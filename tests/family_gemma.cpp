// Gemma 1, 2 and 3 (text): (1 + w) RMS norms, scaled embeddings, GeGLU; from 2 on norms before and
// after each half and windows in some layers; soft caps in 2, norms of q and k in 3.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

int generation(const FamilyConfig& c) {
  const std::string type = c.string("model_type");
  return type == "gemma" ? 1 : type == "gemma2" ? 2 : 3;
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const int version = generation(c);
  const auto norm = [&](const std::string& name, int n) { m.norm(name + ".weight", n, 0.2); };
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim);
  for (int i = 0; i < s.layers; ++i) {
    const std::string layer = layer_name(kLayer, i), attention = layer + "self_attn.";
    norm(layer + "input_layernorm", s.dim);
    make_attention(m, s, attention);
    norm(layer + "post_attention_layernorm", s.dim);
    if (version >= 2) {
      norm(layer + "pre_feedforward_layernorm", s.dim);
      norm(layer + "post_feedforward_layernorm", s.dim);
    }
    if (version == 3) {
      norm(attention + "q_norm", s.head_dim);
      norm(attention + "k_norm", s.head_dim);
    }
    make_gated_mlp(m, s, layer + "mlp.");
  }
  norm("model.norm", s.dim);
}

// Gemma 2: every other layer from the first; Gemma 3: all but every sixth.
bool is_local(const FamilyConfig& c, int layer) {
  const int version = generation(c);
  if (version == 1) return false;
  if (version == 2) return layer % 2 == 0;
  return (layer + 1) % c.integer("sliding_window_pattern", 6) != 0;
}

Matrix attention(const Net& net, const Matrix& x, int i) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const std::string at = layer_name(kLayer, i) + "self_attn.";
  const bool local = is_local(c, i);
  Matrix q = net.linear(x, at + "q_proj"), k = net.linear(x, at + "k_proj");
  Rope rope = rope_of(c, s.head_dim, x.rows);
  if (generation(c) == 3) {
    const Norm norm{.eps = c.number("rms_norm_eps"), .offset = 1, .group = s.head_dim};
    q = normalize(q, net.at(at + "q_norm.weight"), norm);
    k = normalize(k, net.at(at + "k_norm.weight"), norm);
    if (local)  // its own base, and no scaling
      rope.frequencies = rope_frequencies(c.number("rope_local_base_freq"), s.head_dim);
  }
  Attention how = s.attention(local ? c.integer("sliding_window") : 0);
  how.scale = 1 / std::sqrt(c.number("query_pre_attn_scalar", s.head_dim));
  how.soft_cap = c.number("attn_logit_softcapping", 0);
  const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope),
                              net.linear(x, at + "v_proj"), how);
  return net.linear(mixed, at + "o_proj");
}

Matrix feed_forward(const Net& net, const Matrix& x, int i) {
  return gated_mlp(net, x, layer_name(kLayer, i) + "mlp.", gelu_tanh);
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const auto norm = [&](const Matrix& x, const std::string& name) {
    return net.rms_norm(x, name, c.number("rms_norm_eps"), 1);
  };
  Matrix x = net.embed(tokens, "model.embed_tokens") * std::sqrt(c.number("hidden_size"));
  for (int i = 0; i < Shapes(c).layers; ++i) {
    const std::string at = layer_name(kLayer, i);
    if (generation(c) == 1) {
      x = x + attention(net, norm(x, at + "input_layernorm"), i);
      x = x + feed_forward(net, norm(x, at + "post_attention_layernorm"), i);
    } else {
      const Matrix mixed = attention(net, norm(x, at + "input_layernorm"), i);
      x = x + norm(mixed, at + "post_attention_layernorm");
      const Matrix out = feed_forward(net, norm(x, at + "pre_feedforward_layernorm"), i);
      x = x + norm(out, at + "post_feedforward_layernorm");
    }
  }
  Matrix logits = net.linear(norm(x, "model.norm"), "model.embed_tokens");
  const double cap = c.number("final_logit_softcapping", 0);
  return cap > 0 ? map(logits, [cap](double v) { return cap * std::tanh(v / cap); }) : logits;
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  const int version = generation(c);
  GgufWriter out(version == 3 ? "gemma3" : c.string("model_type"), tensors);
  // Gemma 1 and 2 write no rope.freq_base: it is 10000, the default.
  write_common_keys(out, version < 3 ? c.without("rope_theta") : c);
  if (version == 2) {
    out.f32("attn_logit_softcapping", c.number("attn_logit_softcapping"));
    out.f32("final_logit_softcapping", c.number("final_logit_softcapping"));
  }
  if (version >= 2 && c.has("sliding_window"))
    out.u32("attention.sliding_window", c.integer("sliding_window"));
  out.copy("token_embd", "model.embed_tokens");
  const auto norm = [&](const std::string& to, const std::string& from) {
    if (const Tensor* w = out.find_source(from + ".weight"))
      out.tensor(to + ".weight", plus(*w, 1));
  };
  norm("output_norm", "model.norm");
  copy_attention(out, s.layers);
  copy_gated_mlp(out, s.layers);
  for (int i = 0; i < s.layers; ++i) {
    const std::string from = layer_name(kLayer, i), to = layer_name("blk.#.", i);
    norm(to + "attn_norm", from + "input_layernorm");
    norm(to + (version == 1 ? "ffn_norm" : "post_attention_norm"),
         from + "post_attention_layernorm");
    norm(to + "ffn_norm", from + "pre_feedforward_layernorm");
    norm(to + "post_ffw_norm", from + "post_feedforward_layernorm");
    norm(to + "attn_q_norm", from + "self_attn.q_norm");
    norm(to + "attn_k_norm", from + "self_attn.k_norm");
  }
  return out.build();
}

const FamilyConfig kGemma(R"({"architectures":["GemmaForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"bos_token_id":2,"eos_token_id":1,"head_dim":24,"hidden_act":"gelu",
  "hidden_activation":null,"hidden_size":64,"initializer_range":0.02,"intermediate_size":112,
  "max_position_embeddings":128,"model_type":"gemma","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":1,"pad_token_id":0,"rms_norm_eps":1e-06,
  "rope_scaling":null,"rope_theta":10000.0,"torch_dtype":"bfloat16",
  "transformers_version":"4.38.0.dev0","use_cache":true,"vocab_size":91})");

const FamilyConfig kGemma2(R"({"architectures":["Gemma2ForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"attn_logit_softcapping":5.0,"bos_token_id":2,"cache_implementation":
  "hybrid","eos_token_id":1,"final_logit_softcapping":3.0,"head_dim":24,
  "hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"gemma2","num_attention_heads":4,"num_hidden_layers":4,"num_key_value_heads":2,
  "pad_token_id":0,"query_pre_attn_scalar":24,"rms_norm_eps":1e-06,"rope_theta":10000.0,
  "sliding_window":9,"torch_dtype":"bfloat16","transformers_version":"4.42.4","use_cache":true,
  "vocab_size":91})");

const FamilyConfig kGemma3(R"({"architectures":["Gemma3ForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"attn_logit_softcapping":null,"bos_token_id":2,
  "cache_implementation":"hybrid","eos_token_id":[1,3],"final_logit_softcapping":null,
  "head_dim":24,"hidden_activation":"gelu_pytorch_tanh","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"gemma3_text","num_attention_heads":4,"num_hidden_layers":7,
  "num_key_value_heads":1,"pad_token_id":0,"query_pre_attn_scalar":24,"rms_norm_eps":1e-06,
  "rope_local_base_freq":10000,"rope_scaling":null,"rope_theta":1000000,"sliding_window":9,
  "sliding_window_pattern":6,"torch_dtype":"bfloat16","transformers_version":"4.50.0.dev0",
  "use_cache":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> gemma_cases() {
  return {
      {"gemma", kGemma, make, reference, gguf},
      {"gemma2", kGemma2, make, reference, gguf},
      {"gemma2, scores by another width", kGemma2.with(R"({"query_pre_attn_scalar":16})"), make,
       reference},
      {"gemma3", kGemma3, make, reference, gguf},
      {"gemma3, linear RoPE in the global layers",
       kGemma3.with(R"({"rope_scaling":{"factor":8.0,"rope_type":"linear"}})"), make, reference,
       gguf},
      {"gemma3, layer types",
       kGemma3.without("sliding_window_pattern")
           .with(R"({"layer_types":["sliding_attention","sliding_attention","sliding_attention",
             "sliding_attention","sliding_attention","full_attention","sliding_attention"]})"),
       make, reference, gguf},
  };
}

}  // namespace nibble::test
