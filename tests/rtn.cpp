#include "rtn.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace nibble::test {
namespace {

constexpr uint16_t kSmallestHalf = 0x0001;  // 2^-24
constexpr uint16_t kLargestHalf = 0x7bff;   // 65504

uint16_t usable_scale(float s) { return std::clamp(float_to_half(s), kSmallestHalf, kLargestHalf); }

/// x clamped to low..high (NaN becomes low) and rounded to an integer, ties to even.
int round_clamped(float x, int low, int high) {
  if (!(x > static_cast<float>(low))) return low;
  return static_cast<int>(std::nearbyint(std::min(x, static_cast<float>(high))));
}

struct Range {
  float min = 0;
  float max = 0;
};

/// The least and greatest of the weights and zero; NaN is passed over.
Range range_with_zero(const float* w, size_t n) {
  Range range;
  for (size_t i = 0; i < n; ++i) {
    if (w[i] < range.min) range.min = w[i];
    if (w[i] > range.max) range.max = w[i];
  }
  return range;
}

/// q = zero + round(w / scale), within low..high.
void round_codes(const float* w, size_t n, const RtnGroup& grid, int low, int high, uint8_t* q) {
  const float s = half_to_float(grid.scale);
  const int zero = grid.zero;
  for (size_t i = 0; i < n; ++i)
    q[i] = static_cast<uint8_t>(zero + round_clamped(w[i] / s, low - zero, high - zero));
}

RtnGroup symmetric_group(const float* w, size_t n, int most, uint8_t zero, uint8_t* q) {
  const Range range = range_with_zero(w, n);
  const float absmax = std::max(range.max, -range.min);
  const RtnGroup grid{usable_scale(absmax / static_cast<float>(most)), zero};
  round_codes(w, n, grid, zero - most, zero + most, q);
  return grid;
}

}  // namespace

RtnGroup rtn4_group(const float* w, size_t n, bool symmetric, uint8_t* q) {
  if (symmetric) return symmetric_group(w, n, 7, 8, q);
  const Range range = range_with_zero(w, n);
  RtnGroup grid{usable_scale((range.max - range.min) / 15), 0};
  grid.zero = static_cast<uint8_t>(round_clamped(-range.min / half_to_float(grid.scale), 0, 15));
  round_codes(w, n, grid, 0, 15, q);
  return grid;
}

RtnGroup rtn8_group(const float* w, size_t n, uint8_t* q) {
  return symmetric_group(w, n, 127, 128, q);
}

}  // namespace nibble::test
