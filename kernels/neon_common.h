// What the ARM kernel sets share: blocks of 16 lanes, the exponential, and the loops over vectors.
//
// neon.cpp and neon_dot.cpp are compiled with different instruction sets, so nothing here may leave
// its object file: all lives in an anonymous namespace, and nothing inline of the standard library
// is used. Sums fuse multiply and add explicitly, because what a compiler fuses by itself may
// differ between the copies for 1 and for 4 rows.
#pragma once

#include <arm_neon.h>

#include "kernels.h"

namespace nibble {
namespace {

/// 16 lanes: the rows of a panel, or 16 consecutive values.
struct Block {
  float32x4_t v[4];
};

constexpr size_t min_of(size_t a, size_t b) { return a < b ? a : b; }
constexpr size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

inline Block splat(float value) {
  const float32x4_t v = vdupq_n_f32(value);
  return {{v, v, v, v}};
}

inline Block load_block(const float* p) {
  return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}

inline void store_block(float* p, const Block& b) {
  for (size_t i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, b.v[i]);
}

/// The first n of 16 values; the other lanes are 0.
inline Block load_first(const float* p, size_t n) {
  if (n >= 16) return load_block(p);
  float padded[16] = {};
  for (size_t i = 0; i < n; ++i) padded[i] = p[i];
  return load_block(padded);
}

inline void store_first(float* p, const Block& b, size_t n) {
  if (n >= 16) return store_block(p, b);
  float all[16];
  store_block(all, b);
  for (size_t i = 0; i < n; ++i) p[i] = all[i];
}

inline float sum_lanes(const Block& b) {
  return vaddvq_f32(vaddq_f32(vaddq_f32(b.v[0], b.v[1]), vaddq_f32(b.v[2], b.v[3])));
}

inline float absmax_lanes(const Block& b) {
  const float32x4_t low = vmaxq_f32(vabsq_f32(b.v[0]), vabsq_f32(b.v[1]));
  const float32x4_t high = vmaxq_f32(vabsq_f32(b.v[2]), vabsq_f32(b.v[3]));
  return vmaxvq_f32(vmaxq_f32(low, high));
}

// Bytes are loaded as bytes, whatever they hold: they may be mapped from a file.
inline uint16x8_t load_u16(const uint8_t* p) { return vreinterpretq_u16_u8(vld1q_u8(p)); }

/// 16 fp16 values as f32.
inline Block load_halves(const uint8_t* p) {
  const float16x8_t a = vreinterpretq_f16_u8(vld1q_u8(p));
  const float16x8_t b = vreinterpretq_f16_u8(vld1q_u8(p + 16));
  return {{vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a), vcvt_f32_f16(vget_low_f16(b)),
           vcvt_high_f32_f16(b)}};
}

/// Four quads of 32-bit integers.
struct Quads {
  int32x4_t v[4];
};

inline Quads widen(int8x16_t b) {
  const int16x8_t low = vmovl_s8(vget_low_s8(b));
  const int16x8_t high = vmovl_high_s8(b);
  return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
           vmovl_high_s16(high)}};
}

inline Quads widen(uint8x16_t b) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(b));
  const uint16x8_t high = vmovl_high_u8(b);
  return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
           vreinterpretq_s32_u32(vmovl_high_u16(low)),
           vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
           vreinterpretq_s32_u32(vmovl_high_u16(high))}};
}

inline Block to_float(const Quads& q) {
  return {
      {vcvtq_f32_s32(q.v[0]), vcvtq_f32_s32(q.v[1]), vcvtq_f32_s32(q.v[2]), vcvtq_f32_s32(q.v[3])}};
}

/// One element of a float panel, the KV cache or a row of values: how 16 of them are read.
struct ElementF32 {
  static constexpr size_t kBytes = 4;
  static Block load(const uint8_t* p) {
    return {{vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(vld1q_u8(p + 16)),
             vreinterpretq_f32_u8(vld1q_u8(p + 32)), vreinterpretq_f32_u8(vld1q_u8(p + 48))}};
  }
};
struct ElementF16 {
  static constexpr size_t kBytes = 2;
  static Block load(const uint8_t* p) { return load_halves(p); }
};
struct ElementBf16 {
  static constexpr size_t kBytes = 2;
  static Block load(const uint8_t* p) {
    const uint16x8_t a = load_u16(p);
    const uint16x8_t b = load_u16(p + 16);
    return {{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(a), 16)),
             vreinterpretq_f32_u32(vshll_high_n_u16(a, 16)),
             vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(b), 16)),
             vreinterpretq_f32_u32(vshll_high_n_u16(b, 16))}};
  }
};
struct ElementI8 {
  static constexpr size_t kBytes = 1;
  static Block load(const uint8_t* p) { return to_float(widen(vreinterpretq_s8_u8(vld1q_u8(p)))); }
};

/// How many rows a piece of code handles at once, as a type.
template <size_t N>
struct Rows {
  static constexpr size_t kCount = N;
};

/// Calls fn(Rows<n>, first row) for tiles of 4, 2 and 1 rows.
template <class Fn>
void for_row_tiles(size_t begin, size_t end, const Fn& fn) {
  size_t row = begin;
  for (; row + 4 <= end; row += 4) fn(Rows<4>{}, row);
  for (; row + 2 <= end; row += 2) fn(Rows<2>{}, row);
  if (row < end) fn(Rows<1>{}, row);
}

/// acc[t] += sum of column(k) * x[t][k] over begin <= k < end, one fused step per k in ascending
/// order. column(k) is a Block; x has rows of x_stride.
template <size_t T, class Column>
void add_products(Block (&acc)[T], const Column& column, size_t begin, size_t end, const float* x,
                  size_t x_stride) {
  Block sum[T];  // a copy that the compiler may keep in registers
  for (size_t t = 0; t < T; ++t) sum[t] = acc[t];
  for (size_t k = begin; k < end; ++k) {
    const Block w = column(k);
    for (size_t t = 0; t < T; ++t) {
      const float32x4_t xk = vdupq_n_f32(x[t * x_stride + k]);
      for (size_t i = 0; i < 4; ++i) sum[t].v[i] = vfmaq_f32(sum[t].v[i], w.v[i], xk);
    }
  }
  for (size_t t = 0; t < T; ++t) acc[t] = sum[t];
}

/// e^x with a relative error below 0.7 * 2^-23 (where the result is subnormal, below one unit of
/// its last bit); 0 below -104, infinity above 89, NaN stays NaN. e^0 is exactly 1.
inline float32x4_t exp_lanes(float32x4_t x) {
  x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-104.0f)), vdupq_n_f32(89.0f));
  const float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(0x1.715476p+0f)));  // log2(e)
  // r = x - n ln 2 in two steps: the high part has 15 bits, so n times it is exact.
  float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62e4p-1f));
  r = vfmsq_f32(r, n, vdupq_n_f32(0x1.7f7d1cp-20f));
  // Minimax for the relative error on |r| <= ln 2 / 2 (3.1e-9 before rounding).
  float32x4_t p = vfmaq_f32(vdupq_n_f32(0x1.1239e2p-7f), vdupq_n_f32(0x1.6a2434p-10f), r);
  p = vfmaq_f32(vdupq_n_f32(0x1.5558f2p-5f), p, r);
  p = vfmaq_f32(vdupq_n_f32(0x1.555492p-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(0x1.fffffcp-2f), p, r);
  p = vaddq_f32(vdupq_n_f32(1.0f), vfmaq_f32(r, p, vmulq_f32(r, r)));
  // 2^n in two factors, for results that are subnormal or infinite.
  const int32x4_t exponent = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(exponent, 1);
  const int32x4_t bias = vdupq_n_s32(127);
  const int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
  const int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(exponent, half), bias), 23);
  return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
}

/// erfc(x) for x >= 0 with a relative error below 2^-22 + x^2 * 2^-23: exp(-x^2) times a function
/// of t = 1 / (1 + x / 2), fitted by the polynomial of Numerical Recipes (2nd edition, 6.2).
inline float32x4_t erfc_lanes(float32x4_t x) {
  const float32x4_t one = vdupq_n_f32(1.0f);
  const float32x4_t t = vdivq_f32(one, vfmaq_n_f32(one, x, 0.5f));
  float32x4_t sum = vfmaq_n_f32(vdupq_n_f32(-0.82215223f), t, 0.17087277f);
  sum = vfmaq_f32(vdupq_n_f32(1.48851587f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(-1.13520398f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(0.27886807f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(-0.18628806f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(0.09678418f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(0.37409196f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(1.00002368f), sum, t);
  sum = vfmaq_f32(vdupq_n_f32(-1.26551223f), sum, t);
  return vmulq_f32(t, exp_lanes(vfmsq_f32(sum, x, x)));
}

/// cap * tanh(a / cap); tanh(t) = 1 - 2 / (1 + exp(2 t)).
inline float32x4_t capped(float32x4_t a, float cap) {
  const float32x4_t one = vdupq_n_f32(1.0f), two = vdupq_n_f32(2.0f);
  const float32x4_t e = exp_lanes(vmulq_f32(vdivq_f32(a, vdupq_n_f32(cap)), two));
  return vmulq_n_f32(vsubq_f32(one, vdivq_f32(two, vaddq_f32(one, e))), cap);
}

inline float exp_one(float x) { return vgetq_lane_f32(exp_lanes(vdupq_n_f32(x)), 0); }

/// absmax / 127 of n values, or 0 where that is below the normal floats: every code is then 0.
inline float scale_of(const float* x, size_t n) {
  float absmax = 0.0f;
  for (size_t i = 0; i < n; i += 16) {
    const float block_max = absmax_lanes(load_first(x + i, n - i));
    absmax = block_max > absmax ? block_max : absmax;
  }
  const float scale = absmax / 127.0f;
  return scale >= 0x1p-126f ? scale : 0.0f;
}

/// x / scale rounded to nearest even, as 16 bytes; zeros if scale is 0.
inline int8x16_t codes_of(const Block& x, float scale) {
  if (scale == 0.0f) return vdupq_n_s8(0);
  int16x4_t q[4];
  for (size_t i = 0; i < 4; ++i)
    q[i] = vqmovn_s32(vcvtnq_s32_f32(vdivq_f32(x.v[i], vdupq_n_f32(scale))));
  return vcombine_s8(vqmovn_s16(vcombine_s16(q[0], q[1])), vqmovn_s16(vcombine_s16(q[2], q[3])));
}

/// One group of n values in `width` columns (a multiple of 16) of codes, zero beyond n.
inline float quantize_group(const float* x, size_t n, size_t width, int8_t* codes, int32_t* sum) {
  const float scale = scale_of(x, n);
  *sum = 0;
  for (size_t i = 0; i < width; i += 16) {
    const Block b = i < n ? load_first(x + i, n - i) : splat(0.0f);
    const int8x16_t q = codes_of(b, scale);
    vst1q_s8(codes + i, q);
    *sum += vaddlvq_s8(q);
  }
  return scale;
}

inline void quantize_rows(const float* x, size_t x_stride, size_t cols, const QuantizedRows& out) {
  const size_t used_groups = (cols + out.group - 1) / out.group;
  for (size_t row = 0; row < out.n_rows; ++row) {
    const float* in = x + row * x_stride;
    int8_t* codes = out.codes + row * out.stride;
    float* scales = out.scales + row * out.n_groups;
    int32_t* sums = out.sums + row * out.n_groups;
    for (size_t g = 0; g < used_groups; ++g) {
      const size_t k = g * out.group;
      scales[g] = quantize_group(in + k, min_of(out.group, cols - k),
                                 min_of(out.group, out.stride - k), codes + k, sums + g);
    }
    for (size_t g = used_groups; g < out.n_groups; ++g) {
      scales[g] = 0.0f;
      sums[g] = 0;
    }
    for (size_t k = used_groups * out.group; k < out.stride; ++k) codes[k] = 0;
  }
}

}  // namespace
}  // namespace nibble
