// Round to nearest: the quantizer without statistics.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

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

/// Compilers make vectors of loops whose length they know.
constexpr size_t kBlock = 32;

/// Calls fn(block, i, n) for the weights i..i+n-1 in blocks of 32, the last filled up with zeros.
template <class Fn>
void for_blocks(const float* w, size_t n, Fn&& fn) {
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) fn(w + i, i, std::integral_constant<size_t, kBlock>());
  if (i == n) return;
  float last[kBlock] = {};
  std::copy(w + i, w + n, last);
  fn(last, i, n - i);
}

/// q[i] = zero + round(w[i] / s), within lo..hi.
void round_codes(const float* w, size_t n, float s, int zero, int lo, int hi, uint8_t* q) {
  const float least = static_cast<float>(lo - zero);
  const float most = static_cast<float>(hi - zero);
  for_blocks(w, n, [&](const float* block, size_t i, auto count) {
    int32_t rounded[kBlock];
    uint8_t codes[kBlock];
    for (size_t k = 0; k < kBlock; ++k)
      rounded[k] = round_clamped(block[k] / s, least, most) + zero;
    for (size_t k = 0; k < kBlock; ++k) codes[k] = static_cast<uint8_t>(rounded[k]);
    std::memcpy(q + i, codes, count);
  });
}

struct Range {
  float min = 0;
  float max = 0;

  void see(float least, float most) {
    min = least < min ? least : min;
    max = most > max ? most : max;
  }
};

/// The least and greatest of the weights and zero; NaN is passed over.
Range range_with_zero(const float* w, size_t n) {
  constexpr size_t kLanes = 4;
  Range range;
  for_blocks(w, n, [&](const float* block, size_t, auto) {
    float min[kLanes] = {}, max[kLanes] = {};
    for (size_t i = 0; i < kBlock; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float x = block[i + lane];
        min[lane] = x < min[lane] ? x : min[lane];
        max[lane] = x > max[lane] ? x : max[lane];
      }
    for (size_t lane = 0; lane < kLanes; ++lane) range.see(min[lane], max[lane]);
  });
  return range;
}

/// The scale and zero for weights of that range.
RtnGroup grid_of(const Range& range, RtnKind kind) {
  if (kind == RtnKind::q4) {
    RtnGroup grid{usable_scale((range.max - range.min) / 15), 0};
    grid.zero = static_cast<uint8_t>(round_clamped(-range.min / half_to_float(grid.scale), 0, 15));
    return grid;
  }
  const float most = kind == RtnKind::q8 ? 127 : 7;
  const float absmax = std::max(range.max, std::abs(range.min));
  return {usable_scale(absmax / most), static_cast<uint8_t>(kind == RtnKind::q8 ? 128 : 8)};
}

}  // namespace

void rtn_groups(RtnKind kind, const float* w, size_t n, size_t group, uint8_t* q, RtnGroup* grids) {
  // Each step for many groups, so that the CPU need not wait for one group's range, scale and zero.
  constexpr size_t kTogether = 16;
  Range ranges[kTogether];
  for (size_t first = 0; first < n; first += kTogether * group) {
    const size_t end = std::min(n, first + kTogether * group);
    const auto for_groups = [&](auto&& fn) {
      for (size_t i = first, g = 0; i < end; i += group, ++g) fn(i, std::min(group, n - i), g);
    };
    for_groups(
        [&](size_t i, size_t count, size_t g) { ranges[g] = range_with_zero(w + i, count); });
    for_groups([&](size_t, size_t, size_t g) { grids[g] = grid_of(ranges[g], kind); });
    for_groups([&](size_t i, size_t count, size_t g) {
      const int zero = grids[g].zero, most = kind == RtnKind::q8 ? 127 : 7;
      const int least_code = kind == RtnKind::q4 ? 0 : zero - most;
      const int most_code = kind == RtnKind::q4 ? 15 : zero + most;
      round_codes(w + i, count, half_to_float(grids[g].scale), zero, least_code, most_code, q + i);
    });
    grids += kTogether;
  }
}

RtnGroup rtn4_group(const float* w, size_t n, bool symmetric, uint8_t* q) {
  RtnGroup grid;
  rtn_groups(symmetric ? RtnKind::q4_symmetric : RtnKind::q4, w, n, n, q, &grid);
  return grid;
}

RtnGroup rtn8_group(const float* w, size_t n, uint8_t* q) {
  RtnGroup grid;
  rtn_groups(RtnKind::q8, w, n, n, q, &grid);
  return grid;
}

}  // namespace nibble
