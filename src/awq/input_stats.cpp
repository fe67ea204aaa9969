#include "awq/input_stats.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"

namespace nibble {
namespace {

// Inputs so narrow that their full second moments cost less than a sample.
constexpr size_t kNarrow = 1024;

}  // namespace

InputStats::InputStats(size_t n_cols, const StatsPlan& plan)
    : cols(n_cols),
      mean_abs(n_cols),
      mean_square(n_cols),
      max_abs(n_cols),
      group_(plan.group),
      n_expected_(std::max<size_t>(plan.n_tokens, 1)) {
  if (plan.full_gram || n_cols <= kNarrow) gram = FloatMatrix(n_cols, n_cols);
  if (n_cols > kNarrow) sample = FloatMatrix(plan.n_sample, n_cols);
  for (size_t c = 0; group_ > 0 && c < n_cols; c += group_) {
    const size_t size = std::min(group_, n_cols - c);
    group_gram.emplace_back(size, size);
  }
}

void InputStats::add(const Compute& compute, const float* x, size_t stride, size_t n) {
  constexpr size_t kPiece = 256;
  compute.pool.run(ceil_div(cols, kPiece), [&](size_t i, int) {
    const size_t end = std::min(cols, (i + 1) * kPiece);
    for (size_t t = 0; t < n; ++t)
      for (size_t c = i * kPiece; c < end; ++c) {
        const float v = x[t * stride + c], a = std::abs(v);
        mean_abs[c] += a;
        mean_square[c] += v * v;
        max_abs[c] = std::max(max_abs[c], a);
      }
  });
  for (size_t t = 0; t < n; ++t) {
    const size_t row = n_rows + t;  // every n_expected / n_sample'th row
    if (n_kept < sample.rows() &&
        (row + 1) * sample.rows() / n_expected_ > row * sample.rows() / n_expected_)
      std::copy_n(x + t * stride, cols, sample.row(n_kept++));
  }
  n_rows += n;
  if (!gram.empty()) return add_gram(compute, x, stride, n, 0, gram);
  for (size_t g = 0; g < group_gram.size(); ++g)
    add_gram(compute, x, stride, n, g * group_, group_gram[g]);
}

void InputStats::add_drift(const Compute& compute, const FloatMatrix& x, const FloatMatrix& exact,
                           const FloatMatrix& lacking) {
  if (drift.empty()) drift = FloatMatrix(cols, cols);
  add_product(compute, x, difference(exact, x, 1), drift);
  if (lacking.empty()) return;
  if (owed.empty()) owed = FloatMatrix(cols, lacking.cols());
  add_product(compute, x, lacking, owed);
}

void InputStats::finish() {
  const float factor = n_rows == 0 ? 0.0f : 1.0f / static_cast<float>(n_rows);
  for (FloatMatrix* m : {&drift, &owed})
    for (size_t i = 0; i < m->rows(); ++i)
      for (size_t j = 0; j < m->cols(); ++j) m->row(i)[j] *= factor;
  for (auto* values : {&mean_abs, &mean_square})
    for (float& v : *values) v *= factor;
  if (gram.empty()) {
    for (FloatMatrix& block : group_gram) mirror_lower(block, factor);
    return;
  }
  mirror_lower(gram, factor);
  for (size_t g = 0; g < group_gram.size(); ++g)
    for (size_t i = 0; i < group_gram[g].rows(); ++i)
      std::copy_n(gram.row(g * group_ + i) + g * group_, group_gram[g].cols(),
                  group_gram[g].row(i));
}

void InputStats::divide(const std::vector<float>& s) {
  std::vector<float> by(cols);
  for (size_t c = 0; c < cols; ++c) {
    by[c] = 1.0f / s[c];
    mean_abs[c] *= by[c];
    mean_square[c] *= by[c] * by[c];
    max_abs[c] *= by[c];
  }
  for (size_t t = 0; t < n_kept; ++t)
    for (size_t c = 0; c < cols; ++c) sample.row(t)[c] *= by[c];
  for (size_t i = 0; i < gram.rows(); ++i)
    for (size_t j = 0; j < cols; ++j) gram.row(i)[j] *= by[i] * by[j];
  for (size_t i = 0; i < drift.rows(); ++i)
    for (size_t j = 0; j < cols; ++j) drift.row(i)[j] *= by[i] * by[j];
  for (size_t i = 0; i < owed.rows(); ++i)
    for (size_t j = 0; j < owed.cols(); ++j) owed.row(i)[j] *= by[i];
  for (size_t g = 0; g < group_gram.size(); ++g)
    for (size_t i = 0; i < group_gram[g].rows(); ++i)
      for (size_t j = 0; j < group_gram[g].cols(); ++j)
        group_gram[g].row(i)[j] *= by[g * group_ + i] * by[g * group_ + j];
}

OutputError::OutputError(const Compute& compute, const InputStats& stats)
    : compute_(compute), stats_(stats), by_gram_(stats.sample.empty()) {
  for (int i = 0; i < compute.pool.size(); ++i) {
    d_.emplace_back(stats.cols, kLanes);
    y_.emplace_back(std::max<size_t>(1, by_gram_ ? stats.cols : stats.n_kept), kLanes);
  }
}

double OutputError::of_panel(const float* d, size_t thread) {
  const FloatMatrix& x = by_gram_ ? stats_.gram : stats_.sample;
  const size_t n = by_gram_ ? stats_.cols : stats_.n_kept;
  if (n == 0) return 0;
  float* y = y_[thread].row(0);
  compute_.kernels.matmul_f32(float_panels(d, 1, stats_.cols), 0, 1, x.row(0), x.cols(), n, y,
                              kLanes);
  double total = 0;
  for (size_t t = 0; t < n; ++t)
    for (size_t r = 0; r < kLanes; ++r)
      total += static_cast<double>((by_gram_ ? d : y)[t * kLanes + r]) * y[t * kLanes + r];
  return by_gram_ ? total : total / static_cast<double>(n);
}

}  // namespace nibble
