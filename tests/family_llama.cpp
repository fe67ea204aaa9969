// LLaMA and the families of its wiring: x += attention(norm(x)), x += gated MLP(norm(x)).
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

// Which linear layers have biases: what each family's configuration class says.
struct Biases {
  explicit Biases(const FamilyConfig& c) {
    const std::string type = c.string("model_type");
    if (type == "qwen2") {
      qkv = true;
    } else if (type == "seed_oss") {
      qkv = c.flag("attention_bias", true);
      output = c.flag("attention_out_bias");
      mlp = c.flag("mlp_bias");
    } else if (type == "ernie4_5") {
      qkv = output = mlp = c.flag("use_bias");
    } else if (type == "internlm3") {
      qkv = c.flag("qkv_bias");
      output = mlp = c.flag("bias");
    } else {
      qkv = output = c.flag("attention_bias");
      mlp = c.flag("mlp_bias");
    }
  }
  bool qkv = false, output = false, mlp = false;
};

// Granite 4 has one matrix for gate and up, called what its experts share.
bool is_granite4(const FamilyConfig& c) { return c.string("model_type") == "granitemoehybrid"; }

bool has_head_norms(const FamilyConfig& c) { return c.string("model_type") == "qwen3"; }

// Llama and Mistral keep embedding and head apart unless told; the others tie them.
bool is_tied(const FamilyConfig& c) {
  const std::string type = c.string("model_type");
  return c.flag("tie_word_embeddings",
                type == "minicpm" || type == "smollm3" || type == "ernie4_5");
}

struct Multipliers {
  double embedding = 1, residual = 1, attention, logits = 1;
  explicit Multipliers(const FamilyConfig& c) {
    const Shapes s(c);
    attention = 1 / std::sqrt(s.head_dim);
    if (c.string("model_type") == "granite" || is_granite4(c)) {
      embedding = c.number("embedding_multiplier");
      residual = c.number("residual_multiplier");
      attention = c.number("attention_multiplier");
      logits = 1 / c.number("logits_scaling");
    } else if (c.string("model_type") == "minicpm") {
      embedding = c.number("scale_emb");
      residual = c.number("scale_depth") / std::sqrt(s.layers);
      logits = c.number("dim_model_base") / s.dim;
    }
  }
};

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const Biases b(c);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim,
           std::sqrt(s.dim) / Multipliers(c).embedding);
  for (int i = 0; i < s.layers; ++i) {
    const std::string layer = layer_name(kLayer, i), attention = layer + "self_attn.";
    m.norm(layer + "input_layernorm.weight", s.dim);
    make_attention(m, s, attention, b.qkv, b.output);
    if (has_head_norms(c)) {
      m.norm(attention + "q_norm.weight", s.head_dim);
      m.norm(attention + "k_norm.weight", s.head_dim);
    }
    m.norm(layer + "post_attention_layernorm.weight", s.dim);
    if (is_granite4(c)) {
      const int ffn = c.integer("shared_intermediate_size");
      m.linear(layer + "shared_mlp.input_linear", 2 * ffn, s.dim);
      m.linear(layer + "shared_mlp.output_linear", s.dim, ffn);
      continue;
    }
    make_gated_mlp(m, s, layer + "mlp.", b.mlp);
  }
  m.norm("model.norm.weight", s.dim);
  if (!is_tied(c)) m.matrix("lm_head.weight", s.vocab, s.dim);
}

// Positions that layer i sees: Mistral's window holds in every layer, Qwen's if it is switched on
// and from max_window_layers on.
int window_of(const FamilyConfig& c, int layer) {
  const std::string type = c.string("model_type");
  if (type == "ministral") return is_windowed(c, layer, 0) ? c.integer("sliding_window") : 0;
  if (type == "mistral") return c.integer("sliding_window", 0);
  if (!c.flag("use_sliding_window") || layer < c.integer("max_window_layers", 0)) return 0;
  return c.integer("sliding_window", 0);
}

// SmolLM3: no_rope_layers holds 1 where a layer rotates.
bool rotates(const FamilyConfig& c, int layer) {
  return !c.has("no_rope_layers") || c.numbers("no_rope_layers")[static_cast<size_t>(layer)] != 0;
}

// Ministral 3 turns the attention up with each original context that has gone by.
void grow(Matrix& q, const FamilyConfig& c) {
  if (c.string("model_type") != "ministral3") return;
  const FamilyConfig rope = c.object("rope_scaling");
  for (int t = 0; t < q.rows; ++t) {
    const double gone = std::floor(t / rope.number("original_max_position_embeddings"));
    const double factor = 1 + rope.number("llama_4_scaling_beta") * std::log(1 + gone);
    for (int i = 0; i < q.cols; ++i) q.row(t)[i] *= factor;
  }
}

Matrix attention(const Net& net, const Matrix& x, int i, const Multipliers& by) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const std::string at = layer_name(kLayer, i) + "self_attn.";
  Matrix q = net.linear(x, at + "q_proj"), k = net.linear(x, at + "k_proj");
  if (has_head_norms(c)) {
    const Norm norm{.eps = c.number("rms_norm_eps"), .group = s.head_dim};
    q = normalize(q, net.at(at + "q_norm.weight"), norm);
    k = normalize(k, net.at(at + "k_norm.weight"), norm);
  }
  if (rotates(c, i)) {
    Rope rope = rope_of(c, s.head_dim, x.rows);
    rope.pairs = c.string("model_type") == "ernie4_5";
    q = rotate(q, s.head_dim, rope);
    k = rotate(k, s.head_dim, rope);
  }
  grow(q, c);
  Attention how = s.attention(window_of(c, i));
  how.scale = by.attention;
  return net.linear(attend(q, k, net.linear(x, at + "v_proj"), how), at + "o_proj");
}

Matrix feed_forward(const Net& net, const Matrix& x, const std::string& layer) {
  if (!is_granite4(net.config)) return gated_mlp(net, x, layer + "mlp.");
  return net.linear(gated(net.linear(x, layer + "shared_mlp.input_linear")),
                    layer + "shared_mlp.output_linear");
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Multipliers by(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens") * by.embedding;
  for (int i = 0; i < Shapes(c).layers; ++i) {
    const std::string layer = layer_name(kLayer, i);
    x = x + attention(net, net.rms_norm(x, layer + "input_layernorm", eps), i, by) * by.residual;
    const Matrix h = net.rms_norm(x, layer + "post_attention_layernorm", eps);
    x = x + feed_forward(net, h, layer) * by.residual;
  }
  x = net.rms_norm(x, "model.norm", eps) * by.logits;
  return net.linear(x, is_tied(c) ? "model.embed_tokens" : "lm_head");
}

// The families whose GGUF files rotate pairs: their q and k rows are permuted.
bool permutes(const std::string& type) {
  return type == "llama" || type == "mistral" || type == "smollm3" || type == "granite" ||
         type == "minicpm" || type == "internlm3" || type == "granitemoehybrid" ||
         type == "ministral3";
}

std::string gguf_architecture(const std::string& type) {
  if (type == "granitemoehybrid") return "granite";
  if (type == "ministral3") return "mistral3";
  return type == "mistral" || type == "internlm3" ? "llama" : type;
}

void write_multipliers(GgufWriter& gguf, const FamilyConfig& c) {
  if (c.string("model_type") == "granite" || is_granite4(c)) {
    gguf.f32("attention.scale", c.number("attention_multiplier"));
    gguf.f32("embedding_scale", c.number("embedding_multiplier"));
    gguf.f32("residual_scale", c.number("residual_multiplier"));
    gguf.f32("logit_scale", c.number("logits_scaling"));
  } else if (c.string("model_type") == "ministral3") {
    const FamilyConfig rope = c.object("rope_scaling");
    gguf.f32("attention.temperature_scale", rope.number("llama_4_scaling_beta"));
    gguf.f32("rope.scaling.yarn_beta_fast", rope.number("beta_fast"));
    gguf.f32("rope.scaling.yarn_beta_slow", rope.number("beta_slow"));
    gguf.f32("rope.scaling.yarn_log_multiplier", rope.number("mscale_all_dim"));
  } else if (c.string("model_type") == "minicpm") {
    const Shapes s(c);
    gguf.f32("embedding_scale", c.number("scale_emb"));
    gguf.f32("residual_scale", c.number("scale_depth") / std::sqrt(s.layers));
    gguf.f32("logit_scale", s.dim / c.number("dim_model_base"));
  }
}

void copy_feed_forward(GgufWriter& out, const FamilyConfig& c) {
  const int layers = Shapes(c).layers;
  if (!is_granite4(c)) return copy_gated_mlp(out, layers);
  const auto ffn = static_cast<uint64_t>(c.integer("shared_intermediate_size"));
  for (int i = 0; i < layers; ++i) {
    const std::string to = layer_name("blk.#.", i), from = layer_name(kLayer, i) + "shared_mlp.";
    const Tensor& both = out.source(from + "input_linear.weight");
    out.tensor(to + "ffn_gate.weight", take_rows(both, 0, ffn));
    out.tensor(to + "ffn_up.weight", take_rows(both, ffn, ffn));
    out.copy(to + "ffn_down", from + "output_linear");
  }
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  const std::string type = c.string("model_type");
  GgufWriter out(gguf_architecture(type), tensors);
  write_common_keys(out, c);
  if (permutes(type) && type != "minicpm") {
    out.u32("vocab_size", s.vocab);
    out.u32("rope.dimension_count", s.head_dim);
  }
  write_multipliers(out, c);
  if (c.has("rope_scaling") && c.object("rope_scaling").string("rope_type") == "llama3")
    out.tensor("rope_freqs.weight", llama3_divisors(c, s.head_dim));
  copy_ends(out);
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                             {"blk.#.attn_v", kLayer + "self_attn.v_proj"},
                             {"blk.#.attn_output", kLayer + "self_attn.o_proj"},
                             {type == "seed_oss" ? "blk.#.post_attention_norm" : "blk.#.ffn_norm",
                              kLayer + "post_attention_layernorm"}});
  copy_feed_forward(out, c);
  if (has_head_norms(c))
    out.copy_layers(s.layers, {{"blk.#.attn_q_norm", kLayer + "self_attn.q_norm"},
                               {"blk.#.attn_k_norm", kLayer + "self_attn.k_norm"}});
  for (int i = 0; i < s.layers; ++i)
    for (const bool is_q : {true, false})
      for (const char* part : {".weight", ".bias"}) {
        const std::string at = is_q ? "self_attn.q_proj" : "self_attn.k_proj";
        const Tensor* w = out.find_source(layer_name(kLayer, i) + at + part);
        if (!w) continue;
        const std::string to = layer_name(is_q ? "blk.#.attn_q" : "blk.#.attn_k", i) + part;
        out.tensor(to, permutes(type) ? halves_to_pairs(*w, is_q ? s.heads : s.kv_heads) : *w);
      }
  return out.build();
}

// ---- the configurations ------------------------------------------------------------------------

const FamilyConfig kLlama(R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"bos_token_id":1,"eos_token_id":[2,3],"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "mlp_bias":false,"model_type":"llama","num_attention_heads":4,"num_hidden_layers":3,
  "num_key_value_heads":2,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,
  "rope_theta":10000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
  "transformers_version":"4.42.3","use_cache":true,"vocab_size":91})");

const FamilyConfig kMistral(R"({"architectures":["MistralForCausalLM"],"attention_dropout":0.0,
  "bos_token_id":1,"eos_token_id":2,"head_dim":24,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"mistral","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":2,
  "rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,
  "torch_dtype":"bfloat16","transformers_version":"4.43.0","use_cache":true,"vocab_size":91})");

// Ministral 8B's keys.
constexpr const char* kMinistral = R"({"architectures":["MinistralForCausalLM"],
  "layer_types":["sliding_attention","full_attention","sliding_attention"],
  "model_type":"ministral","sliding_window":9})";

constexpr const char* kMinistral3 = R"({"architectures":["Ministral3ForCausalLM"],
  "model_type":"ministral3","rope_scaling":{"beta_fast":32.0,"beta_slow":1.0,"factor":16.0,
  "llama_4_scaling_beta":0.4,"mscale":1.0,"mscale_all_dim":1.0,
  "original_max_position_embeddings":8,"rope_type":"yarn","type":"yarn"},"rope_theta":1000000.0,
  "tie_word_embeddings":true})";

constexpr const char* kMagnitudes = R"({"rope_scaling":{"beta_fast":16.0,"beta_slow":2.0,
  "factor":4.0,"llama_4_scaling_beta":0.1,"mscale":1.0,"mscale_all_dim":0.5,
  "original_max_position_embeddings":8,"rope_type":"yarn"}})";

const FamilyConfig kSeedOss(R"({"architectures":["SeedOssForCausalLM"],"attention_bias":true,
  "attention_dropout":0.1,"attention_out_bias":false,"bos_token_id":0,"eos_token_id":2,
  "head_dim":24,"hidden_act":"silu","hidden_size":64,"initializer_range":0.02,
  "intermediate_size":112,"max_position_embeddings":128,"mlp_bias":false,
  "model_type":"seed_oss","num_attention_heads":4,"num_hidden_layers":3,
  "num_key_value_heads":2,"pad_token_id":1,"pretraining_tp":1,"residual_dropout":0.1,
  "rms_norm_eps":1e-06,"rope_scaling":{"rope_type":"default"},"rope_theta":10000000.0,
  "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.55.0",
  "use_cache":true,"vocab_size":91})");

const FamilyConfig kErnie(R"({"architectures":["Ernie4_5ForCausalLM"],"bos_token_id":1,
  "eos_token_id":2,"head_dim":24,"hidden_act":"silu","hidden_size":64,"intermediate_size":112,
  "max_position_embeddings":128,"model_type":"ernie4_5","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":2,"pad_token_id":0,"rms_norm_eps":1e-05,
  "rope_scaling":null,"rope_theta":500000,"torch_dtype":"bfloat16",
  "transformers_version":"4.54.0.dev0","tie_word_embeddings":true,"use_bias":false,
  "use_cache":false,"vocab_size":91})");

const FamilyConfig kQwen2(R"({"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,
  "bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,"initializer_range":0.02,
  "intermediate_size":112,"max_position_embeddings":128,"max_window_layers":1,
  "model_type":"qwen2","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":2,
  "rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":9,"tie_word_embeddings":true,
  "torch_dtype":"bfloat16","transformers_version":"4.43.1","use_cache":true,
  "use_sliding_window":false,"vocab_size":91})");

const FamilyConfig kQwen3(R"({"architectures":["Qwen3ForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"bos_token_id":1,"eos_token_id":2,"head_dim":24,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,
  "max_position_embeddings":128,"max_window_layers":3,"model_type":"qwen3",
  "num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":2,"rms_norm_eps":1e-06,
  "rope_scaling":null,"rope_theta":1000000,"sliding_window":null,"tie_word_embeddings":false,
  "torch_dtype":"bfloat16","transformers_version":"4.51.0","use_cache":true,
  "use_sliding_window":false,"vocab_size":91})");

const FamilyConfig kSmolLM3(R"({"architectures":["SmolLM3ForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"bos_token_id":null,"eos_token_id":2,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,
  "layer_types":["full_attention","full_attention","full_attention","full_attention",
                 "full_attention"],
  "max_position_embeddings":128,"max_window_layers":5,"mlp_bias":false,"model_type":"smollm3",
  "no_rope_layer_interval":4,"no_rope_layers":[1,1,1,0,1],"num_attention_heads":4,
  "num_hidden_layers":5,"num_key_value_heads":2,"pad_token_id":3,"pretraining_tp":2,
  "rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":5000000.0,"sliding_window":null,
  "torch_dtype":"bfloat16","transformers_version":"4.54.0.dev0","use_cache":false,
  "use_sliding_window":false,"vocab_size":91})");

const FamilyConfig kGranite(R"({"architectures":["GraniteForCausalLM"],"attention_bias":false,
  "attention_dropout":0.1,"attention_multiplier":0.3,"bos_token_id":0,
  "embedding_multiplier":12.0,"eos_token_id":0,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":112,"logits_scaling":8.0,
  "max_position_embeddings":128,"mlp_bias":false,"model_type":"granite","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":2,"pad_token_id":0,"residual_multiplier":0.22,
  "rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"tie_word_embeddings":true,
  "torch_dtype":"bfloat16","transformers_version":"4.46.0.dev0","use_cache":true,
  "vocab_size":91})");

// The members of granite-4.0-micro that others of its kind need.
constexpr const char* kGranite4 = R"({"architectures":["GraniteMoeHybridForCausalLM"],
  "layer_types":["attention","attention","attention"],"mamba_chunk_size":256,
  "mamba_conv_bias":true,"mamba_d_conv":4,"mamba_d_head":64,"mamba_d_state":256,"mamba_expand":2,
  "mamba_n_groups":1,"mamba_n_heads":48,"mamba_proj_bias":false,"model_type":"granitemoehybrid",
  "normalization_function":"rmsnorm","num_experts_per_tok":0,"num_local_experts":0,
  "output_router_logits":false,"position_embedding_type":"rope","router_aux_loss_coef":0.01,
  "shared_intermediate_size":112,"transformers_version":"4.56.0"})";

const FamilyConfig kMiniCpm(R"({"_name_or_path":"openbmb/CPM-2B",
  "architectures":["MiniCPMForCausalLM"],
  "auto_map":{"AutoConfig":"configuration_minicpm.MiniCPMConfig",
              "AutoModel":"modeling_minicpm.MiniCPMModel",
              "AutoModelForCausalLM":"modeling_minicpm.MiniCPMForCausalLM"},
  "bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.1,"intermediate_size":112,"max_position_embeddings":128,
  "model_type":"minicpm","num_attention_heads":4,"num_hidden_layers":3,"num_key_value_heads":4,
  "rms_norm_eps":1e-05,"rope_scaling":null,"torch_dtype":"bfloat16",
  "transformers_version":"4.36.0","use_cache":true,"vocab_size":91,"scale_emb":12,
  "dim_model_base":16,"scale_depth":1.4})");

const FamilyConfig kInternLm3(R"({"architectures":["InternLM3ForCausalLM"],
  "attention_dropout":0.0,
  "auto_map":{"AutoConfig":"configuration_internlm3.InternLM3Config",
              "AutoModel":"modeling_internlm3.InternLM3Model",
              "AutoModelForCausalLM":"modeling_internlm3.InternLM3ForCausalLM"},
  "bias":false,"bos_token_id":1,"eos_token_id":2,"head_dim":24,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":112,
  "max_position_embeddings":128,"model_type":"internlm3","num_attention_heads":4,
  "num_hidden_layers":3,"num_key_value_heads":2,"pad_token_id":2,"qkv_bias":false,
  "rms_norm_eps":1e-05,"rope_scaling":{"factor":6.0,"rope_type":"dynamic"},
  "rope_theta":50000000,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
  "transformers_version":"4.47.1","use_cache":true,"vocab_size":91})");

constexpr const char* kLlama3Rope = R"({"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,
  "high_freq_factor":4.0,"original_max_position_embeddings":64,"rope_type":"llama3"},
  "rope_theta":50000.0})";
constexpr const char* kYarn = R"({"max_position_embeddings":128,"rope_scaling":{"factor":4.0,
  "original_max_position_embeddings":32,"type":"yarn"}})";
// A text longer than the context stretches theta.
constexpr const char* kDynamic =
    R"({"max_position_embeddings":24,"rope_scaling":{"type":"dynamic","factor":2.0}})";

}  // namespace

std::vector<FamilyCase> llama_cases() {
  const auto with = [](const FamilyConfig& c, const char* changes) { return c.with(changes); };
  return {
      {"llama", kLlama, make, reference, gguf},
      {"llama, tied and biased",
       with(kLlama, R"({"tie_word_embeddings":true,"attention_bias":true,"mlp_bias":true})"), make,
       reference, gguf},
      {"llama, linear RoPE", with(kLlama, R"({"rope_scaling":{"factor":4.0,"type":"linear"}})"),
       make, reference, gguf},
      {"llama, llama3 RoPE", with(kLlama, kLlama3Rope), make, reference, gguf},
      {"llama, yarn RoPE", with(kLlama, kYarn), make, reference, gguf},
      {"llama, dynamic RoPE", with(kLlama, kDynamic), make, reference},
      {"mistral", kMistral, make, reference, gguf},
      {"mistral, window", with(kMistral, R"({"sliding_window":9})").without("head_dim"), make,
       reference},
      {"ministral", with(kMistral, kMinistral), make, reference},
      {"ministral, all layers", with(kMistral, kMinistral).without("layer_types"), make, reference},
      {"ministral3", with(kMistral, kMinistral3), make, reference, gguf},
      {"ministral3, other magnitudes", with(kMistral, kMinistral3).with(kMagnitudes), make,
       reference, gguf},
      {"seed_oss", kSeedOss, make, reference, gguf},
      {"seed_oss, other biases",
       with(kSeedOss, R"({"attention_bias":false,"attention_out_bias":true,"mlp_bias":true})"),
       make, reference},
      {"ernie4_5", kErnie, make, reference, gguf},
      {"ernie4_5, biased", with(kErnie, R"({"use_bias":true,"tie_word_embeddings":false})"), make,
       reference},
      {"qwen2", kQwen2, make, reference, gguf},
      {"qwen2, apart and yarn", with(kQwen2, kYarn).with(R"({"tie_word_embeddings":false})"), make,
       reference, gguf},
      {"qwen2, window", with(kQwen2, R"({"use_sliding_window":true})"), make, reference},
      {"qwen3", kQwen3, make, reference, gguf},
      {"qwen3, tied", with(kQwen3, R"({"tie_word_embeddings":true})"), make, reference, gguf},
      {"smollm3", kSmolLM3, make, reference, gguf},
      {"granite", kGranite, make, reference, gguf},
      {"granite 4, dense", with(kGranite, kGranite4), make, reference, gguf},
      {"minicpm", kMiniCpm, make, reference, gguf},
      {"internlm3", kInternLm3, make, reference, gguf},
      {"internlm3, biases", with(kInternLm3, R"({"qkv_bias":true,"bias":true})"), make, reference,
       gguf},
      {"internlm3, longer than its context", with(kInternLm3, R"({"max_position_embeddings":24})"),
       make, reference},
  };
}

}  // namespace nibble::test
