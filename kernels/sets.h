// The kernel sets that dispatch.cpp chooses from; each is defined by the file of its name.
#pragma once

#include "kernels.h"

namespace nibble {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kNeonKernels;
extern const Kernels kNeonDotKernels;
extern const Kernels kNeonI8mmKernels;

}  // namespace nibble
