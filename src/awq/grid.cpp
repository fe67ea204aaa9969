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
Limits limits(Scheme scheme) {
  return {scheme == Scheme::f16 ? 1.0f : 0.0f, scheme == Scheme::k8 ? 63.0f : 15.0f};
}

// The greatest integer that scales and minima of a k scheme are made of.
float most_of(Scheme scheme) { return scheme == Scheme::k8 ? 127.0f : 63.0f; }

// To the nearest whole number, ties to even, for |x| < 2^22.
float round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

float clamp(float x, float low, float high) {
  const float above = x > low ? x : low;  // NaN becomes low
  return above < high ? above : high;
}

// q - z of a weight w, of which m is taken off already.
float steps_of(float w, float s, float z, Limits limit) {
  return round_even(clamp(w / s, limit.low - z, limit.high - z));
}
float steps_of(float w, const LaneGrid& grid, size_t r, Limits limit) {
  return steps_of(w - grid.m[r], grid.s[r], grid.z[r], limit);
}

void set_scale(LaneGrid& grid, size_t r, float s) {
  grid.stored[r] = float_to_half(clamp(s, kSmallestScale, kLargestScale));
  grid.s[r] = half_to_float(grid.stored[r]);
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
LaneGrid grid_of(const LaneRange& range, Scheme scheme) {
  LaneGrid grid = {};
  for (size_t r = 0; r < kLanes; ++r) {
    if (scheme == Scheme::f16) {
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
      const float d = grid.s[r] * steps_of(x, grid, r, limit) + grid.m[r] - x;
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
    best.stored[r] = grid.stored[r];
    best.s[r] = grid.s[r];
    best.z[r] = grid.z[r];
    best.m[r] = grid.m[r];
  }
}

// The scales that fit the codes best: s = sum h w (q - z) / sum h (q - z)^2.
LaneGrid fitted_scales(const float* w, size_t n, const float* importance, const LaneGrid& grid,
                       Limits limit) {
  LaneSums above, below;
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r) {
      const float x = w[c * kLanes + r];
      const float steps = steps_of(x, grid, r, limit);
      above.v[r] += importance[c] * x * steps;
      below.v[r] += importance[c] * steps * steps;
    }
  LaneGrid out = grid;
  for (size_t r = 0; r < kLanes; ++r)
    if (below.v[r] > 0 && above.v[r] > 0) set_scale(out, r, above.v[r] / below.v[r]);
  return out;
}

// w = s * q + m fitted to the codes q of `grid` by weighted least squares, m <= 0.
LaneGrid fitted_lines(const float* w, size_t n, const float* importance, const LaneGrid& grid,
                      Limits limit) {
  LaneSums q, qq, x, xq;
  float total = 0;
  for (size_t c = 0; c < n; ++c) {
    total += importance[c];
    for (size_t r = 0; r < kLanes; ++r) {
      const float v = w[c * kLanes + r], steps = steps_of(v, grid, r, limit);
      q.v[r] += importance[c] * steps;
      qq.v[r] += importance[c] * steps * steps;
      x.v[r] += importance[c] * v;
      xq.v[r] += importance[c] * v * steps;
    }
  }
  LaneGrid out = grid;
  for (size_t r = 0; r < kLanes; ++r) {
    const float determinant = total * qq.v[r] - q.v[r] * q.v[r];
    if (!(determinant > 0)) continue;
    out.s[r] = (total * xq.v[r] - q.v[r] * x.v[r]) / determinant;
    out.m[r] = (qq.v[r] * x.v[r] - q.v[r] * xq.v[r]) / determinant;
    if (out.m[r] <= 0 && out.s[r] > 0) continue;
    out.m[r] = 0;
    out.s[r] = std::max(0.0f, xq.v[r] / qq.v[r]);
  }
  return out;
}

// Scales and minima as they would be, could any number be stored.
LaneGrid weighted_k_grid(const float* w, size_t n, const float* importance, Scheme scheme) {
  const Limits limit = limits(scheme);
  const LaneRange range = range_with_zero(w, n);
  const bool minima = scheme == Scheme::k6;
  LaneGrid best = {};
  LaneSums best_error;
  std::fill_n(best_error.v, kLanes, INFINITY);
  for (int step = -10; step <= 10; step += minima ? 1 : 4) {
    LaneGrid grid = {};
    for (size_t r = 0; r < kLanes; ++r) {
      const float whole =
          minima ? range.max[r] - range.min[r] : 2 * std::max(range.max[r], -range.min[r]);
      grid.s[r] = whole / (limit.high + 0.1f * static_cast<float>(step));
      grid.z[r] = minima ? 0 : 32;
      grid.m[r] = minima ? range.min[r] : 0;
    }
    if (minima) grid = fitted_lines(w, n, importance, grid, limit);
    keep_better(best, best_error, grid, weighted_error(w, n, importance, grid, limit));
  }
  return best;
}

// The least fp16 number that is not below x >= 0, or the greatest. Where weights are tiny, those to
// both sides of x differ by much.
uint16_t half_from_above(float x) {
  const uint16_t half = float_to_half(clamp(x, 0, kLargestScale));
  const bool below = half_to_float(half) < x && x < kLargestScale;
  return static_cast<uint16_t>(half + (below ? 1 : 0));
}

// Scale sc and minimum mn, made from integers.
void set_stored(LaneGrid& grid, size_t r, Scheme scheme, const SuperScale& super, float sc,
                float mn) {
  sc = clamp(sc, 0, most_of(scheme));
  mn = clamp(mn, 0, most_of(scheme));
  grid.stored[r] =
      static_cast<uint16_t>(static_cast<unsigned>(sc) | static_cast<unsigned>(mn) << 8);
  grid.s[r] = half_to_float(super.d[r]) * sc;
  grid.m[r] = -half_to_float(super.dmin[r]) * mn;
}

}  // namespace

LaneGrid nearest_grid(const float* w, size_t n, Scheme scheme) {
  return grid_of(range_with_zero(w, n), scheme);
}

void round_lanes(const float* w, size_t n, const LaneGrid& grid, Scheme scheme, uint8_t* codes) {
  const Limits limit = limits(scheme);
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r)
      codes[c * kLanes + r] =
          static_cast<uint8_t>(steps_of(w[c * kLanes + r], grid, r, limit) + grid.z[r]);
}

void round_trip(const float* w, size_t n, const LaneGrid& grid, Scheme scheme, float* out) {
  const Limits limit = limits(scheme);
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kLanes; ++r)
      out[c * kLanes + r] = grid.s[r] * steps_of(w[c * kLanes + r], grid, r, limit) + grid.m[r];
}

LaneGrid weighted_grid(const float* w, size_t n, const float* importance, Scheme scheme) {
  if (is_k_scheme(scheme)) return weighted_k_grid(w, n, importance, scheme);
  const Limits limit = limits(scheme);
  const LaneRange range = range_with_zero(w, n);
  LaneGrid best = grid_of(range, scheme);
  LaneSums best_error = weighted_error(w, n, importance, best, limit);
  const LaneGrid widest = best;
  for (int step = 0; step <= 15; ++step) {
    for (int shift = scheme == Scheme::f16 ? 0 : -1; shift <= (scheme == Scheme::f16 ? 0 : 1);
         ++shift) {
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

SuperScale super_scale(std::span<const LaneGrid> grids, Scheme scheme) {
  float s[kLanes] = {}, m[kLanes] = {};
  for (const LaneGrid& grid : grids)
    for (size_t r = 0; r < kLanes; ++r) {
      s[r] = std::max(s[r], grid.s[r]);
      m[r] = std::max(m[r], -grid.m[r]);
    }
  SuperScale out;
  for (size_t r = 0; r < kLanes; ++r) {
    out.d[r] = half_from_above(s[r] / most_of(scheme));
    out.dmin[r] = half_from_above(m[r] / most_of(scheme));
  }
  return out;
}

LaneGrid stored_grid(const float* w, size_t n, const float* importance, Scheme scheme,
                     const SuperScale& super, const LaneGrid& wish) {
  const Limits limit = limits(scheme);
  const int sides = scheme == Scheme::k6 ? 1 : 0;
  float sc[kLanes], mn[kLanes];
  for (size_t r = 0; r < kLanes; ++r) {
    const float d = half_to_float(super.d[r]), dmin = half_to_float(super.dmin[r]);
    sc[r] = d > 0 ? round_even(wish.s[r] / d) : 0;
    mn[r] = dmin > 0 ? round_even(-wish.m[r] / dmin) : 0;
  }
  LaneGrid best = {};
  LaneSums best_error;
  std::fill_n(best_error.v, kLanes, INFINITY);
  for (int i = -1; i <= 1; ++i)
    for (int j = -sides; j <= sides; ++j) {
      LaneGrid grid = wish;  // for z
      for (size_t r = 0; r < kLanes; ++r)
        set_stored(grid, r, scheme, super, sc[r] + static_cast<float>(i),
                   mn[r] + static_cast<float>(j));
      keep_better(best, best_error, grid, weighted_error(w, n, importance, grid, limit));
    }
  return best;
}

LaneGrid clipped_grid(const Kernels& kernels, const float* w, size_t n, const FloatMatrix& gram,
                      Scheme scheme) {
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
    const LaneGrid grid = grid_of(clipped, scheme);
    round_trip(w, n, grid, scheme, d);
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
