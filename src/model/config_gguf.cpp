// Metadata of GGUF files, as llama.cpp's converter writes it.
#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "load/checkpoint.h"
#include "model/config_fields.h"
#include "model/families.h"
#include "model/rope.h"
#include "model/tensor_names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// The keys "ARCHITECTURE.NAME" of one file, and its tensors.
struct Gguf {
  const Checkpoint& checkpoint;
  const Fields& fields;
  std::string prefix;

  std::string key(const char* name) const { return prefix + name; }
  int32_t size(const char* name, int64_t max = kMaxSize) const {
    return fields.size(key(name), max);
  }
  int32_t size_or(const char* name, int32_t fallback, int64_t max = kMaxSize) const {
    return fields.size_or(key(name), fallback, max);
  }
  int32_t count_or(const char* name, int32_t fallback) const {
    return fields.count_or(key(name), fallback);
  }
  // What every layer has alike.
  int32_t uniform(const char* name, int32_t n_layers, int32_t low = 1) const {
    return fields.uniform(key(name), n_layers, low);
  }
  int32_t uniform_or(const char* name, int32_t n_layers, int32_t fallback, int32_t low = 1) const {
    return fields.find(key(name)) ? uniform(name, n_layers, low) : fallback;
  }
  float number_or(const char* name, float fallback) const {
    return fields.number_or(key(name), fallback);
  }
  bool bool_or(const char* name, bool fallback) const {
    return fields.bool_or(key(name), fallback);
  }
  bool has(const char* tensor) const { return checkpoint.find(tensor) != nullptr; }
};

int32_t original_context(const Gguf& g, const Config& config) {
  return g.size_or("rope.scaling.original_context_length", config.context_length, kMaxContext);
}

// What YaRN multiplies q and k by, in all.
float yarn_attention_factor(const Gguf& g, const Config& c) {
  float scale = 1.0f, divisor = g.number_or("rope.scaling.yarn_log_multiplier", 0.0f);
  if (c.architecture == "ministral3") {  // under the names of Ollama's converter
    const float first = g.number_or("rope.scaling.mscale", 0.0f);
    const float second = g.number_or("rope.scaling.mscale_all_dim", 0.0f);
    if (first != 0.0f && second != 0.0f) scale = first, divisor = second;
  } else if (divisor != 0.0f) {  // DeepSeek 2 means another
    throw Error(g.fields.where(g.key("rope.scaling.yarn_log_multiplier")), "is not implemented");
  }
  float usual = yarn_magnitude(c.rope_factor, scale) / yarn_magnitude(c.rope_factor, divisor);
  // The first files of OLMo 3 have the whole of it under the name of what comes on top.
  if (c.architecture == "olmo2")
    usual = g.number_or("rope.scaling.attn_factor", usual);
  else
    usual *= g.number_or("rope.scaling.attn_factor", 1.0f);
  return g.number_or("rope.scaling.yarn_attn_factor", usual);
}

void read_yarn(const Gguf& g, Config& out) {
  // The second name is that of Ollama's converter, which writes 0 for none.
  const auto turns = [&](const char* name, const char* other, float usual) {
    const bool is_ollama = out.architecture == "ministral3";
    const float found = g.number_or(name, is_ollama ? g.number_or(other, usual) : usual);
    return found == 0.0f && is_ollama ? usual : found;
  };
  out.rope_scaling = RopeScaling::yarn;
  out.rope_original_context = original_context(g, out);
  out.rope_beta_fast = turns("rope.scaling.yarn_beta_fast", "rope.scaling.beta_fast", 32.0f);
  out.rope_beta_slow = turns("rope.scaling.yarn_beta_slow", "rope.scaling.beta_slow", 1.0f);
  out.rope_attention_factor = yarn_attention_factor(g, out);
  if (g.number_or("rope.scaling.yarn_ext_factor", 1.0f) != 1.0f)
    throw Error(g.fields.where(g.key("rope.scaling.yarn_ext_factor")), "is not implemented");
}

void read_rope_scaling(const Gguf& g, Config& out) {
  std::string type = g.fields.string_or(g.key("rope.scaling.type"), "linear");
  if (type.empty()) type = "none";
  out.rope_factor =  // files of 2023 have it under the second name
      g.number_or("rope.scaling.factor", g.number_or("rope.scale_linear", 1.0f));
  if (out.rope_factor == 0.0f) out.rope_factor = 1.0f;
  if (type == "linear") {
    if (out.rope_factor != 1.0f) out.rope_scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    read_yarn(g, out);
  } else if (type != "none" && type != "longrope") {
    refuse_rope(g.fields.where(g.key("rope.scaling.type")), type);
  }
  out.rope_short_factors = rope_divisors(g.checkpoint, "rope_factors_short.weight", out);
  out.rope_long_factors = rope_divisors(g.checkpoint, "rope_factors_long.weight", out);
  if (out.rope_short_factors.empty() && out.rope_long_factors.empty()) return;
  out.rope_scaling = RopeScaling::longrope;
  out.rope_original_context = original_context(g, out);
  out.rope_attention_factor = g.number_or("rope.scaling.attn_factor", 1.0f);
}

// What has no say in text, or without a scaling that reads it.
void pass_over_rope(const Gguf& g, const Layout& layout) {
  for (const char* name : {"rope.scaling.original_context_length", "rope.scaling.finetuned"})
    g.fields.find(g.key(name));
  // Of the families whose rows pair, only some are known to lie otherwise where there are sections.
  if (layout.interleaved_rope && !layout.halves_if_sections && has_rope_sections(g.checkpoint))
    return;
  for (const char* name : {"rope.dimension_sections", "rope.mrope_section"})
    g.fields.find(g.key(name));
}

// The layers that have the window: a list of them or, if the file has none, all but each
// `period`th.
void read_window_pattern(const Gguf& g, int32_t period, Config& out) {
  const std::string key = g.key("attention.sliding_window_pattern");
  const Json* list = g.fields.find(key);
  if (out.sliding_window == 0) return;
  if (list && list->is_array()) {
    for (const Json& layer : list->as_array(key))
      out.window_layers.push_back(layer.is_bool() ? layer.as_bool(key) : layer.as_int(key) != 0);
    return;
  }
  period = g.fields.size_or(key, period);
  for (int32_t i = 0; i < out.n_layers; ++i) out.window_layers.push_back((i + 1) % period != 0);
}

void stop_rotating_without_window(Config& out) {
  for (const uint8_t window : out.window_layers) out.nope_layers.push_back(!window);
}

// Biases and norms that a family may have are there if their tensors are.
void read_tensors(const Gguf& g, Config& out) {
  const bool fused = g.has("blk.0.attn_qkv.bias");
  out.qkv_bias = out.qkv_bias || fused || g.has("blk.0.attn_q.bias");
  out.o_bias = out.o_bias || g.has("blk.0.attn_output.bias");
  out.ffn_bias = out.ffn_bias || g.has("blk.0.ffn_up.bias");
  if (out.norm == NormKind::layer && out.qk_norm == QkNorm::none &&
      g.has("blk.0.attn_q_norm.weight"))
    out.qk_norm = QkNorm::own_head;
  out.activation_scales = !out.gated_ffn && g.has("blk.0.ffn.act.scales");
  out.tied_embeddings = !g.has("output.weight");
}

void read_experts(const Gguf& g, Config& out) {
  out.n_experts = g.count_or("expert_count", 0);
  if (out.n_experts == 0) return;
  out.n_experts_used = g.size("expert_used_count");
  out.ffn_dim = g.size_or("expert_feed_forward_length", out.ffn_dim);
  if (g.count_or("expert_shared_count", 0) > 0 ||
      g.count_or("expert_shared_feed_forward_length", 0) > 0)
    throw Error(g.fields.where(g.key("expert_shared_count")), "shared experts are not implemented");
  // Mixtral and Qwen3 make the weights of the experts used add up to 1, OLMoE does not.
  out.normalize_experts = g.bool_or("expert_weights_norm", out.architecture != "olmoe");
}

void read_gemma(const Gguf& g, Config& out) {
  const float dim = static_cast<float>(out.dim);
  out.embedding_scale = std::sqrt(dim);
  if (out.architecture == "gemma") return;
  const bool second = out.architecture == "gemma2";
  // Only the largest of each generation scales queries by something else than head_dim.
  const bool largest = out.n_layers == (second ? 46 : 62);
  out.attention_scale = 1.0f / std::sqrt(largest ? dim / static_cast<float>(out.n_heads)
                                                 : static_cast<float>(out.head_dim));
  out.attention_scale = g.number_or("attention.scale", out.attention_scale);
  out.attention_softcap = g.number_or("attn_logit_softcapping", second ? 50.0f : 0.0f);
  out.logit_softcap = g.number_or("final_logit_softcapping", second ? 30.0f : 0.0f);
  // The first files of Gemma 2 leave its window out.
  if (second) out.sliding_window = g.count_or("attention.sliding_window", 4096);
  read_window_pattern(g, second ? 2 : 6, out);
  if (second) return;
  // The second names are those of Ollama's converter.
  out.rope_theta = g.number_or("rope.freq_base", g.number_or("rope.global.freq_base", 1e6f));
  out.rope_local_theta =
      g.number_or("rope.freq_base_swa", g.number_or("rope.local.freq_base", 10000.0f));
}

// Granite 4 without layers of a state space has the keys of its sisters that have them.
void read_granite(const Gguf& g, Config& out) {
  g.fields.find(g.key("ssm.state_size"));
  // In its files this says whether it rotates.
  if (!g.bool_or("rope.scaling.finetuned", true))
    out.nope_layers.assign(static_cast<size_t>(out.n_layers), 1);
}

// What the files of some families leave out, and what they mean by what they have.
void read_family(const Gguf& g, Config& out) {
  const std::string& name = out.architecture;
  const float layers = static_cast<float>(out.n_layers), dim = static_cast<float>(out.dim);
  if (name == "gemma" || name == "gemma2" || name == "gemma3") read_gemma(g, out);
  if (name == "granite" || name == "minicpm") {
    // Granite's files have all four; MiniCPM's of 2024 none, but for its sizes of then.
    const bool mini = name == "minicpm";
    out.embedding_scale = g.number_or("embedding_scale", mini ? 12.0f : 1.0f);
    out.residual_scale = g.number_or("residual_scale", mini ? 1.4f / std::sqrt(layers) : 1.0f);
    out.attention_scale = g.number_or("attention.scale", 0.0f);
    out.logit_scale = 1.0f / g.number_or("logit_scale", mini ? dim / 256.0f : 1.0f);
  }
  if (name == "granite") read_granite(g, out);
  // The first files of Phi-3 leave the window of those with a short context out.
  if (name == "phi3" && out.context_length == 4096 && (out.n_layers == 32 || out.n_layers == 40))
    out.sliding_window = g.count_or("attention.sliding_window", 2047);
  if (name == "command-r" || name == "cohere2") out.logit_scale = g.number_or("logit_scale", 1.0f);
  if (name == "cohere2" || name == "exaone4" || name == "olmo2") read_window_pattern(g, 4, out);
  if (name == "cohere2" || name == "exaone4") stop_rotating_without_window(out);
  // OLMo 3 scales RoPE in the layers that see everything.
  if (name == "olmo2" && out.sliding_window > 0 && out.rope_scaling != RopeScaling::none)
    out.rope_local_theta = g.number_or("rope.freq_base_swa", out.rope_theta);
  // Newer files have it though it is the same.
  const std::string local_theta = g.key("rope.freq_base_swa");
  if (out.rope_local_theta == 0.0f &&
      g.fields.number_or(local_theta, out.rope_theta) != out.rope_theta)
    throw Error(g.fields.where(local_theta), "is not implemented for the architecture " + name);
  if (g.size_or("rope.dimension_count_swa", out.rope_dim) != out.rope_dim)
    throw Error(g.fields.where(g.key("rope.dimension_count_swa")), "is not implemented");
  if (name == "gpt-oss") {
    read_window_pattern(g, 2, out);
    out.rope_truncate = false;
  }
  if (name == "ministral3") {
    out.query_growth =  // the second name is that of Ollama's converter
        g.number_or("attention.temperature_scale", g.number_or("rope.scaling_beta", 0.0f));
    if (out.query_growth != 0.0f && out.rope_scaling == RopeScaling::none)
      out.rope_original_context = original_context(g, out);
  }
  if (name == "smollm3")
    for (int32_t i = 0; i < out.n_layers; ++i) out.nope_layers.push_back((i + 1) % 4 == 0);
  if (name == "gptneox" && !g.bool_or("use_parallel_residual", true))
    out.residual = Residual::sequential;
  if (name == "stablelm" && !g.has("blk.0.ffn_norm.weight"))
    out.residual = Residual::parallel_one_norm;
  if (name == "falcon" && g.has("blk.0.attn_norm_2.weight")) out.residual = Residual::parallel;
  if (name == "mpt") {
    if (g.has("position_embd.weight"))
      throw Error(g.checkpoint.path + ": position_embd.weight", "MPT with it is not implemented");
    out.alibi_max_bias = g.number_or("attention.max_alibi_bias", 8.0f);
    if (out.alibi_max_bias == 0.0f)
      throw Error(g.fields.where(g.key("attention.max_alibi_bias")),
                  "is 0: MPT without ALiBi is not implemented");
  }
  out.qkv_clip = g.number_or("attention.clamp_kqv", 0.0f);
}

}  // namespace

Config config_from_gguf(const Checkpoint& checkpoint) {
  const Fields fields(checkpoint.metadata, checkpoint.path);
  const std::string architecture = fields.string_or("general.architecture", "");
  const Family* family = find_family_gguf(architecture);
  if (!family) refuse_architecture(checkpoint.path, architecture);
  const Gguf g{checkpoint, fields, architecture + "."};
  Config out;
  static_cast<Traits&>(out) = family->traits;
  out.architecture = family->name;
  out.name = fields.string_or("general.name", "");
  out.n_layers = g.size("block_count");
  out.dim = g.size("embedding_length");
  out.n_heads = g.uniform("attention.head_count", out.n_layers);
  out.n_kv_heads = g.uniform_or("attention.head_count_kv", out.n_layers, out.n_heads);
  out.head_dim = g.size_or("attention.key_length", std::max(1, out.dim / out.n_heads));
  if (g.size_or("attention.value_length", out.head_dim) != out.head_dim)
    throw Error(fields.where(g.key("attention.value_length")), "differs from the key length");
  // A file of experts alone need not have it.
  out.ffn_dim = g.count_or("expert_count", 0) > 0
                    ? g.uniform_or("feed_forward_length", out.n_layers, 0, 0)
                    : g.uniform("feed_forward_length", out.n_layers);
  out.context_length = g.size_or("context_length", 2048, kMaxContext);
  const char* eps = out.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                              : "attention.layer_norm_epsilon";
  out.norm_eps = g.number_or(eps, 1e-5f);
  out.rope_theta = g.number_or("rope.freq_base", 10000.0f);
  out.rope_dim = g.size_or("rope.dimension_count", out.head_dim);
  out.sliding_window = g.count_or("attention.sliding_window", 0);
  if (out.positions == Positions::rope) read_rope_scaling(g, out);
  read_tensors(g, out);
  read_experts(g, out);
  read_family(g, out);
  if (!fields.bool_or(g.key("attention.causal"), true))
    throw Error(fields.where(g.key("attention.causal")), "is false, which is not implemented");
  pass_over_rope(g, family->gguf_layout);
  fields.refuse_unread_gguf(g.prefix);
  // The vocabulary is as large as the embedding: the count in the metadata is optional.
  const TensorView& embedding = checkpoint.get("token_embd.weight");
  if (embedding.shape.size() != 2)
    throw Error::mismatch(checkpoint.path + ": " + embedding.name, "shape",
                          "[vocab_size, " + std::to_string(out.dim) + "]", embedding.shape_text());
  out.vocab_size = checked_cast<int32_t>(embedding.shape[0], checkpoint.path);
  return out;
}

}  // namespace nibble
