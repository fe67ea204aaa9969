// The operations of ARM for vector_*.h: 16 lanes are four vectors.
#pragma once

#include "neon_common.h"

namespace nibble {
namespace {

struct Neon {
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
  static void store(float* p, F x) { store_block(p, x); }
  /// The first n lanes (all if n >= 16), zeros behind them.
  static F load_first(const float* p, size_t n) {
    if (n >= kLanes) return load(p);
    float padded[kLanes] = {};
    for (size_t i = 0; i < n; ++i) padded[i] = p[i];
    return load(padded);
  }
  static void store_first(float* p, F x, size_t n) {
    if (n >= kLanes) return store(p, x);
    float all[kLanes];
    store(all, x);
    for (size_t i = 0; i < n; ++i) p[i] = all[i];
  }
  static F load_f16(const uint16_t* p) { return ElementF16::load(bytes(p)); }
  static F load_bf16(const uint16_t* p) { return ElementBf16::load(bytes(p)); }
  static void store_f16(uint16_t* p, F x) {
    for (size_t i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
  }

  static F add(F a, F b) {
    return each<F>([&](size_t i) { return vaddq_f32(a.v[i], b.v[i]); });
  }
  static F sub(F a, F b) {
    return each<F>([&](size_t i) { return vsubq_f32(a.v[i], b.v[i]); });
  }
  static F mul(F a, F b) {
    return each<F>([&](size_t i) { return vmulq_f32(a.v[i], b.v[i]); });
  }
  static F div(F a, F b) {
    return each<F>([&](size_t i) { return vdivq_f32(a.v[i], b.v[i]); });
  }
  static F fma(F a, F b, F c) {
    return each<F>([&](size_t i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  static F abs(F a) {
    return each<F>([&](size_t i) { return vabsq_f32(a.v[i]); });
  }
  /// NaN if either is NaN.
  static F min(F a, F b) {
    return each<F>([&](size_t i) { return vminq_f32(a.v[i], b.v[i]); });
  }
  static F max(F a, F b) {
    return each<F>([&](size_t i) { return vmaxq_f32(a.v[i], b.v[i]); });
  }
  static F round(F a) {
    return each<F>([&](size_t i) { return vrndnq_f32(a.v[i]); });
  }
  /// a * 2^n for whole n in -126..127.
  static F times_pow2(F a, F n) {
    return each<F>([&](size_t i) {
      const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n.v[i]), vdupq_n_s32(127));
      return vmulq_f32(a.v[i], vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)));
    });
  }
  static float reduce_add(F a) {
    return vaddvq_f32(vaddq_f32(vaddq_f32(a.v[0], a.v[1]), vaddq_f32(a.v[2], a.v[3])));
  }
  static float reduce_max(F a) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.v[0], a.v[1]), vmaxq_f32(a.v[2], a.v[3])));
  }
  static float first(F a) { return vgetq_lane_f32(a.v[0], 0); }
  /// Lanes first..last-1 of a, `other` in the rest; last <= 16.
  static F keep(F a, size_t first, size_t last, float other) {
    if (last - first == kLanes) return a;  // as most are
    static constexpr uint32_t kLane[kLanes] = {0, 1, 2,  3,  4,  5,  6,  7,
                                               8, 9, 10, 11, 12, 13, 14, 15};
    const uint32x4_t from = vdupq_n_u32(static_cast<uint32_t>(first));
    const uint32x4_t n = vdupq_n_u32(static_cast<uint32_t>(last - first));
    return each<F>([&](size_t i) {
      const uint32x4_t at = vsubq_u32(vld1q_u32(kLane + 4 * i), from);  // wraps before `first`
      return vbslq_f32(vcltq_u32(at, n), a.v[i], vdupq_n_f32(other));
    });
  }

  static I zero_int() { return set1_int(0); }
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
  static int32_t reduce_add_int(I a) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
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

/// For vector_round.h, where min and max are b if either is NaN, as on other CPUs: that takes two
/// instructions, which rows and attention are spared.
struct NeonRound : Neon {
  static F min(F a, F b) {
    return each<F>([&](size_t i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }
  static F max(F a, F b) {
    return each<F>([&](size_t i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }
};

}  // namespace
}  // namespace nibble
