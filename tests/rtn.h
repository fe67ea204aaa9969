// Round to nearest, one group at a time: the specification in plain code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::test {

/// One row and group of n <= group weights, rounded to nearest: which
/// LoadKernels::round_columns() does with sixteen rows.
/// Asymmetric: the range includes zero; s = (max - min) / 15 rounded to fp16 first, then
/// z = round(-min / s) and q = round(w / s) + z, ties to even, clamped to 0..15.
/// Symmetric: s = absmax / 7 rounded to fp16, z = 8, q in 1..15.
/// A scale that rounds to zero or overflows fp16 is moved to the nearest positive finite fp16.
struct RtnGroup {
  uint16_t scale = 0;  // fp16 bits
  uint8_t zero = 0;
};
RtnGroup rtn4_group(const float* w, size_t n, bool symmetric, uint8_t* q);
/// 8 bits, symmetric: s = absmax / 127 rounded to fp16, q = 128 + round(w / s) in 1..255.
RtnGroup rtn8_group(const float* w, size_t n, uint8_t* q);

}  // namespace nibble::test
