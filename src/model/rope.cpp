#include "model/rope.h"

#include <algorithm>
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

// YaRN (arXiv 2309.00071, section 3.2): pairs that turn more often than beta_fast in the original
// context are kept, those below beta_slow are slowed by `factor`, in between it interpolates.
double yarn_frequency(const Config& c, size_t i, double frequency) {
  const double dim = c.rope_dim, theta = static_cast<double>(c.rope_theta);
  const auto pair_that_turns = [&](float times) {
    return dim *
           std::log(c.rope_original_context /
                    (static_cast<double>(times) * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(theta));
  };
  double low = pair_that_turns(c.rope_beta_fast), high = pair_that_turns(c.rope_beta_slow);
  if (c.rope_truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (high == low) high += 0.001;
  const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return frequency * (1.0 - slowed) + frequency / static_cast<double>(c.rope_factor) * slowed;
}

// Dynamic NTK: theta grows with the text beyond the original context.
double dynamic_theta(const Config& c, double theta, int context) {
  const double factor = static_cast<double>(c.rope_factor), dim = c.rope_dim;
  const double length = std::max(context, c.rope_original_context);
  const double stretch = factor * length / c.rope_original_context - (factor - 1.0);
  return theta * std::pow(stretch, dim / (dim - 2.0));
}

}  // namespace

std::vector<double> rope_frequencies(const Config& config, int context, bool local) {
  const RopeScaling scaling = local ? RopeScaling::none : config.rope_scaling;
  double theta = static_cast<double>(local ? config.rope_local_theta : config.rope_theta);
  if (scaling == RopeScaling::dynamic) theta = dynamic_theta(config, theta, context);
  const std::vector<float>& long_or_short =
      context > config.rope_original_context ? config.rope_long_factors : config.rope_short_factors;
  std::vector<double> out(static_cast<size_t>(config.rope_dim) / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    double f = std::pow(theta, -2.0 * static_cast<double>(i) / config.rope_dim);
    if (!config.rope_freq_factors.empty() && !local)
      f /= static_cast<double>(config.rope_freq_factors[i]);
    if (scaling == RopeScaling::linear) f /= static_cast<double>(config.rope_factor);
    if (scaling == RopeScaling::llama3) f = llama3_frequency(config, f);
    if (scaling == RopeScaling::yarn) f = yarn_frequency(config, i, f);
    if (scaling == RopeScaling::longrope) f /= static_cast<double>(long_or_short[i]);
    out[i] = f;
  }
  return out;
}

float yarn_magnitude(float factor, float scale) {
  return factor <= 1.0f ? 1.0f : 0.1f * scale * std::log(factor) + 1.0f;
}

void rope_angles(const std::vector<double>& frequencies, int position, float magnitude, float* cos,
                 float* sin) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = position * frequencies[i];
    cos[i] = static_cast<float>(std::cos(angle)) * magnitude;
    sin[i] = static_cast<float>(std::sin(angle)) * magnitude;
  }
}

}  // namespace nibble
