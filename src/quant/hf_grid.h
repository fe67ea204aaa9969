// Recognises the tensors of a quantized linear layer: AutoAWQ and llm-awq, GPTQ,
// compressed-tensors.
#pragma once

#include <optional>
#include <string_view>

#include "load/checkpoint.h"
#include "quant/matrix_source.h"
#include "quant/quant_config.h"

namespace nibble {

/// The matrix of the layer `prefix` ("model.layers.0.self_attn.q_proj"), if the checkpoint holds
/// `prefix`.qweight or `prefix`.weight_packed. Throws Error naming the tensor for shapes and types
/// that do not belong together, zeros that are missing, groups that panels cannot hold, and scales
/// that are not finite.
std::optional<MatrixSource> find_grid(const Checkpoint& checkpoint, const QuantConfig& config,
                                      std::string_view prefix);

}  // namespace nibble
