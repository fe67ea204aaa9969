#include "quant/quant_config.h"

#include <initializer_list>

#include "base/checked.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr const char* kReadable =
    "AWQ (gemm, gemv, gemv_fast, llm-awq; 4 bits), GPTQ and AutoRound (4 and 8 bits) and "
    "compressed-tensors pack-quantized (4 and 8 bits) are read";

const Json* member(const Json& object, std::initializer_list<const char*> spellings) {
  for (const char* key : spellings)
    if (const Json* value = object.find(key); value && !value->is_null()) return value;
  return nullptr;
}

int64_t int_or(const Json& object, std::initializer_list<const char*> spellings, int64_t fallback,
               const std::string& where) {
  const Json* value = member(object, spellings);
  return value ? value->as_int(where + ": " + *spellings.begin()) : fallback;
}

bool bool_or(const Json& object, const char* key, bool fallback, const std::string& where) {
  const Json* value = member(object, {key});
  return value ? value->as_bool(where + ": " + key) : fallback;
}

std::string string_or(const Json& object, std::initializer_list<const char*> spellings,
                      const std::string& fallback, const std::string& where) {
  const Json* value = member(object, spellings);
  return value ? value->as_string(where + ": " + *spellings.begin()) : fallback;
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(where, what + " is not read by this version", kReadable);
}

/// Whether there is something under the key: writers leave many of them empty.
bool is_filled(const Json& object, const char* key) {
  const Json* value = member(object, {key});
  if (!value) return false;
  if (value->is_object()) return !value->as_object(key).empty();
  return !value->is_string() || !value->as_string(key).empty();
}

int checked_bits(int64_t bits, std::initializer_list<int> known, const std::string& where) {
  std::string list;
  for (const int n : known) {
    if (bits == n) return n;
    list += (list.empty() ? "" : " or ") + std::to_string(n);
  }
  throw Error::mismatch(where, "the number of bits", list, std::to_string(bits));
}

std::optional<uint32_t> read_group(const Json& json, const std::string& where) {
  const Json* value = member(json, {"group_size", "q_group_size"});
  if (!value) return std::nullopt;
  const int64_t group = value->as_int(where + ": group_size");
  if (group == -1) return 0;
  if (group <= 0 || group > (int64_t{1} << 24))
    throw Error::mismatch(where, "group_size", "-1 or a positive number", std::to_string(group));
  return static_cast<uint32_t>(group);
}

void read_awq(const Json& json, QuantConfig& out) {
  out.method = QuantMethod::awq;
  out.bits = checked_bits(int_or(json, {"bits", "w_bit"}, 4, out.where), {4}, out.where);
  out.group = read_group(json, out.where);
  out.symmetric = !bool_or(json, "zero_point", true, out.where);
  std::string version = string_or(json, {"version"}, "", out.where);
  for (char& c : version)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  // Such files may be called gemm.
  if (string_or(json, {"backend"}, "", out.where) == "llm-awq") version = "llm-awq";
  if (version.empty()) return;
  if (version == "gemm" || version == "exllama" || version == "exllamav2" || version == "ipex")
    out.awq_version = AwqVersion::gemm;  // the others are ways to run files of gemm
  else if (version == "gemv")
    out.awq_version = AwqVersion::gemv;
  else if (version == "gemv_fast" || version == "llm-awq")
    out.awq_version = AwqVersion::gemv_fast;
  else
    refuse(out.where, "AWQ version " + printable(version));
}

void read_gptq(const Json& json, QuantConfig& out) {
  out.method = QuantMethod::gptq;
  out.bits = checked_bits(int_or(json, {"bits"}, 4, out.where), {4, 8}, out.where);
  out.group = read_group(json, out.where);
  out.symmetric = bool_or(json, "sym", false, out.where);
  const std::string format = string_or(json, {"checkpoint_format", "format"}, "gptq", out.where);
  if (format != "gptq" && format != "gptq_v2")
    refuse(out.where, "GPTQ checkpoint_format " + printable(format));
  if (const std::string newer = string_or(json, {"format"}, format, out.where); newer != format)
    throw Error::mismatch(out.where, "format", "that of checkpoint_format", printable(newer));
  if (bool_or(json, "is_marlin_format", false, out.where))
    refuse(out.where, "GPTQ in the format of Marlin");
  out.gptq_zeros_minus_one = format == "gptq";
  out.mixed = is_filled(json, "dynamic");
  out.gptq_ordered = bool_or(json, "desc_act", false, out.where) &&
                     !bool_or(json, "static_groups", false, out.where) && !out.mixed;
}

/// The tensors are those of GPTQ or of AWQ.
void read_auto_round(const Json& json, QuantConfig& out) {
  if (const std::string type = string_or(json, {"data_type"}, "int", out.where); type != "int")
    refuse(out.where, "the data_type " + printable(type));
  if (int_or(json, {"act_bits"}, 16, out.where) < 16)
    refuse(out.where, "quantization of activations");
  const std::string packing =
      string_or(json, {"packing_format"}, "auto_round:auto_gptq", out.where);
  if (packing == "auto_round:auto_awq" || packing == "auto_round:awq") {
    read_awq(json, out);
    out.awq_version = AwqVersion::gemm;
    return;
  }
  const bool first =
      packing == "auto_round:auto_gptq" || packing == "auto_round:gptq" || packing == "auto";
  if (!first && packing != "auto_round" && packing != "auto_round:gptqmodel")
    refuse(out.where, "the packing_format " + printable(packing));
  read_gptq(json, out);
  out.gptq_zeros_minus_one = first;
  out.mixed = is_filled(json, "extra_config");
}

void read_scheme(const Json& group, const std::string& where) {
  for (const char* key : {"input_activations", "output_activations"})
    if (member(group, {key})) refuse(where, std::string("quantization of ") + key);
  if (const std::string format = string_or(group, {"format"}, "pack-quantized", where);
      format != "pack-quantized")
    refuse(where, "format " + printable(format));
  const Json* weights = member(group, {"weights"});
  if (!weights) return;
  weights->as_object(where + ": weights");
  if (const std::string type = string_or(*weights, {"type"}, "int", where); type != "int")
    refuse(where, "the weight type " + printable(type));
  checked_bits(int_or(*weights, {"num_bits"}, 8, where), {4, 8}, where);
  const std::string strategy = string_or(*weights, {"strategy"}, "group", where);
  if (strategy != "group" && strategy != "channel")
    refuse(where, "the strategy " + printable(strategy));
}

/// Bits, group and zeros of each matrix follow from its tensors: several groups of modules may
/// differ in them.
void read_compressed_tensors(const Json& json, QuantConfig& out) {
  out.method = QuantMethod::compressed_tensors;
  const std::string format = string_or(json, {"format"}, "pack-quantized", out.where);
  if (format != "pack-quantized" && format != "dense" && format != "mixed-precision")
    refuse(out.where, "compressed-tensors format " + printable(format));
  if (member(json, {"kv_cache_scheme"})) refuse(out.where, "kv_cache_scheme");
  // Older and newer writers leave these empty where they mean nothing.
  if (const Json* sparsity = member(json, {"sparsity_config"}))
    if (!sparsity->as_object(out.where + ": sparsity_config").empty() &&
        string_or(*sparsity, {"format"}, "", out.where) != "dense")
      refuse(out.where, "sparsity_config");
  if (const Json* transform = member(json, {"transform_config"}))
    if (!transform->as_object(out.where + ": transform_config").empty())
      refuse(out.where, "transform_config");
  const Json* groups = member(json, {"config_groups"});
  if (!groups) return;
  for (const auto& [name, group] : groups->as_object(out.where + ": config_groups")) {
    const std::string where = out.where + ": config_groups: " + printable(name);
    group.as_object(where);
    read_scheme(group, where);
    if (const Json* weights = member(group, {"weights"}))
      out.symmetric = out.symmetric || bool_or(*weights, "symmetric", true, where);
  }
}

}  // namespace

QuantConfig read_quant_config(const Checkpoint& checkpoint) {
  QuantConfig out;
  if (checkpoint.format != FileFormat::hugging_face) return out;
  const Json* config = checkpoint.metadata.find("config");
  const Json* json =
      config ? member(*config, {"quantization_config", "compression_config"}) : nullptr;
  out.where = checkpoint.path + "/config.json: quantization_config";
  for (const char* file : {"quant_config", "quantize_config"}) {
    if (json) break;
    json = checkpoint.metadata.find(file);
    out.where = checkpoint.path + "/" + file + ".json";
  }
  if (!json) return out;
  json->as_object(out.where);
  for (const char* key : {"rotation", "rotation_config", "spinquant_config"})
    if (is_filled(*json, key)) refuse(out.where, std::string(key) + ", which rotates inputs,");
  std::string method = string_or(*json, {"quant_method", "method"}, "", out.where);
  if (method.empty()) {  // files of AutoGPTQ and llm-awq that stand beside config.json
    if (member(*json, {"damp_percent", "desc_act", "sym"}))
      method = "gptq";
    else if (member(*json, {"w_bit", "q_group_size", "zero_point", "version"}))
      method = "awq";
    else
      throw Error(out.where, "quant_method is missing", kReadable);
  }
  if (method == "awq")
    read_awq(*json, out);
  else if (method == "gptq")
    read_gptq(*json, out);
  else if (method == "compressed-tensors")
    read_compressed_tensors(*json, out);
  else if (method.find("auto-round") != std::string::npos)  // once: intel/auto-round
    read_auto_round(*json, out);
  else if (method != "mxfp4")  // whose tensors have names of their own
    refuse(out.where, "the method " + printable(method));
  return out;
}

}  // namespace nibble
