// The Hugging Face directory of a quantized model, in the form of AutoAWQ "gemm": what
// transformers and vLLM load.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "model/model_impl.h"
#include "model/weights.h"
#include "nibble/quantize.h"

namespace nibble {

/// Throws Error if the checkpoint cannot become such a directory: it is no Hugging Face directory,
/// or a tensor is transposed (GPT-2) or holds several experts. Tensors that hold q, k and v, or
/// gate and up, stay together.
void check_awq_source(const Checkpoint& checkpoint, const WeightPlan& plan);

/// Writes the directory as `temporary` and renames it to `out`. Tensors outside the layers are
/// copied as they are, and so are norms and biases of layers that have not changed; others are
/// fp16, or f32 where that does not hold them. `packed` gives the bytes of a layer's matrix in the
/// shape of its plan: 4 bits, or fp16 for those that modules_to_not_convert then names.
void write_awq_directory(
    const std::string& out, const std::string& temporary, const Checkpoint& checkpoint,
    const ModelImpl& model, const WeightPlan& plan, const QuantizeOptions& options,
    const std::function<std::span<const std::byte>(const PlannedMatrix&)>& packed);

}  // namespace nibble
