// config.json of Hugging Face directories: what the model code of each family reads, with its
// defaults.
#include <algorithm>
#include <cmath>

#include "load/checkpoint.h"
#include "model/config_hf_common.h"
#include "model/families.h"
#include "model/tensor_names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

Activation activation_of(const std::string& name, const std::string& where) {
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
    return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  throw Error(where, "the activation \"" + name + "\" is not implemented",
              "known: silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu");
}

std::vector<uint8_t> without_window(const Config& c) {
  return per_layer(c, [&](int32_t i) { return c.window_layers[static_cast<size_t>(i)] == 0; });
}

// --- families -------------------------------------------------------------------------------

void read_llama(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  out.ffn_bias = f.bool_or("mlp_bias", false);
}

void read_mistral(const Fields& f, Config& out) { read_window(f, out, 4096); }

void read_ministral3(const Fields& f, Config& out) { read_window(f, out); }

void read_mixtral(const Fields& f, Config& out) {
  read_window(f, out);
  read_experts(f, "num_local_experts", out);
  out.normalize_experts = true;
}

void read_smollm3(const Fields& f, Config& out) {
  read_llama(f, out);
  const int32_t interval = f.size_or("no_rope_layer_interval", 4);
  out.nope_layers = per_layer(out, [&](int32_t i) { return (i + 1) % interval == 0; });
  // In spite of its name, 1 says that a layer rotates.
  if (f.find("no_rope_layers")) {
    const std::vector<float> rotates = f.numbers("no_rope_layers");
    if (rotates.size() != out.nope_layers.size())
      throw Error::mismatch(f.where("no_rope_layers"), "length", std::to_string(out.n_layers),
                            std::to_string(rotates.size()));
    out.nope_layers =
        per_layer(out, [&](int32_t i) { return rotates[static_cast<size_t>(i)] == 0.0f; });
  }
  // A window, if there is one, is of the layers that do not rotate.
  if (out.window_layers.empty()) out.window_layers = out.nope_layers;
  read_optional_window(f, out);
}

void read_qwen2(const Fields& f, Config& out) { read_optional_window(f, out); }

void read_qwen3(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  read_optional_window(f, out);
}

void read_qwen3_moe(const Fields& f, Config& out) {
  read_qwen3(f, out);
  read_experts(f, "num_experts", out);
  out.ffn_dim = f.size("moe_intermediate_size");
  out.normalize_experts = f.bool_or("norm_topk_prob", false);
  f.only("decoder_sparse_step", int64_t{1});
  if (const Json* dense = f.find("mlp_only_layers"))
    if (!dense->as_array(f.where("mlp_only_layers")).empty())
      throw Error(f.where("mlp_only_layers"), "layers without experts are not implemented");
}

void read_olmoe(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  read_experts(f, "num_experts", out);
  out.normalize_experts = f.bool_or("norm_topk_prob", false);
  out.qkv_clip = f.number_or("clip_qkv", 0.0f);
}

void read_gpt_oss(const Fields& f, Config& out) {
  read_window(f, out, 128);
  read_window_pattern(f, "sliding_window_pattern", 2, out);
  read_attention_bias(f, out);
  read_experts(f, "num_local_experts", out);
  out.normalize_experts = true;
  out.activation = Activation::swiglu_oai;  // of which "hidden_act" is a part
  if (const float limit = f.number_or("swiglu_limit", 7.0f); limit != 7.0f)
    throw Error(f.where("swiglu_limit"), "is " + std::to_string(limit) + ", expected 7");
}

void read_phi3(const Fields& f, Config& out) { read_window(f, out); }

// Gemma says what its activation is in "hidden_activation"; "hidden_act" is a leftover.
void read_gemma(const Fields& f, Config& out) {
  const std::string name = f.string_or("hidden_activation", "gelu_pytorch_tanh");
  out.activation = activation_of(name, f.where("hidden_activation"));
  out.embedding_scale = std::sqrt(static_cast<float>(out.dim));
  read_attention_bias(f, out);
}

// A cap that is `fallback` if the file does not mention it; null says that there is none.
float soft_cap(const Fields& f, const char* key, float fallback) {
  return f.number_or(key, f.mentions(key) ? 0.0f : fallback);
}

// What Gemma 2 and 3 share, but for the defaults: caps of the scores and of the logits, and one
// layer in `pattern` that sees everything.
void read_capped_gemma(const Fields& f, float attention_cap, float logit_cap, int pattern,
                       Config& out) {
  read_gemma(f, out);
  out.attention_scale = 1.0f / std::sqrt(f.number_or("query_pre_attn_scalar", 256.0f));
  out.attention_softcap = soft_cap(f, "attn_logit_softcapping", attention_cap);
  out.logit_softcap = soft_cap(f, "final_logit_softcapping", logit_cap);
  read_window(f, out, 4096);
  read_window_pattern(f, "sliding_window_pattern", pattern, out);
}

void read_gemma2(const Fields& f, Config& out) { read_capped_gemma(f, 50.0f, 30.0f, 2, out); }

void read_gemma3(const Fields& f, Config& out) {
  read_capped_gemma(f, 0.0f, 0.0f, 6, out);
  f.only("use_bidirectional_attention", false);
  if (out.rope_local_theta == 0.0f)
    out.rope_local_theta = f.number_or("rope_local_base_freq", 10000.0f);
}

// GLM 4; only q, k and v have biases.
void read_glm(const Fields& f, Config& out) { out.qkv_bias = f.bool_or("attention_bias", true); }

// Every fourth layer sees everything; only there RoPE is scaled.
void read_olmo3(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  read_window(f, out, 4096);
  read_window_pattern(f, "sliding_window_pattern", 4, out);
  if (out.rope_scaling != RopeScaling::none && out.rope_local_theta == 0.0f)
    out.rope_local_theta = out.rope_theta;
}

// If there is a window, the layers without it have no positions. The pattern is a period or, as
// "LLLG", one letter a layer.
void read_exaone4(const Fields& f, Config& out) {
  read_window(f, out, 4096);
  const Json* pattern = f.find("sliding_window_pattern");
  if (out.sliding_window == 0) return;
  if (!pattern || !pattern->is_string()) {
    read_window_pattern(f, "sliding_window_pattern", 4, out);
  } else if (out.window_layers.empty()) {
    const std::string& letters = pattern->as_string("");
    if (letters.empty() || letters.find_first_not_of("LG") != std::string::npos)
      throw Error(f.where("sliding_window_pattern"), "\"" + letters + "\" is not implemented",
                  "known: a number, or letters L and G");
    out.window_layers = per_layer(out, [&](int32_t i) {
      return i != out.n_layers - 1 && letters[static_cast<size_t>(i) % letters.size()] == 'L';
    });
  }
  out.nope_layers = without_window(out);
}

void read_seed_oss(const Fields& f, Config& out) {
  out.qkv_bias = f.bool_or("attention_bias", true);
  out.o_bias = f.bool_or("attention_out_bias", false);
  out.ffn_bias = f.bool_or("mlp_bias", false);
}

void read_ernie(const Fields& f, Config& out) {
  out.qkv_bias = out.o_bias = out.ffn_bias = f.bool_or("use_bias", false);
}

void read_granite(const Fields& f, Config& out) {
  read_llama(f, out);
  out.embedding_scale = f.number_or("embedding_multiplier", 1.0f);
  out.residual_scale = f.number_or("residual_multiplier", 1.0f);
  out.attention_scale = f.number_or("attention_multiplier", 1.0f);
  out.logit_scale = 1.0f / f.number_or("logits_scaling", 1.0f);
}

void read_granite4(const Fields& f, Config& out) {
  read_granite(f, out);
  out.ffn_dim = f.size("shared_intermediate_size");
  f.only("position_embedding_type", "rope");
  if (!f.find("position_embedding_type"))
    out.nope_layers = per_layer(out, [](int32_t) { return 1; });
  f.only("normalization_function", "rmsnorm");
  f.only("num_local_experts", int64_t{0});
  f.find("mamba_d_state");  // of layers that layer_types would list
}

void read_minicpm(const Fields& f, Config& out) {
  out.embedding_scale = f.number_or("scale_emb", 1.0f);
  out.residual_scale =
      f.number_or("scale_depth", 1.0f) / std::sqrt(static_cast<float>(out.n_layers));
  out.logit_scale = f.number_or("dim_model_base", 1.0f) / static_cast<float>(out.dim);
}

void read_cohere(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  out.logit_scale = f.number_or("logit_scale", 0.0625f);
  if (f.bool_or("use_qk_norm", false)) out.qk_norm = QkNorm::own_head;
}

// Every fourth layer sees everything, without positions.
void read_cohere2(const Fields& f, Config& out) {
  f.only("use_gated_activation", true);
  f.only("use_parallel_block", true);
  f.only("order_of_interleaved_layers", "local_attn_first");
  f.only("position_embedding_type", "rope_gptj");
  read_attention_bias(f, out);
  out.logit_scale = f.number_or("logit_scale", 0.0625f);
  read_window(f, out, 4096);
  read_window_pattern(f, "sliding_window_pattern", 4, out);
  out.nope_layers = without_window(out);
}

void read_internlm2(const Fields& f, Config& out) {
  out.qkv_bias = out.o_bias = f.bool_or("bias", false);
}

void read_internlm3(const Fields& f, Config& out) {
  out.qkv_bias = f.bool_or("qkv_bias", false);
  out.o_bias = out.ffn_bias = f.bool_or("bias", false);
}

void read_stablelm(const Fields& f, Config& out) {
  out.qkv_bias = f.bool_or("use_qkv_bias", false);
  if (f.bool_or("qk_layernorm", false)) out.qk_norm = QkNorm::own_head;
  if (f.bool_or("use_parallel_residual", false)) out.residual = Residual::parallel_one_norm;
}

void read_gpt_neox(const Fields& f, Config& out) {
  read_attention_bias(f, out);
  if (!f.bool_or("use_parallel_residual", true)) out.residual = Residual::sequential;
}

void read_falcon(const Fields& f, Config& out) {
  const bool grouped = f.bool_or("new_decoder_architecture", false);
  const bool one_kv_head = f.bool_or("multi_query", true);
  const int32_t kv_heads = f.size_or({"num_kv_heads", "n_head_kv"}, out.n_heads);
  out.n_kv_heads = grouped ? kv_heads : one_kv_head ? 1 : out.n_heads;
  out.ffn_dim = f.size_or("ffn_hidden_size", 4 * out.dim);
  out.qkv_bias = out.o_bias = out.ffn_bias = f.bool_or("bias", false);
  const int32_t n_norms = f.size_or("num_ln_in_parallel_attn", grouped ? 2 : 1);
  const bool parallel = f.bool_or("parallel_attn", true) || grouped;
  out.residual = !parallel                 ? Residual::sequential
                 : grouped && n_norms == 2 ? Residual::parallel
                                           : Residual::parallel_one_norm;
  f.only("apply_residual_connection_post_layernorm", false);
  if (f.bool_or("alibi", false)) {
    // Falcon adds ALiBi before it scales.
    out.positions = Positions::alibi;
    out.alibi_scale = 1.0f / std::sqrt(static_cast<float>(out.head_dim));
  }
}

void read_mpt(const Fields& f, Config& out) {
  out.ffn_dim = out.dim * f.size_or("expansion_ratio", 4, 64);
  f.only("no_bias", true);
  if (f.string_or("norm_type", "") != "layernorm") f.only("norm_type", "low_precision_layernorm");
  const Json none{Json::Object{}};
  const Json* attention = f.find("attn_config");
  if (attention) attention->as_object(f.where("attn_config"));
  const Fields a(attention ? *attention : none, f.where("attn_config"));
  a.only("attn_type", "multihead_attention");
  a.only("alibi", true);
  a.only("qk_ln", false);
  a.only("prefix_lm", false);
  a.only("attn_uses_sequence_id", false);
  a.only("rope", false);
  a.only("sliding_window_size", int64_t{-1});
  const Json* ffn = f.find("ffn_config");
  const Fields b(ffn ? *ffn : none, f.where("ffn_config"));
  b.only("ffn_type", "mptmlp");
  b.refuse_others({"fc_type"});
  out.alibi_max_bias = a.number_or("alibi_bias_max", 8.0f);
  out.qkv_clip = a.number_or("clip_qkv", 0.0f);
  out.attention_scale = a.number_or("softmax_scale", 0.0f);
}

void read_opt(const Fields& f, Config& out) {
  f.only("enable_bias", true);
  f.only("layer_norm_elementwise_affine", true);
  const bool before = f.bool_or("do_layer_norm_before", true);
  if (!before) out.norm_placement = NormPlacement::residual;
  out.output_norm = before && !f.bool_or("_remove_final_layer_norm", false);
  const int32_t width = f.size_or("word_embed_proj_dim", out.dim);
  if (width != out.dim) out.embedding_dim = width;
  out.position_offset = 2;
}

void read_gpt2(const Fields& f, Config& out) {
  if (out.ffn_dim == 0) out.ffn_dim = 4 * out.dim;
  if (!f.bool_or("scale_attn_weights", true)) out.attention_scale = 1.0f;
  f.only("scale_attn_by_inverse_layer_idx", false);
  f.only("add_cross_attention", false);
}

void read_gpt_bigcode(const Fields& f, Config& out) {
  read_gpt2(f, out);
  if (f.bool_or("multi_query", true)) out.n_kv_heads = 1;
  if (!f.find("activation_function")) out.activation = Activation::gelu_tanh;
}

void read_starcoder2(const Fields& f, Config& out) {
  out.qkv_bias = out.o_bias = out.ffn_bias = f.bool_or("use_bias", true);
  f.only("norm_type", "layer_norm");
  f.only("mlp_type", "default");
  read_window(f, out);
}

void read_bloom(const Fields& f, Config& out) {
  out.ffn_dim = 4 * out.dim;
  f.only("apply_residual_connection_post_layernorm", false);
}

void read_nothing(const Fields&, Config&) {}

struct Reader {
  const char* model_type;
  void (*read)(const Fields& f, Config& out);
  float norm_eps = 1e-6f;  // what the model code assumes if the file does not say
  int32_t head_dim = 0;    // likewise; 0: dim / n_heads
  float rope_theta = 10000.0f;
  float rotary = 1.0f;        // share of a head that rotates
  bool tied = false;          // one matrix for embedding and head
  bool query_growth = false;  // whether it reads "llama_4_scaling_beta"
  int32_t n_heads = 0, n_kv_heads = 0, vocab_size = 0, context = 2048;
};

constexpr Reader kReaders[] = {
    {.model_type = "llama", .read = read_llama},
    {.model_type = "mistral", .read = read_mistral, .n_heads = 32, .n_kv_heads = 8},
    {.model_type = "ministral", .read = read_mistral, .n_heads = 32, .n_kv_heads = 8},
    {.model_type = "ministral3", .read = read_ministral3, .norm_eps = 1e-5f, .query_growth = true},
    {.model_type = "mixtral", .read = read_mixtral, .norm_eps = 1e-5f, .rope_theta = 1e6f},
    {.model_type = "smollm3", .read = read_smollm3, .rope_theta = 2e6f, .tied = true},
    {.model_type = "qwen2", .read = read_qwen2},
    {.model_type = "qwen3", .read = read_qwen3, .head_dim = 128},
    {.model_type = "qwen3_moe", .read = read_qwen3_moe},
    {.model_type = "olmoe", .read = read_olmoe, .norm_eps = 1e-5f},
    {.model_type = "gpt_oss",
     .read = read_gpt_oss,
     .norm_eps = 1e-5f,
     .head_dim = 64,
     .rope_theta = 150000.0f},
    {.model_type = "phi3", .read = read_phi3, .norm_eps = 1e-5f},
    {.model_type = "gemma", .read = read_gemma, .head_dim = 256, .tied = true},
    {.model_type = "gemma2", .read = read_gemma2, .head_dim = 256, .tied = true},
    {.model_type = "gemma3_text",
     .read = read_gemma3,
     .head_dim = 256,
     .rope_theta = 1e6f,
     .tied = true,
     .n_heads = 8,
     .n_kv_heads = 4,
     .vocab_size = 262208,
     .context = 131072},
    {.model_type = "granite", .read = read_granite},
    {.model_type = "granitemoehybrid", .read = read_granite4},
    {.model_type = "minicpm", .read = read_minicpm, .tied = true},
    {.model_type = "olmo2", .read = read_attention_bias, .norm_eps = 1e-5f},
    {.model_type = "olmo3", .read = read_olmo3, .norm_eps = 1e-5f},
    {.model_type = "exaone", .read = read_nothing, .norm_eps = 1e-5f},
    {.model_type = "exaone4", .read = read_exaone4, .norm_eps = 1e-5f},
    {.model_type = "glm",
     .read = read_glm,
     .norm_eps = 1.5625e-7f,
     .head_dim = 128,
     .rotary = 0.5f},
    {.model_type = "glm4",
     .read = read_glm,
     .norm_eps = 1.5625e-7f,
     .head_dim = 128,
     .rotary = 0.5f},
    {.model_type = "seed_oss", .read = read_seed_oss, .head_dim = 128, .rope_theta = 1e7f},
    {.model_type = "ernie4_5",
     .read = read_ernie,
     .norm_eps = 1e-5f,
     .head_dim = 128,
     .rope_theta = 5e5f,
     .tied = true},
    {.model_type = "cohere", .read = read_cohere, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "cohere2", .read = read_cohere2, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "internlm2", .read = read_internlm2},
    {.model_type = "internlm3", .read = read_internlm3},
    {.model_type = "stablelm", .read = read_stablelm, .norm_eps = 1e-5f, .rotary = 0.25f},
    {.model_type = "gpt_neox", .read = read_gpt_neox, .norm_eps = 1e-5f, .rotary = 0.25f},
    {.model_type = "falcon", .read = read_falcon, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "RefinedWeb", .read = read_falcon, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "RefinedWebModel", .read = read_falcon, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "mpt", .read = read_mpt, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "opt", .read = read_opt, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "gpt2", .read = read_gpt2, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "gpt_bigcode", .read = read_gpt_bigcode, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "starcoder2", .read = read_starcoder2, .norm_eps = 1e-5f, .tied = true},
    {.model_type = "bloom", .read = read_bloom, .norm_eps = 1e-5f, .tied = true},
};

const Reader& reader_of(const std::string& type) {
  for (const Reader& reader : kReaders)
    if (type == reader.model_type) return reader;
  static constexpr Reader kPlain{"", read_nothing};
  return kPlain;
}

}  // namespace

Config config_from_hugging_face(const Checkpoint& checkpoint) {
  const Json* json = checkpoint.metadata.find("config");
  const std::string path = checkpoint.path + "/config.json";
  if (!json || !json->is_object()) throw Error(path, "is missing");
  const Fields f(*json, path);
  const std::string type = f.string_or("model_type", "");
  const Family* family = find_family_hugging_face(type);
  if (!family) refuse_architecture(path, type);
  const Reader& reader = reader_of(type);
  const auto or_default = [&](Names names, int32_t known) {
    return known > 0 ? f.size_or(names, known) : f.size(names);
  };
  Config out;
  static_cast<Traits&>(out) = family->traits;
  out.architecture = family->name;
  out.name = f.string_or("_name_or_path", "");
  out.n_layers = f.size({"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
  out.dim = f.size({"hidden_size", "n_embd", "d_model", "n_embed"});
  out.n_heads = or_default({"num_attention_heads", "n_head", "n_heads"}, reader.n_heads);
  const bool known_kv_heads = reader.n_kv_heads > 0 && !f.mentions("num_key_value_heads");
  out.n_kv_heads =
      f.size_or("num_key_value_heads", known_kv_heads ? reader.n_kv_heads : out.n_heads);
  out.head_dim = f.size_or(
      "head_dim", reader.head_dim > 0 ? reader.head_dim : std::max(1, out.dim / out.n_heads));
  out.ffn_dim = f.size_or({"intermediate_size", "n_inner", "ffn_dim"}, 0);
  out.vocab_size = or_default({"vocab_size"}, reader.vocab_size);
  out.context_length =
      f.size_or({"max_position_embeddings", "n_positions", "max_seq_len", "seq_length"},
                reader.context, kMaxContext);
  out.norm_eps = f.number_or(
      {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"},
      reader.norm_eps);
  // A tied model that was saved with its head saved the embedding twice.
  TensorNames names(checkpoint, *family);
  out.tied_embeddings = f.bool_or("tie_word_embeddings", reader.tied || !names.has(Slot::output));
  out.activation_scales = !out.gated_ffn && names.find({Slot::act_scales});
  const Names activations = {"hidden_act", "activation_function", "activation"};
  if (const std::string name = f.string_or(activations, ""); !name.empty())
    out.activation = activation_of(name, f.where("hidden_act"));
  out.rope_theta = reader.rope_theta;
  read_layer_types(f, out);
  if (out.positions == Positions::rope) read_rope(f, reader.rotary, out);
  reader.read(f, out);
  if (out.query_growth != 0.0f && !reader.query_growth)
    throw Error(path + ": llama_4_scaling_beta", "is not implemented for the architecture " + type);
  if (out.ffn_dim == 0) throw Error(f.where("intermediate_size"), "is missing");
  if (std::count(out.window_layers.begin(), out.window_layers.end(), 1) == 0) {
    if (!out.window_layers.empty()) out.sliding_window = 0;
    out.window_layers.clear();
  } else if (out.sliding_window == 0) {
    throw Error(f.where("sliding_window"), "is missing, though layers have a window");
  }
  f.refuse_unread(type);
  return out;
}

}  // namespace nibble
