// One layer in memory while it is quantized.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "awq/layer_plan.h"
#include "awq/rounding.h"
#include "awq/work_folder.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"

namespace nibble {

/// The matrices of a layer twice: exact, as f32 panels, which scales may change, and as they are
/// written, as far as that is decided. The model sees one or the other.
class LoadedLayer {
 public:
  LoadedLayer(const Checkpoint& checkpoint, Compute compute)
      : checkpoint_(checkpoint), compute_(compute) {}

  /// The f32 panels that load() of this layer will need.
  static uint64_t float_bytes(const LayerPlan& plan);

  /// Reads the exact matrices and shows them; those of the layer before are gone.
  void load(const LayerPlan& plan);
  /// Lets the model see the written matrices where there are, else the exact ones.
  void show(bool written);

  /// Decides how a matrix is written.
  void write_rounded(const PackedMatrix* matrix, const RoundedMatrix& rounded);
  /// Decides it for the others: in the formats of the plan, from the exact panels.
  void write_others();
  /// What is written, once everything is decided.
  std::vector<LayerPiece> pieces() const;
  /// Takes matrices and vectors from what an earlier run wrote. Throws Error.
  void read_pieces(const Checkpoint& file);

 private:
  struct Forms {
    PackedView exact, written;        // views of panels_ and of memory
    AnonymousMemory memory;           // of the written form
    std::span<std::byte> bytes = {};  // of the written form; empty as long as it is not decided
  };
  void make_written(size_t i);

  const Checkpoint& checkpoint_;
  Compute compute_;
  const LayerPlan* plan_ = nullptr;
  AnonymousMemory panels_;    // all exact matrices; kept for the next layer
  std::vector<Forms> forms_;  // in the order of the plan's matrices
};

}  // namespace nibble
