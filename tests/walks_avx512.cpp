// AVX-512 kernels that walk through weights in either way, whichever suits this CPU.
#include "avx512_vector.h"
#include "walks.h"

namespace nibble::test {
namespace {

struct OnePanel : Avx512 {
  static Walk walk() { return kWalkOnAmd; }
};
struct SideBySide : Avx512 {
  static Walk walk() { return kWalk; }
};

}  // namespace

const Kernels kAvx512OnePanel = vector_kernels<OnePanel>("avx512, one panel");
const Kernels kAvx512SideBySide = vector_kernels<SideBySide>("avx512, side by side");

}  // namespace nibble::test
