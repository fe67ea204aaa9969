#pragma once

#include "model/products.h"

namespace nibble {

/// The feed-forward layer of sparse experts (arXiv 2101.03961, 2401.04088): rows workspace.normed
/// of n tokens into workspace.projected, each the weighted sum of the experts that the router
/// scores highest. Only their weights are read, once for all rows that chose them. `activate` is
/// the kernel of the model's activation.
void run_experts(const ModelImpl& model, Workspace& workspace, const Products& products,
                 const LayerWeights& layer, size_t n,
                 void (*activate)(float* x, const float* up, size_t n));

}  // namespace nibble
