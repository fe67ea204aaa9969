// The arithmetic of activation-aware quantization, against double precision and brute force.
#include <algorithm>
#include <random>

#include "awq/fold.h"
#include "awq/rounding.h"
#include "awq/scale_search.h"
#include "awq_inputs.h"
#include "base/half.h"
#include "check.h"
#include "nibble/model.h"
#include "quant/packed_matrix.h"
#include "rtn.h"

namespace {

using namespace nibble;
using namespace nibble::test;

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
  for (const Scheme scheme : {Scheme::f16_zero, Scheme::f16}) {
    const LaneGrid grid = nearest_grid(w.data(), n, scheme);
    std::vector<uint8_t> codes(n * 16), expected(n);
    round_lanes(w.data(), n, grid, scheme, codes.data());
    for (size_t r = 0; r < 16; ++r) {
      std::vector<float> row(n);
      for (size_t c = 0; c < n; ++c) row[c] = w[c * 16 + r];
      const RtnGroup group = rtn4_group(row.data(), n, scheme == Scheme::f16, expected.data());
      check_eq(grid.stored[r], group.scale, "scale");
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
  const LaneGrid grid = weighted_grid(w.data(), n, importance.data(), Scheme::f16_zero);
  round_trip(w.data(), n, grid, Scheme::f16_zero, back.data());
  for (size_t c = 0; c < n; ++c) {
    check_near(double{back[c * 16]}, double{w[c * 16]}, 0.5, "positive");
    check_near(double{back[c * 16 + 1]}, double{w[c * 16 + 1]}, 0.5, "negative");
    check_eq(back[c * 16 + 2], 0.0f, "dead");
    for (size_t r = 0; r < 16; ++r) check(std::isfinite(back[c * 16 + r]), "finite");
  }
}

double weighted(const std::vector<float>& w, const std::vector<float>& h, const LaneGrid& grid,
                Scheme scheme, size_t r) {
  std::vector<float> back(w.size());
  round_trip(w.data(), h.size(), grid, scheme, back.data());
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
  for (const Scheme scheme : {Scheme::f16_zero, Scheme::f16}) {
    const LaneGrid nearest = nearest_grid(w.data(), n, scheme);
    const LaneGrid best = weighted_grid(w.data(), n, h.data(), scheme);
    double sum_nearest = 0, sum_best = 0;
    for (size_t r = 0; r < 16; ++r) {
      const double a = weighted(w, h, nearest, scheme, r), b = weighted(w, h, best, scheme, r);
      check(b <= a * 1.0001, "never worse");
      sum_nearest += a;
      sum_best += b;
    }
    check(sum_best < 0.9 * sum_nearest, "better");
  }
}

// The formats of Q4_K and Q6_K: what is stored is what was chosen, and worth its bits.
void test_shared_scales_of_groups() {
  Machine machine;
  const size_t cols = 600, rows = 40;  // neither whole groups of 256 nor whole panels
  const std::vector<float> w = normal(rows * cols, 23), x = loud_inputs(700, cols);
  const Panels panels(w, rows, cols);
  const InputStats stats = stats_of(machine.compute, x, cols, 32);
  const Feedback feedback = make_feedback(machine.compute, copy_of(stats.gram));
  const auto error = [&](PackedShape shape, Rounding rounding) {
    shape.rows = rows;
    shape.cols = cols;
    const RoundedMatrix m =
        round_matrix(machine.compute, panels.view, stats, {shape.group, shape.scheme, rounding},
                     rounding == Rounding::compensated ? &feedback : nullptr);
    const size_t bytes = packed_layout(shape, "test").total_bytes();
    AnonymousMemory memory(bytes);
    pack_rounded(m, shape, {memory.data(), bytes}, machine.pool);
    const PackedView view = packed_view(shape, {memory.data(), bytes}, "test");
    std::vector<float> values(cols * 16), row(cols);
    for (size_t r = 0; r < rows; ++r) {
      panel_values(m, r / 16, values.data());
      unpack_row(view, r, row.data());
      for (size_t c = 0; c < cols; ++c)
        check_near(double{row[c]}, double{values[c * 16 + r % 16]}, 1e-6, "stored");
    }
    return error_of(m, panels, x);
  };
  const PackedShape own{.codes = Codes::q4, .scheme = Scheme::f16_zero, .group = 32};
  const PackedShape q4_k{.codes = Codes::q4, .scheme = Scheme::k6, .group = 32};
  const PackedShape q6_k{.codes = Codes::q6, .scheme = Scheme::k8, .group = 16, .zero = 32};
  check(error(q4_k, Rounding::nearest) < error(own, Rounding::nearest), "fewer bits, less error");
  check(error(q4_k, Rounding::importance) < 0.9 * error(q4_k, Rounding::nearest), "importance");
  for (const PackedShape& shape : {q4_k, q6_k})
    check(error(shape, Rounding::compensated) < 0.6 * error(shape, Rounding::nearest),
          "compensation");
  check(error(q6_k, Rounding::nearest) < 0.1 * error(q4_k, Rounding::nearest), "two more bits");
}

// Groups of one sign, dead, tiny or huge beside others under one scale.
void test_awkward_groups_share() {
  const size_t n = 256;
  std::vector<float> w = awkward_lanes(n), back(n * 16);
  const std::vector<float> flat(n, 1.0f);
  for (size_t c = 0; c < n; ++c) {
    w[c * 16 + 4] *= 0.1f;   // minima reach to 63 times 65504
    w[c * 16 + 6] *= 1e-4f;  // what is shared is subnormal
    w[c * 16 + 7] *= 1e-5f;
  }
  for (const Scheme scheme : {Scheme::k6, Scheme::k8}) {
    const size_t group = scheme == Scheme::k6 ? 32 : 16;
    std::vector<LaneGrid> wishes;
    for (size_t c = 0; c < n; c += group)
      wishes.push_back(weighted_grid(&w[c * 16], group, flat.data(), scheme));
    const SuperScale super = super_scale(wishes, scheme);
    for (size_t c = 0; c < n; c += group) {
      const LaneGrid grid =
          stored_grid(&w[c * 16], group, flat.data(), scheme, super, wishes[c / group]);
      round_trip(&w[c * 16], group, grid, scheme, &back[c * 16]);
    }
    for (size_t i = 0; i < back.size(); ++i) {
      const size_t r = i % 16;
      const double most = r == 3 ? 1e-7 : r == 4 ? 4e5 : r == 6 ? 4e-5 : r == 7 ? 4e-6 : 0.8;
      check_near(double{back[i]}, double{w[i]}, most, "lane " + std::to_string(r));
    }
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

void test_search() {
  Machine machine;
  for (const size_t cols : {size_t{192}, size_t{1152}}) {  // by the moments, and by a sample
    const size_t rows = 48;
    const std::vector<float> w = normal(rows * cols, 61);
    const Panels panels(w, rows, cols);
    const NearestRule rule{.group = 64};
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

  std::vector<float> bias = {1.0f, 30000.0f};
  PackedMatrix matrix;
  const Fold shared{.matrix = &matrix, .biases = {&bias}, .sharing = {{0, 1, 1}, 2}};
  s = {0.01f, 0.01f, 0.02f};
  limit_scale(shared, std::vector<float>{1, 1, 1}, s);
  check_near(double{s[0]}, 0.01, 1e-6, "a small bias");
  check(s[1] == s[2] && bias[1] / s[1] < 65504, "a bias that fp16 could not hold");
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
                 {"scales that groups share", test_shared_scales_of_groups},
                 {"awkward groups share", test_awkward_groups_share},
                 {"clip", test_clip},
                 {"scale search", test_search},
                 {"scales shared by query heads", test_shared_scales},
                 {"limits of scales", test_limits},
             });
}
