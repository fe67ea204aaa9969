// The dot product of ARMv8.2: four products of bytes per 32-bit lane.
#pragma once

#include "neon_kernels.h"

namespace nibble {
namespace {

/// Codes are 0..63, or those of a byte less 128: all are signed bytes. The sum over a group
/// of 128 columns is at most 128 * 128 * 127, far inside 32 bits.
struct Sdot {
  static constexpr bool kPairs = false;
  template <int32_t>
  static int32x4_t add(int32x4_t acc, const int8x16_t (&q)[4], int8x16_t x) {
    acc = vdotq_laneq_s32(acc, q[0], x, 0);
    acc = vdotq_laneq_s32(acc, q[1], x, 1);
    acc = vdotq_laneq_s32(acc, q[2], x, 2);
    return vdotq_laneq_s32(acc, q[3], x, 3);
  }
};

}  // namespace
}  // namespace nibble
