// The kernel sets that dispatch.cpp chooses from; each is defined by the file of its name.
#pragma once

#include "kernels.h"

namespace nibble {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAmxKernels;
extern const Kernels kNeonKernels;
extern const Kernels kNeonDotKernels;
extern const Kernels kNeonI8mmKernels;

/// Asked of a CPU that has what avx512.cpp needs: it has tiles, the system lets this process use
/// them, and they multiply as scalar.cpp does. x86-64 only.
bool amx_usable();

}  // namespace nibble
