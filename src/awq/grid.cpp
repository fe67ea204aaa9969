#include "awq/grid.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace nibble {
namespace {

// Loops over lanes have a constant length so that compilers vectorize them.

constexpr float kSmallestScale = 0x1p-24f;  // of fp16
constexpr float kLargestScale = 65504.0f;
constexpr size_t kMaxGroup = 128;

struct Limits {
  float low, high;
};
Limits limits(GridRule rule) { return {rule.symmetric ? 1.0f : 0.0f, 15.0f}; }

// To the nearest whole number, ties to even, for |x| < 2^22.
float round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

float clamp(float x, float low, float high) {
  const float above = x > low ? x : low;  // NaN becomes low
  return above < high ? above : high;
}

// q - z of w.
float steps_of(float w, float s, float z, Limits limit) {
  return round_even(clamp(w / s, limit.low - z, limit.high - z));
}

void set_scale(LaneGrid& grid, size_t r, float s) {
  grid.scale[r] = float_to_half(clamp(s, kSmallestScale, kLargestScale));
  grid.s[r] = half_to_float(grid.scale[r]);
}

struct LaneRange {
  float min[kLanes];  // <= 0
  float max[kLanes];  // >= 0
};

LaneRange range_with_zero(const float* w, size_t n) {
  LaneRange range = {};
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r) {
      const float x = w[c * kLanes + r];
      range.min[r] = x < range.min[r] ? x : range.min[r];
      range.max[r] = x > range.max[r] ? x : range.max[r];
    }
  return range;
}

// The grid of a range, as rtn4_group() defines it.
LaneGrid grid_of(const LaneRange& range, GridRule rule) {
  LaneGrid grid;
  for (size_t r = 0; r < kLanes; ++r) {
    if (rule.symmetric) {
      set_scale(grid, r, std::max(range.max[r], -range.min[r]) / 7);
      grid.z[r] = 8;
    } else {
      set_scale(grid, r, (range.max[r] - range.min[r]) / 15);
      grid.z[r] = round_even(clamp(-range.min[r] / grid.s[r], 0, 15));
    }
  }
  return grid;
}

struct LaneSums {
  float v[kLanes] = {};
};

// Sum of importance * error^2 of every lane.
LaneSums weighted_error(const float* w, size_t n, const float* importance, const LaneGrid& grid,
                        Limits limit) {
  LaneSums sum;
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r) {
      const float x = w[c * kLanes + r];
      const float d = grid.s[r] * steps_of(x, grid.s[r], grid.z[r], limit) - x;
      sum.v[r] += importance[c] * d * d;
    }
  return sum;
}

// Keeps, lane by lane, the better of two grids.
void keep_better(LaneGrid& best, LaneSums& best_error, const LaneGrid& grid,
                 const LaneSums& error) {
  for (size_t r = 0; r < kLanes; ++r) {
    if (!(error.v[r] < best_error.v[r])) continue;
    best_error.v[r] = error.v[r];
    best.scale[r] = grid.scale[r];
    best.s[r] = grid.s[r];
    best.z[r] = grid.z[r];
  }
}

// The scales that fit the codes best: s = sum h w (q - z) / sum h (q - z)^2.
LaneGrid fitted_scales(const float* w, size_t n, const float* importance, const LaneGrid& grid,
                       Limits limit) {
  LaneSums above, below;
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r) {
      const float x = w[c * kLanes + r];
      const float steps = steps_of(x, grid.s[r], grid.z[r], limit);
      above.v[r] += importance[c] * x * steps;
      below.v[r] += importance[c] * steps * steps;
    }
  LaneGrid out = grid;
  for (size_t r = 0; r < kLanes; ++r)
    if (below.v[r] > 0 && above.v[r] > 0) set_scale(out, r, above.v[r] / below.v[r]);
  return out;
}

}  // namespace

LaneGrid nearest_grid(const float* w, size_t n, GridRule rule) {
  return grid_of(range_with_zero(w, n), rule);
}

void round_lanes(const float* w, size_t n, const LaneGrid& grid, GridRule rule, uint8_t* codes) {
  const Limits limit = limits(rule);
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r)
      codes[c * kLanes + r] = static_cast<uint8_t>(
          steps_of(w[c * kLanes + r], grid.s[r], grid.z[r], limit) + grid.z[r]);
}

void round_trip(const float* w, size_t n, const LaneGrid& grid, GridRule rule, float* out) {
  const Limits limit = limits(rule);
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r)
      out[c * kLanes + r] = grid.s[r] * steps_of(w[c * kLanes + r], grid.s[r], grid.z[r], limit);
}

LaneGrid weighted_grid(const float* w, size_t n, const float* importance, GridRule rule) {
  const Limits limit = limits(rule);
  const LaneRange range = range_with_zero(w, n);
  LaneGrid best = grid_of(range, rule);
  LaneSums best_error = weighted_error(w, n, importance, best, limit);
  const LaneGrid widest = best;
  for (int step = 0; step <= 15; ++step) {
    for (int shift = rule.symmetric ? 0 : -1; shift <= (rule.symmetric ? 0 : 1); ++shift) {
      if (step == 0 && shift == 0) continue;
      LaneGrid grid = widest;
      for (size_t r = 0; r < kLanes; ++r) {
        set_scale(grid, r, widest.s[r] * (1 - 0.03f * static_cast<float>(step)));
        grid.z[r] = clamp(widest.z[r] + static_cast<float>(shift), limit.low, limit.high);
      }
      keep_better(best, best_error, grid, weighted_error(w, n, importance, grid, limit));
    }
  }
  const LaneGrid fitted = fitted_scales(w, n, importance, best, limit);
  keep_better(best, best_error, fitted, weighted_error(w, n, importance, fitted, limit));
  return best;
}

LaneGrid clipped_grid(const Kernels& kernels, const float* w, size_t n, const FloatMatrix& gram,
                      GridRule rule) {
  alignas(64) float d[kMaxGroup * kLanes];
  alignas(64) float y[kMaxGroup * kLanes];
  const LaneRange range = range_with_zero(w, n);
  LaneGrid best = {};
  LaneSums best_error;
  std::fill_n(best_error.v, kLanes, INFINITY);
  for (int step = 0; step < 10; ++step) {
    LaneRange clipped = range;
    for (size_t r = 0; r < kLanes; ++r) {
      const float m = std::max(range.max[r], -range.min[r]) * (1 - static_cast<float>(step) / 20);
      clipped.max[r] = std::min(range.max[r], m);
      clipped.min[r] = std::max(range.min[r], -m);
    }
    const LaneGrid grid = grid_of(clipped, rule);
    round_trip(w, n, grid, rule, d);
    for (size_t i = 0; i < n * kLanes; ++i) d[i] -= w[i];
    kernels.matmul_f32(float_panels(d, 1, n), 0, 1, gram.row(0), gram.cols(), n, y, kLanes);
    LaneSums error;
    for (size_t c = 0; c < n; ++c)
      for (size_t r = 0; r < kLanes; ++r) error.v[r] += d[c * kLanes + r] * y[c * kLanes + r];
    keep_better(best, best_error, grid, error);
  }
  return best;
}

}  // namespace nibble
