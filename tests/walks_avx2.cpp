// AVX2 kernels that walk through weights in either way, whichever suits this CPU.
#include "avx2_vector.h"
#include "walks.h"

namespace nibble::test {
namespace {

struct OnePanel : Avx2 {
  static Walk walk() { return kWalkOnAmd; }
};
struct SideBySide : Avx2 {
  static Walk walk() { return kWalk; }
};

}  // namespace

const Kernels kAvx2OnePanel = vector_kernels<OnePanel>("avx2, one panel");
const Kernels kAvx2SideBySide = vector_kernels<SideBySide>("avx2, side by side");

}  // namespace nibble::test
