// The arithmetic of activation-aware quantization, against double precision and brute force.
#include <algorithm>
#include <random>

#include "awq/fold.h"
#include "awq/rounding.h"
#include "awq/scale_search.h"
#include "base/half.h"
#include "check.h"
#include "nibble/model.h"
#include "quant/packed_matrix.h"

namespace {

using namespace nibble;
using namespace nibble::test;

struct Machine {
  ThreadPool pool{2};
  Compute compute{*find_kernels(""), pool};
};

std::vector<float> normal(size_t n, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> values(0, spread);
  std::vector<float> out(n);
  for (float& v : out) v = values(random);
  return out;
}

// Inputs of correlated channels, some of which are much louder than the others.
std::vector<float> loud_inputs(size_t n, size_t cols) {
  std::vector<float> x = normal(n * cols, 3), common = normal(n, 4);
  for (size_t t = 0; t < n; ++t)
    for (size_t c = 0; c < cols; ++c) {
      x[t * cols + c] += common[t];
      if (c % 29 == 5) x[t * cols + c] *= 20;
    }
  return x;
}

// Row-major rows as f32 panels.
struct Panels {
  FloatMatrix memory;
  FloatPanels view;
  Panels(const std::vector<float>& rows, size_t n_rows, size_t cols)
      : memory((n_rows + 15) / 16 * cols, 16), view{memory.row(0), n_rows, cols} {
    for (size_t r = 0; r < n_rows; ++r)
      for (size_t c = 0; c < cols; ++c) view.panel(r / 16)[c * 16 + r % 16] = rows[r * cols + c];
  }
};

InputStats stats_of(const Compute& compute, const std::vector<float>& x, size_t cols, size_t group,
                    bool full = true) {
  StatsPlan plan;
  plan.group = group;
  plan.n_tokens = x.size() / cols;
  plan.full_gram = full;
  InputStats stats(cols, plan);
  const size_t half = x.size() / cols / 2;
  stats.add(compute, x.data(), cols, half);
  stats.add(compute, x.data() + half * cols, cols, x.size() / cols - half);
  stats.finish();
  return stats;
}

// Mean over the rows of x of |(w' - w) x|^2, in double.
double error_of(const RoundedMatrix& m, const Panels& w, const std::vector<float>& x) {
  const size_t n = x.size() / m.cols;
  std::vector<float> values(m.cols * 16);
  double total = 0;
  for (size_t p = 0; p < m.n_panels(); ++p) {
    panel_values(m, p, values.data());
    for (size_t t = 0; t < n; ++t)
      for (size_t r = 0; r < 16; ++r) {
        double y = 0;
        for (size_t c = 0; c < m.cols; ++c)
          y += (double{values[c * 16 + r]} - double{w.view.panel(p)[c * 16 + r]}) *
               double{x[t * m.cols + c]};
        total += y * y;
      }
  }
  return total / static_cast<double>(n);
}

void test_moments() {
  Machine machine;
  const size_t cols = 300, n = 90;
  const std::vector<float> x = loud_inputs(n, cols);
  const InputStats stats = stats_of(machine.compute, x, cols, 128);
  for (const size_t i : {size_t{0}, size_t{17}, size_t{150}, size_t{299}})
    for (const size_t j : {size_t{0}, size_t{5}, size_t{129}, size_t{299}}) {
      double sum = 0, scale = 0;
      for (size_t t = 0; t < n; ++t) {
        sum += double{x[t * cols + i]} * double{x[t * cols + j]} / double(n);
        scale += std::abs(double{x[t * cols + i]} * double{x[t * cols + j]}) / double(n);
      }
      check_near(double{stats.gram.row(i)[j]}, sum, 1e-5 * scale, "gram");
      if (i / 128 == j / 128)
        check_eq(stats.group_gram[i / 128].row(i % 128)[j % 128], stats.gram.row(i)[j]);
    }
  double magnitude = 0;
  for (size_t t = 0; t < n; ++t) magnitude += std::abs(double{x[t * cols + 5]}) / double(n);
  check_near(double{stats.mean_abs[5]}, magnitude, 1e-4 * magnitude, "mean |x|");
}

void test_cholesky() {
  Machine machine;
  const size_t n = 333;
  const std::vector<float> x = normal(n * 2 * n, 8);
  FloatMatrix m(n, n);
  add_gram(machine.compute, x.data(), n, 2 * n, 0, m);
  FloatMatrix factor = copy_of(m);
  check(cholesky(machine.compute, factor), "positive definite");
  for (size_t i = 0; i < n; i += 7)
    for (size_t j = 0; j <= i; j += 5) {
      double sum = 0;
      for (size_t k = 0; k <= j; ++k) sum += double{factor.row(i)[k]} * double{factor.row(j)[k]};
      check_near(sum, double{m.row(i)[j]}, 1e-3 * double{m.row(i)[i]} / 10, "L L^T");
    }
  FloatMatrix negative(40, 40);
  for (size_t i = 0; i < 40; ++i) negative.row(i)[i] = i == 30 ? -1.0f : 1.0f;
  check(!cholesky(machine.compute, negative), "not positive definite");
}

// Groups that AWQ's own quantizer spoils: of one sign, dead, tiny, beyond fp16.
std::vector<float> awkward_lanes(size_t n) {
  std::vector<float> w = normal(n * 16, 5);
  for (size_t c = 0; c < n; ++c) {
    float* lane = w.data() + c * 16;
    lane[0] = 10.5f + 0.05f * float(c);
    lane[1] = -lane[0];
    lane[2] = 0;
    lane[3] *= 1e-9f;
    lane[4] *= 1e7f;
    lane[5] = c == 3 ? 1.0f : 0.0f;
  }
  return w;
}

void test_nearest_is_rtn() {
  const size_t n = 64;
  const std::vector<float> w = awkward_lanes(n);
  for (const bool symmetric : {false, true}) {
    const LaneGrid grid = nearest_grid(w.data(), n, {symmetric});
    std::vector<uint8_t> codes(n * 16), expected(n);
    round_lanes(w.data(), n, grid, {symmetric}, codes.data());
    for (size_t r = 0; r < 16; ++r) {
      std::vector<float> row(n);
      for (size_t c = 0; c < n; ++c) row[c] = w[c * 16 + r];
      const RtnGroup group = rtn4_group(row.data(), n, symmetric, expected.data());
      check_eq(grid.scale[r], group.scale, "scale");
      check_eq(grid.z[r], static_cast<float>(group.zero), "zero");
      for (size_t c = 0; c < n; ++c) check_eq(int(codes[c * 16 + r]), int(expected[c]), "code");
    }
  }
}

void test_one_signed_groups_stay_apart() {
  const size_t n = 32;
  const std::vector<float> w = awkward_lanes(n);
  const std::vector<float> importance(n, 1.0f);
  std::vector<float> back(n * 16);
  const LaneGrid grid = weighted_grid(w.data(), n, importance.data(), {});
  round_trip(w.data(), n, grid, {}, back.data());
  for (size_t c = 0; c < n; ++c) {
    check_near(double{back[c * 16]}, double{w[c * 16]}, 0.5, "positive");
    check_near(double{back[c * 16 + 1]}, double{w[c * 16 + 1]}, 0.5, "negative");
    check_eq(back[c * 16 + 2], 0.0f, "dead");
    for (size_t r = 0; r < 16; ++r) check(std::isfinite(back[c * 16 + r]), "finite");
  }
}

double weighted(const std::vector<float>& w, const std::vector<float>& h, const LaneGrid& grid,
                GridRule rule, size_t r) {
  std::vector<float> back(w.size());
  round_trip(w.data(), h.size(), grid, rule, back.data());
  double sum = 0;
  for (size_t c = 0; c < h.size(); ++c) {
    const double d = double{back[c * 16 + r]} - double{w[c * 16 + r]};
    sum += double{h[c]} * d * d;
  }
  return sum;
}

void test_weighted_grid() {
  const size_t n = 128;
  const std::vector<float> w = normal(n * 16, 21);
  std::vector<float> h = normal(n, 22);
  for (float& v : h) v = v * v + (v > 1.5f ? 50 : 0);
  for (const GridRule rule : {GridRule{false}, GridRule{true}}) {
    const LaneGrid nearest = nearest_grid(w.data(), n, rule);
    const LaneGrid best = weighted_grid(w.data(), n, h.data(), rule);
    double sum_nearest = 0, sum_best = 0;
    for (size_t r = 0; r < 16; ++r) {
      const double a = weighted(w, h, nearest, rule, r), b = weighted(w, h, best, rule, r);
      check(b <= a * 1.0001, "never worse");
      sum_nearest += a;
      sum_best += b;
    }
    check(sum_best < 0.9 * sum_nearest, "better");
  }
}

void test_clip() {
  Machine machine;
  const size_t n = 128, rows = 16;
  std::vector<float> w = normal(rows * n, 31);
  for (size_t r = 0; r < rows; ++r) w[r * n + 7] = 6;  // a lonely weight in a quiet channel
  const Panels panels(w, rows, n);
  std::vector<float> x = normal(200 * n, 32);
  for (size_t t = 0; t < 200; ++t) x[t * n + 7] *= 0.01f;
  const InputStats stats = stats_of(machine.compute, x, n, n);
  RoundingRule rule;
  rule.group = n;
  const auto error = [&](Rounding rounding) {
    rule.rounding = rounding;
    return error_of(round_matrix(machine.compute, panels.view, stats, rule, nullptr), panels, x);
  };
  check(error(Rounding::clip) < 0.8 * error(Rounding::nearest), "clipping pays here");
}

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

void test_drift_is_corrected() {
  Machine machine;
  const Drifting d(machine.compute, 400, 150, 20);
  const std::vector<float> w = normal(d.rows * d.cols, 83);
  std::vector<double> gram(d.cols * d.cols);
  double mean = 0;
  for (size_t i = 0; i < d.cols; ++i)
    for (size_t j = 0; j < d.cols; ++j) {
      for (size_t t = 0; t < d.n; ++t)
        gram[i * d.cols + j] +=
            double{d.x[t * d.cols + i]} * double{d.x[t * d.cols + j]} / double(d.n);
      if (i == j) mean += gram[i * d.cols + i] / double(d.cols);
    }
  for (size_t i = 0; i < d.cols; ++i) gram[i * d.cols + i] += 0.01 * mean;
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
      search_scale(machine.compute, std::span(&reader, 1), rule, {}, [](std::vector<float>&) {});
  for (const float s : choice.scale) check(std::isfinite(s) && s > 0, "scale");
}

void test_search() {
  Machine machine;
  for (const size_t cols : {size_t{192}, size_t{1152}}) {  // by the moments, and by a sample
    const size_t rows = 48;
    const std::vector<float> w = normal(rows * cols, 61);
    const Panels panels(w, rows, cols);
    RoundingRule rule;
    rule.group = 64;
    const auto search = [&](const std::vector<float>& x) {
      const InputStats stats = stats_of(machine.compute, x, cols, 64, false);
      const ScaledReader reader{panels.view, &stats};
      return search_scale(machine.compute, std::span(&reader, 1), rule, {},
                          [](std::vector<float>&) {});
    };
    const ScaleChoice loud = search(loud_inputs(600, cols));
    check(loud.error < 0.6 * loud.error_identity, "scales pay for loud channels");
    check(loud.scale[5] > 2 * loud.scale[6], "loud channels are scaled up");
    check(search(normal(600 * cols, 62)).error <= loud.error_identity, "never worse");
  }
}

void test_shared_scales() {
  Machine machine;
  const size_t cols = 64;  // 4 query heads of 16 read 2 heads of values
  ScaleSharing sharing;
  for (uint32_t c = 0; c < cols; ++c) sharing.source.push_back(c / 32 * 16 + c % 16);
  sharing.n_sources = 32;
  const std::vector<float> x = loud_inputs(300, cols);
  const Panels panels(normal(32 * cols, 71), 32, cols);
  const InputStats stats = stats_of(machine.compute, x, cols, 32);
  const ScaledReader reader{panels.view, &stats};
  Fold fold;
  PackedMatrix values;
  fold.matrix = &values;
  fold.sharing = sharing;
  const ScaleChoice choice =
      search_scale(machine.compute, std::span(&reader, 1), {}, sharing,
                   [&](std::vector<float>& s) { limit_scale(fold, stats.max_abs, s); });
  check(choice.form != ScaleForm::identity, "a scale was found");
  for (size_t c = 0; c < cols; ++c)
    for (size_t d = 0; d < cols; ++d)
      if (sharing.source[c] == sharing.source[d])
        check_eq(choice.scale[c], choice.scale[d], "one scale for a row");
}

void test_limits() {
  std::vector<float> norm = {1.0f, 0.0f, 1e-6f, 60000.0f, -2.0f, 1.0f};
  Fold fold;
  fold.vector = &norm;
  const std::vector<float> max_abs = {1, 1, 1, 1, 1, 1e6f};
  std::vector<float> s = {3.0f, 5.0f, 7.0f, 0.01f, 1e9f, 0.5f};
  limit_scale(fold, max_abs, s);
  for (size_t c = 0; c < s.size(); ++c) {
    const float folded = norm[c] / s[c];
    check(std::isfinite(s[c]) && s[c] > 0, "scale");
    check(s[c] == 1 || half_to_float(float_to_half(folded)) == folded, "fp16 holds weight / s");
  }
  check_near(double{s[0]}, 3, 0.01, "kept");
  check_eq(s[1], 1.0f, "a dead channel");
  check_eq(s[2], 1.0f, "fp16 has no such weight");
  check_eq(s[3], 1.0f, "fp16 would overflow");
  check(s[4] <= 1025, "bounded");
  check(s[5] >= 1, "an input that fp16 could not hold");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {
                 {"moments", test_moments},
                 {"cholesky", test_cholesky},
                 {"nearest grid is rtn", test_nearest_is_rtn},
                 {"awkward groups", test_one_signed_groups_stay_apart},
                 {"weighted grid", test_weighted_grid},
                 {"clip", test_clip},
                 {"compensation", test_compensation},
                 {"statistics of drift", test_drift_statistics},
                 {"drift is corrected", test_drift_is_corrected},
                 {"dead inputs", test_dead_inputs},
                 {"scale search", test_search},
                 {"scales shared by query heads", test_shared_scales},
                 {"limits of scales", test_limits},
             });
}
