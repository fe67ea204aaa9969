// One layer of a model: from f32 panels and the rows that pass through it to rounded weights.
#pragma once

#include <span>
#include <vector>

#include "awq/fold.h"
#include "awq/layer_inputs.h"
#include "awq/rounding.h"
#include "model/weights.h"

namespace nibble {

struct LayerRule {
  bool scales = true;   // whether they are searched
  NearestRule nearest;  // by which they are compared
};

/// Squared errors of a layer's products relative to the products, mean over matrices.
struct LayerErrors {
  struct Mean {
    double sum = 0;
    size_t n = 0;
    void add(double part, double whole) {
      if (!(whole > 0)) return;
      sum += part / whole;
      ++n;
    }
    double value() const { return n == 0 ? 0 : sum / static_cast<double>(n); }
  };
  Mean before, after;  // rounded to nearest without scales; as written
};

/// Searches scales and folds them into the f32 panels and vectors of the layer, and into `inputs`.
void scale_layer(const Compute& compute, const Config& config, LayerWeights& layer,
                 std::span<PackedMatrix* const> quantized, LayerInputs& inputs,
                 const LayerRule& rule, LayerErrors& errors);

/// `quantized` in the order in which a text passes, for compensated rounding: each stage reads what
/// those in front make. At least one stage.
std::vector<Stage> stages_of(const Config& config, LayerWeights& layer,
                             std::span<PackedMatrix* const> quantized);

/// Rounds f32 matrices by a rule each, compensated with the correction for drift if there is any;
/// they stay as they are.
std::vector<RoundedMatrix> round_matrices(const Compute& compute,
                                          std::span<PackedMatrix* const> matrices,
                                          std::span<const RoundingRule> rules, LayerInputs& inputs,
                                          LayerErrors& errors);

}  // namespace nibble
