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
  /// The weights of that place and whether they are one of several in a tensor of rank 3. Error if
  /// they are missing.
  struct Found {
    MatrixSource source;
    bool stacked = false;
  };
  Found matrix(const Place& place, int64_t n_experts);
  /// Values of a vector: of one tensor, or of `n_parts` tensors one after the other.
  std::vector<const TensorView*> vector(const Place& place, int n_parts);

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
  Layout layout_;
  std::string prefix_;  // that names of the tables have and those of this checkpoint lack
  std::unordered_set<std::string_view> used_;
};

}  // namespace nibble
