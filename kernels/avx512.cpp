// AVX-512 with VNNI: products by vpdpbusd on registers of 16 rows.
#include "avx512_vector.h"
#include "sets.h"

namespace nibble {

const Kernels kAvx512Kernels = vector_kernels<Avx512>("avx512");

}  // namespace nibble
