#pragma once

#include <vector>

#include "nibble/config.h"

namespace nibble {

/// Radians per position of each rotated pair, [rope_dim / 2], with the model's scaling applied:
/// theta^(-2i / rope_dim) (RoFormer, arXiv 2104.09864), slowed as RopeScaling says. `context` is
/// the length of the texts to come, on which "dynamic" and "longrope" depend: a session keeps the
/// frequencies of its context, so that a token does not depend on those that came with it. `local`:
/// of layers with a window that have a theta of their own, and no scaling.
std::vector<double> rope_frequencies(const Config& config, int context, bool local);

/// By what YaRN (arXiv 2309.00071, section 3.4) multiplies rotated values for a context `factor` as
/// long, with its logarithm times `scale`.
float yarn_magnitude(float factor, float scale);

/// cos and sin of position * frequency, times `magnitude`, each [frequencies.size()].
void rope_angles(const std::vector<double>& frequencies, int position, float magnitude, float* cos,
                 float* sin);

}  // namespace nibble
