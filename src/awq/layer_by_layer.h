// Quantization layer by layer, with or without a calibration text.
#pragma once

#include <memory>
#include <vector>

#include "awq/calibration_rows.h"
#include "awq/layer_quantizer.h"
#include "awq/loaded_layer.h"
#include "awq/work_folder.h"
#include "model/model_impl.h"
#include "model/weights.h"
#include "nibble/quantize.h"

namespace nibble {

/// Quantizes the layers of a checkpoint one after the other into a WorkFolder: at a time, one layer
/// is in memory as f32, and the activations of the calibration text (in files if they are many).
///
/// With compensated rounding the text runs through two models, the exact one and the one whose
/// layers in front are rounded. Scales and rounding see the inputs of the latter, and a layer is
/// rounded in stages, each of which makes good a part of what has been lost before it (after GPTAQ,
/// arXiv 2504.02692). Else all see the exact model, in one go.
class LayerByLayer {
 public:
  /// The matrices and vectors of `plan` that belong to layers. `impl` is the model without weights;
  /// `plan` was made for impl.weights.
  LayerByLayer(const Checkpoint& checkpoint, ModelImpl& impl, const WeightPlan& plan,
               const WorkFolder& folder, const QuantizeOptions& options);

  /// Throws Error when cancelled or out of memory; finished layers stay in the folder. Progress
  /// counts what follows them, the writing of the file, as one layer more.
  void run();

 private:
  void embed();
  bool is_embedding(const PlannedMatrix& m) const;
  AnonymousMemory load_as_it_is(const PlannedMatrix& m) const;
  LayerRule rule() const;
  std::vector<RoundingRule> rules_of(const LayerPlan& plan,
                                     std::span<PackedMatrix* const> matrices) const;
  StatsPlan stats_plan() const;
  bool compensated() const { return options_.rounding == Rounding::compensated; }
  QuantizedLayer quantize(int index);
  void check_memory() const;
  void check_finished(int layer) const;
  void step(int layer, double part) const;
  CalibrationRows::Step part_of(int layer, double from, double size) const;

  const Checkpoint& checkpoint_;
  ModelImpl& impl_;
  const WeightPlan& plan_;
  const WorkFolder& folder_;
  const QuantizeOptions& options_;
  Compute compute_;
  std::vector<LayerPlan> layers_;
  std::unique_ptr<CalibrationRows> rows_;  // null: no calibration
  LoadedLayer loaded_;
};

}  // namespace nibble
