#pragma once

#include <vector>

#include "nibble/config.h"

namespace nibble {

/// Radians per position of each rotated pair, [rope_dim / 2], with the model's scaling applied:
/// theta^(-2i / rope_dim) (RoFormer, arXiv 2104.09864), slowed as "linear" and "llama3" say.
std::vector<double> rope_frequencies(const Config& config);

/// cos and sin of position * frequency, each [frequencies.size()].
void rope_angles(const std::vector<double>& frequencies, int position, float* cos, float* sin);

}  // namespace nibble
