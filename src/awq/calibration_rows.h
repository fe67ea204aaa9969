// The activations of the calibration text between two layers, and what runs it through the next.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "awq/hidden_states.h"
#include "awq/layer_inputs.h"
#include "awq/loaded_layer.h"
#include "model/transformer.h"

namespace nibble {

/// Rows of the exact model and, if `paired`, of the model whose layers in front are rounded. For
/// each layer: measure() with the inputs of all its matrices; if paired, measure() again before
/// each further stage is rounded; then finish().
class CalibrationRows {
 public:
  using Windows = std::vector<std::vector<Token>>;

  /// The rows take up to `memory` bytes; more go to temporary files whose names begin with `file`.
  CalibrationRows(const ModelImpl& model, Windows windows, bool paired, uint64_t memory,
                  const std::string& file);

  size_t n_tokens() const { return exact_->n_tokens(); }
  bool paired() const { return rounded_ != nullptr; }
  /// Makes the rows in front of the first layer.
  void embed();

  /// Hears which part of a call is done.
  using Step = std::function<void(double part)>;
  /// Runs a layer and lets `inputs` see what its matrices read. Paired, those are the rows of the
  /// rounded model beside the exact ones. The model sees the exact layer afterwards.
  void measure(int index, LoadedLayer& layer, LayerInputs& inputs, const Step& step);
  /// From here the rows are those behind the layer, which is decided as a whole.
  void finish(int index, LoadedLayer& layer);
  /// The same for a layer that an earlier run has decided, as `written` has it.
  void pass(int index, LoadedLayer& layer, const Checkpoint& written, const Step& step);

 private:
  std::vector<TappedRows> run(HiddenStates& states, size_t window, int index,
                              const LayerInputs& inputs);
  void advance(HiddenStates& from, HiddenStates& to, int index, const InputTap& tap,
               const Step& step);

  const ModelImpl& model_;
  Windows windows_;
  KvCache cache_;
  Workspace workspace_;
  std::unique_ptr<HiddenStates> exact_;
  std::unique_ptr<HiddenStates> behind_, rounded_;  // if paired: exact ones behind the layer
};

}  // namespace nibble
