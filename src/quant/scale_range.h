// What the scales of a tensor have in common.
#pragma once

#include "load/checkpoint.h"

namespace nibble {

struct ScaleRange {
  bool finite = true;
  bool fp16 = true;  // all of them are fp16 numbers
};

/// Of f16, bf16 or f32.
ScaleRange scale_range(const TensorView& scales);

}  // namespace nibble
