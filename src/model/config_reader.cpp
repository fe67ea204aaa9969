#include "model/config_reader.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "base/checked.h"
#include "model/config_fields.h"
#include "nibble/error.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

std::string family_list() {
  std::string text;
  for (const Family& family : families()) {
    const char* name = *family.hugging_face != 0 ? family.hugging_face : family.gguf;
    text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text;
}

Config config_from_llama2c(const Checkpoint& checkpoint) {
  const Fields reader(checkpoint.metadata, checkpoint.path);
  Config out;
  out.n_layers = reader.size("n_layers");
  out.dim = reader.size("dim");
  out.n_heads = reader.size("n_heads");
  out.n_kv_heads = reader.size("n_kv_heads");
  out.head_dim = std::max(1, out.dim / out.n_heads);
  out.rope_dim = out.head_dim;
  out.ffn_dim = reader.size("hidden_dim");
  out.vocab_size = reader.size("vocab_size");
  out.context_length = reader.size("seq_len", kMaxContext);
  out.tied_embeddings = reader.bool_or("tied", true);
  return out;
}

Json parsed_nib_config(const Checkpoint& checkpoint) {
  const Json* text = checkpoint.metadata.find("nibble.config");
  if (!text) throw Error(checkpoint.path, "has no nibble.config");
  const std::string where = checkpoint.path + ": nibble.config";
  return parse_json(text->as_string(where), where);
}

Config config_from_nib(const Checkpoint& checkpoint) {
  const Json json = parsed_nib_config(checkpoint);
  const Config out = config_from_object(Fields(json, checkpoint.path + ": nibble.config"));
  if (!find_family(out.architecture)) refuse_architecture(checkpoint.path, out.architecture);
  return out;
}

// Numbers that later code divides by, takes logarithms of, or counts with.
void validate_rope(const Config& c, const std::string& path) {
  const auto require = [&](bool ok, const std::string& what) {
    if (!ok) throw Error(path, what);
  };
  const auto text = [](auto n) { return std::to_string(n); };
  const auto positive = [&](float value, const std::string& what) {
    require(value > 0.0f && std::isfinite(value), what + " is " + text(value));
  };
  require(c.rope_dim % 2 == 0 && c.rope_dim <= c.head_dim,
          "rope_dim is " + text(c.rope_dim) + ", expected an even number up to head_dim (" +
              text(c.head_dim) + ")");
  positive(c.rope_theta, "rope_theta");
  if (c.rope_local_theta != 0.0f) positive(c.rope_local_theta, "rope_local_theta");
  positive(c.rope_factor, "the factor of the RoPE scaling");
  require(c.rope_factor <= 1e6f, "the factor of the RoPE scaling is " + text(c.rope_factor));
  positive(c.rope_attention_factor, "the attention factor of the RoPE scaling");
  for (const auto* factors : {&c.rope_freq_factors, &c.rope_short_factors, &c.rope_long_factors}) {
    if (factors->empty()) continue;
    const auto n = static_cast<size_t>(c.rope_dim) / 2;
    require(factors->size() == n, "there are " + text(factors->size()) +
                                      " divisors of RoPE frequencies, expected " + text(n));
    for (const float f : *factors) positive(f, "a divisor of a RoPE frequency");
  }
  const bool has_original =
      c.rope_scaling != RopeScaling::none && c.rope_scaling != RopeScaling::linear;
  require(!has_original || c.rope_original_context > 0, "the RoPE scaling has no original context");
  if (c.rope_scaling == RopeScaling::llama3)
    require(c.rope_low_freq_factor > 0.0f && c.rope_high_freq_factor > c.rope_low_freq_factor &&
                std::isfinite(c.rope_high_freq_factor),
            "the llama3 RoPE scaling has factors out of order");
  if (c.rope_scaling == RopeScaling::yarn)
    require(c.rope_beta_slow > 0.0f && c.rope_beta_fast > c.rope_beta_slow &&
                std::isfinite(c.rope_beta_fast) && c.rope_theta > 1.0f,
            "the yarn RoPE scaling has factors out of order");
  if (c.rope_scaling == RopeScaling::dynamic)
    require(c.rope_dim > 2 && c.rope_factor >= 1.0f,
            "the dynamic RoPE scaling needs a factor of at least 1 and rope_dim above 2");
  if (c.rope_scaling == RopeScaling::longrope)
    require(!c.rope_short_factors.empty() && !c.rope_long_factors.empty(),
            "the longrope RoPE scaling lacks its factors");
}

void validate_scales(const Config& c, const std::string& path) {
  const std::pair<const char*, float> scales[] = {{"attention_scale", c.attention_scale},
                                                  {"query_growth", c.query_growth},
                                                  {"attention_softcap", c.attention_softcap},
                                                  {"qkv_clip", c.qkv_clip},
                                                  {"embedding_scale", c.embedding_scale},
                                                  {"residual_scale", c.residual_scale},
                                                  {"logit_scale", c.logit_scale},
                                                  {"logit_softcap", c.logit_softcap},
                                                  {"alibi_max_bias", c.alibi_max_bias},
                                                  {"alibi_scale", c.alibi_scale}};
  for (const auto& [name, value] : scales)
    if (!(value >= 0.0f) || !std::isfinite(value))
      throw Error(path, std::string(name) + " is " + std::to_string(value));
}

void validate_layers(const Config& c, const std::string& path) {
  for (const auto* layers : {&c.window_layers, &c.nope_layers})
    if (!layers->empty() && layers->size() != static_cast<size_t>(c.n_layers))
      throw Error::mismatch(path, "the length of a list of layers", std::to_string(c.n_layers),
                            std::to_string(layers->size()));
  constexpr int32_t kMaxExperts = 4096;
  if (c.n_experts > kMaxExperts || (c.n_experts > 0 && c.n_experts_used < 1) ||
      c.n_experts_used > c.n_experts)
    throw Error(path, "n_experts is " + std::to_string(c.n_experts) + " and n_experts_used " +
                          std::to_string(c.n_experts_used));
  // What is kept of each expert would else be hundreds of times its share of the file.
  constexpr int64_t kMaxLayerExperts = 1 << 16;
  if (int64_t{c.n_layers} * c.n_experts > kMaxLayerExperts)
    throw Error(path, "n_layers (" + std::to_string(c.n_layers) + ") times n_experts (" +
                          std::to_string(c.n_experts) + ") is too large");
  if (c.activation == Activation::swiglu_oai && !c.gated_ffn)
    throw Error(path, "the activation swiglu_oai needs a gate");
  if (c.norm_placement != NormPlacement::before && c.residual != Residual::sequential)
    throw Error(path, "a parallel residual with norms of outputs is not implemented");
}

}  // namespace

std::vector<float> rope_divisors(const Checkpoint& checkpoint, const char* name,
                                 const Config& config) {
  const TensorView* tensor = checkpoint.find(name);
  if (!tensor) return {};
  const std::string where = checkpoint.path + ": " + tensor->name;
  const auto n = static_cast<size_t>(config.rope_dim) / 2;
  if (tensor->type != DType::f32)
    throw Error::mismatch(where, "type", "F32", dtype_info(tensor->type).name);
  if (tensor->n_elements() != n)
    throw Error::mismatch(where, "shape", "[" + std::to_string(n) + "]", tensor->shape_text());
  std::vector<float> out(n);
  dequantize(DType::f32, tensor->data.data(), n, out.data());
  return out;
}

[[noreturn]] void refuse_architecture(const std::string& where, const std::string& name) {
  throw Error(where, "the architecture \"" + name + "\" is not implemented",
              "known: " + family_list());
}

void validate_config(const Config& c, const std::string& path) {
  const auto require = [&](bool ok, const std::string& what) {
    if (!ok) throw Error(path, what);
  };
  const auto text = [](auto n) { return std::to_string(n); };
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, int32_t>>{{"n_layers", c.n_layers},
                                                              {"dim", c.dim},
                                                              {"n_heads", c.n_heads},
                                                              {"n_kv_heads", c.n_kv_heads},
                                                              {"head_dim", c.head_dim},
                                                              {"ffn_dim", c.ffn_dim},
                                                              {"vocab_size", c.vocab_size}})
    require(value > 0 && value <= kMaxSize,
            std::string(name) + " is " + text(value) + ", expected 1 to " + text(kMaxSize));
  require(c.n_layers <= 10000, "n_layers is " + text(c.n_layers) + ", expected at most 10000");
  require(c.context_length > 0, "context_length is not positive");
  require(c.n_heads % c.n_kv_heads == 0, "n_heads (" + text(c.n_heads) +
                                             ") is not a multiple of n_kv_heads (" +
                                             text(c.n_kv_heads) + ")");
  // Scratch of attention grows with the heads: more than any model has would be a way to exhaust
  // it.
  constexpr int32_t kMaxHeads = 4096;
  require(c.n_heads <= kMaxHeads,
          "n_heads is " + text(c.n_heads) + ", expected at most " + text(kMaxHeads));
  require(int64_t{c.n_heads} * c.head_dim <= kMaxSize, "n_heads * head_dim is too large");
  require(c.norm_eps >= 0.0f && c.norm_eps < 1.0f, "norm_eps is " + text(c.norm_eps));
  require(c.embedding_dim >= 0 && c.embedding_dim <= kMaxSize,
          "embedding_dim is " + text(c.embedding_dim));
  require(c.sliding_window >= 0, "sliding_window is " + text(c.sliding_window));
  validate_layers(c, path);
  validate_scales(c, path);
  // With any kind of positions: what a position is divided by.
  require(c.query_growth == 0.0f || c.rope_original_context > 0,
          "queries grow with the position, and there is no original context");
  if (c.positions == Positions::rope) validate_rope(c, path);
}

Config read_config(const Checkpoint& checkpoint) {
  Config config;
  switch (checkpoint.format) {
    case FileFormat::gguf:
      config = config_from_gguf(checkpoint);
      break;
    case FileFormat::hugging_face:
      config = config_from_hugging_face(checkpoint);
      break;
    case FileFormat::llama2c:
      config = config_from_llama2c(checkpoint);
      break;
    case FileFormat::nib:
      config = config_from_nib(checkpoint);
      break;
  }
  // Llama 3.1's scaling, computed beforehand.
  if (checkpoint.format != FileFormat::hugging_face)
    config.rope_freq_factors = rope_divisors(checkpoint, "rope_freqs.weight", config);
  validate_config(config, checkpoint.path);
  return config;
}

SamplerOptions read_sampling(const Checkpoint& checkpoint) {
  SamplerOptions out;
  Json nib;
  const Json* source = nullptr;
  if (checkpoint.format == FileFormat::hugging_face) {
    source = checkpoint.metadata.find("generation_config");
  } else if (checkpoint.format == FileFormat::nib) {
    nib = parsed_nib_config(checkpoint);
    source = nib.find("sampling");
  }
  if (!source || !source->is_object()) return out;
  const Fields reader(*source, checkpoint.path + ": generation_config");
  const auto in_range = [&](const char* key, float value, float low, float high) {
    if (!(value >= low && value <= high))
      throw Error(reader.where(key), "is " + std::to_string(value) + ", out of its range");
    return value;
  };
  const float temperature = reader.number_or("temperature", out.temperature);
  // "do_sample": false with a temperature means greedy; without one it says nothing.
  out.temperature = in_range("temperature", temperature, 0.0f, 100.0f);
  if (reader.find("temperature") && !reader.bool_or("do_sample", true)) out.temperature = 0.0f;
  out.top_p = in_range("top_p", reader.number_or("top_p", out.top_p), 0.0f, 1.0f);
  out.min_p = in_range("min_p", reader.number_or("min_p", out.min_p), 0.0f, 1.0f);
  const float top_k =
      in_range("top_k", reader.number_or("top_k", static_cast<float>(out.top_k)), -1.0f, 1e7f);
  out.top_k = std::max(0, static_cast<int32_t>(top_k));  // -1, vLLM's way to say it, is off, too
  out.repeat_penalty =
      in_range("repetition_penalty", reader.number_or("repetition_penalty", out.repeat_penalty),
               0.01f, 100.0f);
  return out;
}

std::string config_to_json(const Config& c, const SamplerOptions& s) {
  const auto number = [](float f) { return Json(static_cast<double>(f)); };
  Json::Object sampling;
  sampling.emplace_back("temperature", number(s.temperature));
  sampling.emplace_back("top_k", Json(s.top_k));
  sampling.emplace_back("top_p", number(s.top_p));
  sampling.emplace_back("min_p", number(s.min_p));
  sampling.emplace_back("repetition_penalty", number(s.repeat_penalty));
  Json::Object out = config_to_object(c);
  out.emplace_back("sampling", Json(std::move(sampling)));
  return write_json(Json(std::move(out)));
}

}  // namespace nibble
