#include "avx2_vector.h"
#include "walk_kernels.h"

namespace nibble::test {

const BothWalks kAvx2Walks = both_walks<Avx2>();

}  // namespace nibble::test
