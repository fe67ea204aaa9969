// AMX on CPUs without it: amx_emulated.cpp stands in for the tiles. That its kernels compute what
// the others do is shown by test_kernels_amx, test_kernels_matmul_amx and test_model_amx.
#include "amx_emulated.h"
#include "check.h"
#include "kernels.h"

namespace {

using namespace nibble;
using namespace nibble::test;

void needs_avx512() {
  if (!find_kernels("avx512")) skip("this CPU has no AVX-512");
}

void the_emulated_set_is_the_best() {
  needs_avx512();
  check(find_kernels("amx") != nullptr, "amx is missing");
  check(find_kernels("") == find_kernels("amx"), "amx is not the best set");
}

/// Whoever reads the manual wrongly must get a slower program, not a wrong one.
void wrong_tiles_are_refused() {
  needs_avx512();
  check(tile_check_accepts_the_manual(), "right tiles are refused");
  check(!tile_check_accepts_overwritten_sums(), "sums that start anew are accepted");
  check(!tile_check_accepts_swapped_pairs(), "swapped pairs are accepted");
  check(!tile_check_accepts_ignored_strides(), "ignored strides are accepted");
}

constexpr uint16_t kOne = 0x3f80, kMinusOne = 0xbf80;

/// The rules that decide the last bits: even and odd columns are summed apart, with fused rounding,
/// and denormals are zeros.
void the_emulation_follows_the_manual() {
  needs_avx512();
  uint16_t a[32] = {}, b[32] = {};
  check_eq(tile_dot(a, b, 2.5f), 2.5f, "zeros");
  for (int i = 0; i < 32; ++i) a[i] = static_cast<uint16_t>(0x3f80 + i), b[i] = kOne;
  check_eq(tile_dot(a, b, 0), 32 + 496.0f / 128, "1 + i / 128, added");

  // (1 + 2^-7)^2 = 1 + 2^-6 + 2^-14; 2^24 swallows what lies below 2: even columns alone lose it.
  uint16_t c[32] = {0x4b80, kOne, kOne, kOne}, d[32] = {kOne, kOne, kOne, kOne};
  check_eq(tile_dot(c, d, 0), 0x1p24f + 2, "odd columns have a sum of their own");
  uint16_t e[32] = {kOne, 0, 0x3f81}, f[32] = {kMinusOne, 0, 0x3f81};
  check_eq(tile_dot(e, f, 0), 0x1p-6f + 0x1p-14f, "a product is not rounded before it is added");

  uint16_t tiny[32] = {0x007f}, one[32] = {kOne};  // below 2^-126
  check_eq(tile_dot(tiny, one, 0), 0.0f, "a denormal factor");
  uint16_t small[32] = {0x0080}, half[32] = {0x3f00};  // 2^-126 / 2
  check_eq(tile_dot(small, half, 0), 0.0f, "a denormal product");
  check_eq(tile_dot(small, one, 0), 0x1p-126f, "the smallest normal product");
  check_eq(tile_dot(a, a, 0x1p-127f), tile_dot(a, a, 0), "a denormal sum");
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(
      argc, argv,
      {
          {"the emulated set is the best", the_emulated_set_is_the_best},
          {"wrong tiles are refused", wrong_tiles_are_refused},
          {"the emulation follows the manual", the_emulation_follows_the_manual},
      });
}
