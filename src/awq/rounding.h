// Matrices rounded to 4 bits (or 6): by the nearest value of a grid, or with the error of each
// column compensated by those that follow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "awq/grid.h"
#include "awq/input_stats.h"
#include "nibble/quantize.h"

namespace nibble {

/// Codes and grids of a matrix, panel by panel.
struct RoundedMatrix {
  size_t rows = 0, cols = 0, group = 0;
  std::vector<uint8_t> codes;      // [n_panels][cols][16]
  std::vector<LaneGrid> grids;     // [n_panels][n_groups]
  std::vector<SuperScale> supers;  // [n_panels][n_supers], of k schemes
  size_t n_groups() const { return (cols + group - 1) / group; }
  size_t n_supers() const { return (cols + kSuperCols - 1) / kSuperCols; }
  size_t n_panels() const { return (rows + kLanes - 1) / kLanes; }
};

/// How the error of a column moves to the columns before it (GPTQ, arXiv 2210.17323, in the form
/// of LDLQ, arXiv 2307.13304): with gram = (L + I) D (L + I)^T, column k is rounded from
/// w_k + sum over j > k of e_j L[j][k], e = w - w'. Columns go from the last to the first.
struct Feedback {
  FloatMatrix upper;             // [cols, cols]: L[j][k] at [k][j]; the others are of (L + I) D^1/2
  std::vector<float> remaining;  // [cols]: D, how much the error of a column counts then
};

/// Of the second moments `gram`, which it consumes, damped by 1% of their mean diagonal (more if
/// that does not do).
Feedback make_feedback(const Compute& compute, FloatMatrix gram);

/// Adds a share of what makes W x nearest, on average, to W (exact x) + what is owed, by the drift
/// of the statistics: W += share (W drift^T + owed^T) gram^-1 (GPTAQ, arXiv 2504.02692, where
/// nothing is owed). W [rows, cols], drift and gram [cols, cols], owed [cols, rows] or empty.
/// `feedback` was made of the same gram, and has its damping.
void correct_drift(const Compute& compute, const FloatPanels& w, const InputStats& stats,
                   const Feedback& feedback, float share);

struct RoundingRule {
  size_t group = 32;
  Scheme scheme = Scheme::f16_zero;
  Rounding rounding = Rounding::nearest;
};

/// Rounds W whose inputs have these statistics. Rounding::compensated without `feedback` (of an
/// input that nobody saw) is to nearest. In a k scheme Rounding::nearest searches scales, too, all
/// columns counting the same; clip is not for them.
RoundedMatrix round_matrix(const Compute& compute, const FloatPanels& w, const InputStats& stats,
                           const RoundingRule& rule, const Feedback* feedback);

/// out [cols][16] = the values of a panel.
void panel_values(const RoundedMatrix& m, size_t panel, float* out);

/// Writes the matrix as a packed one (packed.h), of the scheme that it was rounded to; out is zero
/// before.
void pack_rounded(const RoundedMatrix& m, const PackedShape& shape, std::span<std::byte> out,
                  ThreadPool& pool);

}  // namespace nibble
