// AVX2 with FMA and F16C: products by vpmaddubsw.
#include "avx2_vector.h"
#include "sets.h"

namespace nibble {

const Kernels kAvx2Kernels = vector_kernels<Avx2>("avx2");

}  // namespace nibble
