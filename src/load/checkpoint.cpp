#include "load/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>

#include "base/checked.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {

const DTypeInfo& dtype_info(DType type) {
  static constexpr DTypeInfo kInfo[] = {
      {"F32", 1, 4},        {"F16", 1, 2},        {"BF16", 1, 2},      {"F64", 1, 8},
      {"I8", 1, 1},         {"U8", 1, 1},         {"I16", 1, 2},       {"U16", 1, 2},
      {"I32", 1, 4},        {"U32", 1, 4},        {"I64", 1, 8},       {"U64", 1, 8},
      {"BOOL", 1, 1},       {"Q4_0", 32, 18},     {"Q4_1", 32, 20},    {"Q5_0", 32, 22},
      {"Q5_1", 32, 24},     {"Q8_0", 32, 34},     {"Q2_K", 256, 84},   {"Q3_K", 256, 110},
      {"Q4_K", 256, 144},   {"Q5_K", 256, 176},   {"Q6_K", 256, 210},  {"IQ1_S", 256, 50},
      {"IQ1_M", 256, 56},   {"IQ2_XXS", 256, 66}, {"IQ2_XS", 256, 74}, {"IQ2_S", 256, 82},
      {"IQ3_XXS", 256, 98}, {"IQ3_S", 256, 110},  {"IQ4_NL", 32, 18},  {"IQ4_XS", 256, 136},
      {"MXFP4", 32, 17},
  };
  static_assert(std::size(kInfo) == static_cast<size_t>(DType::mxfp4) + 1);
  return kInfo[static_cast<size_t>(type)];
}

uint64_t tensor_bytes(DType type, std::span<const uint64_t> shape, const std::string& where) {
  const DTypeInfo& info = dtype_info(type);
  uint64_t elements = 1;
  for (const uint64_t n : shape) elements = checked_mul(elements, n, where);
  const uint64_t row = shape.empty() ? 1 : shape.back();
  if (row % info.block_elems != 0)
    throw Error(where, "a row has " + std::to_string(row) + " elements, expected a multiple of " +
                           std::to_string(info.block_elems) + " for type " + info.name);
  return checked_mul(elements / info.block_elems, info.block_bytes, where);
}

uint64_t TensorView::n_elements() const {
  return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
}

std::string shape_text(std::span<const uint64_t> shape) {
  std::string text = "[";
  for (const uint64_t n : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(n);
  }
  return text + "]";
}

std::string TensorView::shape_text() const { return nibble::shape_text(shape); }

void Checkpoint::index_tensors() {
  by_name_.resize(tensors.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  const auto name = [this](size_t i) -> std::string_view { return tensors[i].name; };
  std::ranges::sort(by_name_, {}, name);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name);
  if (twice != by_name_.end())
    throw Error(path, "the tensor " + printable(name(*twice)) + " occurs twice");
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto name_of = [this](size_t i) -> std::string_view { return tensors[i].name; };
  const auto at = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return at != by_name_.end() && name_of(*at) == name ? &tensors[*at] : nullptr;
}

const TensorView& Checkpoint::get(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return *tensor;
  throw Error(path, "the tensor " + printable(name) + " is missing");
}

uint64_t Checkpoint::file_bytes() const {
  uint64_t sum = 0;
  for (const MappedFile& file : files) sum += file.bytes().size();
  return sum;
}

bool Checkpoint::has_file(const std::string& name) const {
  std::error_code ignored;
  return std::ranges::any_of(files, [&](const MappedFile& file) {
    return std::filesystem::equivalent(file.path(), name, ignored);
  });
}

void Checkpoint::release(const TensorView& tensor) const noexcept {
  const std::less_equal<> before;  // a total order over pointers into different files
  for (const MappedFile& file : files) {
    const auto bytes = file.bytes();
    if (before(bytes.data(), tensor.data.data()) &&
        before(tensor.data.data() + tensor.data.size(), bytes.data() + bytes.size()))
      return file.release(tensor.data);
  }
}

Checkpoint open_checkpoint(const std::string& path) {
  if (path.empty()) throw Error("model", "the path is empty");
  if (!file_exists(path)) throw Error(path, "there is no such file or directory");
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return open_hugging_face(path);
  const MappedFile file(path);
  const std::string_view start(reinterpret_cast<const char*>(file.bytes().data()),
                               std::min<size_t>(file.bytes().size(), 10));
  if (start.starts_with("GGUF")) return open_gguf(path);
  // The length of a safetensors header, then its JSON; in a llama2.c file the tenth byte is zero.
  if (start.size() == 10 && start[8] == '{' && start[9] != 0) return open_nib(path);
  return open_llama2c(path);
}

}  // namespace nibble
