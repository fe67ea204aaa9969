#include "walk.h"

namespace nibble {

/// Zen 1 to 4, of which Zen 3 was measured, are families 17h and 19h; what comes later counts as
/// Zen 5.
Walk best_walk() {
  if (!__builtin_cpu_is("amd")) return kWalk;
  const bool old = __builtin_cpu_is("amdfam17h") || __builtin_cpu_is("amdfam19h");
  return old ? kWalkOnZen3 : kWalkOnZen5;
}

}  // namespace nibble
