#include "model/rope.h"

#include <cmath>
#include <numbers>

namespace nibble {
namespace {

// Llama 3.1: wavelengths beyond original_context / low_freq_factor are stretched by `factor`, those
// below original_context / high_freq_factor are kept, and between the two it interpolates.
double llama3_frequency(const Config& c, double frequency) {
  const double context = c.rope_original_context;
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < context / c.rope_high_freq_factor) return frequency;
  if (wavelength > context / c.rope_low_freq_factor) return frequency / c.rope_factor;
  const double smooth = (context / wavelength - c.rope_low_freq_factor) /
                        (c.rope_high_freq_factor - c.rope_low_freq_factor);
  return (1.0 - smooth) * frequency / c.rope_factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const Config& config) {
  std::vector<double> out(static_cast<size_t>(config.rope_dim) / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    double f = std::pow(static_cast<double>(config.rope_theta),
                        -2.0 * static_cast<double>(i) / config.rope_dim);
    if (!config.rope_freq_factors.empty()) f /= config.rope_freq_factors[i];
    if (config.rope_scaling == RopeScaling::linear) f /= config.rope_factor;
    if (config.rope_scaling == RopeScaling::llama3) f = llama3_frequency(config, f);
    out[i] = f;
  }
  return out;
}

void rope_angles(const std::vector<double>& frequencies, int position, float* cos, float* sin) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = position * frequencies[i];
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace nibble
