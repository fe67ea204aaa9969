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

/// A panel's scales in one scheme. kZero tells what z is; at(g) reads the scale of group g, for
/// groups that follow each other from `first` on. Products of an fp16 and an integer of at most 8
/// bits are exact in f32.
template <class V, Scheme kScheme>
struct GridOf {};

inline const uint8_t* scales_of(const PackedView& w, size_t panel) {
  return w.scales + panel * w.scale_stride;
}

template <class V>
struct GridOf<V, Scheme::f16> {
  static constexpr Zero kZero = Zero::constant;
  const uint8_t* scales;
  int32_t zero;
  static GridOf of(const PackedView& w, size_t panel, size_t) {
    return {scales_of(w, panel), w.shape.zero};
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto& scale = reinterpret_cast<const ScaleF16*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_zero> {
  static constexpr Zero kZero = Zero::per_row;
  const uint8_t* scales;
  static GridOf of(const PackedView& w, size_t panel, size_t) { return {scales_of(w, panel)}; }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto& scale = reinterpret_cast<const ScaleF16Zero*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f32_zero> {
  static constexpr Zero kZero = Zero::per_row;
  const uint8_t* scales;
  static GridOf of(const PackedView& w, size_t panel, size_t) { return {scales_of(w, panel)}; }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto& scale = reinterpret_cast<const ScaleF32Zero*>(scales)[g];
    return {V::load(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_min> {
  static constexpr Zero kZero = Zero::none;
  const uint8_t* scales;
  static GridOf of(const PackedView& w, size_t panel, size_t) { return {scales_of(w, panel)}; }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto& scale = reinterpret_cast<const ScaleF16Min*>(scales)[g];
    return {V::load_f16(scale.s), V::load_f16(scale.m), V::zero_int()};
  }
};

/// The structs of the k schemes with a minimum, of 2^kLog groups each. What is common to their 256
/// columns is read with the first group.
template <class V, class Struct, unsigned kLog>
struct Supers {
  const uint8_t* structs;
  typename V::F d, minus_dmin;
  static Supers of(const PackedView& w, size_t panel, size_t first) {
    Supers x = {scales_of(w, panel), V::zero(), V::zero()};
    x.read(first >> kLog);
    return x;
  }
  [[gnu::always_inline]] const Struct& read(size_t i) {
    const auto& super = reinterpret_cast<const Struct*>(structs)[i];
    d = V::load_f16(super.d);
    minus_dmin = V::sub(V::zero(), V::load_f16(super.dmin));
    return super;
  }
  [[gnu::always_inline]] const Struct& of_group(size_t g) {
    if (g % (1u << kLog) == 0) return read(g >> kLog);
    return reinterpret_cast<const Struct*>(structs)[g >> kLog];
  }
};

template <class V>
struct GridOf<V, Scheme::k6> {
  static constexpr Zero kZero = Zero::none;
  Supers<V, ScaleK6, 3> supers;
  static GridOf of(const PackedView& w, size_t panel, size_t first) {
    return {Supers<V, ScaleK6, 3>::of(w, panel, first)};
  }
  /// low four bits from `low`, the next two from bit 2 * odd (+ 4 for the minimum) of `high`.
  [[gnu::always_inline]] static typename V::F six_bits(typename V::I low, typename V::I high,
                                                       unsigned odd, unsigned high_shift) {
    return V::to_float(V::or_int(V::bits(low, 4 * odd, 15), V::template shift_left<4>(V::bits(
                                                                high, high_shift + 2 * odd, 3))));
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK6& super = supers.of_group(g);
    const size_t pair = g % 8 / 2;
    const unsigned odd = g % 2;
    const auto hi = V::load_u8(super.hi[pair]);
    const auto sc = six_bits(V::load_u8(super.sc[pair]), hi, odd, 0);
    const auto mn = six_bits(V::load_u8(super.mn[pair]), hi, odd, 4);
    return {V::mul(supers.d, sc), V::mul(supers.minus_dmin, mn), V::zero_int()};
  }
};

/// 16 or 8 rows of sc per 256 columns: the same struct, cut short.
template <class V>
struct GridOf<V, Scheme::k8> {
  static constexpr Zero kZero = Zero::constant;
  const uint8_t* scales;
  size_t bytes;
  unsigned log;  // of the groups in a struct
  int32_t zero;
  typename V::F d;
  static GridOf of(const PackedView& w, size_t panel, size_t first) {
    const bool narrow = w.shape.group == 16;
    GridOf x = {scales_of(w, panel), narrow ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32),
                narrow ? 4u : 3u, w.shape.zero, V::zero()};
    x.d = V::load_f16(x.super(first).d);
    return x;
  }
  [[gnu::always_inline]] const ScaleK8x16& super(size_t g) const {
    return *reinterpret_cast<const ScaleK8x16*>(scales + (g >> log) * bytes);
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK8x16& here = super(g);
    const size_t i = g % (size_t{1} << log);
    if (i == 0) d = V::load_f16(here.d);
    return {V::mul(d, V::to_float(V::load_s8(here.sc[i]))), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::k8_min> {
  static constexpr Zero kZero = Zero::none;
  Supers<V, ScaleK8Min, 4> supers;
  static GridOf of(const PackedView& w, size_t panel, size_t first) {
    return {Supers<V, ScaleK8Min, 4>::of(w, panel, first)};
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK8Min& super = supers.of_group(g);
    return {V::mul(supers.d, V::to_float(V::load_u8(super.sc[g % 16]))),
            V::mul(supers.minus_dmin, V::to_float(V::load_u8(super.mn[g % 16]))), V::zero_int()};
  }
};

template <class V>
struct GridOf<V, Scheme::k4_min> {
  static constexpr Zero kZero = Zero::none;
  Supers<V, ScaleK4Min, 4> supers;
  static GridOf of(const PackedView& w, size_t panel, size_t first) {
    return {Supers<V, ScaleK4Min, 4>::of(w, panel, first)};
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto both = V::load_u8(supers.of_group(g).sc_mn[g % 16]);
    return {V::mul(supers.d, V::to_float(V::bits(both, 0, 15))),
            V::mul(supers.minus_dmin, V::to_float(V::bits(both, 4, 15))), V::zero_int()};
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
