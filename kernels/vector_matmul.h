// Matrix products over panels. A few rows of activations: the codes of a unit are unpacked in
// registers. Many rows: vector_gemm.h. Float activations: panels are widened to f32.
#pragma once

#include "vector_gemm.h"
#include "vector_grid.h"
#include "walk.h"

namespace nibble {
namespace {

/// What to fetch while the byte at `offset` of each of n panels is read: the distance from that
/// byte to the one `ahead` bytes later in the panel, or in the panel that follows by n.
[[gnu::always_inline]] inline size_t fetch_distance(size_t offset, size_t ahead, size_t stride,
                                                    size_t n_panels) {
  return offset + ahead < stride ? ahead : ahead + (n_panels - 1) * stride;
}

/// Fetches the lines of kBytes bytes that begin at a line or in the middle of one.
template <size_t kBytes>
[[gnu::always_inline]] inline void fetch_lines(const uint8_t* begin) {
  for (size_t i = 0; i < kBytes; i += kLineBytes) __builtin_prefetch(begin + i);
}

/// dot[p][t] += sum over `n` units of the codes of P panels times row t of x, by V::add_products().
/// The line `fetch` bytes after each is fetched.
template <class V, Codes C, size_t P, size_t T>
[[gnu::always_inline]] inline void dot_units_by_fours(const uint8_t* units, size_t panel_stride,
                                                      size_t n, const CodeTable& table,
                                                      const int8_t* x, size_t x_stride,
                                                      size_t fetch, typename V::I (&dot)[P][T]) {
  // A group is an even number of units of less than 16 columns.
  constexpr size_t kTogether = kUnitCols<C> < 16 ? 2 : 1, kParts = kUnitCols<C> / 4;
  const uint8_t* const end = units + n * kUnitBytes<C>;
  do {
    for (size_t p = 0; p < P; ++p)
      fetch_lines<kTogether * kUnitBytes<C>>(units + p * panel_stride + fetch);
    unrolled<kTogether * kParts>([&]<size_t i>() __attribute__((always_inline)) {
      typename V::I codes[P];
      for (size_t p = 0; p < P; ++p)
        codes[p] = V::template codes_of<C, i % kParts>(
            units + p * panel_stride + i / kParts * kUnitBytes<C>, table);
      for (size_t t = 0; t < T; ++t) {
        const auto four = V::load_x(x + t * x_stride + 4 * i);
        for (size_t p = 0; p < P; ++p) dot[p][t] = V::add_products(dot[p][t], codes[p], four);
      }
    });
    units += kTogether * kUnitBytes<C>;
    x += 4 * kTogether * kParts;
  } while (units != end);
}

/// y of T rows of activations from row t0 and P panels. The unpacked codes of a unit serve all T
/// rows, the loaded activations all P panels.
template <class V, Codes C, class Grid, size_t T, size_t P>
[[gnu::noinline]] void few_rows_tile(const PackedView& w, size_t panel, size_t ahead,
                                     const QuantizedRows& x, size_t t0, float* y, size_t y_stride) {
  constexpr size_t kTogether = min_of(P, V::kDotPanels);
  constexpr bool kStartsAtZero =
      Grid::kZero == Zero::none && (!kByteCodes<C> || V::kByteOffset == 0);
  const size_t group = only_group(C) ? only_group(C) : w.shape.group;
  const size_t n_groups = w.cols_padded / group;
  const size_t units = group / kUnitCols<C>;
  const CodeTable& table = code_table(w.shape.codes);
  const size_t scale_step = w.scale_stride / n_groups;
  const uint8_t* codes = w.codes + panel * w.code_stride;
  const uint8_t* scales = w.scales + panel * w.scale_stride;
  const int8_t* xq = x.codes + t0 * x.stride;
  const float* xs = x.scales + t0 * x.n_groups;
  const int32_t* xsum = x.sums + t0 * x.n_groups;
  Grid grid[P];
  typename V::F acc[P][T];
  for (size_t p = 0; p < P; ++p) {
    grid[p].open(w, panel + p, 0);
    for (size_t t = 0; t < T; ++t) acc[p][t] = V::zero();
  }
  for (size_t g = 0; g < n_groups; ++g) {
    const size_t offset = g * units * kUnitBytes<C>, scale_offset = g * scale_step;
    const size_t fetch = fetch_distance(offset, ahead, w.code_stride, P);
    const size_t scale_fetch =
        scale_offset + fetch_distance(scale_offset, ahead / 4, w.scale_stride, P);
    for (size_t first = 0; first < P; first += kTogether) {
      typename V::I dot[kTogether][T];
      GroupScale<V> scale[kTogether];
      for (size_t i = 0; i < kTogether; ++i) {
        scale[i] = grid[first + i].at(g);
        const auto term = V::zero_term(kByteCodes<C> ? V::kByteOffset : 0, scale[i].z);
        for (size_t t = 0; t < T; ++t)
          dot[i][t] = kStartsAtZero
                          ? V::zero_int()
                          : V::plus_product(V::zero_int(), term, xsum[t * x.n_groups + g]);
      }
      V::template dot_units<C>(codes + first * w.code_stride + offset, w.code_stride, units, table,
                               xq + g * group, x.stride, fetch, dot);
      for (size_t i = 0; i < kTogether; ++i) {
        const size_t p = first + i;
        __builtin_prefetch(scales + p * w.scale_stride + scale_fetch);
        for (size_t t = 0; t < T; ++t) {
          const size_t at = t * x.n_groups + g;
          acc[p][t] = add_group<V, Grid::kZero>(acc[p][t], dot[i][t], scale[i], xs[at],
                                                static_cast<float>(xsum[at]));
        }
      }
    }
  }
  for (size_t p = 0; p < P; ++p)
    for (size_t t = 0; t < T; ++t) V::store(y + t * y_stride + (panel + p) * kPanelRows, acc[p][t]);
}

/// Rows t..t+T-1 of x, P panels at a time and then one by one.
template <class V, Codes C, class Grid, size_t T, size_t P>
void few_rows_panels(const PackedView& w, size_t panel_begin, size_t panel_end, size_t ahead,
                     const QuantizedRows& x, size_t t, float* y, size_t y_stride) {
  size_t panel = panel_begin;
  for (; panel + P <= panel_end; panel += P)
    few_rows_tile<V, C, Grid, T, P>(w, panel, ahead, x, t, y + t * y_stride, y_stride);
  for (; panel < panel_end; ++panel)
    few_rows_tile<V, C, Grid, T, 1>(w, panel, ahead, x, t, y + t * y_stride, y_stride);
}

template <class V, Codes C, class Grid>
void matmul_few_rows(const PackedView& w, size_t panel_begin, size_t panel_end,
                     const QuantizedRows& x, float* y, size_t y_stride) {
  const Walk walk = best_walk();
  size_t t = 0;
  const auto rows = [&]<size_t T, size_t P>() {
    for (; t + T <= x.n_rows; t += T)
      if (walk.one_panel && T <= 4)  // more rows wait for arithmetic, and share loaded activations
        few_rows_panels<V, C, Grid, T, 1>(w, panel_begin, panel_end, walk.fetch, x, t, y, y_stride);
      else
        few_rows_panels<V, C, Grid, T, P>(w, panel_begin, panel_end, walk.fetch, x, t, y, y_stride);
  };
  rows.template operator()<V::kFewRows, V::kTilePanels>();
  if constexpr (V::kFewRows > 4) rows.template operator()<4, 2>();
  rows.template operator()<2, 2>();
  rows.template operator()<1, 4>();
}

template <class V>
void matmul_q(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
              float* y, size_t y_stride) {
  with_grid<V>(w.shape, [&]<Codes C, class Grid>() {
    if (x.n_rows < V::template kManyRows<C>)
      matmul_few_rows<V, C, Grid>(w, panel_begin, panel_end, x, y, y_stride);
    else
      matmul_many_rows<V, C, Grid>(w, panel_begin, panel_end, x, y, y_stride);
  });
}

constexpr size_t kUnpackedCols = 256;  // a whole number of groups, 16 KB of f32

/// Widens the groups of columns k0..k0+n-1 of a panel (n rounded up to whole groups) to
/// weights [n][16].
template <class V, Codes C, class Grid>
void unpack_groups(const PackedView& w, size_t panel, size_t k0, size_t n, float* weights) {
  const size_t group = w.shape.group;
  Grid grid;
  grid.open(w, panel, k0 / group);
  const uint8_t* unit = w.codes + panel * w.code_stride + k0 / kUnitCols<C> * kUnitBytes<C>;
  const CodeTable& table = code_table(w.shape.codes);
  for (size_t g = k0 / group; g * group < k0 + n; ++g) {
    GroupScale<V> scale = grid.at(g);
    if constexpr (Grid::kZero !=
                  Zero::none)  // -s * z is exact, so that fma rounds s * (q - z) once
      scale.m = V::sub(V::zero(), V::mul(scale.s, V::to_float(scale.z)));
    for (size_t k = 0; k < group; k += kUnitCols<C>, unit += kUnitBytes<C>)
      unrolled<kUnitCols<C> / 4>([&]<size_t part>() {
        const auto codes = V::template codes_of<C, part>(unit, table);
        for (unsigned c = 0; c < 4; ++c, weights += kPanelRows)
          V::store(weights, V::fma(scale.s, V::to_float(V::bits(codes, 8 * c, 255)), scale.m));
      });
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
    default:
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

/// The same for rows t..end-1.
template <class V>
void matmul_f32_rows(const float* weights, size_t n, const float* x, size_t x_stride, bool first,
                     size_t t, size_t end, float* y, size_t y_stride) {
  constexpr size_t kTile = V::kTileRows;
  for (; t + kTile <= end; t += kTile)
    matmul_f32_tile<V, kTile>(weights, n, x + t * x_stride, x_stride, first, y + t * y_stride,
                              y_stride);
  for (; t < end; ++t)
    matmul_f32_tile<V, 1>(weights, n, x + t * x_stride, x_stride, first, y + t * y_stride,
                          y_stride);
}

template <class V>
void matmul_f32(const PackedView& w, size_t panel_begin, size_t panel_end, const float* x,
                size_t x_stride, size_t n_rows, float* y, size_t y_stride) {
  constexpr size_t kPanels = 4, kRows = 8 * V::kTileRows;
  // More rows than the nearest caches hold are read once for several panels.
  const size_t together = n_rows > kRows ? kPanels : 1;
  alignas(64) float buffer[kPanels][kUnpackedCols * kPanelRows];
  for (size_t panel = panel_begin; panel < panel_end; panel += together) {
    const size_t n_panels = min_of(together, panel_end - panel);
    for (size_t k0 = 0; k0 < w.shape.cols; k0 += kUnpackedCols) {
      const size_t n = min_of(kUnpackedCols, w.shape.cols - k0);
      const float* weights[kPanels];
      for (size_t p = 0; p < n_panels; ++p)
        weights[p] = unpack_columns<V>(w, panel + p, k0, n, buffer[p]);
      for (size_t row = 0; row < n_rows; row += kRows)
        for (size_t p = 0; p < n_panels; ++p)
          matmul_f32_rows<V>(weights[p], n, x + k0, x_stride, k0 == 0, row,
                             min_of(row + kRows, n_rows), y + (panel + p) * kPanelRows, y_stride);
    }
  }
}

}  // namespace
}  // namespace nibble
