#pragma once

#include "nibble/export.h"

namespace nibble {

/// "0.1.0", the version of the library that is linked.
NIBBLE_API const char* version();

}  // namespace nibble
