#pragma once

#include <string>
#include <vector>

#include "nibble/model.h"

namespace nibble {

/// The shapes of published models, by name ("llama2-7b"), for benchmarks without a file.
struct NamedShape {
  const char* name;
  Config config;
};
const std::vector<NamedShape>& named_shapes();

/// A model of that shape with random weights and no tokenizer. `options.weights` and
/// `options.group` say the format (automatic and q4: 4 bits, symmetric; head q8).
Model synthetic_model(const Config& config, const ModelOptions& options);

}  // namespace nibble
