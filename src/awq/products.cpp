#include "awq/products.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/checked.h"

namespace nibble {
namespace {

// A piece of a product is [kRowBlock rows of x] times [kPanelBlock panels]: with up to 512 columns
// its inputs stay in the L2 cache.
constexpr size_t kRowBlock = 256;
constexpr size_t kPanelBlock = 8;
constexpr size_t kBlockCols = kPanelBlock * kLanes;
constexpr size_t kCholeskyBlock = kBlockCols;

using Scratch = std::vector<FloatMatrix>;  // one for each thread

Scratch scratch(const Compute& compute, size_t rows, size_t cols) {
  Scratch out;
  for (int i = 0; i < compute.pool.size(); ++i) out.emplace_back(rows, cols);
  return out;
}

// Rows first..first+n-1 (n <= 16, the other lanes zero) of m, columns column.. as a panel.
void gather_panel(const FloatMatrix& m, size_t first, size_t n, size_t column, size_t cols,
                  float* panel) {
  if (n < kLanes) std::fill_n(panel, cols * kLanes, 0.0f);
  for (size_t r = 0; r < n; ++r) {
    const float* row = m.row(first + r) + column;
    for (size_t c = 0; c < cols; ++c) panel[c * kLanes + r] = row[c];
  }
}

// Rows x [n, stride] of `cols` columns as [cols, n].
FloatMatrix transpose(const Compute& compute, const float* x, size_t stride, size_t n,
                      size_t cols) {
  FloatMatrix out(cols, n);
  compute.pool.run(ceil_div(cols, kLanes), [&](size_t i, int) {
    const size_t end = std::min(cols, (i + 1) * kLanes);
    for (size_t t = 0; t < n; ++t)
      for (size_t c = i * kLanes; c < end; ++c) out.row(c)[t] = x[t * stride + c];
  });
  return out;
}

// Columns begin..end-1 of x [n, stride] as the rows of panels [n][16], and how many panels that is.
// Lanes beyond `end` are left as they are.
size_t columns_as_panels(const float* x, size_t stride, size_t n, size_t begin, size_t end,
                         float* panels) {
  const size_t n_panels = ceil_div(end - begin, kLanes);
  for (size_t p = 0; p < n_panels; ++p) {
    const size_t first = begin + p * kLanes, lanes = std::min(kLanes, end - first);
    for (size_t t = 0; t < n; ++t)
      std::copy_n(x + t * stride + first, lanes, panels + (p * n + t) * kLanes);
  }
  return n_panels;
}

// fn(row_begin, row_end, col_begin, col_end, thread) for the blocks of [n_rows, n_cols] from
// `begin` on, or only for those with a part of the lower triangle.
template <class Fn>
void for_blocks(const Compute& compute, size_t begin, size_t n_rows, size_t n_cols, bool lower,
                Fn&& fn) {
  struct Block {
    size_t row, col;
  };
  std::vector<Block> blocks;
  for (size_t row = begin; row < n_rows; row += kRowBlock)
    for (size_t col = begin; col < (lower ? std::min(n_cols, row + kRowBlock) : n_cols);
         col += kBlockCols)
      blocks.push_back({row, col});
  compute.pool.run(blocks.size(), [&](size_t i, int thread) {
    const Block b = blocks[i];
    fn(b.row, std::min(n_rows, b.row + kRowBlock), b.col, std::min(n_cols, b.col + kBlockCols),
       static_cast<size_t>(thread));
  });
}

// out += x^T y, x as [rows of out, n] and y [n, stride], or the lower triangle of that.
void add_transposed(const Compute& compute, const FloatMatrix& x, const float* y, size_t stride,
                    bool lower, FloatMatrix& out) {
  const size_t n = x.cols();
  Scratch products = scratch(compute, kRowBlock, kBlockCols);
  Scratch panels = scratch(compute, kPanelBlock * n, kLanes);
  for_blocks(compute, 0, out.rows(), out.cols(), lower,
             [&](size_t row, size_t row_end, size_t col, size_t col_end, size_t thread) {
               float* panel = panels[thread].row(0);
               const size_t n_panels = columns_as_panels(y, stride, n, col, col_end, panel);
               FloatMatrix& product = products[thread];
               compute.kernels.matmul_f32(float_panels(panel, n_panels, n), 0, n_panels, x.row(row),
                                          n, row_end - row, product.row(0), product.cols());
               for (size_t r = row; r < row_end; ++r) {
                 const size_t end = lower ? std::min(col_end, r + 1) : col_end;
                 for (size_t c = col; c < end; ++c) out.row(r)[c] += product.row(r - row)[c - col];
               }
             });
}

// The factor of the diagonal block at `at`, and its inverse [n][n].
bool factor_block(FloatMatrix& m, size_t at, size_t n, std::vector<double>& inverse) {
  for (size_t j = 0; j < n; ++j) {
    float* row = m.row(at + j) + at;
    for (size_t k = 0; k <= j; ++k) {
      const float* other = m.row(at + k) + at;
      double sum = static_cast<double>(row[k]);
      for (size_t i = 0; i < k; ++i) sum -= static_cast<double>(row[i]) * other[i];
      if (k < j) {
        row[k] = static_cast<float>(sum / other[k]);
      } else {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        row[k] = static_cast<float>(std::sqrt(sum));
      }
    }
  }
  std::fill(inverse.begin(), inverse.end(), 0.0);
  for (size_t j = 0; j < n; ++j) {
    inverse[j * n + j] = 1.0 / m.row(at + j)[at + j];
    for (size_t i = j + 1; i < n; ++i) {
      const float* row = m.row(at + i) + at;
      double sum = 0;
      for (size_t k = j; k < i; ++k) sum -= row[k] * inverse[k * n + j];
      inverse[i * n + j] = sum / row[i];
    }
  }
  return true;
}

// Rows below the block: L21 = A21 L11^-T.
void solve_below(const Compute& compute, FloatMatrix& m, size_t at, size_t n,
                 const std::vector<double>& inverse, Scratch& y) {
  const size_t n_panels = ceil_div(n, kLanes);
  FloatMatrix panels(n_panels * n, kLanes);
  for (size_t j = 0; j < n; ++j)
    for (size_t k = 0; k < n; ++k)
      panels.row(j / kLanes * n + k)[j % kLanes] = static_cast<float>(inverse[j * n + k]);
  const PackedView view = float_panels(panels.row(0), n_panels, n);
  const size_t below = m.rows() - at - n;
  compute.pool.run(ceil_div(below, kRowBlock), [&](size_t i, int thread) {
    const size_t first = at + n + i * kRowBlock, rows = std::min(kRowBlock, m.rows() - first);
    FloatMatrix& out = y[static_cast<size_t>(thread)];
    compute.kernels.matmul_f32(view, 0, n_panels, m.row(first) + at, m.cols(), rows, out.row(0),
                               out.cols());
    for (size_t r = 0; r < rows; ++r) std::copy_n(out.row(r), n, m.row(first + r) + at);
  });
}

// A22 -= L21 L21^T.
void update_trailing(const Compute& compute, FloatMatrix& m, size_t at, size_t n, Scratch& y,
                     Scratch& panels) {
  for_blocks(compute, at + n, m.rows(), m.rows(), /*lower=*/true,
             [&](size_t row, size_t row_end, size_t col, size_t col_end, size_t thread) {
               float* panel = panels[thread].row(0);
               const size_t n_panels = ceil_div(col_end - col, kLanes);
               for (size_t p = 0; p < n_panels; ++p)
                 gather_panel(m, col + p * kLanes, std::min(kLanes, col_end - col - p * kLanes), at,
                              n, panel + p * n * kLanes);
               FloatMatrix& out = y[thread];
               compute.kernels.matmul_f32(float_panels(panel, n_panels, n), 0, n_panels,
                                          m.row(row) + at, m.cols(), row_end - row, out.row(0),
                                          out.cols());
               for (size_t r = row; r < row_end; ++r) {
                 const size_t end = std::min(col_end, r + 1);
                 for (size_t c = col; c < end; ++c) m.row(r)[c] -= out.row(r - row)[c - col];
               }
             });
}

}  // namespace

FloatMatrix copy_of(const FloatMatrix& m) {
  FloatMatrix out(m.rows(), m.cols());
  std::copy_n(m.row(0), m.rows() * m.cols(), out.row(0));
  return out;
}

PackedView float_panels(const float* panels, size_t n_panels, size_t cols) {
  PackedView view;
  view.shape.rows = static_cast<uint32_t>(n_panels * kLanes);
  view.shape.cols = static_cast<uint32_t>(cols);
  view.cols_padded = static_cast<uint32_t>(cols);
  view.code_stride = cols * kLanes * sizeof(float);
  view.codes = reinterpret_cast<const uint8_t*>(panels);
  return view;
}

void add_gram(const Compute& compute, const float* x, size_t stride, size_t n, size_t column,
              FloatMatrix& gram) {
  const FloatMatrix transposed = transpose(compute, x + column, stride, n, gram.rows());
  add_transposed(compute, transposed, x + column, stride, /*lower=*/true, gram);
}

FloatMatrix difference(const FloatMatrix& a, const FloatMatrix& b, float factor) {
  FloatMatrix out(a.rows(), a.cols());
  for (size_t r = 0; r < a.rows(); ++r)
    for (size_t c = 0; c < a.cols(); ++c) out.row(r)[c] = factor * (a.row(r)[c] - b.row(r)[c]);
  return out;
}

void add_product(const Compute& compute, const FloatMatrix& x, const FloatMatrix& y,
                 FloatMatrix& out) {
  const FloatMatrix transposed = transpose(compute, x.row(0), x.cols(), x.rows(), out.rows());
  add_transposed(compute, transposed, y.row(0), y.cols(), /*lower=*/false, out);
}

void mirror_lower(FloatMatrix& m, float factor) {
  constexpr size_t kTile = 64;  // so that both sides stay in the cache
  for (size_t i0 = 0; i0 < m.rows(); i0 += kTile)
    for (size_t j0 = 0; j0 <= i0; j0 += kTile)
      for (size_t i = i0; i < std::min(m.rows(), i0 + kTile); ++i)
        for (size_t j = j0; j < std::min(i + 1, j0 + kTile); ++j) {
          m.row(i)[j] *= factor;
          m.row(j)[i] = m.row(i)[j];
        }
}

bool cholesky(const Compute& compute, FloatMatrix& m) {
  Scratch y = scratch(compute, kRowBlock, kBlockCols);
  Scratch panels = scratch(compute, kPanelBlock * kCholeskyBlock, kLanes);
  std::vector<double> inverse;
  for (size_t at = 0; at < m.rows(); at += kCholeskyBlock) {
    const size_t n = std::min(kCholeskyBlock, m.rows() - at);
    inverse.resize(n * n);
    if (!factor_block(m, at, n, inverse)) return false;
    if (at + n == m.rows()) break;
    solve_below(compute, m, at, n, inverse, y);
    update_trailing(compute, m, at, n, y, panels);
  }
  return true;
}

}  // namespace nibble
