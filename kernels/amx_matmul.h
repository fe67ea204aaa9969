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

/// A product with its weights' way to bf16.
struct TileProduct {
  const PackedView& w;
  WidenColumns widen;
  const QuantizedRows& x;
  float* y;
  size_t y_stride;

  /// Activations of row t from column k on.
  const int8_t* left(size_t t, size_t k) const {
    return x.codes + t * x.stride + k * sizeof(uint16_t);
  }
  float* sum(size_t t, size_t panel) const { return y + t * y_stride + panel * kPanelRows; }
  size_t sum_stride() const { return y_stride * sizeof(float); }
};

/// y of up to 16 rows and P panels: each panel's sum stays in its tile.
template <int P, class Tiles>
void few_rows_tiles(Tiles& tiles, const TileProduct& product, size_t panel) {
  alignas(64) uint8_t weights[P][kFewRowsCols * kColumnBytes];
  const PackedView& w = product.w;
  unrolled<P>([&]<int p>() { tiles.template zero<p>(); });
  for (size_t k0 = 0; k0 < w.cols_padded; k0 += kFewRowsCols) {
    const size_t n = min_of(kFewRowsCols, w.cols_padded - k0);
    unrolled<P>([&]<int p>() {
      product.widen(w, panel + p, k0, n, P, weights[p]);
      for (size_t k = 0; k < n; k += kTileCols) {
        tiles.template load<kLeft>(product.left(0, k0 + k), product.x.stride);
        tiles.template load<kRight + p % 2>(weights[p] + k * kColumnBytes, kLineBytes);
        tiles.template multiply_add<p, kLeft, kRight + p % 2>();
      }
    });
  }
  unrolled<P>(
      [&]<int p>() { tiles.template store<p>(product.sum(0, panel + p), product.sum_stride()); });
}

/// Columns k0..k0+n-1 of two panels, or of one.
struct WeightBlock {
  alignas(64) uint8_t weights[2][kManyRowsCols * kColumnBytes];
  size_t panel, k0, n;
};

/// Adds the block's columns to y of R tiles of rows from row t on and P panels.
template <int R, int P, class Tiles>
void multiply_block(Tiles& tiles, const TileProduct& product, const WeightBlock& block, size_t t) {
  unrolled<R>([&]<int r>() {
    unrolled<P>([&]<int p>() {
      if (block.k0 == 0)
        tiles.template zero<2 * r + p>();
      else
        tiles.template load<2 * r + p>(product.sum(t + r * kTileRows, block.panel + p),
                                       product.sum_stride());
    });
  });
  const int8_t* left = product.left(t, block.k0);
  const size_t stride = product.x.stride, n = block.n;
  for (size_t k = 0; k < n; k += kTileCols, left += kTileCols * sizeof(uint16_t)) {
    unrolled<P>([&]<int p>() {
      tiles.template load<kRight + p>(block.weights[p] + k * kColumnBytes, kLineBytes);
    });
    unrolled<R>([&]<int r>() {
      tiles.template load<kLeft + r>(left + r * kTileRows * stride, stride);
      unrolled<P>(
          [&]<int p>() { tiles.template multiply_add<2 * r + p, kLeft + r, kRight + p>(); });
    });
  }
  unrolled<R>([&]<int r>() {
    unrolled<P>([&]<int p>() {
      tiles.template store<2 * r + p>(product.sum(t + r * kTileRows, block.panel + p),
                                      product.sum_stride());
    });
  });
}

/// Adds the columns of the block to y of all rows and P panels, which it widens before. Meanwhile
/// the same columns of the next panels are fetched, a share with every two tiles of rows.
template <int P, class Tiles>
void many_rows_tiles(Tiles& tiles, const TileProduct& product, WeightBlock& block) {
  const PackedView& w = product.w;
  const size_t n_rows = product.x.n_rows;
  for (size_t p = 0; p < P; ++p)
    product.widen(w, block.panel + p, block.k0, block.n, P, block.weights[p]);
  const size_t column_bits = code_bits(w.shape.codes) * kPanelRows;
  const uint8_t* next = w.codes + (block.panel + P) * w.code_stride + block.k0 * column_bits / 8;
  const size_t share = block.n * column_bits / 8 * 2 * kTileRows / n_rows + kLineBytes;
  tiles.configure(tile_config(kTileRows, kTileRows));
  for (size_t t = 0; t < n_rows; t += 2 * kTileRows, next += share) {
    const size_t rows = min_of(2 * kTileRows, n_rows - t);
    const size_t low = min_of(kTileRows, rows), high = rows - low;
    if (rows < 2 * kTileRows) tiles.configure(tile_config(low, high));
    for (size_t p = 0; p < P; ++p) fetch(next + p * w.code_stride, share);
    if (high > 0)
      multiply_block<2, P>(tiles, product, block, t);
    else
      multiply_block<1, P>(tiles, product, block, t);
  }
}

template <class Tiles>
void matmul_tiles(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
                  float* y, size_t y_stride) {
  if (x.n_rows == 0) return;
  Tiles tiles;
  const TileProduct product = {w, widen_columns_of(w.shape), x, y, y_stride};
  size_t panel = panel_begin;
  if (x.n_rows <= kTileRows) {
    tiles.configure(tile_config(x.n_rows, x.n_rows));
    for (; panel + 4 <= panel_end; panel += 4) few_rows_tiles<4>(tiles, product, panel);
    for (; panel + 2 <= panel_end; panel += 2) few_rows_tiles<2>(tiles, product, panel);
    for (; panel < panel_end; ++panel) few_rows_tiles<1>(tiles, product, panel);
  } else {
    WeightBlock block;
    for (block.k0 = 0; block.k0 < w.cols_padded; block.k0 += kManyRowsCols) {
      block.n = min_of(kManyRowsCols, w.cols_padded - block.k0);
      for (block.panel = panel_begin; block.panel < panel_end; block.panel += 2)
        if (block.panel + 2 <= panel_end)
          many_rows_tiles<2>(tiles, product, block);
        else
          many_rows_tiles<1>(tiles, product, block);
    }
  }
  tiles.release();
}

/// Six products that do not wait for each other.
template <class Tiles>
uint64_t peak_tile_operations(size_t n_rounds) {
  Tiles tiles;
  tiles.configure(tile_config(kTileRows, kTileRows));
  for (size_t i = 0; i < n_rounds; ++i)
    unrolled<6>([&]<int sum>() { tiles.template multiply_add<sum, 6, 7>(); });
  tiles.release();
  return uint64_t{2} * 6 * kTileRows * kPanelRows * kTileCols * n_rounds;
}

template <class Tiles>
constexpr Kernels amx_kernels() {
  Kernels kernels = vector_kernels<Avx512>("amx");
  kernels.activations = ActivationCode::bf16;
  kernels.row_unit = 2 * kTileRows;
  // 256 rows of 1024 columns are 512 KB, fetched once a call into L2: with 16 panels and more that
  // is 4 bytes a cycle of products.
  kernels.row_block = 256;
  kernels.piece_bytes = 1 << 20;
  kernels.quantize_rows = round_rows;
  kernels.matmul_q = matmul_tiles<Tiles>;
  kernels.peak_operations = peak_tile_operations<Tiles>;
  return kernels;
}

}  // namespace
}  // namespace nibble
