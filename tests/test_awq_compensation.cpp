// Rounding that makes its errors good, against double precision and elimination.
#include "awq/scale_search.h"
#include "awq_inputs.h"
#include "check.h"

namespace {

using namespace nibble;
using namespace nibble::test;

void test_compensation() {
  Machine machine;
  const size_t cols = 200, rows = 40;  // neither whole groups nor whole panels
  const std::vector<float> w = normal(rows * cols, 41), x = loud_inputs(500, cols);
  const Panels panels(w, rows, cols);
  const InputStats stats = stats_of(machine.compute, x, cols, 64);
  RoundingRule rule;
  rule.group = 64;
  const double nearest =
      error_of(round_matrix(machine.compute, panels.view, stats, rule, nullptr), panels, x);
  rule.rounding = Rounding::importance;
  const double weighted_error =
      error_of(round_matrix(machine.compute, panels.view, stats, rule, nullptr), panels, x);
  rule.rounding = Rounding::compensated;
  const Feedback feedback = make_feedback(machine.compute, copy_of(stats.gram));
  const double compensated =
      error_of(round_matrix(machine.compute, panels.view, stats, rule, &feedback), panels, x);
  check(weighted_error < nearest, "importance pays");
  check(compensated < 0.6 * nearest, "compensation pays: " + std::to_string(compensated / nearest));
}

// Rows of the inputs of a rounded model, of the exact model's, and of what outputs lack.
struct Drifting {
  size_t n, cols, rows;
  std::vector<float> x, exact, lacking;  // [n, cols], [n, cols], [n, rows]
  InputStats stats;
  Drifting(const Compute& compute, size_t n_tokens, size_t n_cols, size_t n_rows)
      : n(n_tokens),
        cols(n_cols),
        rows(n_rows),
        x(loud_inputs(n, cols)),
        exact(normal(n * cols, 81, 0.2f)),
        lacking(normal(n * rows, 82, 0.3f)),
        stats(cols, {.group = 64, .n_tokens = n, .full_gram = true}) {
    for (size_t i = 0; i < exact.size(); ++i) exact[i] += 0.9f * x[i];
    for (size_t t = 0; t < n; ++t) lacking[t * rows] += x[t * cols];
    const size_t half = n / 2;
    for (const auto& [first, count] : {std::pair{size_t{0}, half}, std::pair{half, n - half}}) {
      stats.add(compute, x.data() + first * cols, cols, count);
      stats.add_drift(compute, part(x, cols, first, count), part(exact, cols, first, count),
                      part(lacking, rows, first, count));
    }
    stats.finish();
  }
  static FloatMatrix part(const std::vector<float>& from, size_t width, size_t first,
                          size_t count) {
    FloatMatrix out(count, width);
    std::copy_n(from.begin() + static_cast<ptrdiff_t>(first * width), count * width, out.row(0));
    return out;
  }
  double drift(size_t i, size_t j) const {
    double sum = 0;
    for (size_t t = 0; t < n; ++t)
      sum += double{x[t * cols + i]} * (double{exact[t * cols + j]} - double{x[t * cols + j]});
    return sum / double(n);
  }
  double owed(size_t i, size_t r) const {
    double sum = 0;
    for (size_t t = 0; t < n; ++t) sum += double{x[t * cols + i]} * double{lacking[t * rows + r]};
    return sum / double(n);
  }
};

void test_drift_statistics() {
  Machine machine;
  Drifting d(machine.compute, 91, 300, 37);  // no multiples of a block, a panel or a group
  std::vector<float> s(d.cols);
  for (size_t c = 0; c < d.cols; ++c) s[c] = 0.5f + float(c % 7);
  for (const bool scaled : {false, true}) {
    if (scaled) d.stats.divide(s);
    for (const size_t i : {size_t{0}, size_t{5}, size_t{150}, size_t{299}}) {
      const double by = scaled ? double{s[i]} : 1;
      for (const size_t j : {size_t{0}, size_t{34}, size_t{129}, size_t{256}, size_t{299}})
        check_near(double{d.stats.drift.row(i)[j]},
                   d.drift(i, j) / by / (scaled ? double{s[j]} : 1), 2e-3, "drift");
      for (const size_t r : {size_t{0}, size_t{16}, size_t{36}})
        check_near(double{d.stats.owed.row(i)[r]}, d.owed(i, r) / by, 2e-3, "owed");
    }
  }
}

// Solves a x = b in place, [n, n] and [n]: elimination with pivots.
void eliminate(std::vector<double> a, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t i = k; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    for (size_t j = 0; j < n; ++j) std::swap(a[k * n + j], a[pivot * n + j]);
    std::swap(b[k], b[pivot]);
    for (size_t i = k + 1; i < n; ++i) {
      const double f = a[i * n + k] / a[k * n + k];
      for (size_t j = k; j < n; ++j) a[i * n + j] -= f * a[k * n + j];
      b[i] -= f * b[k];
    }
  }
  for (size_t k = n; k-- > 0;) {
    for (size_t j = k + 1; j < n; ++j) b[k] -= a[k * n + j] * b[j];
    b[k] /= a[k * n + k];
  }
}

// The second moments of rows of inputs, [cols, cols], and 1% of their mean diagonal on it.
std::vector<double> damped_gram(const std::vector<float>& x, size_t cols) {
  const size_t n = x.size() / cols;
  std::vector<double> gram(cols * cols);
  double mean = 0;
  for (size_t i = 0; i < cols; ++i)
    for (size_t j = 0; j < cols; ++j) {
      for (size_t t = 0; t < n; ++t)
        gram[i * cols + j] += double{x[t * cols + i]} * double{x[t * cols + j]} / double(n);
      if (i == j) mean += gram[i * cols + i] / double(cols);
    }
  for (size_t i = 0; i < cols; ++i) gram[i * cols + i] += 0.01 * mean;
  return gram;
}

void test_drift_is_corrected() {
  Machine machine;
  const Drifting d(machine.compute, 400, 150, 20);
  const std::vector<float> w = normal(d.rows * d.cols, 83);
  const std::vector<double> gram = damped_gram(d.x, d.cols);
  const Feedback feedback = make_feedback(machine.compute, copy_of(d.stats.gram));
  Panels whole(w, d.rows, d.cols), part(w, d.rows, d.cols);
  correct_drift(machine.compute, whole.view, d.stats, feedback, 1.0f);
  correct_drift(machine.compute, part.view, d.stats, feedback, 0.25f);
  for (const size_t r : {size_t{0}, size_t{7}, size_t{19}}) {
    std::vector<double> move(d.cols);
    for (size_t c = 0; c < d.cols; ++c) {
      move[c] = d.owed(c, r);
      for (size_t j = 0; j < d.cols; ++j) move[c] += d.drift(c, j) * double{w[r * d.cols + j]};
    }
    eliminate(gram, move);
    for (size_t c = 0; c < d.cols; ++c) {
      const size_t at = c * 16 + r % 16;
      const double before = double{w[r * d.cols + c]};
      check_near(double{whole.view.panel(r / 16)[at]}, before + move[c], 2e-3, "the whole");
      check_near(double{part.view.panel(r / 16)[at]}, before + move[c] / 4, 2e-3, "a share");
    }
  }
  for (size_t c = 0; c < d.cols; ++c)
    for (size_t r = d.rows % 16; r < 16; ++r)
      check_eq(whole.view.panel(1)[c * 16 + r], 0.0f, "lanes without a row");
}

// Every code is the nearest one to the weight and what the errors behind it ask for, codes 0..most.
void check_made_good(const RoundedMatrix& m, const std::vector<float>& w,
                     const std::vector<double>& gram, double most) {
  for (size_t r = 0; r < m.rows; ++r) {
    std::vector<double> error(m.cols);
    for (size_t i = 0; i < m.cols; ++i) {
      const size_t left = m.cols - i, k = left - 1;  // columns 0..k are left
      std::vector<double> h(left * left), made_good(left);
      for (size_t a = 0; a < left; ++a) {
        for (size_t b = 0; b < left; ++b) h[a * left + b] = gram[a * m.cols + b];
        for (size_t f = left; f < m.cols; ++f) made_good[a] += gram[a * m.cols + f] * error[f];
      }
      eliminate(h, made_good);
      const LaneGrid& grid = m.grids[k / m.group];
      const double s = double{grid.s[r]}, z = double{grid.z[r]}, min = double{grid.m[r]};
      const double code = m.codes[k * 16 + r], weight = double{w[r * m.cols + k]};
      const double wanted = std::clamp((weight + made_good[k] - min) / s + z, 0.0, most);
      check(std::abs(code - wanted) < 0.51, "column " + std::to_string(k));
      error[k] = weight - (s * (code - z) + min);
    }
  }
}

/// Every column has the code nearest to what makes good the errors of those behind it, with the
/// columns in front free: w_k + (H_RR^-1 H_RF e_F)_k, R = 0..k, F the columns behind.
void test_errors_are_made_good() {
  Machine machine;
  constexpr size_t kCols = 72, kRows = 3;  // 8 columns are no whole group
  const std::vector<float> w = normal(kRows * kCols, 44), x = loud_inputs(300, kCols);
  const Panels panels(w, kRows, kCols);
  const InputStats stats = stats_of(machine.compute, x, kCols, 32);
  const std::vector<double> gram = damped_gram(x, kCols);
  const Feedback feedback = make_feedback(machine.compute, copy_of(stats.gram));
  for (const auto& [scheme, group, most] :
       {std::tuple{Scheme::f16_zero, size_t{32}, 15.0}, std::tuple{Scheme::k6, size_t{32}, 15.0},
        std::tuple{Scheme::k8, size_t{16}, 63.0}}) {
    const RoundingRule rule{group, scheme, Rounding::compensated};
    check_made_good(round_matrix(machine.compute, panels.view, stats, rule, &feedback), w, gram,
                    most);
  }
}

void test_dead_inputs() {
  Machine machine;
  const size_t cols = 64;
  std::vector<float> x = normal(50 * cols, 51);
  for (size_t t = 0; t < 50; ++t)
    for (size_t c = 8; c < 40; ++c) x[t * cols + c] = 0;
  const Panels panels(normal(16 * cols, 52), 16, cols);
  const InputStats stats = stats_of(machine.compute, x, cols, 32);
  RoundingRule rule;
  rule.rounding = Rounding::compensated;
  const Feedback feedback = make_feedback(machine.compute, copy_of(stats.gram));
  const RoundedMatrix m = round_matrix(machine.compute, panels.view, stats, rule, &feedback);
  check(std::isfinite(error_of(m, panels, x)), "finite");
  const ScaledReader reader{panels.view, &stats};
  const ScaleChoice choice =
      search_scale(machine.compute, std::span(&reader, 1), {}, {}, [](std::vector<float>&) {});
  for (const float s : choice.scale) check(std::isfinite(s) && s > 0, "scale");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"compensation", test_compensation},
              {"statistics of drift", test_drift_statistics},
              {"drift is corrected", test_drift_is_corrected},
              {"errors are made good", test_errors_are_made_good},
              {"dead inputs", test_dead_inputs}});
}
