#pragma once

#include <string>

#include "load/checkpoint.h"
#include "model/families.h"
#include "nibble/config.h"
#include "nibble/sampler.h"

namespace nibble {

/// The architecture of a checkpoint, with every number proven: positive, consistent with each
/// other, bounded. Architectures and settings that change the arithmetic in a way that is not
/// implemented are refused by name. Throws Error.
Config read_config(const Checkpoint& checkpoint);

/// The sampling that the authors recommend (generation_config.json), over the defaults.
SamplerOptions read_sampling(const Checkpoint& checkpoint);

/// Whether a layer looks back over sliding_window positions only, and whether it does not rotate.
inline bool has_window(const Config& c, int layer) {
  return c.sliding_window > 0 &&
         (c.window_layers.empty() || c.window_layers[static_cast<size_t>(layer)] != 0);
}
inline bool is_nope(const Config& c, int layer) {
  return !c.nope_layers.empty() && c.nope_layers[static_cast<size_t>(layer)] != 0;
}

/// Checks a config from any source; the `where` of errors is `path`.
void validate_config(const Config& config, const std::string& path);

/// What a .nib file stores, and back.
std::string config_to_json(const Config& config, const SamplerOptions& sampling);

}  // namespace nibble
