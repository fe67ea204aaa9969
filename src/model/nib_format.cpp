#include "model/nib_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "load/safetensors_writer.h"
#include "model/config_reader.h"
#include "nibble/error.h"
#include "nibble/version.h"

namespace nibble {
namespace {

template <class Enum, size_t n>
Enum parse_name(const std::array<const char*, n>& names, const std::string& name,
                const std::string& where) {
  for (size_t i = 0; i < n; ++i)
    if (name == names[i]) return static_cast<Enum>(i);
  throw Error(where, "\"" + name + "\" is unknown to this version");
}

template <class To>
To small_number(const Json& entry, const char* key, const std::string& where) {
  const Json* value = entry.find(key);
  if (!value) throw Error(where, std::string(key) + " is missing");
  return checked_cast<To>(value->as_int(where), where + ": " + key);
}

std::string text_of(const Json& entry, const char* key, const std::string& where) {
  const Json* value = entry.find(key);
  if (!value) throw Error(where, std::string(key) + " is missing");
  return value->as_string(where);
}

Json describe(const PlannedMatrix& m) {
  const PackedShape& s = m.shape;
  Json::Object out;
  out.emplace_back("rows", Json(int64_t{s.rows}));
  out.emplace_back("cols", Json(int64_t{s.cols}));
  out.emplace_back("codes", Json(kCodesNames[static_cast<size_t>(s.codes)]));
  out.emplace_back("scheme", Json(kSchemeNames[static_cast<size_t>(s.scheme)]));
  out.emplace_back("group", Json(int64_t{s.group}));
  out.emplace_back("zero", Json(int64_t{s.zero}));
  out.emplace_back("source", Json(m.source.type_name));
  return Json(std::move(out));
}

// Floats as a file holds them: little endian, which is the order of every machine we run on.
std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  return std::as_bytes(std::span(values));
}

}  // namespace

NibMatrices read_nib_matrices(const Checkpoint& checkpoint) {
  const std::string where = checkpoint.path + ": nibble.matrices";
  const Json* text = checkpoint.metadata.find("nibble.matrices");
  if (!text) throw Error(where, "is missing");
  const Json json = parse_json(text->as_string(where), where);
  NibMatrices out;
  for (const auto& [name, entry] : json.as_object(where)) {
    const std::string at = where + ": " + name;
    NibMatrix m;
    m.shape.rows = small_number<uint32_t>(entry, "rows", at);
    m.shape.cols = small_number<uint32_t>(entry, "cols", at);
    m.shape.codes = parse_name<Codes>(kCodesNames, text_of(entry, "codes", at), at);
    m.shape.scheme = parse_name<Scheme>(kSchemeNames, text_of(entry, "scheme", at), at);
    m.shape.group = small_number<uint16_t>(entry, "group", at);
    m.shape.zero = small_number<uint8_t>(entry, "zero", at);
    // The first files with these have the zero of an earlier table.
    if (kernel_codes(m.shape.codes) == Codes::iq3_s) m.shape.zero = kIq3Zero;
    m.source_type = text_of(entry, "source", at);
    out.emplace(name, std::move(m));
  }
  return out;
}

void write_nib(const std::string& path, const Config& config, const SamplerOptions& sampling,
               const WeightPlan& plan, const std::string& vocabulary, const MatrixWriter& pack,
               const Progress& progress) {
  using Entry = SafetensorsWriter::Entry;
  std::vector<Entry> entries;
  Json::Object matrices;
  uint64_t total = 0, largest = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    const uint64_t bytes = packed_layout(m.shape, m.name).total_bytes();
    entries.push_back(Entry{m.name, DType::u8, {bytes}, bytes});
    matrices.emplace_back(m.name, describe(m));
    total += bytes;
    largest = std::max(largest, bytes);
  }
  const auto add_vector = [&](const std::string& name, const std::vector<float>& values) {
    entries.push_back(Entry{name, DType::f32, {values.size()}, values.size() * sizeof(float)});
  };
  for (const auto& [name, values] : plan.vectors) add_vector(name, *values);
  if (!config.rope_freq_factors.empty()) add_vector("rope_freqs.weight", config.rope_freq_factors);
  for (const PlannedMatrix& m : plan.matrices)
    if (const uint64_t n = m.source.column_order().size(); n > 0)
      entries.push_back(Entry{m.name + kNibOrder, DType::u32, {n}, n * sizeof(uint32_t)});
  if (!vocabulary.empty())
    entries.push_back(Entry{kNibVocabulary, DType::u8, {vocabulary.size()}, vocabulary.size()});

  SafetensorsWriter writer(path,
                           {{"nibble.format", kNibFormat},
                            {"nibble.version", version()},
                            {"nibble.config", config_to_json(config, sampling)},
                            {"nibble.matrices", write_json(Json(std::move(matrices)))}},
                           std::move(entries));
  AnonymousMemory buffer(largest);
  uint64_t done = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    if (progress && !progress(static_cast<double>(done) / static_cast<double>(total)))
      throw Error(path, "writing was cancelled");
    const size_t bytes = packed_layout(m.shape, m.name).total_bytes();
    std::memset(buffer.data(), 0, bytes);
    pack(m, {buffer.data(), bytes});
    writer.write({buffer.data(), bytes});
    done += bytes;
  }
  for (const auto& [name, values] : plan.vectors) writer.write(bytes_of(*values));
  if (!config.rope_freq_factors.empty()) writer.write(bytes_of(config.rope_freq_factors));
  for (const PlannedMatrix& m : plan.matrices)
    if (const auto order = m.source.column_order(); !order.empty())
      writer.write(std::as_bytes(order));
  writer.write(std::as_bytes(std::span(vocabulary)));
  writer.finish();
  if (progress) progress(1.0);
}

}  // namespace nibble
