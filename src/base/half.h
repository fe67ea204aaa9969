// fp16 and bf16 as bits, converted exactly; from floats to fp16 to nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

namespace nibble {

// Without branches, so that compilers make vectors of them.

namespace detail {
/// All bits, or none.
inline int32_t mask_if(bool condition) { return -static_cast<int32_t>(condition); }
}  // namespace detail

inline float half_to_float(uint16_t h) {
  constexpr int32_t kBias = 112 << 23;
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const int32_t magnitude = h & 0x7fff;
  // The exponent 1..30 becomes 113..142, that of infinity and NaN becomes 255.
  const int32_t more = detail::mask_if(magnitude > 0x7bff) & kBias;
  const int32_t normal = (magnitude << 13) + kBias + more;
  // Zero or subnormal: mantissa * 2^-24.
  const float small = static_cast<float>(magnitude) * 0x1p-24f;
  const int32_t is_small = detail::mask_if(magnitude < 0x400);
  const int32_t value = (std::bit_cast<int32_t>(small) & is_small) | (normal & ~is_small);
  return std::bit_cast<float>(sign | static_cast<uint32_t>(value));
}

inline uint16_t float_to_half(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7fffffffu);
  // Below 2^-14: subnormal; the addition rounds to a multiple of 2^-24.
  const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
  const int32_t small = std::bit_cast<int32_t>(rounded) & 0x7ff;
  const int32_t normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const int32_t is_small = detail::mask_if(magnitude < 0x38800000);
  const int32_t finite = (small & is_small) | (normal & ~is_small);
  const int32_t is_finite = detail::mask_if(magnitude < 0x477ff000);  // below 65520
  const int32_t other = 0x7c00 | (detail::mask_if(magnitude > 0x7f800000) & 0x200);
  const int32_t half = (finite & is_finite) | (other & ~is_finite);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(half));
}

inline float bf16_to_float(uint16_t b) {
  return std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}

}  // namespace nibble
