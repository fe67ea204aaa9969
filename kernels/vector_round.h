// Rounding of float panels to panels of codes, for every class V that has the operations used here:
// those of vector_*.h, of which ARM's has another min and max (NeonRound in neon_vector.h).
#pragma once

#include "packed.h"

namespace nibble {
namespace {

// How quotients are rounded: a float of about kWhole has units in its lowest bit, so that adding
// kWhole rounds to a whole number, which its bits then hold.
constexpr float kWhole = 0x1.8p23f;
constexpr int32_t kWholeBits = 0x4b400000;
// Before that, those of f16 and bf16 are products with 1 / s, which adding this rounds to multiples
// of 2^-14. It is as good as a division: a quotient of numbers of 11 bits is 0.5, 1.5, .. or 127.5
// or at least 2^-13 away from it, and its product is at most 2^-17 away from it.
template <Codes From>
constexpr float kMoved = From == Codes::f32 ? 0 : 0x1.8p9f;

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

/// x within low..high; NaN becomes low.
template <class V>
[[gnu::always_inline]] inline typename V::F within(typename V::F x, typename V::F low,
                                                   typename V::F high) {
  return V::min(V::max(x, low), high);
}

/// The scales of a group of n columns; of their zeros, those of Scheme::f16_zero.
template <class V, Codes From>
void round_scales(const PackedShape& shape, const void* w, size_t n, ScaleF16Zero& out) {
  using F = typename V::F;
  F min = V::zero(), max = V::zero();
  for (size_t c = 0; c < n; ++c) {
    const F x = float_column<V, From>(w, c);
    min = V::min(x, min);  // as operands are ordered, NaN is passed over
    max = V::max(x, max);
  }
  const bool symmetric = shape.scheme == Scheme::f16;
  const float most = shape.codes == Codes::q8 ? 127.0f : 7.0f;
  const F below = V::sub(V::zero(), min);
  const F wanted = symmetric ? V::div(V::max(max, below), V::set1(most))
                             : V::div(V::sub(max, min), V::set1(15.0f));
  V::store_f16(out.s, within<V>(wanted, V::set1(kSmallestScale), V::set1(kLargestScale)));
  if (symmetric) return;
  const F zero = within<V>(V::div(below, V::load_f16(out.s)), V::zero(), V::set1(15.0f));
  V::store_s8(reinterpret_cast<int8_t*>(out.z), V::to_int(zero));
}

/// A group of n columns to lines of codes, q = zero + round(w / s). The columns of a line are one
/// number for each lane, the sum of their codes times powers of two: so are their zeros.
template <class V, Codes From, Codes To>
void round_lines(const PackedShape& shape, const void* w, size_t n, const ScaleF16Zero& scale,
                 uint8_t* out) {
  using F = typename V::F;
  using I = typename V::I;
  const F moved = V::set1(kMoved<From>), whole = V::set1(kWhole - kMoved<From>);
  const F s = V::load_f16(scale.s), inverse = V::div(V::set1(1.0f), s);
  I zeros = V::set1_int(shape.zero);
  F low = V::set1(To == Codes::q8 ? -127.0f : -7.0f), high = V::sub(V::zero(), low);
  if (shape.scheme == Scheme::f16_zero) {
    zeros = V::load_s8(reinterpret_cast<const int8_t*>(scale.z));
    low = V::sub(V::zero(), V::to_float(zeros));
    high = V::add(low, V::set1(15.0f));
  }
  low = V::add(low, moved);
  high = V::add(high, moved);
  zeros = V::add_int(zeros, V::set1_int(-kWholeBits));
  if constexpr (To == Codes::q4) zeros = V::add_int(zeros, V::template shift_left<4>(zeros));
  zeros = V::add_int(zeros, V::template shift_left<8>(zeros));
  zeros = V::add_int(zeros, V::template shift_left<16>(zeros));
  for (size_t c = 0; c < n; c += kLineCols<To>, out += kLineBytes) {
    const auto code = [&](size_t i) {
      F x = float_column<V, From>(w, c + i);
      x = From == Codes::f32 ? V::div(x, s) : V::fma(x, inverse, moved);
      return V::as_int(V::add(within<V>(x, low, high), whole));
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

/// All scales before all lines: those of a group wait for each other for longer than a CPU looks
/// ahead, unless the next group has nothing else to do.
template <class V, Codes From, Codes To>
void round_groups(const PackedShape& shape, const void* w, size_t n, uint8_t* codes,
                  uint8_t* scales) {
  const size_t scale_bytes = shape.scheme == Scheme::f16 ? sizeof(ScaleF16) : sizeof(ScaleF16Zero);
  const size_t group_bytes = shape.group * kPanelRows * (From == Codes::f32 ? 4 : 2);
  const auto group = [&](size_t g) { return static_cast<const uint8_t*>(w) + g * group_bytes; };
  const auto scale = [&](size_t g) -> ScaleF16Zero& {
    return *reinterpret_cast<ScaleF16Zero*>(scales + g * scale_bytes);
  };
  const size_t n_groups = n / shape.group;
  for (size_t g = 0; g < n_groups; ++g)
    round_scales<V, From>(shape, group(g), shape.group, scale(g));
  for (size_t g = 0; g < n_groups; ++g)
    round_lines<V, From, To>(shape, group(g), shape.group, scale(g),
                             codes + g * shape.group * column_bytes(To));
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
