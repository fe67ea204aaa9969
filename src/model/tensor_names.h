// What the tensors of a family are called in one checkpoint, and which of them were used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "load/checkpoint.h"
#include "model/families.h"
#include "quant/matrix_source.h"

namespace nibble {

/// A place in the model. `expert` also counts the heads of norms that have a tensor each.
struct Place {
  Slot slot;
  int layer = 0;
  int expert = 0;
  bool bias = false;
};

class TensorNames {
 public:
  TensorNames(const Checkpoint& checkpoint, const Family& family);

  const Layout& layout() const { return layout_; }
  bool has(Slot slot) const;
  /// The tensor of that place, or null.
  const TensorView* find(const Place& place);
  /// The weights of that place, which may be one expert's of a tensor [n_experts, rows, cols].
  /// Error if they are missing.
  MatrixSource matrix(const Place& place, int64_t n_experts);
  /// The tensors of the parts place.expert.. before `end` of a vector: one if they share it. Of a
  /// tensor [n_experts, n] the row of an expert. Error if one is missing.
  std::vector<TensorView> vector(const Place& place, int end, int64_t n_experts);
  /// The tensor NAME + suffix of a tensor NAME, or null.
  const TensorView* find_beside(const TensorView& tensor, const char* suffix);

  /// What the tensor of that name in .nib files is called here; empty if there is none.
  std::string name_of(const std::string& nib_name) const;

  /// Error if the checkpoint has tensors that nobody asked for.
  void refuse_unknown(bool tied) const;

  /// The name of a place in .nib files.
  static std::string nib_name(const Place& place);

 private:
  // The names a place may have here, best first.
  std::vector<std::string> candidates(const Place& place) const;
  [[noreturn]] void missing(const Place& place) const;

  const Checkpoint& checkpoint_;
  const Family& family_;
  const QuantConfig quant_;
  const Layout layout_;
  std::string prefix_;  // that names of the tables have and those of this checkpoint lack
  std::unordered_set<std::string_view> used_;
};

/// Whether a GGUF file is of a model of images and text, whose positions have several parts: they
/// are all alike in text.
bool has_rope_sections(const Checkpoint& checkpoint);

/// The family as the files of a checkpoint have it: model_type tells kinds of LLaMA apart.
const Family& family_of(const Checkpoint& checkpoint, const Config& config);

}  // namespace nibble
