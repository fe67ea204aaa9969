// Plain NEON, which every arm64 CPU has: products of bytes in 16 bits, added in pairs.
#include "neon_kernels.h"
#include "sets.h"

namespace nibble {
namespace {

/// The lanes of one quad of columns: sums of products of rows 0, 1 (low) and 2, 3 (high).
struct Products {
  int16x8_t low;
  int16x8_t high;
};

inline int8x16_t repeat_quad(int32x4_t quad) { return vreinterpretq_s8_s32(quad); }

inline Products multiply_quad(int8x16_t q, int8x16_t x) {
  return {vmull_s8(vget_low_s8(q), vget_low_s8(x)), vmull_high_s8(q, x)};
}

inline Products add_quad(const Products& sum, int8x16_t q, int8x16_t x) {
  return {vmlal_s8(sum.low, vget_low_s8(q), vget_low_s8(x)), vmlal_high_s8(sum.high, q, x)};
}

struct WideningDot {
  static constexpr bool kPairs = false;
  template <int32_t kMost>
  static int32x4_t add(int32x4_t acc, const int8x16_t (&q)[4], int8x16_t x) {
    const int32x4_t quads = vreinterpretq_s32_s8(x);
    const int8x16_t x0 = repeat_quad(vdupq_laneq_s32(quads, 0));
    const int8x16_t x1 = repeat_quad(vdupq_laneq_s32(quads, 1));
    const int8x16_t x2 = repeat_quad(vdupq_laneq_s32(quads, 2));
    const int8x16_t x3 = repeat_quad(vdupq_laneq_s32(quads, 3));
    if constexpr (kMost <= 63) {
      // Four products of at most 63 * 127 make 32,004, which fits 16 bits.
      const Products half = add_quad(multiply_quad(q[0], x0), q[1], x1);
      const Products all = add_quad(add_quad(half, q[2], x2), q[3], x3);
      if constexpr (kMost <= 31)  // and so do eight of at most 31 * 127
        return vpadalq_s16(acc, vpaddq_s16(all.low, all.high));
      return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(all.low), vpaddlq_s16(all.high)));
    } else {
      // Codes -128..127: two products of at most 128 * 127 make 32,512, which just fits.
      const Products a = add_quad(multiply_quad(q[0], x0), q[1], x1);
      const Products b = add_quad(multiply_quad(q[2], x2), q[3], x3);
      const int32x4_t low = vpadalq_s16(vpaddlq_s16(a.low), b.low);
      const int32x4_t high = vpadalq_s16(vpaddlq_s16(a.high), b.high);
      return vaddq_s32(acc, vpaddq_s32(low, high));
    }
  }
};

}  // namespace

const Kernels kNeonKernels = neon_kernels<WideningDot>("neon");

}  // namespace nibble
