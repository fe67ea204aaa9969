// AMX: products on tiles of bf16; all else as AVX-512 does it.
#include "amx_check.h"
#include "sets.h"

namespace nibble {

const Kernels kAmxKernels = amx_kernels<AmxTiles>();

bool amx_usable() {
  static const bool usable = AmxTiles::usable() && tiles_agree_with_scalar(kAmxKernels);
  return usable;
}

}  // namespace nibble
