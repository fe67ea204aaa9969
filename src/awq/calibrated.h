// Quantization layer by layer, with or without a calibration text.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "awq/hidden_states.h"
#include "awq/layer_quantizer.h"
#include "awq/work_folder.h"
#include "model/model_impl.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "nibble/quantize.h"

namespace nibble {

/// Quantizes the layers of a checkpoint one after the other into a WorkFolder: at a time, one layer
/// is in memory as f32, and the activations of the calibration text (in a file if they are many).
/// Every layer sees the activations of the model that is not quantized.
class LayerByLayer {
 public:
  /// The matrices and vectors of `plan` that belong to layers. `impl` is the model without weights;
  /// `plan` was made for impl.weights.
  LayerByLayer(const Checkpoint& checkpoint, ModelImpl& impl, const WeightPlan& plan,
               const WorkFolder& folder, const QuantizeOptions& options);

  /// Throws Error when cancelled or out of memory; finished layers stay in the folder.
  void run();

 private:
  struct Layer {
    std::vector<const PlannedMatrix*> matrices;
    std::vector<std::pair<std::string, std::vector<float>*>> vectors;
  };

  void embed();
  bool is_embedding(const PlannedMatrix& m) const;
  AnonymousMemory load_as_it_is(const PlannedMatrix& m) const;
  void load_layer(const Layer& layer);
  void forward(int index, LayerInputs* inputs);
  QuantizedLayer quantize(int index, LayerInputs& inputs);
  void save(int index, const std::vector<RoundedMatrix>& rounded,
            const std::vector<PackedMatrix*>& quantized);
  void check_memory() const;
  void step(int layer, double part) const;

  const Checkpoint& checkpoint_;
  ModelImpl& impl_;
  const WeightPlan& plan_;
  const WorkFolder& folder_;
  const QuantizeOptions& options_;
  Compute compute_;
  std::vector<Layer> layers_;
  std::vector<std::vector<Token>> windows_;
  std::unique_ptr<HiddenStates> states_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Workspace> workspace_;
  AnonymousMemory panels_;  // the f32 matrices of one layer
};

/// Whether a planned matrix is one that quantization rounds: a linear layer to 4 bits.
bool is_rounded(const PlannedMatrix& m);

/// Plans another format for a matrix.
void retarget(PlannedMatrix& m, PackTarget::Kind kind);

/// The number of the layer that a tensor of a .nib file belongs to, or -1.
int layer_of(std::string_view name);

}  // namespace nibble
