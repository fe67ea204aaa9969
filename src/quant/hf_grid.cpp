#include "quant/hf_grid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/half.h"
#include "nibble/error.h"
#include "quant/grid_source.h"
#include "quant/number_range.h"

namespace nibble {
namespace {

/// The tensors of one layer, by the names behind its prefix.
class Layer {
 public:
  Layer(const Checkpoint& checkpoint, std::string_view prefix)
      : checkpoint_(checkpoint), prefix_(prefix) {}

  std::string where(const char* part) const {
    return checkpoint_.path + ": " + prefix_ + "." + part;
  }

  /// Makes it one of the tensors of the layer.
  const TensorView* find(const char* part) {
    const TensorView* tensor = checkpoint_.find(prefix_ + "." + part);
    if (tensor && std::ranges::find(used_, tensor) == used_.end()) used_.push_back(tensor);
    return tensor;
  }
  const TensorView& get(const char* part, const char* hint = "") {
    if (const TensorView* tensor = find(part)) return *tensor;
    throw Error(where(part), "is missing", hint);
  }

  void require(const char* part, const TensorView& tensor, std::initializer_list<DType> types,
               std::initializer_list<uint64_t> shape) const {
    if (std::ranges::find(types, tensor.type) == types.end()) {
      std::string list;
      for (const DType t : types)
        list += (list.empty() ? "" : " or ") + std::string(dtype_info(t).name);
      throw Error::mismatch(where(part), "type", list, dtype_info(tensor.type).name);
    }
    if (!std::ranges::equal(tensor.shape, shape))
      throw Error::mismatch(where(part), "shape", shape_text(std::vector(shape)),
                            tensor.shape_text());
  }

  /// A matrix of words, from which the shape of the layer follows.
  std::pair<uint64_t, uint64_t> size_of(const char* part, const TensorView& tensor) const {
    if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0)
      throw Error::mismatch(where(part), "shape", "a matrix", tensor.shape_text());
    return {tensor.shape[0], tensor.shape[1]};
  }

  std::vector<const TensorView*> take_tensors() { return std::move(used_); }

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
  std::vector<const TensorView*> used_;
};

constexpr std::initializer_list<DType> kScaleTypes = {DType::f16, DType::bf16, DType::f32};

/// A layer on its way to a MatrixSource.
struct Found {
  std::string type_name;
  uint32_t rows = 0, cols = 0;
  GridSource grid;
};

/// Packing reads eight columns at a time.
void set_size(Found& found, uint64_t rows, uint64_t cols, const std::string& where) {
  found.rows = checked_cast<uint32_t>(rows, where);
  found.cols = checked_cast<uint32_t>(cols, where);
  if (cols % 8 != 0)
    throw Error::mismatch(where, "the number of columns", "a multiple of 8", std::to_string(cols));
}

// Groups.

/// Columns of a group: those of the configuration, else as many as the number of groups says.
uint64_t group_of(const QuantConfig& config, uint64_t cols, uint64_t n_groups,
                  const std::string& where) {
  if (config.group) return *config.group == 0 || *config.group > cols ? cols : *config.group;
  if (n_groups == 0 || cols % n_groups != 0)
    throw Error(where, "has " + std::to_string(n_groups) + " groups, which do not divide " +
                           std::to_string(cols) + " columns");
  return cols / n_groups;
}

/// The group that panels use for groups of `group` columns; scales are repeated where it is
/// smaller.
uint16_t packed_group(uint64_t group, uint64_t n_groups, const std::string& where) {
  if (n_groups == 1) return 128;
  for (const uint16_t g : {uint16_t{128}, uint16_t{64}, uint16_t{32}, uint16_t{16}})
    if (group % g == 0) return g;
  throw Error::mismatch(where, "the group size", "a multiple of 16, or the whole row",
                        std::to_string(group));
}

void set_groups(Found& found, uint64_t group, const std::string& where) {
  found.grid.group = checked_cast<uint32_t>(group, where);
  found.grid.n_groups = checked_cast<uint32_t>(ceil_div(found.cols, group), where);
  found.grid.form.group = packed_group(group, found.grid.n_groups, where);
}

void require_whole_groups(const Found& found, const std::string& where) {
  if (found.cols % found.grid.group != 0)
    throw Error::mismatch(where, "the number of columns",
                          "a multiple of the group size, " + std::to_string(found.grid.group),
                          std::to_string(found.cols));
}

// Scales and zeros: what they are decides the scheme.

void set_scales(Found& found, const TensorView& tensor, size_t row_stride, size_t group_stride,
                const std::string& where) {
  const NumberRange range = number_range(tensor.type, tensor.data);
  if (!range.finite) throw Error(where, "holds a scale that is not finite");
  found.grid.scales = {tensor.type, tensor.data.data(), row_stride, group_stride};
  found.grid.form.scheme = range.fp16 ? Scheme::f16_zero : Scheme::f32_zero;
}

/// Whether all zeros of all words are the same.
bool same_words(const GridSource& grid) {
  const std::span<const std::byte> words = grid.zeros.data;
  const uint32_t first = load_as<uint32_t>(words.data()) + grid.zeros.added;
  return first == std::rotl(first, grid.bits) &&
         std::ranges::equal(words.subspan(sizeof first), words.first(words.size() - sizeof first));
}

/// Whether all zeros are the same; words may hold some that belong to no row or group.
bool constant_zeros(const Found& found, const GridSource& grid) {
  if (same_words(grid)) return true;
  const int first = grid.zero_at(0, 0);
  for (size_t r = 0; r < found.rows; ++r)
    for (size_t g = 0; g < grid.n_groups; ++g)
      if (grid.zero_at(r, g) != first) return false;
  return true;
}

/// Zeros that are all the same need no place in the panels.
void settle_zeros(Found& found) {
  GridSource& grid = found.grid;
  if (!grid.zeros.data.empty() && !constant_zeros(found, grid)) return;
  const int zero = grid.zero_at(0, 0);
  grid.zeros = {};
  grid.zeros.constant = zero;
  grid.form.zero = static_cast<uint8_t>(zero);
  if (grid.form.scheme == Scheme::f16_zero) grid.form.scheme = Scheme::f16;
}

// AWQ.

AwqVersion awq_version(const QuantConfig& config, const TensorView& codes,
                       const TensorView& scales) {
  if (config.awq_version) return *config.awq_version;
  if (codes.type == DType::i16) return AwqVersion::gemv_fast;
  const bool gemv =
      !scales.shape.empty() && !codes.shape.empty() && scales.shape[0] == codes.shape[0];
  return gemv ? AwqVersion::gemv : AwqVersion::gemm;
}

/// Words of zeros in a row of the gemv forms: padded to what the kernels of the time read at once.
uint64_t zero_words(uint64_t n_groups, uint64_t group) {
  const uint64_t unit = group >= 128 ? 1 : group == 64 ? 2 : 4;
  return round_up(ceil_div(n_groups, 8), unit);
}

/// Without a configuration: the group size whose padded width is that of the scales.
uint64_t awq_group(const QuantConfig& config, uint64_t cols, uint64_t width,
                   const std::string& where) {
  if (!config.group)
    for (const uint64_t group : {128u, 64u, 32u})
      if (cols % group == 0 && 8 * zero_words(cols / group, group) == width) return group;
  return group_of(config, cols, width, where);
}

void read_awq_gemm(Layer& layer, const QuantConfig& config, const TensorView& codes,
                   const TensorView& scales, Found& found) {
  found.type_name = "AWQ gemm";
  const auto [k, words] = layer.size_of("qweight", codes);
  layer.require("qweight", codes, {DType::i32}, {k, words});
  set_size(found, checked_mul(words, 8, layer.where("qweight")), k, layer.where("qweight"));
  set_groups(found,
             group_of(config, k, layer.size_of("scales", scales).first, layer.where("scales")),
             layer.where("qweight"));
  require_whole_groups(found, layer.where("qweight"));
  layer.require("scales", scales, kScaleTypes, {found.grid.n_groups, found.rows});
  found.grid.layout = CodeLayout::awq_gemm;
  found.grid.line = words;
  set_scales(found, scales, 1, found.rows, layer.where("scales"));
  if (const TensorView* zeros = layer.find("qzeros")) {
    layer.require("qzeros", *zeros, {DType::i32}, {found.grid.n_groups, words});
    found.grid.zeros = {zeros->data, true, true, 1, words};
  }
}

void read_awq_gemv(Layer& layer, const QuantConfig& config, const TensorView& codes,
                   const TensorView& scales, Found& found) {
  found.type_name = "AWQ gemv";
  const auto [n, words] = layer.size_of("qweight", codes);
  layer.require("qweight", codes, {DType::i32}, {n, words});
  set_size(found, n, checked_mul(words, 8, layer.where("qweight")), layer.where("qweight"));
  const uint64_t width = layer.size_of("scales", scales).second;
  set_groups(found, awq_group(config, found.cols, width, layer.where("scales")),
             layer.where("qweight"));
  require_whole_groups(found, layer.where("qweight"));
  const uint64_t zero_width = zero_words(found.grid.n_groups, found.grid.group);
  layer.require("scales", scales, kScaleTypes, {n, 8 * zero_width});
  found.grid.layout = CodeLayout::row_words;
  found.grid.line = words;
  set_scales(found, scales, 8 * zero_width, 1, layer.where("scales"));
  if (const TensorView* zeros = layer.find("qzeros")) {
    layer.require("qzeros", *zeros, {DType::i32}, {n, zero_width});
    found.grid.zeros = {zeros->data, false, false, zero_width, 1};
  }
}

/// Also what llm-awq writes, which calls the minima scaled_zeros.
void read_awq_fast(Layer& layer, const QuantConfig& config, const TensorView& codes,
                   const TensorView& scales, Found& found) {
  found.type_name = "AWQ gemv_fast";
  const auto [lines, k] = layer.size_of("qweight", codes);
  layer.require("qweight", codes, {DType::i16}, {lines, k});
  set_size(found, checked_mul(lines, 4, layer.where("qweight")), k, layer.where("qweight"));
  if (k % 64 != 0)
    throw Error::mismatch(layer.where("qweight"), "the number of columns", "a multiple of 64",
                          std::to_string(k));
  const uint64_t height = layer.size_of("scales", scales).first;
  set_groups(found, awq_group(config, k, height, layer.where("scales")), layer.where("qweight"));
  require_whole_groups(found, layer.where("qweight"));
  const uint64_t padded = 8 * zero_words(found.grid.n_groups, found.grid.group);
  const bool llm_awq = !layer.find("qzeros") && layer.find("scaled_zeros");
  const char* name = llm_awq ? "scaled_zeros" : "qzeros";
  const TensorView& minima = layer.get(name);
  layer.require("scales", scales, {DType::f16}, {padded, found.rows});
  layer.require(name, minima, {DType::f16}, {padded, found.rows});
  found.grid.layout = CodeLayout::awq_fast;
  found.grid.line = k;
  set_scales(found, scales, 1, found.rows, layer.where("scales"));
  if (!number_range(minima.type, minima.data).finite)
    throw Error(layer.where(name), "holds a value that is not finite");
  found.grid.minima = minima.data.data();
  found.grid.form.scheme = Scheme::f16_min;
}

void read_awq(Layer& layer, const QuantConfig& config, Found& found) {
  const TensorView& codes = layer.get("qweight");
  const TensorView& scales = layer.get("scales");
  found.grid.codes = codes.data.data();
  switch (awq_version(config, codes, scales)) {
    case AwqVersion::gemm:
      read_awq_gemm(layer, config, codes, scales, found);
      break;
    case AwqVersion::gemv:
      read_awq_gemv(layer, config, codes, scales, found);
      break;
    case AwqVersion::gemv_fast:
      return read_awq_fast(layer, config, codes, scales, found);
  }
  if (found.grid.zeros.data.empty()) {
    if (!config.symmetric)
      layer.get("qzeros", "only a configuration with zero_point false lacks it");
    found.grid.zeros.constant = 8;
  }
  settle_zeros(found);
}

// Activation order: columns belong to groups by a table.

std::string index_text(const TensorView& tensor, size_t i) {
  return "entry " + std::to_string(i) + " is " +
         std::to_string(load_as<int32_t>(tensor.data.data() + i * sizeof(int32_t)));
}

bool all_zeros(const TensorView& tensor) {
  return std::ranges::all_of(tensor.data, [](std::byte b) { return b == std::byte{0}; });
}

/// The columns sorted by group, as they were within each; empty if they lie so already.
std::vector<uint32_t> column_order(const TensorView& g_idx, const Found& found,
                                   const std::string& where) {
  const uint32_t group = found.grid.group, n_groups = found.grid.n_groups;
  std::vector<uint32_t> filled(n_groups);  // columns placed so far
  std::vector<uint32_t> order(found.cols);
  bool natural = true;
  for (uint32_t i = 0; i < found.cols; ++i) {
    const int32_t value = load_as<int32_t>(g_idx.data.data() + size_t{i} * sizeof(int32_t));
    if (value < 0 || static_cast<uint32_t>(value) >= n_groups)
      throw Error(where, index_text(g_idx, i) + ", expected 0 to " + std::to_string(n_groups - 1));
    const auto g = static_cast<uint32_t>(value);
    const uint32_t size = std::min(group, found.cols - g * group);
    if (filled[g] == size)
      throw Error(
          where,
          "puts more than " + std::to_string(size) + " columns into group " + std::to_string(g),
          "groups of equal size are read");
    const uint32_t place = g * group + filled[g]++;
    order[place] = i;
    natural = natural && place == i;
  }
  if (natural) order.clear();
  return order;
}

// GPTQ.

constexpr uint32_t kOnes4 = 0x11111111, kOnes8 = 0x01010101;

/// Bits of a matrix with n outputs.
int gptq_bits(Layer& layer, const QuantConfig& config, uint64_t n) {
  const TensorView* zeros = config.mixed ? layer.find("qzeros") : nullptr;
  if (!zeros) return config.bits;
  const uint64_t bits =
      checked_mul(layer.size_of("qzeros", *zeros).second, 32, layer.where("qzeros")) / n;
  if (bits != 4 && bits != 8)
    throw Error::mismatch(layer.where("qzeros"), "the number of bits", "4 or 8",
                          std::to_string(bits));
  return static_cast<int>(bits);
}

uint64_t gptq_group(const QuantConfig& config, uint64_t cols, uint64_t n_groups,
                    const std::string& where) {
  const uint64_t group = group_of(config, cols, n_groups, where);
  return config.mixed && ceil_div(cols, group) != n_groups ? group_of({}, cols, n_groups, where)
                                                           : group;
}

void read_gptq(Layer& layer, const QuantConfig& config, Found& found) {
  const TensorView& codes = layer.get("qweight");
  const TensorView& scales = layer.get("scales");
  const auto [words, n] = layer.size_of("qweight", codes);
  found.grid.bits = gptq_bits(layer, config, n);
  found.type_name = found.grid.bits == 8 ? "GPTQ 8-bit" : "GPTQ";
  const uint64_t per_word = static_cast<uint64_t>(32 / found.grid.bits);
  layer.require("qweight", codes, {DType::i32}, {words, n});
  set_size(found, n, checked_mul(words, per_word, layer.where("qweight")), layer.where("qweight"));
  found.grid.codes = codes.data.data();
  const uint64_t n_groups = layer.size_of("scales", scales).first;
  set_groups(found, gptq_group(config, found.cols, n_groups, layer.where("scales")),
             layer.where("qweight"));
  const TensorView* g_idx = layer.find("g_idx");
  if (g_idx) layer.require("g_idx", *g_idx, {DType::i32}, {found.cols});
  if (config.gptq_ordered && found.grid.n_groups > 1)
    layer.get("g_idx", "only a configuration with desc_act false lacks it");
  layer.require("scales", scales, kScaleTypes, {found.grid.n_groups, n});
  found.grid.layout = CodeLayout::column_words;
  found.grid.line = n;
  set_scales(found, scales, 1, n, layer.where("scales"));
  if (const TensorView* zeros = layer.find("qzeros")) {
    if (n % per_word != 0)
      throw Error::mismatch(layer.where("qweight"), "the number of outputs",
                            "a multiple of " + std::to_string(per_word), std::to_string(n));
    layer.require("qzeros", *zeros, {DType::i32}, {found.grid.n_groups, n / per_word});
    found.grid.zeros = {zeros->data, true, false, 1, n / per_word};
    // The first format has 1 less in each place, subtracted from whole words: a zero of 0 borrows
    // from the next.
    if (config.gptq_zeros_minus_one)
      found.grid.zeros.added = found.grid.bits == 8 ? kOnes8 : kOnes4;
  } else {
    if (!config.symmetric) layer.get("qzeros", "only a configuration with sym true lacks it");
    found.grid.zeros.constant = 1 << (found.grid.bits - 1);
  }
  settle_zeros(found);
  // All zeros: made for an order and never filled in.
  if (g_idx && (config.gptq_ordered || !all_zeros(*g_idx)))
    found.grid.column_order = column_order(*g_idx, found, layer.where("g_idx"));
}

// compressed-tensors.

std::array<uint64_t, 2> read_shape(Layer& layer) {
  const TensorView& tensor = layer.get("weight_shape");
  layer.require("weight_shape", tensor, {DType::i64, DType::i32}, {2});
  std::array<uint64_t, 2> out{};
  for (size_t i = 0; i < 2; ++i) {
    const std::byte* data = tensor.data.data();
    const int64_t n = tensor.type == DType::i64 ? load_as<int64_t>(data + 8 * i)
                                                : int64_t{load_as<int32_t>(data + 4 * i)};
    if (n <= 0)
      throw Error(layer.where("weight_shape"), "holds " + std::to_string(n) + ", expected a size");
    out[i] = static_cast<uint64_t>(n);
  }
  return out;
}

bool has_unused_entry(const TensorView& g_idx) {
  for (size_t i = 0; i < g_idx.data.size(); i += sizeof(int32_t))
    if (load_as<int32_t>(g_idx.data.data() + i) == -1) return true;
  return false;
}

void read_compressed(Layer& layer, const QuantConfig& config, Found& found) {
  const TensorView& codes = layer.get("weight_packed");
  const TensorView& scales = layer.get("weight_scale");
  const auto [rows, cols] = read_shape(layer);
  const std::string where = layer.where("weight_packed");
  set_size(found, rows, cols, where);
  const uint64_t words = layer.size_of("weight_packed", codes).second;
  found.grid.bits = words == ceil_div(cols, 4) && words != ceil_div(cols, 8) ? 8 : 4;
  found.type_name = found.grid.bits == 8 ? "compressed-tensors 8-bit" : "compressed-tensors";
  const uint64_t per_word = static_cast<uint64_t>(32 / found.grid.bits);
  layer.require("weight_packed", codes, {DType::i32}, {rows, ceil_div(cols, per_word)});
  const uint64_t n_groups = layer.size_of("weight_scale", scales).second;
  set_groups(found, group_of({}, cols, n_groups, layer.where("weight_scale")), where);
  layer.require("weight_scale", scales, kScaleTypes, {rows, n_groups});
  found.grid.codes = codes.data.data();
  found.grid.layout = CodeLayout::row_words;
  found.grid.line = words;
  set_scales(found, scales, n_groups, 1, layer.where("weight_scale"));
  if (const TensorView* zeros = layer.find("weight_zero_point")) {
    layer.require("weight_zero_point", *zeros, {DType::i32}, {ceil_div(rows, per_word), n_groups});
    found.grid.zeros = {zeros->data, true, false, n_groups, 1};
  } else {
    if (!config.symmetric)
      layer.get("weight_zero_point", "only a configuration with symmetric true lacks it");
    found.grid.zeros.constant = 1 << (found.grid.bits - 1);
  }
  settle_zeros(found);
  const TensorView* g_idx = layer.find("weight_g_idx");
  if (!g_idx) return;
  layer.require("weight_g_idx", *g_idx, {DType::i32}, {cols});
  if (!has_unused_entry(*g_idx))
    found.grid.column_order = column_order(*g_idx, found, layer.where("weight_g_idx"));
}

/// By the configuration; without one, GPTQ has as many words in a row as scales, and fewer rows of
/// these.
QuantMethod method_of(const QuantConfig& config, const TensorView& codes, Layer& layer) {
  if (config.method != QuantMethod::none) return config.method;
  const TensorView* scales = layer.find("scales");
  const bool gptq = codes.type == DType::i32 && scales && scales->shape.size() == 2 &&
                    codes.shape.size() == 2 && scales->shape[1] == codes.shape[1] &&
                    scales->shape[0] != codes.shape[0];
  if (gptq)
    throw Error(layer.where("qweight"), "is GPTQ, but no configuration tells its version",
                "add quantize_config.json");
  return QuantMethod::awq;
}

}  // namespace

std::optional<MatrixSource> find_grid(const Checkpoint& checkpoint, const QuantConfig& config,
                                      std::string_view prefix) {
  Layer layer(checkpoint, prefix);
  Found found;
  std::string where;
  if (const TensorView* codes = layer.find("qweight")) {
    where = layer.where("qweight");
    const QuantMethod method = method_of(config, *codes, layer);
    if (method == QuantMethod::compressed_tensors)
      throw Error(where, "belongs to AWQ or GPTQ, but the configuration says compressed-tensors");
    method == QuantMethod::awq ? read_awq(layer, config, found) : read_gptq(layer, config, found);
  } else if (layer.find("weight_packed")) {
    where = layer.where("weight_packed");
    if (config.method != QuantMethod::compressed_tensors)
      throw Error(where, "belongs to compressed-tensors, which the configuration does not name");
    read_compressed(layer, config, found);
  } else {
    return std::nullopt;
  }
  MatrixSource source;
  source.where = std::move(where);
  source.type_name = std::move(found.type_name);
  if (!found.grid.column_order.empty()) source.type_name += ", activation order";
  source.rows = found.rows;
  source.cols = found.cols;
  found.grid.form.codes = found.grid.bits == 8 ? Codes::q8 : Codes::q4;
  source.grid = std::make_shared<const GridSource>(std::move(found.grid));
  source.tensors = layer.take_tensors();
  return source;
}

}  // namespace nibble
