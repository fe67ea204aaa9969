// What the numbers of a tensor have in common.
#pragma once

#include <cstddef>
#include <span>

#include "load/checkpoint.h"

namespace nibble {

struct NumberRange {
  bool finite = true;
  bool fp16 = true;  // all of them are fp16 numbers
};

/// Of f16, bf16 or f32.
NumberRange number_range(DType type, std::span<const std::byte> numbers);

}  // namespace nibble
