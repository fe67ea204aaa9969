#include "model/config_fields.h"

#include <span>
#include <type_traits>

#include "nibble/error.h"

namespace nibble {
namespace {

// Fields of a Config by the names of .nib files: the one list of them, for writing and reading, and
// so as long as there are fields.
template <class C, class Visitor>
void visit(C& c, Visitor&& f) {
  f("architecture", c.architecture);
  f("name", c.name);
  f("n_layers", c.n_layers);
  f("dim", c.dim);
  f("embedding_dim", c.embedding_dim);
  f("n_heads", c.n_heads);
  f("n_kv_heads", c.n_kv_heads);
  f("head_dim", c.head_dim);
  f("ffn_dim", c.ffn_dim);
  f("vocab_size", c.vocab_size);
  f("context_length", c.context_length);
  f("norm_eps", c.norm_eps);
  f("tied_embeddings", c.tied_embeddings);
  f("norm", c.norm);
  f("norm_bias", c.norm_bias);
  f("norm_placement", c.norm_placement);
  f("embedding_norm", c.embedding_norm);
  f("output_norm", c.output_norm);
  f("residual", c.residual);
  f("activation", c.activation);
  f("gated_ffn", c.gated_ffn);
  f("qkv_bias", c.qkv_bias);
  f("o_bias", c.o_bias);
  f("ffn_bias", c.ffn_bias);
  f("qk_norm", c.qk_norm);
  f("positions", c.positions);
  f("attention_sinks", c.attention_sinks);
  f("n_experts", c.n_experts);
  f("n_experts_used", c.n_experts_used);
  f("normalize_experts", c.normalize_experts);
  f("rope_theta", c.rope_theta);
  f("rope_local_theta", c.rope_local_theta);
  f("rope_dim", c.rope_dim);
  f("rope_scaling", c.rope_scaling);
  f("rope_factor", c.rope_factor);
  f("rope_attention_factor", c.rope_attention_factor);
  f("rope_low_freq_factor", c.rope_low_freq_factor);
  f("rope_high_freq_factor", c.rope_high_freq_factor);
  f("rope_beta_fast", c.rope_beta_fast);
  f("rope_beta_slow", c.rope_beta_slow);
  f("rope_truncate", c.rope_truncate);
  f("rope_original_context", c.rope_original_context);
  f("rope_short_factors", c.rope_short_factors);
  f("rope_long_factors", c.rope_long_factors);
  f("position_offset", c.position_offset);
  f("alibi_max_bias", c.alibi_max_bias);
  f("alibi_scale", c.alibi_scale);
  f("sliding_window", c.sliding_window);
  f("window_layers", c.window_layers);
  f("nope_layers", c.nope_layers);
  f("attention_scale", c.attention_scale);
  f("query_growth", c.query_growth);
  f("attention_softcap", c.attention_softcap);
  f("qkv_clip", c.qkv_clip);
  f("activation_scales", c.activation_scales);
  f("embedding_scale", c.embedding_scale);
  f("residual_scale", c.residual_scale);
  f("logit_scale", c.logit_scale);
  f("logit_softcap", c.logit_softcap);
}

// Names of enumerators, in their order.
constexpr const char* kNormKinds[] = {"rms", "layer"};
constexpr const char* kNormPlacements[] = {"before", "after", "around", "residual"};
constexpr const char* kResiduals[] = {"sequential", "parallel", "parallel_one_norm"};
constexpr const char* kActivations[] = {"silu", "gelu", "gelu_tanh", "relu", "swiglu_oai"};
constexpr const char* kPositions[] = {"rope", "alibi", "learned"};
constexpr const char* kQkNorms[] = {"none", "head", "row", "own_head"};
constexpr const char* kRopeScalings[] = {"none", "linear", "llama3", "yarn", "dynamic", "longrope"};

using Strings = std::span<const char* const>;
Strings names_of(NormKind) { return kNormKinds; }
Strings names_of(NormPlacement) { return kNormPlacements; }
Strings names_of(Residual) { return kResiduals; }
Strings names_of(Activation) { return kActivations; }
Strings names_of(Positions) { return kPositions; }
Strings names_of(QkNorm) { return kQkNorms; }
Strings names_of(RopeScaling) { return kRopeScalings; }

Json to_json(const std::string& value) { return Json(value); }
Json to_json(int32_t value) { return Json(value); }
Json to_json(bool value) { return Json(value); }
Json to_json(float value) { return Json(static_cast<double>(value)); }
Json to_json(const std::vector<uint8_t>& value) {
  Json::Array out;
  for (const uint8_t v : value) out.emplace_back(int{v});
  return Json(std::move(out));
}
Json to_json(const std::vector<float>& value) {
  Json::Array out;
  for (const float v : value) out.emplace_back(static_cast<double>(v));
  return Json(std::move(out));
}
template <class Enum>
requires std::is_enum_v<Enum> Json to_json(Enum value) {
  return Json(names_of(value)[static_cast<size_t>(value)]);
}

void from_json(const Json& json, const std::string& where, std::string& out) {
  out = json.as_string(where);
}
void from_json(const Json& json, const std::string& where, int32_t& out) {
  const int64_t n = json.as_int(where);
  if (n < 0 || n > kMaxContext)
    throw Error(where,
                "is " + std::to_string(n) + ", expected 0 to " + std::to_string(kMaxContext));
  out = static_cast<int32_t>(n);
}
void from_json(const Json& json, const std::string& where, bool& out) { out = json.as_bool(where); }
void from_json(const Json& json, const std::string& where, float& out) {
  out = static_cast<float>(json.as_number(where));
}
void from_json(const Json& json, const std::string& where, std::vector<uint8_t>& out) {
  for (const Json& v : json.as_array(where)) out.push_back(v.as_int(where) != 0);
}
void from_json(const Json& json, const std::string& where, std::vector<float>& out) {
  for (const Json& v : json.as_array(where)) out.push_back(static_cast<float>(v.as_number(where)));
}
template <class Enum>
requires std::is_enum_v<Enum>
void from_json(const Json& json, const std::string& where, Enum& out) {
  size_t i = 0;
  for (const char* name : names_of(out)) {
    if (json.as_string(where) == name) {
      out = static_cast<Enum>(i);
      return;
    }
    ++i;
  }
  throw Error(where, "\"" + json.as_string(where) + "\" is unknown to this version");
}

}  // namespace

const Json* Fields::find(const std::string& key) const {
  read_.insert(key);
  const Json* value = object_.find(key);
  return value && !value->is_null() ? value : nullptr;
}

bool Fields::mentions(const std::string& key) const { return object_.find(key) != nullptr; }

const Json& Fields::get(const std::string& key) const {
  const Json* value = find(key);
  if (!value) throw Error(where(key), "is missing");
  return *value;
}

const Json* Fields::first_of(Names names, const char*& name) const {
  for (const char* candidate : names) {
    name = candidate;
    if (const Json* value = find(candidate)) return value;
  }
  name = *names.begin();
  return nullptr;
}

int32_t Fields::bounded(const Json& value, const std::string& key, int64_t low,
                        int64_t high) const {
  const int64_t n = value.as_int(where(key));
  if (n < low || n > high)
    throw Error::mismatch(path_, key, std::to_string(low) + " to " + std::to_string(high),
                          std::to_string(n));
  return static_cast<int32_t>(n);
}

int32_t Fields::size(const std::string& key, int64_t max) const {
  return bounded(get(key), key, 1, max);
}

int32_t Fields::size(Names names, int64_t max) const {
  const char* name = nullptr;
  const Json* value = first_of(names, name);
  if (!value) throw Error(where(name), "is missing");
  return bounded(*value, name, 1, max);
}

int32_t Fields::size_or(const std::string& key, int32_t fallback, int64_t max) const {
  const Json* value = find(key);
  return value ? bounded(*value, key, 1, max) : fallback;
}

int32_t Fields::size_or(Names names, int32_t fallback, int64_t max) const {
  const char* name = nullptr;
  const Json* value = first_of(names, name);
  return value ? bounded(*value, name, 1, max) : fallback;
}

int32_t Fields::count_or(const std::string& key, int32_t fallback) const {
  const Json* value = find(key);
  return value ? bounded(*value, key, 0, kMaxContext) : fallback;
}

int32_t Fields::uniform(const std::string& key, int32_t n, int32_t low) const {
  const Json& value = get(key);
  if (!value.is_array()) return bounded(value, key, low, kMaxSize);
  const Json::Array& list = value.as_array(where(key));
  if (list.size() != static_cast<size_t>(n))
    throw Error::mismatch(where(key), "length", std::to_string(n), std::to_string(list.size()));
  const int32_t first = bounded(list.front(), key, low, kMaxSize);
  for (const Json& of_layer : list)
    if (bounded(of_layer, key, low, kMaxSize) != first)
      throw Error(where(key), "differs between layers, which is not implemented");
  return first;
}

float Fields::number(const std::string& key) const {
  return static_cast<float>(get(key).as_number(where(key)));
}

float Fields::number_or(const std::string& key, float fallback) const {
  const Json* value = find(key);
  return value ? static_cast<float>(value->as_number(where(key))) : fallback;
}

float Fields::number_or(Names names, float fallback) const {
  const char* name = nullptr;
  const Json* value = first_of(names, name);
  return value ? static_cast<float>(value->as_number(where(name))) : fallback;
}

bool Fields::bool_or(const std::string& key, bool fallback) const {
  const Json* value = find(key);
  return value ? value->as_bool(where(key)) : fallback;
}

std::string Fields::string_or(const std::string& key, const std::string& fallback) const {
  const Json* value = find(key);
  return value ? value->as_string(where(key)) : fallback;
}

std::string Fields::string_or(Names names, const std::string& fallback) const {
  const char* name = nullptr;
  const Json* value = first_of(names, name);
  return value ? value->as_string(where(name)) : fallback;
}

std::vector<float> Fields::numbers(const std::string& key) const {
  std::vector<float> out;
  for (const Json& value : get(key).as_array(where(key)))
    out.push_back(static_cast<float>(value.as_number(where(key))));
  return out;
}

void Fields::refuse(const std::string& key, const std::string& value,
                    const std::string& expected) const {
  throw Error(where(key), "is " + value + ", which this version does not implement",
              expected.empty() ? expected : "known: " + expected);
}

void Fields::only(const std::string& key, bool known) const {
  const char* const names[] = {"false", "true"};
  if (bool_or(key, known) != known) refuse(key, names[!known], names[known]);
}

void Fields::only(const std::string& key, int64_t known) const {
  const Json* value = find(key);
  if (value && value->as_int(where(key)) != known)
    refuse(key, write_json(*value), std::to_string(known));
}

void Fields::only(const std::string& key, const char* known) const {
  const std::string value = string_or(key, known);
  if (value != known) refuse(key, "\"" + value + "\"", std::string("\"") + known + "\"");
}

void refuse_rope(const std::string& where, const std::string& type) {
  std::string known;
  for (const char* name : names_of(RopeScaling{}))
    known += (known.empty() ? "" : ", ") + std::string(name);
  throw Error(where, "RoPE scaling \"" + type + "\" is not implemented", "known: " + known);
}

Json::Object config_to_object(const Config& config) {
  Json::Object out, defaults;
  const Config plain;
  visit(plain, [&](const char* key, const auto& v) { defaults.emplace_back(key, to_json(v)); });
  visit(config, [&](const char* key, const auto& v) { out.emplace_back(key, to_json(v)); });
  Json::Object changed;
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i].first == "architecture" ||
        write_json(out[i].second) != write_json(defaults[i].second))
      changed.push_back(std::move(out[i]));
  return changed;
}

Config config_from_object(const Fields& fields) {
  Config config;
  visit(config, [&](const char* key, auto& v) {
    if (const Json* value = fields.find(key)) from_json(*value, fields.where(key), v);
  });
  return config;
}

}  // namespace nibble
