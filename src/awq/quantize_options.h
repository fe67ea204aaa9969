#pragma once

#include "nibble/quantize.h"

namespace nibble {

/// Throws Error if options contradict each other, as quantize() does.
void check_quantize_options(const QuantizeOptions& options);

}  // namespace nibble
