#include "quant/hf_mxfp4.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "nibble/error.h"
#include "quant/grid_source.h"

namespace nibble {
namespace {

constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
constexpr uint64_t kBlockBytes = 16, kBlockCols = 32;

void require(const std::string& path, const TensorView& tensor, std::vector<uint64_t> shape) {
  const std::string where = path + ": " + tensor.name;
  if (tensor.type != DType::u8)
    throw Error::mismatch(where, "type", "U8", dtype_info(tensor.type).name);
  if (tensor.shape == shape) return;
  TensorView expected;
  expected.shape = std::move(shape);
  throw Error::mismatch(where, "shape", expected.shape_text(), tensor.shape_text());
}

}  // namespace

MatrixSource mxfp4_expert_of(const Checkpoint& checkpoint, const TensorView& blocks, int64_t index,
                             int64_t count) {
  const std::string where = checkpoint.path + ": " + blocks.name;
  if (blocks.shape.size() != 4)
    throw Error::mismatch(where, "shape", "[experts, rows, blocks, 16]", blocks.shape_text());
  const uint64_t rows = blocks.shape[1], n_groups = blocks.shape[2];
  require(checkpoint.path, blocks, {static_cast<uint64_t>(count), rows, n_groups, kBlockBytes});
  const std::string name = blocks.name.substr(0, blocks.name.size() - kBlocks.size());
  const TensorView& scales = checkpoint.get(name + std::string(kScales));
  require(checkpoint.path, scales, {static_cast<uint64_t>(count), rows, n_groups});
  if (rows == 0 || n_groups == 0) throw Error(where, "is empty");
  MatrixSource out;
  out.where = where;
  out.type_name = "MXFP4";
  out.rows = checked_cast<uint32_t>(rows, where);
  out.cols = checked_cast<uint32_t>(checked_mul(n_groups, kBlockCols, where), where);
  const size_t first = static_cast<size_t>(index) * rows * n_groups;  // of the expert's groups
  GridSource grid;
  grid.codes = blocks.data.data() + first * kBlockBytes;
  grid.line = n_groups * kBlockBytes / sizeof(uint32_t);
  grid.scales = {DType::u8, scales.data.data() + first, n_groups, 1};
  grid.group = kBlockCols;
  grid.n_groups = static_cast<uint32_t>(n_groups);
  grid.form = BlockMXFP4::kForm;
  out.grid = std::make_shared<const GridSource>(std::move(grid));
  // Whoever consumes the last of them may let go of the tensors.
  if (index == count - 1) out.tensors = {&blocks, &scales};
  return out;
}

}  // namespace nibble
