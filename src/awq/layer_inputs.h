// What the matrices of one layer read while the calibration text runs through it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "awq/input_stats.h"
#include "model/weights.h"

namespace nibble {

/// Rows within a buffer.
struct RowsView {
  const float* data = nullptr;  // [n_rows, stride]
  size_t stride = 0, n_rows = 0, cols = 0;
};

/// A copy of the rows that matrices multiply, and of the residual stream at that moment.
struct TappedRows {
  TappedRows(std::span<const PackedMatrix* const> who, const RowsView& x, const RowsView& stream);
  std::vector<const PackedMatrix*> readers;
  FloatMatrix input;     // [n_rows, cols]
  FloatMatrix residual;  // [positions, dim]
};

/// The matrices of a layer that are rounded together, because none makes the input of another.
struct Stage {
  std::vector<PackedMatrix*> matrices;
  std::vector<const PackedMatrix*> unneeded;  // of whose outputs no input of `matrices` is made
  bool compared = true;      // their rows are the same tokens in both models; experts' may not be
  float residual_scale = 0;  // if not 0: what they make times this is added to the stream as it is
};

/// The statistics of every input of a layer's matrices; matrices that share an input share them.
class LayerInputs {
 public:
  /// Of the inputs of a stage alone, or of all the layer's; drift (input_stats.h) of the stage's.
  LayerInputs(const Compute& compute, const StatsPlan& plan, const Stage& stage, bool stage_alone)
      : compute_(compute), plan_(plan), stage_(stage), stage_alone_(stage_alone) {}

  /// Whether the inputs of these matrices are asked for.
  bool wants(std::span<const PackedMatrix* const> readers) const;
  /// Whether they are made of the outputs of these matrices.
  bool needs(std::span<const PackedMatrix* const> readers) const;
  bool stage_alone() const { return stage_alone_; }

  /// Takes rows that `readers` multiply, as InputTap (transformer.h) shows them.
  void add(std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
           size_t n_rows, size_t cols);
  /// Takes the rows of the model whose layers in front are rounded, and how far the stage's are
  /// from the exact ones. Both are of one window.
  void add_pairs(const std::vector<TappedRows>& rounded, const std::vector<TappedRows>& exact);
  void finish();
  /// Of the input of that matrix; null if no row ever came to it.
  InputStats* find(const PackedMatrix* matrix);

 private:
  bool in_stage(std::span<const PackedMatrix* const> readers) const;

  const Compute& compute_;
  StatsPlan plan_;
  const Stage& stage_;
  bool stage_alone_;
  std::map<const PackedMatrix*, std::shared_ptr<InputStats>> by_reader_;
  std::vector<std::shared_ptr<InputStats>> all_;
};

}  // namespace nibble
