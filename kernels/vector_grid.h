// How the codes of a panel become weights (packed.h, Scheme), for every instruction set V.
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

/// What the zero z of w = s * (q - z) is; none: the scheme is w = s * q + m.
enum class Zero : uint8_t { constant, per_row, none };

/// The scale of a group of columns, lane = row. Either w = s * (q - z) with m unused, or
/// w = s * q + m with z = 0. z is kept as int16 in the low half of each 32-bit lane, the high half
/// 0: one multiply-add of int16 pairs then yields z * xsum, since |xsum| <= 128 * 127 < 2^15.
template <class V>
struct GroupScale {
  typename V::F s, m;
  typename V::I z;
};

/// A scheme. kZero tells what z is; at(g) reads the scale of group g of a panel. Products of an
/// fp16 and a 6- or 8-bit integer are exact in f32.
template <class V, Scheme kScheme>
struct GridOf {};

template <class V>
struct GridOf<V, Scheme::f16> {
  static constexpr Zero kZero = Zero::constant;
  const uint8_t* scales;
  int32_t zero;
  GridOf(const PackedView& w, size_t panel)
      : scales(w.scales + panel * w.scale_stride), zero(w.shape.zero) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_zero> {
  static constexpr Zero kZero = Zero::per_row;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16Zero*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f32_zero> {
  static constexpr Zero kZero = Zero::per_row;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF32Zero*>(scales)[g];
    return {V::load(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_min> {
  static constexpr Zero kZero = Zero::none;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16Min*>(scales)[g];
    return {V::load_f16(scale.s), V::load_f16(scale.m), V::zero_int()};
  }
};

template <class V>
struct GridOf<V, Scheme::k6> {
  static constexpr Zero kZero = Zero::none;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  /// low four bits from `low`, the next two from bit 2 * odd (+ 4 for the minimum) of `high`.
  [[gnu::always_inline]] static typename V::F six_bits(typename V::I low, typename V::I high,
                                                       unsigned odd, unsigned high_shift) {
    return V::to_float(V::or_int(V::bits(low, 4 * odd, 15), V::template shift_left<4>(V::bits(
                                                                high, high_shift + 2 * odd, 3))));
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& super = reinterpret_cast<const ScaleK6*>(scales)[g / 8];
    const size_t pair = g % 8 / 2;
    const unsigned odd = g % 2;
    const auto hi = V::load_u8(super.hi[pair]);
    const auto sc = six_bits(V::load_u8(super.sc[pair]), hi, odd, 0);
    const auto mn = six_bits(V::load_u8(super.mn[pair]), hi, odd, 4);
    const auto dmin = V::sub(V::zero(), V::load_f16(super.dmin));
    return {V::mul(V::load_f16(super.d), sc), V::mul(dmin, mn), V::zero_int()};
  }
};

/// 16 or 8 rows of sc per 256 columns: the same struct, cut short.
template <class V>
struct GridOf<V, Scheme::k8> {
  static constexpr Zero kZero = Zero::constant;
  const uint8_t* scales;
  size_t per_super, bytes;
  int32_t zero;
  GridOf(const PackedView& w, size_t panel)
      : scales(w.scales + panel * w.scale_stride),
        per_super(kSuperCols / w.shape.group),
        bytes(w.shape.group == 16 ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32)),
        zero(w.shape.zero) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& super = *reinterpret_cast<const ScaleK8x16*>(scales + g / per_super * bytes);
    return {V::mul(V::load_f16(super.d), V::to_float(V::load_s8(super.sc[g % per_super]))),
            V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::k8_min> {
  static constexpr Zero kZero = Zero::none;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& super = reinterpret_cast<const ScaleK8Min*>(scales)[g / 16];
    const auto dmin = V::sub(V::zero(), V::load_f16(super.dmin));
    return {V::mul(V::load_f16(super.d), V::to_float(V::load_u8(super.sc[g % 16]))),
            V::mul(dmin, V::to_float(V::load_u8(super.mn[g % 16]))), V::zero_int()};
  }
};

template <class V>
struct GridOf<V, Scheme::k4_min> {
  static constexpr Zero kZero = Zero::none;
  const uint8_t* scales;
  GridOf(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& super = reinterpret_cast<const ScaleK4Min*>(scales)[g / 16];
    const auto both = V::load_u8(super.sc_mn[g % 16]);
    const auto dmin = V::sub(V::zero(), V::load_f16(super.dmin));
    return {V::mul(V::load_f16(super.d), V::to_float(V::bits(both, 0, 15))),
            V::mul(dmin, V::to_float(V::bits(both, 4, 15))), V::zero_int()};
  }
};

/// Calls run.operator()<C, Grid>() for the codes and scheme of a quantized shape.
template <class V, class Run>
void with_grid(const PackedShape& shape, const Run& run) {
  with_format(shape,
              [&]<Codes C, Scheme kScheme>() { run.template operator()<C, GridOf<V, kScheme>>(); });
}

}  // namespace
}  // namespace nibble
