// The operations of ARM for vector_round.h: 16 lanes are four vectors.
#pragma once

#include "neon_common.h"
#include "vector_round.h"

namespace nibble {
namespace {

struct NeonRound {
  using F = Block;
  using I = Quads;

  /// fn(i) of the four vectors.
  template <class Out, class Fn>
  [[gnu::always_inline]] static Out each(const Fn& fn) {
    return {{fn(0), fn(1), fn(2), fn(3)}};
  }

  static F zero() { return splat(0.0f); }
  static F set1(float x) { return splat(x); }
  static F load(const float* p) { return load_block(p); }
  static F load_f16(const uint16_t* p) { return ElementF16::load(bytes(p)); }
  static F load_bf16(const uint16_t* p) { return ElementBf16::load(bytes(p)); }
  static void store_f16(uint16_t* p, F x) {
    for (size_t i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
  }
  static F sub(F a, F b) {
    return each<F>([&](size_t i) { return vsubq_f32(a.v[i], b.v[i]); });
  }
  static F add(F a, F b) {
    return each<F>([&](size_t i) { return vaddq_f32(a.v[i], b.v[i]); });
  }
  static F fma(F a, F b, F c) {
    return each<F>([&](size_t i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  static F div(F a, F b) {
    return each<F>([&](size_t i) { return vdivq_f32(a.v[i], b.v[i]); });
  }
  /// b if either is NaN, as max; the instructions of that name are of another mind.
  static F min(F a, F b) {
    return each<F>([&](size_t i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }
  static F max(F a, F b) {
    return each<F>([&](size_t i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }

  static I set1_int(int32_t x) {
    return each<I>([&](size_t) { return vdupq_n_s32(x); });
  }
  static I to_int(F a) {
    return each<I>([&](size_t i) { return vcvtnq_s32_f32(a.v[i]); });
  }
  static F to_float(I a) { return nibble::to_float(a); }
  static I as_int(F a) {
    return each<I>([&](size_t i) { return vreinterpretq_s32_f32(a.v[i]); });
  }
  static I load_s8(const int8_t* p) { return widen(vld1q_s8(p)); }
  static I add_int(I a, I b) {
    return each<I>([&](size_t i) { return vaddq_s32(a.v[i], b.v[i]); });
  }
  template <unsigned kBits>
  static I shift_left(I a) {
    return each<I>([&](size_t i) { return vshlq_n_s32(a.v[i], kBits); });
  }
  static void store_int(uint8_t* p, I x) {
    for (size_t i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, vreinterpretq_u8_s32(x.v[i]));
  }
  static void store_s8(int8_t* p, I x) {
    const int16x8_t low = vcombine_s16(vqmovn_s32(x.v[0]), vqmovn_s32(x.v[1]));
    const int16x8_t high = vcombine_s16(vqmovn_s32(x.v[2]), vqmovn_s32(x.v[3]));
    vst1q_s8(p, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
  }

 private:
  static const uint8_t* bytes(const uint16_t* p) { return reinterpret_cast<const uint8_t*>(p); }
};

}  // namespace
}  // namespace nibble
