#include "nibble/version.h"

namespace nibble {

const char* version() { return NIBBLE_VERSION; }

}  // namespace nibble
