// One layer of a model: from f32 panels and the rows that pass through it to rounded weights.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "awq/fold.h"
#include "awq/input_stats.h"
#include "awq/rounding.h"
#include "model/weights.h"

namespace nibble {

/// The statistics of every input of a layer's matrices; matrices that share an input share them.
class LayerInputs {
 public:
  LayerInputs(const Compute& compute, const StatsPlan& plan) : compute_(compute), plan_(plan) {}

  /// Takes rows that `readers` multiply, as InputTap (transformer.h) shows them.
  void add(std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
           size_t n_rows, size_t cols);
  void finish();
  /// Of the input of that matrix; null if no row ever came to it.
  InputStats* find(const PackedMatrix* matrix);

 private:
  const Compute& compute_;
  StatsPlan plan_;
  std::map<const PackedMatrix*, std::shared_ptr<InputStats>> by_reader_;
  std::vector<std::shared_ptr<InputStats>> all_;
};

struct LayerRule {
  bool scales = true;
  RoundingRule rounding;
};

struct LayerResult {
  std::vector<RoundedMatrix> matrices;  // as `quantized` lists them
  double error_before = 0, error_after = 0;
};

/// Searches scales, folds them into the f32 panels and vectors of the layer, and rounds the
/// matrices of `quantized`. Other matrices of the layer stay f32, scaled where a fold asks for it.
LayerResult quantize_layer(const Compute& compute, const Config& config, LayerWeights& layer,
                           std::span<PackedMatrix* const> quantized, LayerInputs& inputs,
                           const LayerRule& rule);

}  // namespace nibble
