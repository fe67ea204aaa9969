// The scale of a group as plain numbers: what the schemes of packed.h say.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"
#include "packed.h"

namespace nibble {

/// w = s * (q - z) + m. Where a scheme has no m, adding it changes nothing, not even a zero's sign.
struct Affine {
  float s = 0;
  int32_t z = 0;
  float m = -0.0f;
};

inline Affine affine_k6(const ScaleK6& super, size_t pair, size_t odd, size_t r) {
  const unsigned hi = super.hi[pair][r] >> (2 * odd);
  const unsigned sc = ((super.sc[pair][r] >> (4 * odd)) & 15u) | (hi & 3u) << 4;
  const unsigned mn = ((super.mn[pair][r] >> (4 * odd)) & 15u) | ((hi >> 4) & 3u) << 4;
  return {.s = half_to_float(super.d[r]) * static_cast<float>(sc),
          .m = -half_to_float(super.dmin[r]) * static_cast<float>(mn)};
}

/// k8 has 16 or 8 rows of sc per 256 columns: the same struct, cut short.
inline Affine affine_k8(const PackedShape& shape, const uint8_t* scales, size_t g, size_t r) {
  const size_t per_super = kSuperCols / shape.group;
  const size_t bytes = shape.group == 16 ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32);
  const auto& super = *reinterpret_cast<const ScaleK8x16*>(scales + g / per_super * bytes);
  const float d = half_to_float(super.d[r]) * code_table(shape.codes).unit;
  return {.s = d * static_cast<float>(super.sc[g % per_super][r]), .z = shape.zero};
}

/// The scheme of row r of a panel in group g; `scales` is the panel's. The products of an fp16 and
/// an integer of at most 8 bits are exact in f32.
inline Affine affine_at(const PackedShape& shape, const uint8_t* scales, size_t g, size_t r) {
  switch (shape.scheme) {
    case Scheme::f16: {
      const auto& scale = reinterpret_cast<const ScaleF16*>(scales)[g];
      return {.s = half_to_float(scale.s[r]), .z = shape.zero};
    }
    case Scheme::f16_zero: {
      const auto& scale = reinterpret_cast<const ScaleF16Zero*>(scales)[g];
      return {.s = half_to_float(scale.s[r]), .z = scale.z[r]};
    }
    case Scheme::f32_zero: {
      const auto& scale = reinterpret_cast<const ScaleF32Zero*>(scales)[g];
      return {.s = scale.s[r], .z = scale.z[r]};
    }
    case Scheme::f16_min: {
      const auto& scale = reinterpret_cast<const ScaleF16Min*>(scales)[g];
      return {.s = half_to_float(scale.s[r]), .m = half_to_float(scale.m[r])};
    }
    case Scheme::k6:
      return affine_k6(reinterpret_cast<const ScaleK6*>(scales)[g / 8], g % 8 / 2, g % 2, r);
    case Scheme::k8:
      return affine_k8(shape, scales, g, r);
    case Scheme::k8_min: {
      const auto& super = reinterpret_cast<const ScaleK8Min*>(scales)[g / 16];
      return {.s = half_to_float(super.d[r]) * static_cast<float>(super.sc[g % 16][r]),
              .m = -half_to_float(super.dmin[r]) * static_cast<float>(super.mn[g % 16][r])};
    }
    case Scheme::k4_min: {
      const auto& super = reinterpret_cast<const ScaleK4Min*>(scales)[g / 16];
      const unsigned sc = super.sc_mn[g % 16][r] & 15u, mn = super.sc_mn[g % 16][r] >> 4;
      return {.s = half_to_float(super.d[r]) * static_cast<float>(sc),
              .m = -half_to_float(super.dmin[r]) * static_cast<float>(mn)};
    }
    case Scheme::none:
      break;
  }
  return {};
}

}  // namespace nibble
