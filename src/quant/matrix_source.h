// A weight matrix of a checkpoint, wherever and however it is stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "load/checkpoint.h"
#include "quant/quant_config.h"

namespace nibble {

struct GridSource;
class ThreadPool;

/// One matrix W [rows, cols] (rows = outputs, y = W x). A view: valid as long as its checkpoint.
struct MatrixSource {
  std::string where;      // for errors: "FILE: blk.0.attn_q.weight"
  std::string type_name;  // for people: "Q4_K", "BF16", "GPTQ"
  uint32_t rows = 0;
  uint32_t cols = 0;

  // Either rows of elements or of blocks, one after the other (or columns of elements),
  DType type = DType::f32;
  std::span<const std::byte> data;
  bool transposed = false;  // stored as [cols, rows]
  // or codes, scales and zeros apart, as checkpoints of AWQ, GPTQ, compressed-tensors and MXFP4
  // have them.
  std::shared_ptr<const GridSource> grid;

  /// The tensors that it is made of, in the checkpoint.
  std::vector<const TensorView*> tensors;

  /// Where its elements, blocks or codes begin.
  const std::byte* begin() const;
  /// Whether it comes as codes and scales, which packing keeps unless it widens.
  bool has_grid() const;
  /// Which column of the source packed column c is, if packing reorders them (activation order of
  /// GPTQ and compressed-tensors); empty if it is column c.
  std::span<const uint32_t> column_order() const;
};

/// A tensor of rank 2 as a matrix. Error naming it for other ranks, types that are no weights, and
/// sizes that do not fit each other; `path` is the file that errors name.
MatrixSource matrix_of(const TensorView& tensor, const std::string& path = {});

/// Part `index` of a tensor [count, ...], with the rest of its shape. Error naming it if there are
/// not `count`; `path` as above.
TensorView part_of(const TensorView& tensor, int64_t index, int64_t count, const std::string& path);

/// Matrix `index` of a tensor [count, rows, cols]. Error as from both.
MatrixSource expert_of(const TensorView& tensor, int64_t index, int64_t count,
                       const std::string& path);

/// The transposed matrix, over the same bytes. Error unless it consists of elements.
void transpose(MatrixSource& source);

/// The weights called `name` ("model.layers.0.self_attn.q_proj.weight"), or nothing if no tensor of
/// the checkpoint belongs to them. What tensors there are tells how they are stored: `name` itself,
/// or NAME.qweight or NAME.weight_packed with their companions. Error as above and from
/// find_grid().
std::optional<MatrixSource> find_matrix(const Checkpoint& checkpoint, const QuantConfig& config,
                                        std::string_view name);

/// Lets go of the memory of a matrix that has been consumed.
void release(const Checkpoint& checkpoint, const MatrixSource& source) noexcept;

/// Error if an element is not finite: rounding would make an ordinary code of it. Codes and scales
/// are not looked at.
void require_finite(const MatrixSource& source, ThreadPool& pool);

}  // namespace nibble
