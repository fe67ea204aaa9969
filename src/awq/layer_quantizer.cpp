#include "awq/layer_quantizer.h"

#include <algorithm>

namespace nibble {
namespace {

// Of the correction for drift: the whole of it fits the calibration text and harms others.
constexpr float kDriftShare = 0.3f;

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
      search_scale(compute, readers, rule.nearest, fold.sharing,
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

void scale_layer(const Compute& compute, const Config& config, LayerWeights& layer,
                 std::span<PackedMatrix* const> quantized, LayerInputs& inputs,
                 const LayerRule& rule, LayerErrors& errors) {
  for (const PackedMatrix* m : quantized) {
    const InputStats* stats = inputs.find(m);
    if (!stats) continue;
    const FloatPanels w = panels_of(*m);
    OutputError error(compute, *stats);
    errors.before.add(scaled_error(error, w, std::vector<float>(w.cols, 1.0f), rule.nearest),
                      energy(error, w));
  }
  if (!rule.scales) return;
  for (const Fold& fold : folds_of(config, layer))
    scale_fold(compute, fold, quantized, inputs, rule);
}

std::vector<Stage> stages_of(const Config& config, LayerWeights& layer,
                             std::span<PackedMatrix* const> quantized) {
  enum : size_t { kQkv, kO, kUp, kDown, kCount };
  std::vector<Stage> stages(kCount);
  for (PackedMatrix* m : quantized) {
    bool is_down = m == &layer.down;
    for (const ExpertWeights& expert : layer.experts) is_down |= m == &expert.down;
    const bool is_qkv = m == &layer.q || m == &layer.k || m == &layer.v;
    stages[is_qkv ? kQkv : m == &layer.o ? kO : is_down ? kDown : kUp].matrices.push_back(m);
  }
  stages[kUp].compared = stages[kDown].compared = layer.experts.empty();
  if (config.norm_placement == NormPlacement::before)  // else there is a norm between
    stages[kO].residual_scale = stages[kDown].residual_scale = config.residual_scale;
  for (size_t i = 0; i < kCount; ++i)  // its own, and those that read what these make
    for (size_t j = i; j < kCount; ++j)
      stages[i].unneeded.insert(stages[i].unneeded.end(), stages[j].matrices.begin(),
                                stages[j].matrices.end());
  std::erase_if(stages, [](const Stage& stage) { return stage.matrices.empty(); });
  if (stages.empty()) stages.emplace_back();  // the text has to pass all the same
  return stages;
}

std::vector<RoundedMatrix> round_matrices(const Compute& compute,
                                          std::span<PackedMatrix* const> matrices,
                                          std::span<const RoundingRule> rules, LayerInputs& inputs,
                                          LayerErrors& errors) {
  std::vector<RoundedMatrix> out;
  const InputStats* feedback_of = nullptr;
  Feedback feedback;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const RoundingRule& rule = rules[i];
    FloatPanels w = panels_of(*matrices[i]);
    const InputStats* stats = inputs.find(matrices[i]);
    if (!stats) {
      const InputStats flat = flat_stats(w.cols, rule.group);
      out.push_back(round_matrix(compute, w, flat, rule, nullptr));
      continue;
    }
    const bool compensated = rule.rounding == Rounding::compensated;
    if (compensated && feedback_of != stats) {  // matrices that share an input come one by one
      feedback = make_feedback(compute, copy_of(stats->gram));
      feedback_of = stats;
    }
    FloatMatrix corrected;
    if (compensated && !stats->drift.empty()) {
      corrected = FloatMatrix(w.n_panels() * w.cols, kLanes);
      std::copy_n(w.data, w.n_panels() * w.cols * kLanes, corrected.row(0));
      w.data = corrected.row(0);
      correct_drift(compute, w, *stats, feedback, kDriftShare);
    }
    out.push_back(round_matrix(compute, w, *stats, rule, compensated ? &feedback : nullptr));
    OutputError error(compute, *stats);
    const double remaining = error.sum(w.n_panels(), [&](size_t p, float* d) {
      panel_values(out.back(), p, d);
      for (size_t j = 0; j < w.cols * kLanes; ++j) d[j] -= w.panel(p)[j];
    });
    errors.after.add(remaining, energy(error, w));
  }
  return out;
}

}  // namespace nibble
