// What is known of the inputs of a linear layer from the calibration text.
#pragma once

#include <cstddef>
#include <vector>

#include "awq/products.h"

namespace nibble {

/// What to gather; it decides the memory.
struct StatsPlan {
  size_t group = 0;        // columns of a block of group_gram: for clipping; 0 = none
  size_t n_tokens = 0;     // rows that will come, about
  size_t n_sample = 512;   // rows to keep
  bool full_gram = false;  // [cols, cols]: for the error compensation
};

/// Statistics of rows x [cols]. Sums while rows come, means after finish().
struct InputStats {
  InputStats(size_t n_cols, const StatsPlan& plan);

  size_t cols = 0;
  size_t n_rows = 0;
  std::vector<float> mean_abs;     // [cols]
  std::vector<float> mean_square;  // [cols]
  std::vector<float> max_abs;      // [cols]
  FloatMatrix sample;              // [n_sample, cols], the first n_kept rows are used
  size_t n_kept = 0;
  std::vector<FloatMatrix> group_gram;  // mean of x x^T within each group of columns; or empty
  FloatMatrix gram;                     // mean of x x^T, [cols, cols]; or empty

  // Where x are the rows of the model whose layers in front are rounded; else empty.
  FloatMatrix drift;  // mean of x (exact x - x)^T, [cols, cols]
  FloatMatrix owed;   // mean of x (what the outputs are to gain besides)^T, [cols, outputs]

  void add(const Compute& compute, const float* x, size_t stride, size_t n);
  /// Of rows that add() took: x and the exact ones, both [n, cols], and what the outputs are to
  /// gain [n, outputs], or an empty matrix.
  void add_drift(const Compute& compute, const FloatMatrix& x, const FloatMatrix& exact,
                 const FloatMatrix& lacking);
  void finish();
  /// The statistics of x / s, s [cols].
  void divide(const std::vector<float>& s);

 private:
  size_t group_ = 0, n_expected_ = 0;
};

/// Mean over the inputs of |d x|^2 for an error d of weights. `fill` writes the error of a panel:
/// d [cols][16], on any thread. The full second moments are used if there are, and the sample is
/// not smaller.
class OutputError {
 public:
  OutputError(const Compute& compute, const InputStats& stats);

  /// The sum over the panels 0..n_panels-1; the same for any number of threads.
  template <class Fn>
  double sum(size_t n_panels, Fn&& fill) {
    std::vector<double> sums(n_panels);
    compute_.pool.run(n_panels, [&](size_t panel, int thread) {
      float* d = d_[static_cast<size_t>(thread)].row(0);
      fill(panel, d);
      sums[panel] = of_panel(d, static_cast<size_t>(thread));
    });
    double total = 0;
    for (const double s : sums) total += s;
    return total;
  }

 private:
  double of_panel(const float* d, size_t thread);

  const Compute& compute_;
  const InputStats& stats_;
  bool by_gram_;
  std::vector<FloatMatrix> d_;  // [threads] of [cols, 16]
  std::vector<FloatMatrix> y_;  // [threads] of [rows multiplied, 16]
};

}  // namespace nibble
