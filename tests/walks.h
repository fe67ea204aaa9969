// Kernels that walk through weights in either way, whichever suits this CPU.
#pragma once

#include "kernels.h"

namespace nibble::test {

struct BothWalks {
  Kernels one_panel, side_by_side;
};
extern const BothWalks kAvx2Walks, kAvx512Walks;

}  // namespace nibble::test
