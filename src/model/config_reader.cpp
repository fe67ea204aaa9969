#include "model/config_reader.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "base/checked.h"
#include "nibble/error.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

// Far above any published model, far below what could overflow a product of two.
constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 26;

std::string family_list() {
  std::string text;
  for (const Family& family : families()) {
    if (text.find(family.hugging_face_type) != std::string::npos) continue;
    text += text.empty() ? "" : ", ";
    text += family.hugging_face_type;
  }
  return text;
}

[[noreturn]] void refuse_architecture(const std::string& where, const std::string& name) {
  throw Error(where, "the architecture \"" + name + "\" is not implemented",
              "known: " + family_list());
}

// Reads members of one JSON object; the `where` of errors is "PATH: KEY".
class Reader {
 public:
  Reader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  std::string where(const std::string& key) const { return path_ + ": " + key; }

  const Json* find(const std::string& key) const {
    const Json* value = object_.find(key);
    return value && !value->is_null() ? value : nullptr;
  }
  const Json& get(const std::string& key) const {
    const Json* value = find(key);
    if (!value) throw Error(where(key), "is missing");
    return *value;
  }
  int32_t size(const std::string& key, int64_t max = kMaxSize) const {
    return bounded(get(key), key, max);
  }
  int32_t size_or(const std::string& key, int32_t fallback, int64_t max = kMaxSize) const {
    const Json* value = find(key);
    return value ? bounded(*value, key, max) : fallback;
  }
  float number_or(const std::string& key, float fallback) const {
    const Json* value = find(key);
    return value ? static_cast<float>(value->as_number(where(key))) : fallback;
  }
  bool bool_or(const std::string& key, bool fallback) const {
    const Json* value = find(key);
    return value ? value->as_bool(where(key)) : fallback;
  }
  std::string string_or(const std::string& key, const std::string& fallback) const {
    const Json* value = find(key);
    return value ? value->as_string(where(key)) : fallback;
  }
  /// A setting that we only know at one value: refuses any other.
  void only_bool(const std::string& key, bool known) const {
    if (bool_or(key, known) != known)
      throw Error(where(key), std::string("is ") + (known ? "false" : "true") +
                                  ", which this version does not implement");
  }

 private:
  int32_t bounded(const Json& value, const std::string& key, int64_t max) const {
    const int64_t n = value.as_int(where(key));
    if (n <= 0 || n > max)
      throw Error::mismatch(path_, key, "1 to " + std::to_string(max), std::to_string(n));
    return static_cast<int32_t>(n);
  }
  const Json& object_;
  std::string path_;
};

[[noreturn]] void refuse_rope(const std::string& where, const std::string& type) {
  throw Error(where, "RoPE scaling \"" + type + "\" is not implemented",
              "known: none, linear, llama3");
}

void read_rope_scaling_hf(const Reader& config, const std::string& path, Config& out) {
  // "rope_scaling" of older configs, "rope_parameters" (with the theta inside) of newer ones.
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* scaling = config.find(key);
    if (!scaling) continue;
    const Reader reader(*scaling, path + ": " + key);
    out.rope_theta = reader.number_or("rope_theta", out.rope_theta);
    const std::string type = reader.string_or("rope_type", reader.string_or("type", "default"));
    if (type == "default") continue;
    out.rope_factor = static_cast<float>(reader.get("factor").as_number(reader.where("factor")));
    if (type == "linear") {
      out.rope_scaling = RopeScaling::linear;
    } else if (type == "llama3") {
      out.rope_scaling = RopeScaling::llama3;
      out.rope_low_freq_factor = reader.number_or("low_freq_factor", 1.0f);
      out.rope_high_freq_factor = reader.number_or("high_freq_factor", 4.0f);
      out.rope_original_context = reader.size("original_max_position_embeddings", kMaxContext);
    } else {
      refuse_rope(path, type);
    }
  }
}

Config config_from_hugging_face(const Checkpoint& checkpoint) {
  const Json* json = checkpoint.metadata.find("config");
  const std::string path = checkpoint.path + "/config.json";
  if (!json || !json->is_object()) throw Error(path, "is missing");
  const Reader config(*json, path);
  const std::string type = config.string_or("model_type", "");
  const Family* family = find_family_hugging_face(type);
  if (!family) refuse_architecture(path, type);
  Config out;
  out.architecture = family->name;
  out.name = config.string_or("_name_or_path", "");
  out.n_layers = config.size("num_hidden_layers");
  out.dim = config.size("hidden_size");
  out.n_heads = config.size("num_attention_heads");
  out.n_kv_heads = config.size_or("num_key_value_heads", out.n_heads);
  out.head_dim = config.size_or("head_dim", std::max(1, out.dim / out.n_heads));
  out.ffn_dim = config.size("intermediate_size");
  out.vocab_size = config.size("vocab_size");
  out.context_length = config.size_or("max_position_embeddings", 2048, kMaxContext);
  out.norm_eps = config.number_or("rms_norm_eps", 1e-6f);
  out.rope_theta = config.number_or("rope_theta", 10000.0f);
  out.rope_dim = out.head_dim;
  read_rope_scaling_hf(config, path, out);
  out.tied_embeddings = config.bool_or("tie_word_embeddings", false);
  out.qkv_bias = family->qkv_bias;
  const std::string activation = config.string_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    throw Error::mismatch(path, "hidden_act", "silu", activation);
  const float partial = config.number_or("partial_rotary_factor", 1.0f);
  if (partial != 1.0f)
    throw Error::mismatch(path, "partial_rotary_factor", "1", std::to_string(partial));
  config.only_bool("mlp_bias", false);
  if (!family->qkv_bias) config.only_bool("attention_bias", false);
  if (config.bool_or("use_sliding_window", true))
    out.sliding_window = config.size_or("sliding_window", 0, kMaxContext);
  return out;
}

void read_rope_scaling_gguf(const Reader& reader, const std::string& prefix, Config& out) {
  const std::string type = reader.string_or(prefix + "rope.scaling.type", "none");
  if (type == "linear") {
    out.rope_scaling = RopeScaling::linear;
    out.rope_factor = reader.number_or(prefix + "rope.scaling.factor", 1.0f);
  } else if (type != "none") {
    refuse_rope(reader.where(prefix + "rope.scaling.type"), type);
  } else if (reader.find(prefix + "rope.scale_linear")) {  // files of 2023
    out.rope_factor = reader.number_or(prefix + "rope.scale_linear", 1.0f);
    if (out.rope_factor != 1.0f) out.rope_scaling = RopeScaling::linear;
  }
}

Config config_from_gguf(const Checkpoint& checkpoint) {
  const Reader reader(checkpoint.metadata, checkpoint.path);
  const std::string architecture = reader.string_or("general.architecture", "");
  const Family* family = find_family_gguf(architecture);
  if (!family) refuse_architecture(checkpoint.path, architecture);
  const std::string prefix = architecture + ".";
  Config out;
  out.architecture = family->name;
  out.name = reader.string_or("general.name", "");
  out.n_layers = reader.size(prefix + "block_count");
  out.dim = reader.size(prefix + "embedding_length");
  out.n_heads = reader.size(prefix + "attention.head_count");
  out.n_kv_heads = reader.size_or(prefix + "attention.head_count_kv", out.n_heads);
  out.head_dim =
      reader.size_or(prefix + "attention.key_length", std::max(1, out.dim / out.n_heads));
  if (reader.size_or(prefix + "attention.value_length", out.head_dim) != out.head_dim)
    throw Error(reader.where(prefix + "attention.value_length"), "differs from the key length");
  out.ffn_dim = reader.size(prefix + "feed_forward_length");
  out.context_length = reader.size_or(prefix + "context_length", 2048, kMaxContext);
  out.norm_eps = reader.number_or(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  out.rope_theta = reader.number_or(prefix + "rope.freq_base", 10000.0f);
  out.rope_dim = reader.size_or(prefix + "rope.dimension_count", out.head_dim);
  out.sliding_window = reader.size_or(prefix + "attention.sliding_window", 0, kMaxContext);
  read_rope_scaling_gguf(reader, prefix, out);
  out.qkv_bias = family->qkv_bias;
  if (const Json* experts = reader.find(prefix + "expert_count"))
    if (experts->as_int(reader.where(prefix + "expert_count")) > 0)
      throw Error(checkpoint.path, "mixtures of experts are not implemented");
  // The vocabulary is as large as the embedding: the count in the metadata is optional.
  const TensorView& embedding = checkpoint.get("token_embd.weight");
  if (embedding.shape.size() != 2)
    throw Error::mismatch(checkpoint.path + ": " + embedding.name, "shape",
                          "[vocab_size, " + std::to_string(out.dim) + "]", embedding.shape_text());
  out.vocab_size = checked_cast<int32_t>(embedding.shape[0], checkpoint.path);
  out.tied_embeddings = checkpoint.find("output.weight") == nullptr;
  return out;
}

Config config_from_llama2c(const Checkpoint& checkpoint) {
  const Reader reader(checkpoint.metadata, checkpoint.path);
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
  const Reader reader(json, checkpoint.path + ": nibble.config");
  Config out;
  out.architecture = reader.string_or("architecture", "");
  if (!find_family_gguf(out.architecture)) refuse_architecture(checkpoint.path, out.architecture);
  out.name = reader.string_or("name", "");
  out.n_layers = reader.size("n_layers");
  out.dim = reader.size("dim");
  out.n_heads = reader.size("n_heads");
  out.n_kv_heads = reader.size("n_kv_heads");
  out.head_dim = reader.size("head_dim");
  out.ffn_dim = reader.size("ffn_dim");
  out.vocab_size = reader.size("vocab_size");
  out.context_length = reader.size("context_length", kMaxContext);
  out.norm_eps = reader.number_or("norm_eps", 1e-5f);
  out.rope_theta = reader.number_or("rope_theta", 10000.0f);
  out.rope_dim = reader.size("rope_dim");
  const std::string scaling = reader.string_or("rope_scaling", "none");
  if (scaling == "linear" || scaling == "llama3")
    out.rope_scaling = scaling == "linear" ? RopeScaling::linear : RopeScaling::llama3;
  else if (scaling != "none")
    refuse_rope(checkpoint.path, scaling);
  out.rope_factor = reader.number_or("rope_factor", 1.0f);
  out.rope_low_freq_factor = reader.number_or("rope_low_freq_factor", 1.0f);
  out.rope_high_freq_factor = reader.number_or("rope_high_freq_factor", 4.0f);
  out.rope_original_context = reader.size_or("rope_original_context", 0, kMaxContext);
  out.sliding_window = reader.size_or("sliding_window", 0, kMaxContext);
  out.tied_embeddings = reader.bool_or("tied_embeddings", false);
  out.qkv_bias = reader.bool_or("qkv_bias", false);
  return out;
}

// Factors that a GGUF or .nib file carries as a tensor (Llama 3.1's scaling, computed beforehand).
void read_rope_factors(const Checkpoint& checkpoint, Config& config) {
  if (checkpoint.format == FileFormat::hugging_face) return;
  const TensorView* tensor = checkpoint.find("rope_freqs.weight");
  if (!tensor) return;
  const std::string where = checkpoint.path + ": " + tensor->name;
  if (tensor->type != DType::f32)
    throw Error::mismatch(where, "type", "F32", dtype_info(tensor->type).name);
  if (tensor->n_elements() != static_cast<uint64_t>(config.rope_dim) / 2)
    throw Error::mismatch(where, "shape", "[" + std::to_string(config.rope_dim / 2) + "]",
                          tensor->shape_text());
  config.rope_freq_factors.resize(static_cast<size_t>(config.rope_dim) / 2);
  dequantize(DType::f32, tensor->data.data(), config.rope_freq_factors.size(),
             config.rope_freq_factors.data());
  for (const float factor : config.rope_freq_factors)
    if (!(factor > 0.0f) || !std::isfinite(factor))
      throw Error(where, "holds a factor that is not positive");
}

}  // namespace

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
                                                              {"vocab_size", c.vocab_size},
                                                              {"rope_dim", c.rope_dim}})
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
  require(c.rope_dim % 2 == 0 && c.rope_dim <= c.head_dim,
          "rope_dim is " + text(c.rope_dim) + ", expected an even number up to head_dim (" +
              text(c.head_dim) + ")");
  require(c.norm_eps >= 0.0f && c.norm_eps < 1.0f, "norm_eps is " + text(c.norm_eps));
  require(c.rope_theta > 0.0f && std::isfinite(c.rope_theta),
          "rope_theta is " + text(c.rope_theta));
  require(c.rope_factor > 0.0f && std::isfinite(c.rope_factor),
          "the factor of the RoPE scaling is " + text(c.rope_factor));
  if (c.rope_scaling == RopeScaling::llama3)
    require(c.rope_original_context > 0 && c.rope_low_freq_factor > 0.0f &&
                c.rope_high_freq_factor > c.rope_low_freq_factor &&
                std::isfinite(c.rope_high_freq_factor),
            "the llama3 RoPE scaling has factors out of order");
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
  // A window as long as the context changes nothing.
  if (config.sliding_window >= config.context_length) config.sliding_window = 0;
  validate_config(config, checkpoint.path);
  read_rope_factors(checkpoint, config);
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
  const Reader reader(*source, checkpoint.path + ": generation_config");
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
      in_range("top_k", reader.number_or("top_k", static_cast<float>(out.top_k)), 0.0f, 1e7f);
  out.top_k = static_cast<int32_t>(top_k);
  out.repeat_penalty =
      in_range("repetition_penalty", reader.number_or("repetition_penalty", out.repeat_penalty),
               0.01f, 100.0f);
  return out;
}

std::string config_to_json(const Config& c, const SamplerOptions& s) {
  const char* const scalings[] = {"none", "linear", "llama3"};
  const auto number = [](float f) { return Json(static_cast<double>(f)); };
  Json::Object sampling;
  sampling.emplace_back("temperature", number(s.temperature));
  sampling.emplace_back("top_k", Json(s.top_k));
  sampling.emplace_back("top_p", number(s.top_p));
  sampling.emplace_back("min_p", number(s.min_p));
  sampling.emplace_back("repetition_penalty", number(s.repeat_penalty));
  Json::Object out;
  out.reserve(32);
  out.emplace_back("architecture", Json(c.architecture));
  out.emplace_back("name", Json(c.name));
  out.emplace_back("n_layers", Json(c.n_layers));
  out.emplace_back("dim", Json(c.dim));
  out.emplace_back("n_heads", Json(c.n_heads));
  out.emplace_back("n_kv_heads", Json(c.n_kv_heads));
  out.emplace_back("head_dim", Json(c.head_dim));
  out.emplace_back("ffn_dim", Json(c.ffn_dim));
  out.emplace_back("vocab_size", Json(c.vocab_size));
  out.emplace_back("context_length", Json(c.context_length));
  out.emplace_back("norm_eps", number(c.norm_eps));
  out.emplace_back("rope_theta", number(c.rope_theta));
  out.emplace_back("rope_dim", Json(c.rope_dim));
  out.emplace_back("rope_scaling", Json(scalings[static_cast<size_t>(c.rope_scaling)]));
  out.emplace_back("rope_factor", number(c.rope_factor));
  if (c.rope_scaling == RopeScaling::llama3) {
    out.emplace_back("rope_low_freq_factor", number(c.rope_low_freq_factor));
    out.emplace_back("rope_high_freq_factor", number(c.rope_high_freq_factor));
    out.emplace_back("rope_original_context", Json(c.rope_original_context));
  }
  if (c.sliding_window > 0) out.emplace_back("sliding_window", Json(c.sliding_window));
  out.emplace_back("tied_embeddings", Json(c.tied_embeddings));
  out.emplace_back("qkv_bias", Json(c.qkv_bias));
  out.emplace_back("sampling", Json(std::move(sampling)));
  return write_json(Json(std::move(out)));
}

}  // namespace nibble
