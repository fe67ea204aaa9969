// Matrix products on tiles of bf16 (AMX), for a class of tiles as amx_tiles.h has it.
//
// Weights are widened to bf16 (amx_weights.h) and activations rounded to it; sums are f32 and stay
// in their tiles over all columns. Integer tiles would be twice as fast, but their sums must be
// scaled once a group: for a group of 32 that is a tile stored, 16 rows loaded, converted and added
// in about 40 cycles, for 8 cycles of products. With bf16 a product of 16 x 16 x 32 takes 16 cycles
// whatever the group, and activations lose 2^-9 of themselves instead of 2^-8 of the largest one.
//
// The sum of an output runs over its columns in one order, whatever the number of rows, so that one
// row gives the same bits as many.
#pragma once

#include "amx_tiles.h"
#include "amx_weights.h"

namespace nibble {
namespace {

// Sums are the tiles 0 to 3; of two row tiles times two panels, 2 * row tile + panel.
constexpr int kLeft = 4;   // and 5: rows of activations
constexpr int kRight = 6;  // and 7: panels
constexpr size_t kTileRows = 16;

// Columns that are widened before they are multiplied. Few rows: four panels of them lie in the L1
// cache and are multiplied while the next are widened. Many rows: sums are loaded and stored once
// for these columns, whose two panels lie in the L2 cache with the rows of activations.
constexpr size_t kFewRowsCols = 128;  // whole groups
constexpr size_t kManyRowsCols = 1024;

/// Calls fn.operator()<i>() for i < n.
template <int n, class Fn>
[[gnu::always_inline]] inline void for_each_tile(const Fn& fn) {
  if constexpr (n > 1) for_each_tile<n - 1>(fn);
  fn.template operator()<n - 1>();
}

/// Tiles of `low` rows for the sums 0 and 1 and the first rows of activations, of `high` rows for
/// the sums 2 and 3 and the others.
inline TileConfig tile_config(size_t low, size_t high) {
  TileConfig config;
  const size_t rows[8] = {low, low, high, high, low, high, kTileRows, kTileRows};
  for (size_t i = 0; i < 8; ++i) {
    config.rows[i] = static_cast<uint8_t>(rows[i]);
    config.row_bytes[i] = rows[i] > 0 ? kLineBytes : 0;
  }
  return config;
}

/// y of up to 16 rows and P panels: each panel's sum stays in its tile.
template <int P, class Tiles>
void few_rows_tiles(Tiles& tiles, const PackedView& w, WidenColumns widen, size_t panel,
                    const QuantizedRows& x, float* y, size_t y_stride) {
  alignas(64) uint8_t weights[P][kFewRowsCols * kColumnBytes];
  for_each_tile<P>([&]<int p>() { tiles.template zero<p>(); });
  for (size_t k0 = 0; k0 < w.cols_padded; k0 += kFewRowsCols) {
    const size_t n = min_of(kFewRowsCols, w.cols_padded - k0);
    for_each_tile<P>([&]<int p>() {
      widen(w, panel + p, k0, n, P, weights[p]);
      for (size_t k = 0; k < n; k += kTileCols) {
        tiles.template load<kLeft>(x.codes + (k0 + k) * sizeof(uint16_t), x.stride);
        tiles.template load<kRight + p % 2>(weights[p] + k * kColumnBytes, kLineBytes);
        tiles.template multiply_add<p, kLeft, kRight + p % 2>();
      }
    });
  }
  for_each_tile<P>([&]<int p>() {
    tiles.template store<p>(y + (panel + p) * kPanelRows, y_stride * sizeof(float));
  });
}

/// Adds n columns, from column k0 on, to y of R tiles of rows and P panels.
template <int R, int P, class Tiles>
void tile_block(Tiles& tiles, const uint8_t (&weights)[2][kManyRowsCols * kColumnBytes], size_t n,
                const int8_t* x, size_t x_stride, bool first, float* y, size_t y_stride) {
  const auto y_at = [&](int r, int p) {
    return y + static_cast<size_t>(r) * kTileRows * y_stride + static_cast<size_t>(p) * kPanelRows;
  };
  for_each_tile<R>([&]<int r>() {
    for_each_tile<P>([&]<int p>() {
      if (first)
        tiles.template zero<2 * r + p>();
      else
        tiles.template load<2 * r + p>(y_at(r, p), y_stride * sizeof(float));
    });
  });
  for (size_t k = 0; k < n; k += kTileCols) {
    for_each_tile<P>([&]<int p>() {
      tiles.template load<kRight + p>(weights[p] + k * kColumnBytes, kLineBytes);
    });
    for_each_tile<R>([&]<int r>() {
      tiles.template load<kLeft + r>(x + r * kTileRows * x_stride + k * sizeof(uint16_t), x_stride);
      for_each_tile<P>(
          [&]<int p>() { tiles.template multiply_add<2 * r + p, kLeft + r, kRight + p>(); });
    });
  }
  for_each_tile<R>([&]<int r>() {
    for_each_tile<P>(
        [&]<int p>() { tiles.template store<2 * r + p>(y_at(r, p), y_stride * sizeof(float)); });
  });
}

/// Adds n columns, from column k0 on, to y of all rows and P panels.
template <int P, class Tiles>
void many_rows_tiles(Tiles& tiles, const PackedView& w, WidenColumns widen, size_t panel, size_t k0,
                     size_t n, const QuantizedRows& x, float* y, size_t y_stride) {
  alignas(64) uint8_t weights[2][kManyRowsCols * kColumnBytes];
  for (size_t p = 0; p < P; ++p) widen(w, panel + p, k0, n, P, weights[p]);
  const int8_t* codes = x.codes + k0 * sizeof(uint16_t);
  y += panel * kPanelRows;
  tiles.configure(tile_config(kTileRows, kTileRows));
  for (size_t t = 0; t < x.n_rows; t += 2 * kTileRows) {
    const size_t rows = min_of(2 * kTileRows, x.n_rows - t);
    const size_t low = min_of(kTileRows, rows), high = rows - low;
    if (rows < 2 * kTileRows) tiles.configure(tile_config(low, high));
    if (high > 0)
      tile_block<2, P>(tiles, weights, n, codes + t * x.stride, x.stride, k0 == 0, y + t * y_stride,
                       y_stride);
    else
      tile_block<1, P>(tiles, weights, n, codes + t * x.stride, x.stride, k0 == 0, y + t * y_stride,
                       y_stride);
  }
}

template <class Tiles>
void matmul_tiles(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
                  float* y, size_t y_stride) {
  if (x.n_rows == 0) return;
  Tiles tiles;
  const WidenColumns widen = widen_columns_of(w.shape);
  if (x.n_rows <= kTileRows) {
    tiles.configure(tile_config(x.n_rows, x.n_rows));
    size_t panel = panel_begin;
    for (; panel + 4 <= panel_end; panel += 4)
      few_rows_tiles<4>(tiles, w, widen, panel, x, y, y_stride);
    for (; panel < panel_end; ++panel) few_rows_tiles<1>(tiles, w, widen, panel, x, y, y_stride);
  } else {
    for (size_t k0 = 0; k0 < w.cols_padded; k0 += kManyRowsCols) {
      const size_t n = min_of(kManyRowsCols, w.cols_padded - k0);
      size_t panel = panel_begin;
      for (; panel + 2 <= panel_end; panel += 2)
        many_rows_tiles<2>(tiles, w, widen, panel, k0, n, x, y, y_stride);
      for (; panel < panel_end; ++panel)
        many_rows_tiles<1>(tiles, w, widen, panel, k0, n, x, y, y_stride);
    }
  }
  tiles.release();
}

/// Six products that do not wait for each other.
template <class Tiles>
uint64_t peak_tile_operations(size_t n_rounds) {
  Tiles tiles;
  TileConfig config;
  for (size_t i = 0; i < 8; ++i) {
    config.rows[i] = kTileRows;
    config.row_bytes[i] = kLineBytes;
  }
  tiles.configure(config);
  for (size_t i = 0; i < n_rounds; ++i)
    for_each_tile<6>([&]<int sum>() { tiles.template multiply_add<sum, 6, 7>(); });
  tiles.release();
  return uint64_t{2} * 6 * kTileRows * kPanelRows * kTileCols * n_rounds;
}

template <class Tiles>
constexpr Kernels amx_kernels() {
  Kernels kernels = vector_kernels<Avx512>("amx");
  kernels.activations = ActivationCode::bf16;
  kernels.row_unit = 2 * kTileRows;
  kernels.quantize_rows = round_rows;
  kernels.matmul_q = matmul_tiles<Tiles>;
  kernels.peak_operations = peak_tile_operations<Tiles>;
  return kernels;
}

}  // namespace
}  // namespace nibble
