#include "quant/hf_mxfp4.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "nibble/error.h"
#include "quant/grid_source.h"

namespace nibble {
namespace {

constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
constexpr uint64_t kBlockBytes = 16, kBlockCols = 32;

}  // namespace

MatrixSource mxfp4_expert_of(const Checkpoint& checkpoint, const TensorView& blocks, int64_t index,
                             int64_t count) {
  const std::string where = checkpoint.path + ": " + blocks.name;
  const std::string name = blocks.name.substr(0, blocks.name.size() - kBlocks.size());
  const TensorView& scales = checkpoint.get(name + std::string(kScales));
  for (const TensorView* tensor : {&blocks, &scales})
    if (tensor->type != DType::u8)
      throw Error::mismatch(checkpoint.path + ": " + tensor->name, "type", "U8",
                            dtype_info(tensor->type).name);
  if (blocks.shape.size() != 4 || blocks.shape[3] != kBlockBytes)
    throw Error::mismatch(where, "shape", "[experts, rows, blocks, 16]", blocks.shape_text());
  const TensorView codes = part_of(blocks, index, count, checkpoint.path);
  const TensorView exponents = part_of(scales, index, count, checkpoint.path);
  const uint64_t rows = codes.shape[0], n_groups = codes.shape[1];
  if (exponents.shape != std::vector{rows, n_groups})
    throw Error::mismatch(checkpoint.path + ": " + scales.name, "the shape of an expert",
                          "[" + std::to_string(rows) + ", " + std::to_string(n_groups) + "]",
                          exponents.shape_text());
  if (rows == 0 || n_groups == 0) throw Error(where, "is empty");
  MatrixSource out;
  out.where = where;
  out.type_name = "MXFP4";
  out.rows = checked_cast<uint32_t>(rows, where);
  out.cols = checked_cast<uint32_t>(checked_mul(n_groups, kBlockCols, where), where);
  GridSource grid;
  grid.codes = codes.data.data();
  grid.line = n_groups * kBlockBytes / sizeof(uint32_t);
  grid.scales = {DType::u8, exponents.data.data(), n_groups, 1};
  grid.group = kBlockCols;
  grid.n_groups = static_cast<uint32_t>(n_groups);
  grid.form = BlockMXFP4::kForm;
  out.grid = std::make_shared<const GridSource>(std::move(grid));
  // Whoever consumes the last of them may let go of the tensors.
  if (index == count - 1) out.tensors = {&blocks, &scales};
  return out;
}

}  // namespace nibble
