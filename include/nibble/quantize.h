#pragma once

#include <string>

#include "nibble/model.h"

namespace nibble {

struct QuantizeOptions {
  WeightType weights = WeightType::automatic;
  int group = 32;          // 32, 64, 128
  bool symmetric = false;  // no zero points: scale = absmax / 7, codes 1..15 around 8
  int threads = 0;         // 0: the performance cores this process may use
  Progress progress = {};
};

struct QuantizeResult {
  ModelInfo info;  // of the file written
  double seconds = 0;
};

/// Reads any model that Model() reads, but for .nib files, and writes it as one .nib file,
/// unquantized weights rounded to nearest. The file appears under its name only when complete.
/// Throws Error.
NIBBLE_API QuantizeResult quantize(const std::string& in, const std::string& out,
                                   const QuantizeOptions& options = {});

}  // namespace nibble
