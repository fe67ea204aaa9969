// Matrix products on tiles of bf16 (AMX), for a class of tiles as amx_tiles.h has it.
//
// Weights are widened to bf16 (amx_weights.h) and activations rounded to it; sums are f32, over all
// columns without a scale between. Integer tiles would be twice as fast, but their sums must be
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

// Columns that are widened together, whole groups, while those before them are multiplied. Few
// rows: twice this of four panels lies in the L1 cache.
constexpr size_t kFewRowsCols = 128;

// Many rows. Two row tiles times two panels load four tiles for four products of 16 cycles: 64
// bytes a cycle, where the L2 cache gives 48 at best. So the weights of two panels (16 KB) stay in
// L1 beside the rows that pass (16 KB of 32 rows) and their sums (8 KB): per 512 cycles of products
// 16 KB of rows and 4 KB of sums come from L2, 40 bytes a cycle.
constexpr size_t kManyRowsCols = 256;

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

/// y of R tiles of rows and P panels, R * P <= 4: each sum stays in its tile. Tiles cannot be
/// loaded from stores that are still on their way to the cache, and a product takes 52 cycles until
/// the next one may add to its sum. So while columns of each panel are widened, those before them
/// are multiplied, all sums in turns.
template <int R, int P, class Tiles>
void few_rows_tiles(Tiles& tiles, const TileProduct& product, size_t panel) {
  constexpr int kSteps = kFewRowsCols / kTileCols, kStepsAPanel = kSteps / P;
  alignas(64) uint8_t weights[2][P][kFewRowsCols * kColumnBytes];
  const size_t n_cols = product.w.cols_padded;
  const auto block_of = [&](size_t k0) { return weights[k0 / kFewRowsCols % 2]; };
  const auto multiply = [&]<int step>(size_t k0) {
    constexpr size_t k = step * kTileCols;
    constexpr int left = kLeft + (R == 1 ? step % 2 : 0);
    if (k0 + k >= n_cols) return;
    unrolled<R>([&]<int r>() {
      tiles.template load<left + r>(product.left(r * kTileRows, k0 + k), product.x.stride);
    });
    unrolled<P>([&]<int p>() {
      constexpr int right = kRight + p % 2;
      tiles.template load<right>(block_of(k0)[p] + k * kColumnBytes, kLineBytes);
      unrolled<R>([&]<int r>() { tiles.template multiply_add<2 * r + p, left + r, right>(); });
    });
  };
  unrolled<R>([&]<int r>() { unrolled<P>([&]<int p>() { tiles.template zero<2 * r + p>(); }); });
  size_t k0 = 0;
  for (; k0 < n_cols; k0 += kFewRowsCols)
    unrolled<P>([&]<int p>() {
      product.widen(product.w, panel + p, k0, min_of(kFewRowsCols, n_cols - k0), {P, Ahead::in_row},
                    block_of(k0)[p]);
      if (k0 == 0) return;
      unrolled<kStepsAPanel>(
          [&]<int i>() { multiply.template operator()<p * kStepsAPanel + i>(k0 - kFewRowsCols); });
    });
  unrolled<kSteps>([&]<int step>() { multiply.template operator()<step>(k0 - kFewRowsCols); });
  unrolled<R>([&]<int r>() {
    unrolled<P>([&]<int p>() {
      tiles.template store<2 * r + p>(product.sum(r * kTileRows, panel + p), product.sum_stride());
    });
  });
}

/// Columns k0..k0+n-1 of two panels, or of one, and how many of them have been widened. Their way
/// there is cut into pieces of at least a tile, whole groups.
struct WeightBlock {
  alignas(64) uint8_t weights[2][kManyRowsCols * kColumnBytes];
  size_t panel = 0, n_panels = 0, k0 = 0, n = 0;
  size_t n_widened = 0;  // pieces

  /// The block at k0 that begins at `panel`, or is empty behind the last column.
  void begin(const PackedView& w, size_t first_panel, size_t panel_end, size_t first_col) {
    panel = first_panel;
    k0 = first_col;
    n = k0 < w.cols_padded ? min_of(kManyRowsCols, w.cols_padded - k0) : 0;
    n_panels = n > 0 ? min_of(2, panel_end - panel) : 0;
    n_widened = 0;
  }
  static size_t piece_cols(const PackedView& w) {
    return w.shape.group > kTileCols ? w.shape.group : kTileCols;
  }
  size_t n_pieces(const PackedView& w) const {
    return n_panels * ((n + piece_cols(w) - 1) / piece_cols(w));
  }
  void widen_next(const TileProduct& product) {
    const size_t cols = piece_cols(product.w), in_panel = (n + cols - 1) / cols;
    const size_t p = n_widened / in_panel, k = n_widened % in_panel * cols;
    product.widen(product.w, panel + p, k0 + k, min_of(cols, n - k), {n_panels, Ahead::next_panels},
                  weights[p] + k * kColumnBytes);
    ++n_widened;
  }
};

/// Widens a block while the one before it is multiplied: after each of `n_steps` steps its share,
/// so that the vector units work beside those of the tiles.
class WideningBeside {
 public:
  WideningBeside(const TileProduct& product, WeightBlock& block, size_t n_steps)
      : product_(product), block_(block), n_pieces_(block.n_pieces(product.w)), n_steps_(n_steps) {}
  void step() {
    for (due_ += n_pieces_; due_ >= n_steps_; due_ -= n_steps_) block_.widen_next(product_);
  }

 private:
  const TileProduct& product_;
  WeightBlock& block_;
  size_t n_pieces_, n_steps_;
  size_t due_ = 0;  // pieces times n_steps
};

/// Adds the block's columns to y of R tiles of rows from row t on and P panels.
template <int R, int P, class Tiles>
void multiply_block(Tiles& tiles, const TileProduct& product, const WeightBlock& block, size_t t,
                    WideningBeside& beside) {
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
  const size_t stride = product.x.stride;
  for (size_t k = 0; k < block.n; k += kTileCols, left += kTileCols * sizeof(uint16_t)) {
    unrolled<P>([&]<int p>() {
      tiles.template load<kRight + p>(block.weights[p] + k * kColumnBytes, kLineBytes);
    });
    unrolled<R>([&]<int r>() {
      tiles.template load<kLeft + r>(left + r * kTileRows * stride, stride);
      unrolled<P>(
          [&]<int p>() { tiles.template multiply_add<2 * r + p, kLeft + r, kRight + p>(); });
    });
    beside.step();
  }
  unrolled<R>([&]<int r>() {
    unrolled<P>([&]<int p>() {
      tiles.template store<2 * r + p>(product.sum(t + r * kTileRows, block.panel + p),
                                      product.sum_stride());
    });
  });
}

/// Adds the columns of the block to y of all rows, and widens the next one. Tiles are configured
/// for whole row tiles, before and after.
template <int P, class Tiles>
void many_rows_tiles(Tiles& tiles, const TileProduct& product, const WeightBlock& block,
                     WeightBlock& next) {
  constexpr size_t kRows = 2 * kTileRows;
  const size_t n_rows = product.x.n_rows, rest = n_rows % kRows;
  const size_t n_steps = (n_rows + kRows - 1) / kRows * ((block.n + kTileCols - 1) / kTileCols);
  WideningBeside beside(product, next, n_steps);
  size_t t = 0;
  for (; t + kRows <= n_rows; t += kRows) multiply_block<2, P>(tiles, product, block, t, beside);
  if (rest == 0) return;
  const size_t low = min_of(kTileRows, rest);
  tiles.configure(tile_config(low, rest - low));
  if (rest > low)
    multiply_block<2, P>(tiles, product, block, t, beside);
  else
    multiply_block<1, P>(tiles, product, block, t, beside);
  tiles.configure(tile_config(kTileRows, kTileRows));
}

/// All blocks: two panels after the other, with the same columns.
template <class Tiles>
void many_rows(Tiles& tiles, const TileProduct& product, size_t panel_begin, size_t panel_end) {
  WeightBlock blocks[2];
  const PackedView& w = product.w;
  tiles.configure(tile_config(kTileRows, kTileRows));
  blocks[0].begin(w, panel_begin, panel_end, 0);
  for (size_t i = 0, n = blocks[0].n_pieces(w); i < n; ++i) blocks[0].widen_next(product);
  for (size_t i = 0;; ++i) {
    const WeightBlock& block = blocks[i % 2];
    WeightBlock& next = blocks[(i + 1) % 2];
    if (block.n == 0) return;
    if (const size_t panel = block.panel + block.n_panels; panel < panel_end)
      next.begin(w, panel, panel_end, block.k0);
    else
      next.begin(w, panel_begin, panel_end, block.k0 + kManyRowsCols);
    if (block.n_panels == 2)
      many_rows_tiles<2>(tiles, product, block, next);
    else
      many_rows_tiles<1>(tiles, product, block, next);
  }
}

/// y of R tiles of rows: up to P panels at a time.
template <int R, int P, class Tiles>
void few_rows(Tiles& tiles, const TileProduct& product, size_t panel, size_t panel_end) {
  const size_t low = min_of(kTileRows, product.x.n_rows);
  tiles.configure(tile_config(low, R == 1 ? low : product.x.n_rows - low));
  for (; panel + P <= panel_end; panel += P) few_rows_tiles<R, P>(tiles, product, panel);
  if constexpr (P > 2)
    for (; panel + 2 <= panel_end; panel += 2) few_rows_tiles<R, 2>(tiles, product, panel);
  for (; panel < panel_end; ++panel) few_rows_tiles<R, 1>(tiles, product, panel);
}

template <class Tiles>
void matmul_tiles(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
                  float* y, size_t y_stride) {
  if (x.n_rows == 0) return;
  Tiles tiles;
  const TileProduct product = {w, widen_columns_of(w.shape), x, y, y_stride};
  if (x.n_rows <= kTileRows)
    few_rows<1, 4>(tiles, product, panel_begin, panel_end);
  else if (x.n_rows <= 2 * kTileRows)
    few_rows<2, 2>(tiles, product, panel_begin, panel_end);
  else
    many_rows(tiles, product, panel_begin, panel_end);
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

}  // namespace
}  // namespace nibble
