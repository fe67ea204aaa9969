#include "walk.h"

namespace nibble {

Walk best_walk() { return __builtin_cpu_is("amd") ? kWalkOnAmd : kWalk; }

}  // namespace nibble
