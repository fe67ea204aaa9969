// NEON with the matrix instructions of ARMv8.6 (i8mm): two rows of weights by two rows of x at
// once, twice the products of a dot instruction. A row alone uses the latter.
#include "neon_sdot.h"
#include "sets.h"

namespace nibble {
namespace {

struct Smmla : Sdot {
  static constexpr bool kPairs = true;
  static int32x4_t add_pairs(int32x4_t acc, int8x16_t w, int8x16_t x) {
    return vmmlaq_s32(acc, w, x);
  }
};

}  // namespace

const Kernels kNeonI8mmKernels = neon_kernels<Smmla>("neon_i8mm");

}  // namespace nibble
