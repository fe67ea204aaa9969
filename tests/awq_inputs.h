// Inputs, weights and measures for the tests of activation-aware quantization.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "awq/rounding.h"
#include "nibble/model.h"

namespace nibble::test {

struct Machine {
  ThreadPool pool{2};
  Compute compute{*find_kernels(""), pool};
};

inline std::vector<float> normal(size_t n, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> values(0, spread);
  std::vector<float> out(n);
  for (float& v : out) v = values(random);
  return out;
}

// Inputs of correlated channels, some of which are much louder than the others.
inline std::vector<float> loud_inputs(size_t n, size_t cols) {
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

inline InputStats stats_of(const Compute& compute, const std::vector<float>& x, size_t cols,
                           size_t group, bool full = true) {
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
inline double error_of(const RoundedMatrix& m, const Panels& w, const std::vector<float>& x) {
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

}  // namespace nibble::test
