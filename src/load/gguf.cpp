#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <optional>

#include "base/checked.h"
#include "load/byte_reader.h"
#include "load/checkpoint.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// Bounds on what a file may ask for. Real files stay far below them.
constexpr size_t kMaxValues = size_t{1} << 22;  // metadata values, elements of arrays included
constexpr int kMaxArrayDepth = 8;               // arrays inside one another
constexpr uint64_t kMaxAlignment = 1 << 20;     // bytes
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMaxRank = 4;

// The least bytes that the header spends on a tensor, and on a key with its value.
constexpr uint64_t kMinTensorInfo = 8 + 4 + 8 + 4 + 8, kMinKeyValue = 8 + 4 + 1;

enum class ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// Bytes of a value in the file, by ValueType: of a string its length, of an array its type and
// count, as both can be empty.
constexpr std::array<uint64_t, 13> kMinValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

struct TensorType {
  uint32_t number;
  const char* name;
  std::optional<DType> dtype;  // none: known, but not supported
};
constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::f32},
    {1, "F16", DType::f16},
    {2, "Q4_0", DType::q4_0},
    {3, "Q4_1", DType::q4_1},
    {4, "Q4_2", {}},
    {5, "Q4_3", {}},
    {6, "Q5_0", DType::q5_0},
    {7, "Q5_1", DType::q5_1},
    {8, "Q8_0", DType::q8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", DType::q2_k},
    {11, "Q3_K", DType::q3_k},
    {12, "Q4_K", DType::q4_k},
    {13, "Q5_K", DType::q5_k},
    {14, "Q6_K", DType::q6_k},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", DType::iq2_xxs},
    {17, "IQ2_XS", DType::iq2_xs},
    {18, "IQ3_XXS", DType::iq3_xxs},
    {19, "IQ1_S", DType::iq1_s},
    {20, "IQ4_NL", DType::iq4_nl},
    {21, "IQ3_S", DType::iq3_s},
    {22, "IQ2_S", DType::iq2_s},
    {23, "IQ4_XS", DType::iq4_xs},
    {24, "I8", DType::i8},
    {25, "I16", DType::i16},
    {26, "I32", DType::i32},
    {27, "I64", DType::i64},
    {28, "F64", DType::f64},
    {29, "IQ1_M", DType::iq1_m},
    {30, "BF16", DType::bf16},
    {31, "Q4_0_4_4", {}},
    {32, "Q4_0_4_8", {}},
    {33, "Q4_0_8_8", {}},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", DType::mxfp4},
};

DType tensor_type(uint32_t number, const std::string& where) {
  const auto* const type = std::ranges::find(kTensorTypes, number, &TensorType::number);
  if (type == std::end(kTensorTypes))
    throw Error(where, "its type has the unknown number " + std::to_string(number));
  if (!type->dtype) throw Error(where, std::string("its type ") + type->name + " is not supported");
  return *type->dtype;
}

// One GGUF file, read from front to back.
class Reader {
 public:
  explicit Reader(const MappedFile& file) : bytes_(file.bytes(), file.path()) {}

  // Version, counts and metadata.
  void read_header() {
    if (bytes_.take_text(4) != "GGUF") throw error("does not start with \"GGUF\"");
    version_ = bytes_.read<uint32_t>();
    if (version_ != 0 && (version_ & 0xffff) == 0)
      throw error("is a big-endian GGUF file, which is not supported");
    if (version_ != 2 && version_ != 3)
      throw Error::mismatch(where(), "the GGUF version", "2 or 3", std::to_string(version_));
    n_tensors_ = read_count(kMinTensorInfo, "tensors");
    const uint64_t n_keys = read_count(kMinKeyValue, "metadata keys");
    charge(n_keys);
    read_metadata(n_keys);
  }

  // The tensors behind the metadata, appended to `out`; `file` is what bytes_ reads.
  void read_tensors(const MappedFile& file, std::vector<TensorView>& out) {
    const uint64_t alignment = read_alignment();
    std::vector<uint64_t> offsets;  // [n_tensors]
    const size_t first = out.size();
    for (uint64_t i = 0; i < n_tensors_; ++i) offsets.push_back(read_tensor_info(out));
    const uint64_t start = round_up(bytes_.position(), alignment);
    const auto data = file.bytes().subspan(std::min<size_t>(start, file.bytes().size()));
    const std::span tensors = std::span(out).subspan(first);
    for (size_t i = 0; i < tensors.size(); ++i) place(tensors[i], offsets[i], alignment, data);
    check_overlap(tensors);
  }

  uint32_t version() const { return version_; }
  Json take_metadata() { return std::move(metadata_); }

 private:
  const std::string& where() const { return bytes_.where(); }
  Error error(const std::string& why) const { return Error(where(), why); }

  // A number of things that take at least `min_bytes` each of the rest of the file.
  uint64_t read_count(uint64_t min_bytes, const char* what) {
    const auto count = bytes_.read<uint64_t>();
    if (count > bytes_.remaining() / min_bytes)
      throw error("announces " + std::to_string(count) + ' ' + what + ", but only " +
                  std::to_string(bytes_.remaining()) + " bytes follow");
    return count;
  }

  // Counts values before room is made for them.
  void charge(uint64_t n_values) {
    if (n_values > kMaxValues - n_values_)
      throw error("has more than " + std::to_string(kMaxValues) + " metadata values");
    n_values_ += static_cast<size_t>(n_values);
  }

  std::string read_string() {
    const auto length = bytes_.read<uint64_t>();
    return std::string(bytes_.take_text(length));
  }

  void read_metadata(uint64_t n_keys) {
    Json::Object members;
    for (uint64_t i = 0; i < n_keys; ++i) {
      std::string key = read_string();
      Json value = read_value(read_type(key), 0, key);
      members.emplace_back(std::move(key), std::move(value));
    }
    std::vector<std::string_view> keys;
    for (const auto& [key, unused] : members) keys.push_back(key);
    if (const auto twice = find_duplicate(std::move(keys)))
      throw error("the metadata key " + printable(*twice) + " occurs twice");
    metadata_ = std::move(members);
  }

  ValueType read_type(const std::string& key) {
    const auto type = bytes_.read<uint32_t>();
    if (type >= kMinValueBytes.size())
      throw error("the metadata key " + printable(key) + " has the unknown type " +
                  std::to_string(type));
    return static_cast<ValueType>(type);
  }

  Json read_value(ValueType type, int depth, const std::string& key) {
    switch (type) {
      case ValueType::u8:
        return int{bytes_.read<uint8_t>()};
      case ValueType::i8:
        return int{bytes_.read<int8_t>()};
      case ValueType::u16:
        return int{bytes_.read<uint16_t>()};
      case ValueType::i16:
        return int{bytes_.read<int16_t>()};
      case ValueType::u32:
        return int64_t{bytes_.read<uint32_t>()};
      case ValueType::i32:
        return int{bytes_.read<int32_t>()};
      case ValueType::f32:
        return double{bytes_.read<float>()};
      case ValueType::boolean:
        return read_bool(key);
      case ValueType::string:
        return read_string();
      case ValueType::array:
        return read_array(depth + 1, key);
      case ValueType::u64:
        return read_u64();
      case ValueType::i64:
        return bytes_.read<int64_t>();
      case ValueType::f64:
        break;
    }
    return bytes_.read<double>();
  }

  Json read_bool(const std::string& key) {
    const auto byte = bytes_.read<uint8_t>();
    if (byte > 1)
      throw Error::mismatch(where(), "the boolean " + printable(key), "0 or 1",
                            std::to_string(byte));
    return byte == 1;
  }

  Json read_u64() {
    const auto value = bytes_.read<uint64_t>();
    if (std::in_range<int64_t>(value)) return static_cast<int64_t>(value);
    return static_cast<double>(value);
  }

  Json read_array(int depth, const std::string& key) {
    if (depth > kMaxArrayDepth)
      throw error("the arrays of " + printable(key) + " are nested deeper than " +
                  std::to_string(kMaxArrayDepth));
    const ValueType type = read_type(key);
    const uint64_t count = read_count(kMinValueBytes[static_cast<size_t>(type)], "array elements");
    charge(count);
    Json::Array elements;
    elements.reserve(static_cast<size_t>(count));
    for (uint64_t i = 0; i < count; ++i) elements.push_back(read_value(type, depth, key));
    return elements;
  }

  uint64_t read_alignment() const {
    const Json* value = metadata_.find("general.alignment");
    if (!value) return kDefaultAlignment;
    const std::string name = where() + ": general.alignment";
    const int64_t alignment = value->as_int(name);
    if (alignment < 1 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment)))
      throw Error(name, "is " + std::to_string(alignment) + ", expected a power of two up to " +
                            std::to_string(kMaxAlignment));
    return static_cast<uint64_t>(alignment);
  }

  // Appends a tensor without data to `out`; returns its offset.
  uint64_t read_tensor_info(std::vector<TensorView>& out) {
    TensorView tensor;
    tensor.name = read_string();
    const std::string name = tensor_name(tensor);
    const auto rank = bytes_.read<uint32_t>();
    if (rank < 1 || rank > kMaxRank)
      throw Error::mismatch(name, "the number of its dimensions", "1 to 4", std::to_string(rank));
    for (uint32_t i = 0; i < rank; ++i) tensor.shape.push_back(bytes_.read<uint64_t>());
    std::ranges::reverse(tensor.shape);  // the file has the contiguous dimension first
    if (std::ranges::count(tensor.shape, uint64_t{0}) > 0)
      throw Error(name, "a dimension of its shape " + tensor.shape_text() + " is zero");
    tensor.type = tensor_type(bytes_.read<uint32_t>(), name);
    out.push_back(std::move(tensor));
    return bytes_.read<uint64_t>();
  }

  std::string tensor_name(const TensorView& tensor) const {
    return where() + ": tensor " + printable(tensor.name);
  }

  void place(TensorView& tensor, uint64_t offset, uint64_t alignment,
             std::span<const std::byte> data) const {
    const std::string name = tensor_name(tensor);
    if (offset % alignment != 0)
      throw Error::mismatch(name, "its offset", "a multiple of " + std::to_string(alignment),
                            std::to_string(offset));
    const uint64_t bytes = tensor_bytes(tensor.type, tensor.shape, name);
    if (offset > data.size() || bytes > data.size() - offset)
      throw Error(name, "has " + std::to_string(bytes) + " bytes at offset " +
                            std::to_string(offset) + " of the data, of which the file holds " +
                            std::to_string(data.size()));
    tensor.data = data.subspan(static_cast<size_t>(offset), static_cast<size_t>(bytes));
  }

  void check_overlap(std::span<const TensorView> tensors) const {
    std::vector<const TensorView*> order;
    for (const TensorView& tensor : tensors) order.push_back(&tensor);
    const auto begin = [](const TensorView* tensor) { return tensor->data.data(); };
    std::ranges::sort(order, {}, begin);
    for (size_t i = 1; i < order.size(); ++i)
      if (begin(order[i - 1]) + order[i - 1]->data.size() > begin(order[i]))
        throw Error(tensor_name(*order[i]), "overlaps tensor " + printable(order[i - 1]->name));
  }

  ByteReader bytes_;
  uint32_t version_ = 0;
  uint64_t n_tensors_ = 0;
  size_t n_values_ = 0;
  Json metadata_;
};

// Which part of a split model a file is.
struct Split {
  int64_t number = 0, count = 1, n_tensors = -1;  // number from 0; n_tensors -1 if not said
};

Split read_split(const Json& metadata, const std::string& path) {
  Split split;
  const auto read = [&](const char* key, int64_t& value) {
    if (const Json* found = metadata.find(key)) value = found->as_int(path + ": " + key);
  };
  read("split.no", split.number);
  read("split.count", split.count);
  read("split.tensors.count", split.n_tensors);
  split.count = std::max<int64_t>(split.count, 1);  // some writers say 0 of a whole file
  if (split.count > 99999 || split.number < 0 || split.number >= split.count)
    throw Error(path, "is split part number " + std::to_string(split.number) + " of " +
                          std::to_string(split.count) + ", counted from 0");
  return split;
}

// "-00001-of-00003.gguf"; number from 0, both at most 99999.
std::string part_suffix(int64_t number, int64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05d-of-%05d.gguf", static_cast<int>(number + 1),
                static_cast<int>(count));
  return text;
}

struct Part {
  uint32_t version;
  Json metadata;
};

// One file, it and its tensors appended to `out`.
Part read_part(const std::string& path, Checkpoint& out) {
  MappedFile file(path);
  Reader reader(file);
  reader.read_header();
  reader.read_tensors(file, out.tensors);
  out.files.push_back(std::move(file));
  return {reader.version(), reader.take_metadata()};
}

void read_other_parts(const std::string& path, const Split& split, Checkpoint& out) {
  const std::string suffix = part_suffix(0, split.count);
  if (split.number != 0)
    throw Error(path,
                "is part " + std::to_string(split.number + 1) + " of " +
                    std::to_string(split.count) + " of a split model",
                "give the first, which ends in " + suffix);
  if (!path.ends_with(suffix))
    throw Error(path, "is the first part of a split model, but its name does not end in " + suffix,
                "the other parts are found by that name");
  const std::string stem = path.substr(0, path.size() - suffix.size());
  for (int64_t i = 1; i < split.count; ++i) {
    const std::string part = stem + part_suffix(i, split.count);
    const Split found = read_split(read_part(part, out).metadata, part);
    if (found.number != i || found.count != split.count)
      throw Error::mismatch(
          part, "the split part", std::to_string(i + 1) + " of " + std::to_string(split.count),
          std::to_string(found.number + 1) + " of " + std::to_string(found.count));
  }
  if (split.n_tensors >= 0 && std::cmp_not_equal(split.n_tensors, out.tensors.size()))
    throw Error::mismatch(path, "the number of tensors in all parts",
                          std::to_string(split.n_tensors), std::to_string(out.tensors.size()));
}

}  // namespace

Checkpoint open_gguf(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.format = FileFormat::gguf;
  checkpoint.path = path;
  Part first = read_part(path, checkpoint);
  const Split split = read_split(first.metadata, path);
  if (split.count > 1) read_other_parts(path, split, checkpoint);
  checkpoint.metadata = std::move(first.metadata);
  checkpoint.description = "GGUF v" + std::to_string(first.version);
  if (split.count > 1) checkpoint.description += ", " + std::to_string(split.count) + " files";
  checkpoint.index_tensors();
  return checkpoint;
}

}  // namespace nibble
