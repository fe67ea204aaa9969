// How the codes of a panel become weights (packed.h, Scheme), for every instruction set V.
#pragma once

#include <immintrin.h>

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

/// A panel's scales in one scheme, after open(). kZero tells what z is; at(g) reads the scale of
/// group g, for groups that follow each other from `first` on. Products of an fp16 and an integer
/// of at most 8 bits are exact in f32.
template <class V, Scheme kScheme>
struct GridOf {};

/// Structs of one group each.
template <class Struct>
struct GroupStructs {
  const Struct* structs;
  void open(const PackedView& w, size_t panel, size_t) {
    structs = reinterpret_cast<const Struct*>(w.scales + panel * w.scale_stride);
  }
};

template <class V>
struct GridOf<V, Scheme::f16> : GroupStructs<ScaleF16> {
  static constexpr Zero kZero = Zero::constant;
  int32_t zero;
  void open(const PackedView& w, size_t panel, size_t first) {
    GroupStructs::open(w, panel, first);
    zero = w.shape.zero;
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    return {V::load_f16(structs[g].s), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_zero> : GroupStructs<ScaleF16Zero> {
  static constexpr Zero kZero = Zero::per_row;
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    return {V::load_f16(structs[g].s), V::zero(), V::load_u8(structs[g].z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f32_zero> : GroupStructs<ScaleF32Zero> {
  static constexpr Zero kZero = Zero::per_row;
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    return {V::load(structs[g].s), V::zero(), V::load_u8(structs[g].z)};
  }
};

template <class V>
struct GridOf<V, Scheme::f16_min> : GroupStructs<ScaleF16Min> {
  static constexpr Zero kZero = Zero::none;
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    return {V::load_f16(structs[g].s), V::load_f16(structs[g].m), V::zero_int()};
  }
};

/// The structs of the k schemes with a minimum, of 2^kLog groups each. What is common to their 256
/// columns is read with the first group.
template <class V, class Struct, unsigned kLog>
struct SuperStructs {
  static constexpr Zero kZero = Zero::none;
  const Struct* structs;
  typename V::F d, minus_dmin;
  void open(const PackedView& w, size_t panel, size_t first) {
    structs = reinterpret_cast<const Struct*>(w.scales + panel * w.scale_stride);
    read(structs[first >> kLog]);
  }
  [[gnu::always_inline]] void read(const Struct& super) {
    d = V::load_f16(super.d);
    minus_dmin = V::sub(V::zero(), V::load_f16(super.dmin));
  }
  [[gnu::always_inline]] const Struct& of_group(size_t g) {
    const Struct& super = structs[g >> kLog];
    if (g % (1u << kLog) == 0) read(super);
    return super;
  }
  [[gnu::always_inline]] GroupScale<V> scale(typename V::F sc, typename V::F mn) const {
    return {V::mul(d, sc), V::mul(minus_dmin, mn), V::zero_int()};
  }
};

template <class V>
struct GridOf<V, Scheme::k6> : SuperStructs<V, ScaleK6, 3> {
  /// The bytes of all rows, shifted as words: what crosses to another byte meets no mask.
  [[gnu::always_inline]] static __m128i shifted(const uint8_t* bytes, size_t n) {
    return _mm_srl_epi16(V::load_128(bytes), _mm_cvtsi64_si128(static_cast<int64_t>(n)));
  }
  [[gnu::always_inline]] static typename V::F six_bits(__m128i low, __m128i high) {
    const __m128i four = _mm_and_si128(low, _mm_set1_epi8(0x0f));
    return V::to_float(V::widen_u8(_mm_or_si128(four, _mm_and_si128(high, _mm_set1_epi8(0x30)))));
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK6& super = this->of_group(g);
    const size_t pair = g % 8 / 2, odd = g % 2;
    const __m128i hi = shifted(super.hi[pair], 2 * odd);
    return this->scale(six_bits(shifted(super.sc[pair], 4 * odd), _mm_slli_epi16(hi, 4)),
                       six_bits(shifted(super.mn[pair], 4 * odd), hi));
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
  float unit;
  typename V::F d;
  void open(const PackedView& w, size_t panel, size_t first) {
    const bool narrow = w.shape.group == 16;
    scales = w.scales + panel * w.scale_stride;
    bytes = narrow ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32);
    log = narrow ? 4 : 3;
    zero = w.shape.zero;
    unit = code_table(w.shape.codes).unit;
    read(super(first));
  }
  [[gnu::always_inline]] void read(const ScaleK8x16& here) {
    d = V::mul(V::load_f16(here.d), V::set1(unit));
  }
  [[gnu::always_inline]] const ScaleK8x16& super(size_t g) const {
    return *reinterpret_cast<const ScaleK8x16*>(scales + (g >> log) * bytes);
  }
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK8x16& here = super(g);
    const size_t i = g % (size_t{1} << log);
    if (i == 0) read(here);
    return {V::mul(d, V::to_float(V::load_s8(here.sc[i]))), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridOf<V, Scheme::k8_min> : SuperStructs<V, ScaleK8Min, 4> {
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const ScaleK8Min& super = this->of_group(g);
    return this->scale(V::to_float(V::load_u8(super.sc[g % 16])),
                       V::to_float(V::load_u8(super.mn[g % 16])));
  }
};

template <class V>
struct GridOf<V, Scheme::k4_min> : SuperStructs<V, ScaleK4Min, 4> {
  [[gnu::always_inline]] GroupScale<V> at(size_t g) {
    const auto both = V::load_u8(this->of_group(g).sc_mn[g % 16]);
    return this->scale(V::to_float(V::bits(both, 0, 15)), V::to_float(V::bits(both, 4, 15)));
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
