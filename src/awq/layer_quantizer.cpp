#include "awq/layer_quantizer.h"

#include <algorithm>

namespace nibble {
namespace {

// What a matrix nobody multiplied is rounded by: all channels count the same.
InputStats flat_stats(size_t cols, size_t group) {
  StatsPlan plan;
  plan.group = group;
  plan.n_sample = 0;
  InputStats out(cols, plan);
  std::fill(out.mean_square.begin(), out.mean_square.end(), 1.0f);
  std::fill(out.mean_abs.begin(), out.mean_abs.end(), 1.0f);
  for (FloatMatrix& block : out.group_gram)
    for (size_t i = 0; i < block.rows(); ++i) block.row(i)[i] = 1;
  for (size_t i = 0; i < out.gram.rows(); ++i) out.gram.row(i)[i] = 1;
  return out;
}

// The mean square of the outputs of a matrix.
double energy(OutputError& error, const FloatPanels& w) {
  return error.sum(w.n_panels(),
                   [&](size_t p, float* d) { std::copy_n(w.panel(p), w.cols * kLanes, d); });
}

struct MeanRatio {
  double sum = 0;
  size_t n = 0;
  void add(double part, double whole) {
    if (!(whole > 0)) return;
    sum += part / whole;
    ++n;
  }
  double mean() const { return n == 0 ? 0 : sum / static_cast<double>(n); }
};

bool contains(std::span<PackedMatrix* const> list, const PackedMatrix* m) {
  return std::find(list.begin(), list.end(), m) != list.end();
}

void scale_fold(const Compute& compute, const Fold& fold, std::span<PackedMatrix* const> quantized,
                LayerInputs& inputs, const LayerRule& rule) {
  std::vector<ScaledReader> readers;
  std::vector<float> max_abs;
  for (const PackedMatrix* m : fold.readers) {
    const InputStats* stats = inputs.find(m);
    if (!stats || !contains(quantized, m)) continue;
    readers.push_back({panels_of(*m), stats});
    max_abs.resize(stats->cols);
    for (size_t c = 0; c < stats->cols; ++c) max_abs[c] = std::max(max_abs[c], stats->max_abs[c]);
  }
  if (readers.empty()) return;
  const ScaleChoice choice =
      search_scale(compute, readers, rule.rounding, fold.sharing,
                   [&](std::vector<float>& s) { limit_scale(fold, max_abs, s); });
  if (choice.form == ScaleForm::identity) return;
  apply_fold(compute, fold, choice.scale);
  std::vector<InputStats*> divided;
  for (const PackedMatrix* m : fold.readers) {
    InputStats* stats = inputs.find(m);
    if (!stats || std::find(divided.begin(), divided.end(), stats) != divided.end()) continue;
    stats->divide(choice.scale);
    divided.push_back(stats);
  }
}

}  // namespace

void LayerInputs::add(std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
                      size_t n_rows, size_t cols) {
  std::shared_ptr<InputStats>& stats = by_reader_[readers.front()];
  if (!stats) {
    stats = std::make_shared<InputStats>(cols, plan_);
    all_.push_back(stats);
    for (const PackedMatrix* reader : readers) by_reader_[reader] = stats;
  }
  stats->add(compute_, x, stride, n_rows);
}

void LayerInputs::finish() {
  for (const auto& stats : all_) stats->finish();
}

InputStats* LayerInputs::find(const PackedMatrix* matrix) {
  const auto at = by_reader_.find(matrix);
  return at == by_reader_.end() ? nullptr : at->second.get();
}

LayerResult quantize_layer(const Compute& compute, const Config& config, LayerWeights& layer,
                           std::span<PackedMatrix* const> quantized, LayerInputs& inputs,
                           const LayerRule& rule) {
  LayerResult out;
  MeanRatio before, after;
  for (const PackedMatrix* m : quantized) {
    const InputStats* stats = inputs.find(m);
    if (!stats) continue;
    const FloatPanels w = panels_of(*m);
    OutputError error(compute, *stats);
    before.add(scaled_error(error, w, std::vector<float>(w.cols, 1.0f), rule.rounding),
               energy(error, w));
  }
  if (rule.scales)
    for (const Fold& fold : folds_of(config, layer))
      scale_fold(compute, fold, quantized, inputs, rule);

  const InputStats* feedback_of = nullptr;
  Feedback feedback;
  for (const PackedMatrix* m : quantized) {
    const FloatPanels w = panels_of(*m);
    const InputStats* stats = inputs.find(m);
    if (!stats) {
      const InputStats flat = flat_stats(w.cols, rule.rounding.group);
      out.matrices.push_back(round_matrix(compute, w, flat, rule.rounding, nullptr));
      continue;
    }
    const bool compensated = rule.rounding.rounding == Rounding::compensated;
    if (compensated && feedback_of != stats) {  // matrices that share an input come one by one
      feedback = make_feedback(compute, copy_of(stats->gram));
      feedback_of = stats;
    }
    out.matrices.push_back(
        round_matrix(compute, w, *stats, rule.rounding, compensated ? &feedback : nullptr));
    const RoundedMatrix& rounded = out.matrices.back();
    OutputError error(compute, *stats);
    const double remaining = error.sum(w.n_panels(), [&](size_t p, float* d) {
      panel_values(rounded, p, d);
      for (size_t j = 0; j < w.cols * kLanes; ++j) d[j] -= w.panel(p)[j];
    });
    after.add(remaining, energy(error, w));
  }
  out.error_before = before.mean();
  out.error_after = after.mean();
  return out;
}

}  // namespace nibble
