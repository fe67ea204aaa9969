// What the ARM kernel sets share: blocks of 16 lanes and how elements become them.
//
// neon.cpp and neon_dot.cpp are compiled with different instruction sets, so nothing here may leave
// its object file: all lives in an anonymous namespace, and nothing inline of the standard library
// is used. Sums fuse multiply and add explicitly, because what a compiler fuses by itself may
// differ between the copies for 1 and for 4 rows.
#pragma once

#include <arm_neon.h>

#include "vector_math.h"

namespace nibble {
namespace {

/// 16 lanes: the rows of a panel, or 16 consecutive values.
struct Block {
  float32x4_t v[4];
};

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

}  // namespace
}  // namespace nibble
