#pragma once

#include <memory>
#include <string>

#include "load/checkpoint.h"
#include "model/model_impl.h"

namespace nibble {

/// The kernels of that name, the best for "". Throws Error if it is unknown or this machine lacks
/// it.
const Kernels* choose_kernels(const std::string& name);

/// Kernels, threads and pool of a model, as the options ask. Throws Error for an instruction set
/// that is unknown or that this machine lacks.
std::shared_ptr<ModelImpl> make_model_impl(const ModelOptions& options);

/// Fills `info` from config, weights and file.
void describe_model(ModelImpl& model, const std::string& format, uint64_t file_bytes);

/// Fills all but the weights: config, sampling, and the tokenizer if there is one.
void read_metadata(const Checkpoint& checkpoint, ModelImpl& model);

/// The same weights, shared, behind the kernels and threads that `options` ask for, cut to the
/// first n_layers layers; no tokenizer. For comparing kernels without loading a model again.
Model model_with(const Model& model, const ModelOptions& options, int n_layers);

/// Throws Error unless group is 32, 64 or 128.
uint16_t checked_group(int group);

}  // namespace nibble
