#include "quant/matrix_source.h"

#include <algorithm>
#include <atomic>

#include "base/checked.h"
#include "base/thread_pool.h"
#include "nibble/error.h"
#include "quant/grid_source.h"
#include "quant/hf_grid.h"
#include "quant/number_range.h"

namespace nibble {
namespace {

bool is_float(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

}  // namespace

const std::byte* MatrixSource::begin() const { return grid ? grid->codes : data.data(); }

bool MatrixSource::has_grid() const { return grid || dtype_info(type).block_elems > 1; }

std::span<const uint32_t> MatrixSource::column_order() const {
  return grid ? std::span<const uint32_t>(grid->column_order) : std::span<const uint32_t>();
}

MatrixSource matrix_of(const TensorView& tensor, const std::string& path) {
  const std::string where = path.empty() ? tensor.name : path + ": " + tensor.name;
  const DTypeInfo& info = dtype_info(tensor.type);
  if (info.block_elems == 1 && !is_float(tensor.type))
    throw Error::mismatch(where, "the type of the tensor",
                          "a type of weights, such as F16, BF16 or Q4_0", info.name);
  if (tensor.shape.size() != 2)
    throw Error::mismatch(where, "the rank of the tensor", "2 (a matrix)",
                          std::to_string(tensor.shape.size()));
  MatrixSource source;
  source.where = where;
  source.type_name = info.name;
  source.rows = checked_cast<uint32_t>(tensor.shape[0], where);
  source.cols = checked_cast<uint32_t>(tensor.shape[1], where);
  source.type = tensor.type;
  source.data = tensor.data;
  source.tensors = {&tensor};
  if (source.cols % info.block_elems != 0)
    throw Error::mismatch(
        where, "the row length",
        "a multiple of " + std::to_string(info.block_elems) + " (" + info.name + ")",
        std::to_string(source.cols));
  const uint64_t bytes =
      checked_mul(source.rows, source.cols / info.block_elems * uint64_t{info.block_bytes}, where);
  if (tensor.data.size() != bytes)
    throw Error::mismatch(where, "the size of the tensor", std::to_string(bytes) + " bytes",
                          std::to_string(tensor.data.size()) + " bytes");
  return source;
}

TensorView part_of(const TensorView& tensor, int64_t index, int64_t count,
                   const std::string& path) {
  if (tensor.shape.empty() || tensor.shape[0] != static_cast<uint64_t>(count))
    throw Error::mismatch(path + ": " + tensor.name, "shape",
                          "[" + std::to_string(count) + ", ...]", tensor.shape_text());
  TensorView part = tensor;
  part.shape.erase(part.shape.begin());
  const size_t bytes = tensor.data.size() / static_cast<size_t>(count);
  part.data = tensor.data.subspan(static_cast<size_t>(index) * bytes, bytes);
  return part;
}

MatrixSource expert_of(const TensorView& tensor, int64_t index, int64_t count,
                       const std::string& path) {
  MatrixSource source = matrix_of(part_of(tensor, index, count, path), path);
  // Whoever consumes the last of them may let go of the tensor.
  source.tensors.clear();
  if (index == count - 1) source.tensors.push_back(&tensor);
  return source;
}

void transpose(MatrixSource& source) {
  if (source.has_grid())
    throw Error(source.where, "is quantized, and stored as [inputs, outputs]",
                "use the unquantized model");
  std::swap(source.rows, source.cols);
  source.transposed = !source.transposed;
}

std::optional<MatrixSource> find_matrix(const Checkpoint& checkpoint, const QuantConfig& config,
                                        std::string_view name) {
  constexpr std::string_view kSuffix = ".weight";
  if (const TensorView* tensor = checkpoint.find(name)) return matrix_of(*tensor, checkpoint.path);
  if (checkpoint.format != FileFormat::hugging_face || !name.ends_with(kSuffix))
    return std::nullopt;
  return find_grid(checkpoint, config, name.substr(0, name.size() - kSuffix.size()));
}

void release(const Checkpoint& checkpoint, const MatrixSource& source) noexcept {
  for (const TensorView* tensor : source.tensors) checkpoint.release(*tensor);
}

void require_finite(const MatrixSource& source, ThreadPool& pool) {
  if (source.grid || !is_float(source.type)) return;
  constexpr size_t kPiece = size_t{1} << 20;  // bytes
  const size_t bytes = source.data.size();
  std::atomic<bool> finite = true;
  pool.run(ceil_div(bytes, kPiece), [&](size_t i, int) {
    const auto piece = source.data.subspan(i * kPiece, std::min(kPiece, bytes - i * kPiece));
    if (!number_range(source.type, piece).finite) finite = false;
  });
  if (!finite) throw Error(source.where, "holds a value that is not finite");
}

}  // namespace nibble
