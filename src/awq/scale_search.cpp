#include "awq/scale_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

namespace nibble {
namespace {

constexpr int kSteps = 10;  // of the exponent, then half a step to both sides of the best
constexpr float kFloor = 1e-4f;
// A scale that saves less than a tenth of the error does not carry over to other texts.
constexpr double kWorthwhile = 0.9;

// Mean over rows of |w| relative to the largest of its row and group, for each column.
std::vector<float> relative_magnitude(const Compute& compute, std::span<const ScaledReader> readers,
                                      size_t group) {
  const size_t cols = readers.front().w.cols;
  std::vector<double> total(cols);
  size_t n_rows = 0;
  for (const ScaledReader& reader : readers) {
    const FloatPanels& w = reader.w;
    n_rows += w.rows;
    compute.pool.run((cols + group - 1) / group, [&](size_t g, int) {
      const size_t begin = g * group, end = std::min(cols, begin + group);
      for (size_t p = 0; p < w.n_panels(); ++p) {
        const float* panel = w.panel(p);
        float largest[kLanes] = {};
        for (size_t c = begin; c < end; ++c)
          for (size_t r = 0; r < kLanes; ++r)
            largest[r] = std::max(largest[r], std::abs(panel[c * kLanes + r]));
        for (size_t c = begin; c < end; ++c)
          for (size_t r = 0; r < kLanes; ++r)
            total[c] += static_cast<double>(std::abs(panel[c * kLanes + r]) / (largest[r] + 1e-6f));
      }
    });
  }
  std::vector<float> out(cols);
  for (size_t c = 0; c < cols; ++c)
    out[c] = static_cast<float>(total[c] / static_cast<double>(n_rows));
  return out;
}

// Values of channels averaged over those that share a scale, and back on every channel.
void share(std::vector<float>& values, const ScaleSharing& sharing) {
  if (sharing.source.empty()) return;
  std::vector<double> sum(sharing.n_sources);
  std::vector<size_t> count(sharing.n_sources);
  for (size_t c = 0; c < values.size(); ++c) {
    sum[sharing.source[c]] += static_cast<double>(values[c]);
    ++count[sharing.source[c]];
  }
  for (size_t c = 0; c < values.size(); ++c)
    values[c] =
        static_cast<float>(sum[sharing.source[c]] / static_cast<double>(count[sharing.source[c]]));
}

// Mean magnitude of every channel over all rows that came.
std::vector<float> input_magnitude(std::span<const ScaledReader> readers) {
  std::vector<double> sum(readers.front().w.cols);
  double n_rows = 0;
  for (const ScaledReader& reader : readers) {
    const double n = static_cast<double>(reader.stats->n_rows);
    n_rows += n;
    for (size_t c = 0; c < sum.size(); ++c)
      sum[c] += n * static_cast<double>(reader.stats->mean_abs[c]);
  }
  std::vector<float> out(sum.size());
  if (n_rows > 0)
    for (size_t c = 0; c < sum.size(); ++c) out[c] = static_cast<float>(sum[c] / n_rows);
  return out;
}

// d [cols][16] = Q(w diag(s)) diag(1 / s) - w.
void write_error(const float* w, const std::vector<float>& s, const std::vector<float>& inverse,
                 const NearestRule& rule, float* d) {
  for (size_t begin = 0; begin < s.size(); begin += rule.group) {
    const size_t n = std::min(rule.group, s.size() - begin);
    float* out = d + begin * kLanes;
    const float* in = w + begin * kLanes;
    for (size_t c = 0; c < n; ++c)
      for (size_t r = 0; r < kLanes; ++r) out[c * kLanes + r] = in[c * kLanes + r] * s[begin + c];
    round_trip(out, n, nearest_grid(out, n, rule.scheme), rule.scheme, out);
    for (size_t c = 0; c < n; ++c)
      for (size_t r = 0; r < kLanes; ++r)
        out[c * kLanes + r] = out[c * kLanes + r] * inverse[begin + c] - in[c * kLanes + r];
  }
}

// The scale of a form and exponent, around 1.
std::vector<float> make_scale(const std::vector<float>& x, const std::vector<float>& w,
                              ScaleForm form, float exponent) {
  std::vector<float> s(x.size());
  float low = std::numeric_limits<float>::max(), high = 0;
  for (size_t c = 0; c < s.size(); ++c) {
    s[c] = std::pow(x[c], exponent);
    if (form == ScaleForm::duo) s[c] /= std::pow(w[c], 1 - exponent) + kFloor;
    s[c] = std::max(s[c], kFloor);
    if (!std::isfinite(s[c])) s[c] = 1;
    low = std::min(low, s[c]);
    high = std::max(high, s[c]);
  }
  const float middle = std::sqrt(low) * std::sqrt(high);
  for (float& v : s) v /= middle;
  return s;
}

}  // namespace

double scaled_error(OutputError& error, const FloatPanels& w, const std::vector<float>& s,
                    const NearestRule& rule) {
  std::vector<float> inverse(s.size());
  for (size_t c = 0; c < s.size(); ++c) inverse[c] = 1.0f / s[c];
  return error.sum(w.n_panels(), [&](size_t panel, float* d) {
    write_error(w.panel(panel), s, inverse, rule, d);
  });
}

ScaleChoice search_scale(const Compute& compute, std::span<const ScaledReader> readers,
                         const NearestRule& rule, const ScaleSharing& sharing,
                         const std::function<void(std::vector<float>&)>& limit) {
  std::vector<float> x = input_magnitude(readers);
  std::vector<float> w = relative_magnitude(compute, readers, rule.group);
  share(x, sharing);
  share(w, sharing);

  std::vector<std::unique_ptr<OutputError>> measures;  // one for each input
  for (const ScaledReader& reader : readers)
    measures.push_back(std::make_unique<OutputError>(compute, *reader.stats));
  const auto errors_with = [&](const std::vector<float>& s) {
    std::vector<double> out;
    for (size_t i = 0; i < readers.size(); ++i)
      out.push_back(scaled_error(*measures[i], readers[i].w, s, rule));
    return out;
  };

  ScaleChoice best;
  best.scale.assign(x.size(), 1.0f);
  const std::vector<double> identity = errors_with(best.scale);
  for (const double e : identity) best.error_identity += e > 0 ? 1 : 0;
  best.error = best.error_identity;
  const auto attempt = [&](ScaleForm form, float exponent) {
    std::vector<float> s = make_scale(x, w, form, exponent);
    limit(s);
    const std::vector<double> errors = errors_with(s);
    double error = 0;
    for (size_t i = 0; i < errors.size(); ++i)
      if (identity[i] > 0) error += errors[i] / identity[i];
    if (error < best.error) {
      best.scale = std::move(s);
      best.form = form;
      best.error = error;
    }
    return error;
  };
  for (const ScaleForm form : {ScaleForm::plain, ScaleForm::duo}) {
    const float step = 1.0f / kSteps;
    int best_step = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int i = form == ScaleForm::plain ? 1 : 0; i <= kSteps; ++i) {
      const double error = attempt(form, static_cast<float>(i) * step);
      if (error < least) {
        least = error;
        best_step = i;
      }
    }
    for (const float side : {-0.5f, 0.5f}) {
      const float exponent = (static_cast<float>(best_step) + side) * step;
      if (exponent > 0 && exponent < 1) attempt(form, exponent);
    }
  }
  if (best.error > kWorthwhile * best.error_identity) {
    best.scale.assign(x.size(), 1.0f);
    best.form = ScaleForm::identity;
    best.error = best.error_identity;
  }
  return best;
}

}  // namespace nibble
