// What the plan of a model's weights says of its layers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/weights.h"

namespace nibble {

/// The matrices and vectors that a layer consists of.
struct LayerPlan {
  std::vector<const PlannedMatrix*> matrices;
  std::vector<std::pair<std::string, std::vector<float>*>> vectors;
};

/// Whether a planned matrix is one that quantization rounds: a linear layer to 4 bits, or 6.
bool is_rounded(const PlannedMatrix& m);

/// Plans another format for a matrix.
void retarget(PlannedMatrix& m, PackTarget::Kind kind);

/// The number of the layer that a tensor of a .nib file belongs to, or -1.
int layer_of(std::string_view name);

}  // namespace nibble
