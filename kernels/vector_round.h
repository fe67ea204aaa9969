// Rounding of float panels to panels of codes, for every class V that has the operations used here:
// those of vector_*.h, and one for ARM in neon_round.h.
#pragma once

#include "packed.h"

namespace nibble {
namespace {

constexpr float kSmallestScale = 0x1p-24f;  // of fp16
constexpr float kLargestScale = 65504.0f;

/// Column c of w [columns][16].
template <class V, Codes From>
[[gnu::always_inline]] inline typename V::F float_column(const void* w, size_t c) {
  if constexpr (From == Codes::f16)
    return V::load_f16(static_cast<const uint16_t*>(w) + c * kPanelRows);
  else if constexpr (From == Codes::bf16)
    return V::load_bf16(static_cast<const uint16_t*>(w) + c * kPanelRows);
  else
    return V::load(static_cast<const float*>(w) + c * kPanelRows);
}

/// Of one group, lane = row: q = zero + round(w / s), w / s within low..high.
template <class V>
struct RoundGrid {
  typename V::F s, low, high;
  typename V::I zero;
};

/// x within low..high; NaN becomes low.
template <class V>
[[gnu::always_inline]] inline typename V::F within(typename V::F x, typename V::F low,
                                                   typename V::F high) {
  return V::min(V::max(x, low), high);
}

/// The grid of n columns; its scales, fp16, to `scales`.
template <class V, Codes From>
RoundGrid<V> round_grid(const PackedShape& shape, const void* w, size_t n, uint16_t* scales) {
  using F = typename V::F;
  F min = V::zero(), max = V::zero();
  for (size_t c = 0; c < n; ++c) {
    const F x = float_column<V, From>(w, c);
    min = V::min(x, min);  // as operands are ordered, NaN is passed over
    max = V::max(x, max);
  }
  const bool symmetric = shape.scheme == Scheme::f16;
  const float most = shape.codes == Codes::q8 ? 127.0f : 7.0f;
  const F wanted = symmetric ? V::div(V::max(max, V::sub(V::zero(), min)), V::set1(most))
                             : V::div(V::sub(max, min), V::set1(15.0f));
  V::store_f16(scales, within<V>(wanted, V::set1(kSmallestScale), V::set1(kLargestScale)));
  const F s = V::load_f16(scales);
  if (symmetric) return {s, V::set1(-most), V::set1(most), V::set1_int(shape.zero)};
  const F below = V::div(V::sub(V::zero(), min), s);
  const auto zero = V::to_int(within<V>(below, V::zero(), V::set1(15.0f)));
  const F low = V::sub(V::zero(), V::to_float(zero));
  return {s, low, V::add(low, V::set1(15.0f)), zero};
}

/// n columns to lines of codes. The columns of a line are one number for each lane, the sum of
/// their codes times powers of two: so are their zeros.
template <class V, Codes From, Codes To>
void round_lines(const void* w, size_t n, const RoundGrid<V>& grid, uint8_t* out) {
  using I = typename V::I;
  I zeros = grid.zero;
  if constexpr (To == Codes::q4) zeros = V::add_int(zeros, V::template shift_left<4>(zeros));
  zeros = V::add_int(zeros, V::template shift_left<8>(zeros));
  zeros = V::add_int(zeros, V::template shift_left<16>(zeros));
  for (size_t c = 0; c < n; c += kLineCols<To>, out += kLineBytes) {
    const auto code = [&](size_t i) {
      const auto quotient = V::div(float_column<V, From>(w, c + i), grid.s);
      return V::to_int(within<V>(quotient, grid.low, grid.high));
    };
    const auto plus = [](I a, I b) { return V::add_int(a, b); };
    I line = plus(plus(zeros, code(0)), V::template shift_left<8>(code(1)));
    line = plus(line, V::template shift_left<16>(code(2)));
    line = plus(line, V::template shift_left<24>(code(3)));
    if constexpr (To == Codes::q4) {
      line = plus(line, V::template shift_left<4>(code(4)));
      line = plus(line, V::template shift_left<12>(code(5)));
      line = plus(line, V::template shift_left<20>(code(6)));
      line = plus(line, V::template shift_left<28>(code(7)));
    }
    V::store_int(out, line);
  }
}

template <class V, Codes From, Codes To>
void round_groups(const PackedShape& shape, const void* w, size_t n, uint8_t* codes,
                  uint8_t* scales) {
  constexpr size_t kColumnBytes = kLineBytes / kLineCols<To>;
  const size_t group = shape.group;
  const size_t group_bytes = group * kPanelRows * (From == Codes::f32 ? 4 : 2);
  const auto* from = static_cast<const uint8_t*>(w);
  for (size_t c = 0; c < n; c += group, from += group_bytes, codes += group * kColumnBytes) {
    auto& scale = *reinterpret_cast<ScaleF16Zero*>(scales);
    const RoundGrid<V> grid = round_grid<V, From>(shape, from, group, scale.s);
    round_lines<V, From, To>(from, group, grid, codes);
    if (shape.scheme == Scheme::f16_zero)
      V::store_s8(reinterpret_cast<int8_t*>(scale.z), grid.zero);
    scales += shape.scheme == Scheme::f16 ? sizeof(ScaleF16) : sizeof(ScaleF16Zero);
  }
}

template <class V>
void round_columns(const PackedShape& shape, Codes from, const void* w, size_t n, uint8_t* codes,
                   uint8_t* scales) {
  const auto run = [&]<Codes From>() {
    if (shape.codes == Codes::q8)
      round_groups<V, From, Codes::q8>(shape, w, n, codes, scales);
    else
      round_groups<V, From, Codes::q4>(shape, w, n, codes, scales);
  };
  if (from == Codes::f16)
    run.template operator()<Codes::f16>();
  else if (from == Codes::bf16)
    run.template operator()<Codes::bf16>();
  else
    run.template operator()<Codes::f32>();
}

}  // namespace
}  // namespace nibble
