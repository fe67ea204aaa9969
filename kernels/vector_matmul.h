// Matrix products over panels: one template for every pair of codes and scheme (packed.h).
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

/// The scale of a group of columns, lane = row. Either w = s * (q - z) with m unused, or
/// w = s * q + m with z = 0. z is kept as int16 in the low half of each 32-bit lane, the high half
/// 0: one multiply-add of int16 pairs then yields z * xsum, since |xsum| <= 128 * 127 < 2^15.
template <class V>
struct GroupScale {
  typename V::F s, m;
  typename V::I z;
};

// The schemes (Grid below). kHasMin tells which of the two forms; at(g) reads the scale of group g
// of a panel. Products of an fp16 and a 6- or 8-bit integer are exact in f32.

template <class V>
struct GridF16 {
  static constexpr bool kHasMin = false;
  const uint8_t* scales;
  int32_t zero;
  GridF16(const PackedView& w, size_t panel)
      : scales(w.scales + panel * w.scale_stride), zero(w.shape.zero) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::set1_int(zero)};
  }
};

template <class V>
struct GridF16Zero {
  static constexpr bool kHasMin = false;
  const uint8_t* scales;
  GridF16Zero(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16Zero*>(scales)[g];
    return {V::load_f16(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridF32Zero {
  static constexpr bool kHasMin = false;
  const uint8_t* scales;
  GridF32Zero(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF32Zero*>(scales)[g];
    return {V::load(scale.s), V::zero(), V::load_u8(scale.z)};
  }
};

template <class V>
struct GridF16Min {
  static constexpr bool kHasMin = true;
  const uint8_t* scales;
  GridF16Min(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& scale = reinterpret_cast<const ScaleF16Min*>(scales)[g];
    return {V::load_f16(scale.s), V::load_f16(scale.m), V::zero_int()};
  }
};

template <class V>
struct GridK6 {
  static constexpr bool kHasMin = true;
  const uint8_t* scales;
  GridK6(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  /// low four bits from `low`, the next two from bit 2 * odd (+ 4 for the minimum) of `high`.
  [[gnu::always_inline]] static typename V::F six_bits(typename V::I low, typename V::I high,
                                                       unsigned odd, unsigned high_shift) {
    return V::to_float(V::or_int(V::bits(low, 4 * odd, 15),
                                 V::shift_left4(V::bits(high, high_shift + 2 * odd, 3))));
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
struct GridK8 {
  static constexpr bool kHasMin = false;
  const uint8_t* scales;
  size_t per_super, bytes;
  int32_t zero;
  GridK8(const PackedView& w, size_t panel)
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
struct GridK8Min {
  static constexpr bool kHasMin = true;
  const uint8_t* scales;
  GridK8Min(const PackedView& w, size_t panel) : scales(w.scales + panel * w.scale_stride) {}
  [[gnu::always_inline]] GroupScale<V> at(size_t g) const {
    const auto& super = reinterpret_cast<const ScaleK8Min*>(scales)[g / 16];
    const auto dmin = V::sub(V::zero(), V::load_f16(super.dmin));
    return {V::mul(V::load_f16(super.d), V::to_float(V::load_u8(super.sc[g % 16]))),
            V::mul(dmin, V::to_float(V::load_u8(super.mn[g % 16]))), V::zero_int()};
  }
};

/// acc plus one group's share: s * xs * (dot - z * xsum) or xs * (s * dot + m * xsum). `term` is
/// minus the zero; both forms add what is missing if V's dot products are those of q - kQ8Offset.
template <class V, Codes C, bool kHasMin>
[[gnu::always_inline]] inline typename V::F add_group(typename V::F acc, typename V::I dot,
                                                      const GroupScale<V>& scale,
                                                      typename V::I term, float xs, int32_t xsum) {
  if constexpr (!kHasMin || (C == Codes::q8 && V::kQ8Offset != 0))
    dot = V::plus_product(dot, term, xsum);
  if constexpr (kHasMin) {
    const auto low = V::mul(scale.m, V::set1(static_cast<float>(xsum)));
    return V::fma(V::set1(xs), V::fma(scale.s, V::to_float(dot), low), acc);
  }
  return V::fma(V::mul(scale.s, V::set1(xs)), V::to_float(dot), acc);
}

/// y of T rows of activations from row t0 and P panels. The unpacked codes of a line serve all T
/// rows, the loaded activations all P panels.
template <class V, Codes C, class Grid, size_t T, size_t P>
[[gnu::noinline]] void matmul_q_tile(const PackedView& w, size_t panel, const QuantizedRows& x,
                                     size_t t0, float* y, size_t y_stride) {
  constexpr size_t kColsPerLine = C == Codes::q4 ? 8 : 4;
  const size_t group = w.shape.group;
  const size_t n_groups = w.cols_padded / group;
  const size_t lines = group / kColsPerLine;
  const uint8_t* codes = w.codes + panel * w.code_stride;
  const int8_t* xq = x.codes + t0 * x.stride;
  const float* xs = x.scales + t0 * x.n_groups;
  const int32_t* xsum = x.sums + t0 * x.n_groups;
  typename V::F acc[P][T];
  for (size_t p = 0; p < P; ++p)
    for (size_t t = 0; t < T; ++t) acc[p][t] = V::zero();
  for (size_t g = 0; g < n_groups; ++g) {
    typename V::I dot[P][T];
    V::template dot_lines<C>(codes, w.code_stride, lines, xq, x.stride, dot);
    for (size_t p = 0; p < P; ++p) {
      const GroupScale<V> scale = Grid(w, panel + p).at(g);
      const auto term = V::zero_term(C == Codes::q8 ? V::kQ8Offset : 0, scale.z);
      for (size_t t = 0; t < T; ++t) {
        const size_t i = t * x.n_groups + g;
        acc[p][t] =
            add_group<V, C, Grid::kHasMin>(acc[p][t], dot[p][t], scale, term, xs[i], xsum[i]);
      }
    }
    codes += lines * kLineBytes;
    xq += group;
  }
  for (size_t p = 0; p < P; ++p)
    for (size_t t = 0; t < T; ++t) V::store(y + t * y_stride + (panel + p) * kPanelRows, acc[p][t]);
}

/// All rows of activations against P panels. A single row takes them together, too: two streams of
/// codes keep more of the memory busy than one.
template <class V, Codes C, class Grid, size_t P>
void matmul_q_rows(const PackedView& w, size_t panel, const QuantizedRows& x, float* y,
                   size_t y_stride) {
  constexpr size_t kTile = V::kTileRows;
  constexpr size_t kTogether = min_of(P, V::kTilePanels);
  size_t t = 0;
  for (; t + kTile <= x.n_rows; t += kTile)
    for (size_t p = 0; p < P; p += kTogether)
      matmul_q_tile<V, C, Grid, kTile, kTogether>(w, panel + p, x, t, y + t * y_stride, y_stride);
  for (; t + 2 <= x.n_rows; t += 2)
    matmul_q_tile<V, C, Grid, 2, P>(w, panel, x, t, y + t * y_stride, y_stride);
  for (; t < x.n_rows; ++t)
    matmul_q_tile<V, C, Grid, 1, P>(w, panel, x, t, y + t * y_stride, y_stride);
}

template <class V, Codes C, class Grid>
void matmul_q_panels(const PackedView& w, size_t panel_begin, size_t panel_end,
                     const QuantizedRows& x, float* y, size_t y_stride) {
  size_t panel = panel_begin;
  for (; panel + 2 <= panel_end; panel += 2) matmul_q_rows<V, C, Grid, 2>(w, panel, x, y, y_stride);
  for (; panel < panel_end; ++panel) matmul_q_rows<V, C, Grid, 1>(w, panel, x, y, y_stride);
}

/// Calls run.operator()<C, Grid>() for the codes and scheme of a quantized shape.
template <class V, class Run>
void with_grid(const PackedShape& shape, const Run& run) {
  const auto with_codes = [&]<class Grid>() {
    if (shape.codes == Codes::q4)
      run.template operator()<Codes::q4, Grid>();
    else
      run.template operator()<Codes::q8, Grid>();
  };
  switch (shape.scheme) {
    case Scheme::none:
      break;
    case Scheme::f16:
      return with_codes.template operator()<GridF16<V>>();
    case Scheme::f16_zero:
      return with_codes.template operator()<GridF16Zero<V>>();
    case Scheme::f32_zero:
      return with_codes.template operator()<GridF32Zero<V>>();
    case Scheme::f16_min:
      return with_codes.template operator()<GridF16Min<V>>();
    case Scheme::k6:
      return with_codes.template operator()<GridK6<V>>();
    case Scheme::k8:
      return with_codes.template operator()<GridK8<V>>();
    case Scheme::k8_min:
      return with_codes.template operator()<GridK8Min<V>>();
  }
}

template <class V>
void matmul_q(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
              float* y, size_t y_stride) {
  with_grid<V>(w.shape, [&]<Codes C, class Grid>() {
    matmul_q_panels<V, C, Grid>(w, panel_begin, panel_end, x, y, y_stride);
  });
}

constexpr size_t kUnpackedCols = 128;  // a whole number of groups, 8 KB of f32

/// Widens the groups of columns k0..k0+n-1 of a panel (n rounded up to whole groups) to
/// weights [n][16].
template <class V, Codes C, class Grid>
void unpack_groups(const PackedView& w, size_t panel, size_t k0, size_t n, float* weights) {
  constexpr size_t kColsPerLine = C == Codes::q4 ? 8 : 4;
  constexpr unsigned kMask = C == Codes::q4 ? 15 : 255;
  const size_t group = w.shape.group;
  const Grid grid(w, panel);
  const uint8_t* line = w.codes + panel * w.code_stride + k0 / kColsPerLine * kLineBytes;
  for (size_t g = k0 / group; g * group < k0 + n; ++g) {
    GroupScale<V> scale = grid.at(g);
    if constexpr (!Grid::kHasMin)  // -s * z is exact, so that fma rounds s * (q - z) once
      scale.m = V::sub(V::zero(), V::mul(scale.s, V::to_float(scale.z)));
    for (size_t k = 0; k < group; k += kColsPerLine, line += kLineBytes) {
      const auto packed = V::load_int(line);
      for (unsigned c = 0; c < kColsPerLine; ++c, weights += kPanelRows) {
        const unsigned shift = c % 4 * 8 + c / 4 * 4;
        V::store(weights, V::fma(scale.s, V::to_float(V::bits(packed, shift, kMask)), scale.m));
      }
    }
  }
}

/// Columns k0..k0+n-1 of a panel as f32 [n][16]: in place if that is how they are stored, else
/// widened into `buffer`.
template <class V>
const float* unpack_columns(const PackedView& w, size_t panel, size_t k0, size_t n, float* buffer) {
  const uint8_t* codes = w.codes + panel * w.code_stride;
  const auto* halves = reinterpret_cast<const uint16_t*>(codes) + k0 * kPanelRows;
  switch (w.shape.codes) {
    case Codes::f32:
      return reinterpret_cast<const float*>(codes) + k0 * kPanelRows;
    case Codes::f16:
      for (size_t i = 0; i < n * kPanelRows; i += kLanes)
        V::store(buffer + i, V::load_f16(halves + i));
      break;
    case Codes::bf16:
      for (size_t i = 0; i < n * kPanelRows; i += kLanes)
        V::store(buffer + i, V::load_bf16(halves + i));
      break;
    case Codes::q4:
    case Codes::q8:
      with_grid<V>(w.shape, [&]<Codes C, class Grid>() {
        unpack_groups<V, C, Grid>(w, panel, k0, n, buffer);
      });
      break;
  }
  return buffer;
}

/// y[t] = (first ? 0 : y[t]) + sum of weights [n][16] times x [T, n]: per output one chain of fma
/// over ascending columns, whatever T and the cuts between blocks.
template <class V, size_t T>
void matmul_f32_tile(const float* weights, size_t n, const float* x, size_t x_stride, bool first,
                     float* y, size_t y_stride) {
  typename V::F acc[T];
  for (size_t t = 0; t < T; ++t) acc[t] = first ? V::zero() : V::load(y + t * y_stride);
  for (size_t k = 0; k < n; ++k) {
    const auto column = V::load(weights + k * kPanelRows);
    for (size_t t = 0; t < T; ++t) acc[t] = V::fma(column, V::set1(x[t * x_stride + k]), acc[t]);
  }
  for (size_t t = 0; t < T; ++t) V::store(y + t * y_stride, acc[t]);
}

template <class V>
void matmul_f32(const PackedView& w, size_t panel_begin, size_t panel_end, const float* x,
                size_t x_stride, size_t n_rows, float* y, size_t y_stride) {
  constexpr size_t kTile = V::kTileRows;
  alignas(64) float buffer[kUnpackedCols * kPanelRows];
  for (size_t panel = panel_begin; panel < panel_end; ++panel) {
    float* out = y + panel * kPanelRows;
    for (size_t k0 = 0; k0 < w.shape.cols; k0 += kUnpackedCols) {
      const size_t n = min_of(kUnpackedCols, w.shape.cols - k0);
      const float* weights = unpack_columns<V>(w, panel, k0, n, buffer);
      size_t t = 0;
      for (; t + kTile <= n_rows; t += kTile)
        matmul_f32_tile<V, kTile>(weights, n, x + t * x_stride + k0, x_stride, k0 == 0,
                                  out + t * y_stride, y_stride);
      for (; t < n_rows; ++t)
        matmul_f32_tile<V, 1>(weights, n, x + t * x_stride + k0, x_stride, k0 == 0,
                              out + t * y_stride, y_stride);
    }
  }
}

}  // namespace
}  // namespace nibble
