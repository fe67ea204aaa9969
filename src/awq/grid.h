// Rounding of 16 rows at a time to grids w = s * (q - z) + m: the choice of s, z and m for a group
// of columns, and the codes.
//
// Four schemes of packed.h are rounded to: q4 with f16 (symmetric: z = 8, codes 1..15) or f16_zero
// (codes 0..15), each group by itself, and the k schemes of q4 (k6: z = 0, m <= 0) and q6 (k8:
// z = 32, codes 0..63), where the scales of 256 columns are integers times fp16 numbers they share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "awq/products.h"
#include "packed.h"

namespace nibble {

/// The grid of one group of columns for 16 rows. z is a whole number; m is 0 but in k6.
struct LaneGrid {
  uint16_t stored[kLanes];  // how s and m are written: the fp16 bits of s, or sc | mn << 8
  float s[kLanes];
  float z[kLanes];
  float m[kLanes];
};

/// What the groups of 256 columns share in a k scheme, for 16 rows: fp16 bits.
struct SuperScale {
  uint16_t d[kLanes];
  uint16_t dmin[kLanes];
};

constexpr bool is_k_scheme(Scheme scheme) { return scheme == Scheme::k6 || scheme == Scheme::k8; }

/// Round to nearest as rtn4_group() of tests/rtn.h does, w [n][16]. Not for k schemes.
LaneGrid nearest_grid(const float* w, size_t n, Scheme scheme);

/// q = clamp(round((w - m) / s) + z): codes [n][16], w [n][16].
void round_lanes(const float* w, size_t n, const LaneGrid& grid, Scheme scheme, uint8_t* codes);
/// out = s * (q - z) + m, [n][16]; may be w.
void round_trip(const float* w, size_t n, const LaneGrid& grid, Scheme scheme, float* out);

/// The grid with the least sum of importance[c] * (w' - w)^2 among those whose range is that of
/// nearest_grid() times 1, 0.97, ... 0.55, with the zero point that fits and its neighbours; the
/// scale of the best is then fitted to its codes by least squares. importance [n]. In a k scheme
/// s and m are not yet what can be stored; k6 tries ranges times 1.07 to 0.94 and fits s and m to
/// the codes of each, k8 ranges times 1.02 to 0.98.
LaneGrid weighted_grid(const float* w, size_t n, const float* importance, Scheme scheme);

/// The least d and dmin with which the scales of these grids, all of 256 columns, can be stored.
SuperScale super_scale(std::span<const LaneGrid> grids, Scheme scheme);
/// Of the grids that can be stored around `wish`, that with the least weighted error.
LaneGrid stored_grid(const float* w, size_t n, const float* importance, Scheme scheme,
                     const SuperScale& super, const LaneGrid& wish);

/// AWQ's clip (llm-awq): ranges clamped to +-m with m from absmax down to 0.55 absmax, the least
/// d^T gram d wins, d = w' - w the error of a row. gram [n, n], symmetric. Not for k schemes.
LaneGrid clipped_grid(const Kernels& kernels, const float* w, size_t n, const FloatMatrix& gram,
                      Scheme scheme);

}  // namespace nibble
