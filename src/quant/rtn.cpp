// Round to nearest: the quantizer without statistics.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/half.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

constexpr uint16_t kSmallestHalf = 0x0001;  // 2^-24
constexpr uint16_t kLargestHalf = 0x7bff;   // 65504

uint16_t usable_scale(float s) {
  const uint16_t bits = float_to_half(s);
  if (bits == 0) return kSmallestHalf;
  return bits > kLargestHalf ? kLargestHalf : bits;
}

/// x clamped to lo..hi (NaN becomes lo) and rounded to an integer, ties to even. |lo|, |hi| < 2^22:
/// there, adding 1.5 * 2^23 leaves the integer in the low bits of the sum.
int32_t round_clamped(float x, float lo, float hi) {
  const float above = x > lo ? x : lo;
  const float clamped = above < hi ? above : hi;
  return std::bit_cast<int32_t>(clamped + 0x1.8p23f) - std::bit_cast<int32_t>(0x1.8p23f);
}

/// q[i] = zero + round(w[i] / s), within lo..hi.
void round_codes(const float* w, size_t n, float s, int zero, int lo, int hi, uint8_t* q) {
  const float least = static_cast<float>(lo - zero);
  const float most = static_cast<float>(hi - zero);
  for (size_t i = 0; i < n; ++i)
    q[i] = static_cast<uint8_t>(round_clamped(w[i] / s, least, most) + zero);
}

struct Range {
  float min = 0;
  float max = 0;
};

/// The least and greatest of the weights and zero; NaN is passed over.
Range range_with_zero(const float* w, size_t n) {
  constexpr size_t kLanes = 8;  // independent chains
  float min[kLanes] = {}, max[kLanes] = {};
  const auto see = [&](size_t lane, float x) {
    min[lane] = x < min[lane] ? x : min[lane];
    max[lane] = x > max[lane] ? x : max[lane];
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) see(lane, w[i + lane]);
  for (; i < n; ++i) see(0, w[i]);
  for (size_t lane = 1; lane < kLanes; ++lane) {
    see(0, min[lane]);
    see(0, max[lane]);
  }
  return {min[0], max[0]};
}

RtnGroup symmetric_group(const float* w, size_t n, int most, uint8_t zero, uint8_t* q) {
  const Range range = range_with_zero(w, n);
  const float absmax = std::max(range.max, std::abs(range.min));
  const RtnGroup out{usable_scale(absmax / static_cast<float>(most)), zero};
  round_codes(w, n, half_to_float(out.scale), zero, zero - most, zero + most, q);
  return out;
}

}  // namespace

RtnGroup rtn4_group(const float* w, size_t n, bool symmetric, uint8_t* q) {
  if (symmetric) return symmetric_group(w, n, 7, 8, q);
  const Range range = range_with_zero(w, n);
  RtnGroup out{usable_scale((range.max - range.min) / 15), 0};
  const float s = half_to_float(out.scale);
  out.zero = static_cast<uint8_t>(round_clamped(-range.min / s, 0, 15));
  round_codes(w, n, s, out.zero, 0, 15, q);
  return out;
}

RtnGroup rtn8_group(const float* w, size_t n, uint8_t* q) {
  return symmetric_group(w, n, 127, 128, q);
}

}  // namespace nibble
