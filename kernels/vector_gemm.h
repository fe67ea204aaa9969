// Matrix products of many rows of activations: panels are unpacked block by block into a buffer
// that stays in the first two caches, and every block meets all rows.
#pragma once

#include "vector_grid.h"

namespace nibble {
namespace {

constexpr size_t kBlockCols = 2048;  // a multiple of every group; P panels of it fit into L2

/// acc plus one group's share: s * xs * sum with sum = dot - z * xsum, or xs * (s * sum + m *
/// xsum).
template <class V, Zero kZero>
[[gnu::always_inline]] inline typename V::F add_group(typename V::F acc, typename V::I sum,
                                                      const GroupScale<V>& scale, float xs,
                                                      float xsum) {
  if constexpr (kZero == Zero::none) {
    const auto low = V::mul(scale.m, V::set1(xsum));
    return V::fma(V::set1(xs), V::fma(scale.s, V::to_float(sum), low), acc);
  }
  return V::fma(V::mul(scale.s, V::set1(xs)), V::to_float(sum), acc);
}

/// kBlockCols columns of P panels, a code a byte: lines of 4 columns of 16 rows as in 8-bit panels,
/// in the form that V::dot_block() takes.
template <class V, size_t P>
struct UnpackedBlock {
  alignas(64) uint8_t codes[P][kBlockCols * kPanelRows];
  typename V::F s[P][kBlockCols / 16], m[P][kBlockCols / 16];  // m: Zero::none
  typename V::I z[P][kBlockCols / 16];  // Zero::per_row: the term that V::plus_product() takes
  size_t first_group = 0;
  size_t n_groups = 0;
  size_t group = 0;
  int32_t zero = 0;  // Zero::constant: what to add to a dot product, in units of xsum
};

template <class V, Codes C, class Grid, size_t P>
void unpack_block(const PackedView& w, size_t panel, UnpackedBlock<V, P>& block) {
  constexpr int32_t kOffset = kByteCodes<C> ? V::kByteOffset : 0;
  const size_t first_unit = block.first_group * block.group / kUnitCols<C>;
  const size_t n_units = block.n_groups * block.group / kUnitCols<C>;
  const CodeTable& table = code_table(w.shape.codes);
  for (size_t p = 0; p < P; ++p) {
    const uint8_t* units = w.codes + (panel + p) * w.code_stride + first_unit * kUnitBytes<C>;
    for (size_t i = 0; i < n_units; ++i)
      unrolled<kUnitCols<C> / 4>([&]<size_t part>() __attribute__((always_inline)) {
        V::store_int(block.codes[p] + i * kUnitCols<C> * kPanelRows + part * kLineBytes,
                     V::template codes_of<C, part, kOffset>(units + i * kUnitBytes<C>, table));
      });
    Grid grid;
    grid.open(w, panel + p, block.first_group);
    for (size_t g = 0; g < block.n_groups; ++g) {
      const GroupScale<V> scale = grid.at(block.first_group + g);
      block.s[p][g] = scale.s;
      if constexpr (Grid::kZero == Zero::none) block.m[p][g] = scale.m;
      if constexpr (Grid::kZero == Zero::per_row) block.z[p][g] = V::zero_term(kOffset, scale.z);
    }
  }
  block.zero = kOffset;
  if constexpr (Grid::kZero == Zero::constant) block.zero -= w.shape.zero;
}

/// Adds the block's columns to y of the rows t0..t0+T-1 of activations and P panels; the first
/// block overwrites y. Rows beyond the last are that row again. Integer sums start at -z * xsum, so
/// that a constant zero costs nothing. kGroup is the group, or 0: any.
template <class V, Codes C, Zero kZero, size_t T, size_t kGroup, size_t P>
[[gnu::noinline]] void many_rows_tile(const UnpackedBlock<V, P>& block, const QuantizedRows& x,
                                      size_t t0, float* y, size_t y_stride) {
  const size_t group = kGroup ? kGroup : block.group;
  const int8_t* xq[T];
  const float* xs[T];
  const int32_t* xsum[T];
  float* out[T];
  for (size_t t = 0; t < T; ++t) {
    const size_t row = min_of(t0 + t, x.n_rows - 1);
    xq[t] = x.codes + row * x.stride + block.first_group * group;
    xs[t] = x.scales + row * x.n_groups + block.first_group;
    xsum[t] = x.sums + row * x.n_groups + block.first_group;
    out[t] = y + row * y_stride;
  }
  constexpr bool kHasMin = kZero == Zero::none;
  int32_t start[T][kBlockCols / 16];  // [T, n_groups]
  float sums[T][kBlockCols / 16];     // [T, n_groups]: xsum, if there is a minimum
  for (size_t t = 0; t < T; ++t)
    for (size_t g = 0; g < block.n_groups; ++g) {
      start[t][g] = block.zero * xsum[t][g];
      if constexpr (kHasMin) sums[t][g] = static_cast<float>(xsum[t][g]);
    }
  typename V::F acc[P][T];
  for (size_t t = 0; t < T; ++t)
    for (size_t p = 0; p < P; ++p) {
      __builtin_prefetch(out[t] + T * y_stride + p * kPanelRows, 1);  // of the next tile
      acc[p][t] = V::zero();
    }
  if (block.first_group > 0)
    for (size_t t = 0; t < T; ++t)
      for (size_t p = 0; p < P; ++p) acc[p][t] = V::load(out[t] + p * kPanelRows);
  for (size_t g = 0; g < block.n_groups; ++g) {
    typename V::I dot[P][T];
    for (size_t t = 0; t < T; ++t) {
      for (size_t p = 0; p < P; ++p)
        dot[p][t] = kZero == Zero::per_row
                        ? V::plus_product(V::zero_int(), block.z[p][g], xsum[t][g])
                        : V::set1_int(start[t][g]);
    }
    V::template dot_block<C>(block.codes[0] + g * group * kPanelRows, sizeof block.codes[0],
                             group / 4, xq, dot, [&](size_t t) {
                               for (size_t p = 0; p < P; ++p)
                                 acc[p][t] = add_group<V, kZero>(
                                     acc[p][t], dot[p][t],
                                     {block.s[p][g], block.m[p][g], block.z[p][g]}, xs[t][g],
                                     kHasMin ? sums[t][g] : 0.0f);
                             });
    for (size_t t = 0; t < T; ++t) xq[t] += group;
  }
  for (size_t t = 0; t < T; ++t)
    for (size_t p = 0; p < P; ++p) V::store(out[t] + p * kPanelRows, acc[p][t]);
}

/// Brings memory into the L2 cache.
inline void fetch(const uint8_t* begin, size_t bytes) {
  for (size_t i = 0; i < bytes; i += kLineBytes) __builtin_prefetch(begin + i, 0, 2);
}

template <class V, Codes C, class Grid, size_t P>
void many_rows_panels(const PackedView& w, size_t panel, const QuantizedRows& x, float* y,
                      size_t y_stride) {
  constexpr size_t kTile = V::kTileRows;
  UnpackedBlock<V, P> block;
  block.group = w.shape.group;
  const size_t n_groups = w.cols_padded / block.group;
  const size_t step = kBlockCols / block.group;
  const size_t block_bytes = kBlockCols / kUnitCols<C> * kUnitBytes<C>;
  y += panel * kPanelRows;
  for (block.first_group = 0; block.first_group < n_groups; block.first_group += step) {
    block.n_groups = min_of(step, n_groups - block.first_group);
    unpack_block<V, C, Grid>(w, panel, block);
    // The next block lies behind this one, or is the first one of the next panels: a share of it is
    // fetched with every tile.
    const size_t done = block.first_group / step * block_bytes;
    const bool last = block.first_group + step >= n_groups;
    const uint8_t* next =
        w.codes + panel * w.code_stride + (last ? P * w.code_stride : done + block_bytes);
    const size_t share = (block_bytes * kTile / x.n_rows / kLineBytes + 1) * kLineBytes;
    for (size_t t = 0; t < x.n_rows; t += kTile, next += share) {
      for (size_t p = 0; p < P; ++p) fetch(next + p * w.code_stride, share);
      if constexpr (only_group(C) != 0)
        many_rows_tile<V, C, Grid::kZero, kTile, only_group(C)>(block, x, t, y, y_stride);
      else if (block.group == 32)
        many_rows_tile<V, C, Grid::kZero, kTile, 32>(block, x, t, y, y_stride);
      else
        many_rows_tile<V, C, Grid::kZero, kTile, 0>(block, x, t, y, y_stride);
    }
  }
}

template <class V, Codes C, class Grid>
void matmul_many_rows(const PackedView& w, size_t panel_begin, size_t panel_end,
                      const QuantizedRows& x, float* y, size_t y_stride) {
  constexpr size_t kPanels = V::kTilePanels;
  size_t panel = panel_begin;
  for (; panel + kPanels <= panel_end; panel += kPanels)
    many_rows_panels<V, C, Grid, kPanels>(w, panel, x, y, y_stride);
  for (; panel < panel_end; ++panel) many_rows_panels<V, C, Grid, 1>(w, panel, x, y, y_stride);
}

}  // namespace
}  // namespace nibble
