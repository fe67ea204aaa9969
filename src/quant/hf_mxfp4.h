// Experts in MXFP4 as gpt-oss's checkpoints have them (OCP Microscaling Formats, version 1.0).
#pragma once

#include "load/checkpoint.h"
#include "quant/matrix_source.h"

namespace nibble {

/// Expert `index` of `count` in the tensors NAME_blocks [count, rows, cols / 32, 16], of bytes with
/// two columns each, the first in the low bits, and NAME_scales [count, rows, cols / 32], of bytes
/// e for 2^(e - 127). Error naming the tensor whose type or shape is another.
MatrixSource mxfp4_expert_of(const Checkpoint& checkpoint, const TensorView& blocks, int64_t index,
                             int64_t count);

}  // namespace nibble
