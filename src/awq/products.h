// Dense float algebra on all threads, on top of the one fast product that every CPU has.
//
// Panels are those of packed.h in f32: [cols][16], lane = row of the matrix. Whatever works on
// weights here works on the 16 lanes of a panel at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "base/thread_pool.h"
#include "kernels.h"

namespace nibble {

inline constexpr size_t kLanes = kPanelRows;

/// What to compute with.
struct Compute {
  const Kernels& kernels;
  ThreadPool& pool;
};

/// Floats [rows, cols], one row after the other, zero at first; 64-byte aligned. From the heap,
/// which keeps the memory of scratch that comes and goes.
class FloatMatrix {
 public:
  FloatMatrix() = default;
  FloatMatrix(size_t n_rows, size_t n_cols)
      : rows_(n_rows),
        cols_(n_cols),
        data_(static_cast<float*>(
            ::operator new (n_rows* n_cols * sizeof(float), std::align_val_t{kLineBytes}))) {
    std::fill_n(data_.get(), n_rows * n_cols, 0.0f);
  }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  bool empty() const { return rows_ == 0; }
  float* row(size_t i) { return data_.get() + i * cols_; }
  const float* row(size_t i) const { return data_.get() + i * cols_; }

 private:
  struct Free {
    void operator()(float* data) const { ::operator delete (data, std::align_val_t{kLineBytes}); }
  };
  size_t rows_ = 0, cols_ = 0;
  std::unique_ptr<float, Free> data_;
};

FloatMatrix copy_of(const FloatMatrix& m);

/// The f32 panels of a matrix W [rows, cols], [n_panels][cols][16].
struct FloatPanels {
  float* data = nullptr;
  size_t rows = 0, cols = 0;
  size_t n_panels() const { return (rows + kLanes - 1) / kLanes; }
  float* panel(size_t p) const { return data + p * cols * kLanes; }
};

/// n_panels f32 panels of `cols` columns, one after the other at a 64-byte aligned address.
PackedView float_panels(const float* panels, size_t n_panels, size_t cols);

/// gram[i][j] += sum over the rows of x [n, stride] of x[i] x[j], for j <= i, i and j within
/// column..column + gram.rows() - 1 of x.
void add_gram(const Compute& compute, const float* x, size_t stride, size_t n, size_t column,
              FloatMatrix& gram);

/// factor * (a - b), all of one shape.
FloatMatrix difference(const FloatMatrix& a, const FloatMatrix& b, float factor);

/// out [cols of x, cols of y] += x^T y, with x [n, ..] and y [n, ..].
void add_product(const Compute& compute, const FloatMatrix& x, const FloatMatrix& y,
                 FloatMatrix& out);

/// Copies the lower triangle to the upper one, both times `factor`.
void mirror_lower(FloatMatrix& m, float factor);

/// The lower factor of a symmetric matrix, in place: m = L L^T. Reads and writes the lower triangle
/// only. False if m is not positive definite; m is then spoilt.
bool cholesky(const Compute& compute, FloatMatrix& m);

}  // namespace nibble
