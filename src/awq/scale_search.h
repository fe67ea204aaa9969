// The search for activation-aware scales (AWQ, arXiv 2306.00978): one factor for each channel of an
// input, by which weights are multiplied before rounding and their input is divided.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "awq/input_stats.h"
#include "awq/rounding.h"

namespace nibble {

/// plain: x^r; duo: x^r / w^(1-r), with x the mean magnitude of the channel's inputs and w that of
/// its weights relative to the largest of their group.
enum class ScaleForm : uint8_t { identity, plain, duo };

struct ScaleChoice {
  std::vector<float> scale;  // [channels of the input]
  ScaleForm form = ScaleForm::identity;
  double error_identity = 0;  // sum over the matrices of the error relative to rounding unscaled
  double error = 0;           // with `scale`; never more
};

/// Channels of the input that must have one scale because one row of what precedes them feeds them
/// all: `source[c]` is that row. Empty: every channel has its own.
struct ScaleSharing {
  std::vector<uint32_t> source;  // [channels of the input]
  size_t n_sources = 0;
};

/// A matrix and the statistics of its input. Those of several readers differ where each sees only
/// some of the rows, as experts do.
struct ScaledReader {
  FloatPanels w;
  const InputStats* stats = nullptr;
};

/// Rounding to nearest.
struct NearestRule {
  size_t group = 32;
  Scheme scheme = Scheme::f16_zero;
};

/// The error of w with columns multiplied by s, rounded to nearest, and divided by s.
double scaled_error(OutputError& error, const FloatPanels& w, const std::vector<float>& s,
                    const NearestRule& rule);

/// Searches the scale of one input that all `readers` share. `limit` changes a candidate before it
/// is tried, to what can be folded. Each matrix counts by its error relative to that of plain
/// rounding, so that no matrix of large outputs drowns the others.
ScaleChoice search_scale(const Compute& compute, std::span<const ScaledReader> readers,
                         const NearestRule& rule, const ScaleSharing& sharing,
                         const std::function<void(std::vector<float>&)>& limit);

}  // namespace nibble
