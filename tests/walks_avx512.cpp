#include "avx512_vector.h"
#include "walk_kernels.h"

namespace nibble::test {

const BothWalks kAvx512Walks = both_walks<Avx512>();

}  // namespace nibble::test
