// Rounding of 16 rows at a time to grids w = s * (q - z): the choice of s and z for a group of
// columns, and the codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "awq/products.h"

namespace nibble {

/// The grid of one group of columns for 16 rows. s is the fp16 value; z a whole number.
struct LaneGrid {
  uint16_t scale[kLanes];  // fp16 bits of s
  float s[kLanes];
  float z[kLanes];
};

/// Which grids there are. Symmetric: z = 8 and q in 1..15, else 0..15.
struct GridRule {
  bool symmetric = false;
};

/// Round to nearest as rtn4_group() of tests/rtn.h does, w [n][16].
LaneGrid nearest_grid(const float* w, size_t n, GridRule rule);

/// q = clamp(round(w / s) + z): codes [n][16], w [n][16].
void round_lanes(const float* w, size_t n, const LaneGrid& grid, GridRule rule, uint8_t* codes);
/// out = s * (q - z), [n][16]; may be w.
void round_trip(const float* w, size_t n, const LaneGrid& grid, GridRule rule, float* out);

/// The grid with the least sum of importance[c] * (w' - w)^2 among those whose range is that of
/// nearest_grid() times 1, 0.97, ... 0.55, with the zero point that fits and its neighbours; the
/// scale of the best is then fitted to its codes by least squares. importance [n].
LaneGrid weighted_grid(const float* w, size_t n, const float* importance, GridRule rule);

/// AWQ's clip (llm-awq): ranges clamped to +-m with m from absmax down to 0.55 absmax, the least
/// d^T gram d wins, d = w' - w the error of a row. gram [n, n], symmetric.
LaneGrid clipped_grid(const Kernels& kernels, const float* w, size_t n, const FloatMatrix& gram,
                      GridRule rule);

}  // namespace nibble
