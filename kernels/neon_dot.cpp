// NEON with the dot product instructions of ARMv8.2.
#include "neon_sdot.h"
#include "sets.h"

namespace nibble {

const Kernels kNeonDotKernels = neon_kernels<Sdot>("neon_dot");

}  // namespace nibble
