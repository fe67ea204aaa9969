#pragma once

#include "kernels.h"

namespace nibble::test {

extern const Kernels kAvx2OnePanel, kAvx2SideBySide, kAvx512OnePanel, kAvx512SideBySide;

}  // namespace nibble::test
