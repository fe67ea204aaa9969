// Products of a few rows of activations that walk through weights in either way, whichever suits
// this CPU.
#pragma once

#include "kernels.h"

namespace nibble::test {

struct BothWalks {
  decltype(Kernels::matmul_q) one_panel, side_by_side;
};
extern const BothWalks kAvx2Walks, kAvx512Walks;

}  // namespace nibble::test
