// Taking GGUF blocks apart: one code per byte, and the scales as the packed form stores them.
//
// The loops work on 16 codes at a time, in a vector that every CPU has without an ISA flag. They
// hand on 32 at once, emit(first column, 16 codes, 16 codes): to bytes, or to the words of a panel.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/ggml_blocks.h"

namespace nibble {

static_assert(std::endian::native == std::endian::little, "words are read as bytes in order");

template <class T>
T load_as(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
template <class T>
void store_as(void* bytes, T value) {
  std::memcpy(bytes, &value, sizeof value);
}

/// Asks for the cache line at base + offset, where the hardware does not look ahead. The address
/// may lie behind the end of what it belongs to.
inline void fetch(const void* base, size_t offset) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(base) + offset));
}

/// The scales of one block. Small blocks have d and m alone (the fp16 of the formulas, as bits).
struct BlockScales {
  uint16_t d = 0;
  uint16_t m = 0;       // m or dmin
  int8_t sc[16] = {};   // [cols / group]
  uint8_t mn[16] = {};  // [cols / group]
};

/// 16 codes, a byte each, in the order of bytes.
using Codes16 [[gnu::vector_size(16)]] = uint64_t;

namespace detail {

/// The byte `value` eight times.
constexpr uint64_t bytes_of(uint8_t value) { return 0x0101010101010101u * value; }

/// The fields of `mask` that start at bit `shift` of each byte at `bytes`.
inline Codes16 fields(const uint8_t* bytes, int shift, uint8_t mask) {
  return (load_as<Codes16>(bytes) >> shift) & bytes_of(mask);
}

/// The same fields from bit 4 on: the upper bits of codes.
inline Codes16 upper_fields(const uint8_t* bytes, int shift, uint8_t mask) {
  const auto x = load_as<Codes16>(bytes);
  return (shift < 4 ? x << (4 - shift) : x >> (shift - 4)) &
         bytes_of(static_cast<uint8_t>(mask << 4));
}

/// 16 bytes: the low nibbles are columns c.., the high ones columns c + 16.. .
template <class Emit>
void split_16_nibbles(const uint8_t* qs, size_t c, Emit&& emit) {
  emit(c, fields(qs, 0, 15), fields(qs, 4, 15));
}

/// Bit i of `bits` as bit kTo of byte i.
template <int kTo>
constexpr uint64_t spread_bits(uint8_t bits) {
  const uint64_t one_each = bytes_of(bits) & 0x8040201008040201u;
  return ((one_each + bytes_of(0x7f)) >> (7 - kTo)) & bytes_of(1 << kTo);  // 7: a byte is not zero
}
inline Codes16 fifth_bits(uint8_t first, uint8_t second) {
  return Codes16{spread_bits<4>(first), spread_bits<4>(second)};
}

/// The codes of Q5_0 and Q5_1.
template <class Emit>
void split_five_bits(const uint8_t (&qs)[16], const uint8_t (&qh)[4], Emit&& emit) {
  emit(0, fields(qs, 0, 15) | fifth_bits(qh[0], qh[1]),
       fields(qs, 4, 15) | fifth_bits(qh[2], qh[3]));
}

/// The 6-bit scales and minima of Q4_K and Q5_K: those of groups 0..3 are bits 5:0 of bytes 0..3
/// and 4..7, whose bits 7:6 are bits 5:4 of groups 4..7; bytes 8..11 hold the nibbles of those.
inline void split_k6(const uint8_t (&scales)[12], BlockScales& out) {
  const uint32_t sc = load_as<uint32_t>(scales);
  const uint32_t mn = load_as<uint32_t>(scales + 4);
  const uint32_t low = load_as<uint32_t>(scales + 8);
  store_as<uint32_t>(out.sc, sc & 0x3f3f3f3fu);
  store_as<uint32_t>(out.mn, mn & 0x3f3f3f3fu);
  store_as<uint32_t>(out.sc + 4, (low & 0x0f0f0f0fu) | ((sc >> 2) & 0x30303030u));
  store_as<uint32_t>(out.mn + 4, ((low >> 4) & 0x0f0f0f0fu) | ((mn >> 2) & 0x30303030u));
}

/// The 6-bit scales of Q3_K, less 32: the low four bits of groups 0..7 and 8..15 are the low and
/// the high nibbles of bytes 0..7, bits 5:4 of the four groups from 4i on bits 2i + 1 and 2i of
/// bytes 8..11.
inline void split_k3(const uint8_t (&scales)[12], BlockScales& out) {
  const auto nibbles = load_as<uint64_t>(scales);
  const uint64_t four = load_as<uint32_t>(scales + 8);
  const uint64_t pairs = four | (four << 30);  // the upper four bytes are two bits ahead
  for (int i = 0; i < 2; ++i) {
    const uint64_t low = (nibbles >> (4 * i)) & bytes_of(15);
    const uint64_t high = (pairs >> (4 * i)) & bytes_of(3);
    const uint64_t code = low | (high << 4);
    store_as<uint64_t>(out.sc + 8 * i, ((code | bytes_of(0x80)) - bytes_of(32)) ^ bytes_of(0x80));
  }
}

}  // namespace detail

// split(block, emit): calls emit(c, a, b) with the codes of columns c..c+15 and c+16..c+31 for all
// columns of the block, and returns the scales.

template <class Emit>
BlockScales split(const BlockQ4_0& b, Emit&& emit) {
  detail::split_16_nibbles(b.qs, 0, emit);
  return {.d = load_as<uint16_t>(b.d)};
}

template <class Emit>
BlockScales split(const BlockQ4_1& b, Emit&& emit) {
  detail::split_16_nibbles(b.qs, 0, emit);
  return {.d = load_as<uint16_t>(b.d), .m = load_as<uint16_t>(b.m)};
}

template <class Emit>
BlockScales split(const BlockQ5_0& b, Emit&& emit) {
  detail::split_five_bits(b.qs, b.qh, emit);
  return {.d = load_as<uint16_t>(b.d)};
}

template <class Emit>
BlockScales split(const BlockQ5_1& b, Emit&& emit) {
  detail::split_five_bits(b.qs, b.qh, emit);
  return {.d = load_as<uint16_t>(b.d), .m = load_as<uint16_t>(b.m)};
}

template <class Emit>
BlockScales split(const BlockQ8_0& b, Emit&& emit) {
  const uint64_t signs = detail::bytes_of(0x80);  // adding 128 to an int8 is flipping its sign bit
  emit(0, load_as<Codes16>(b.qs) ^ signs, load_as<Codes16>(b.qs + 16) ^ signs);
  return {.d = load_as<uint16_t>(b.d)};
}

/// 2^(e - 128) as fp16, which holds 2^-24 to 2^15: 0 below, infinity above.
constexpr uint16_t half_power(uint8_t e) {
  constexpr int kSmallest = 104, kNormal = 114, kInfinity = 144;
  if (e < kSmallest) return 0;
  if (e < kNormal) return static_cast<uint16_t>(1 << (e - kSmallest));
  return static_cast<uint16_t>((e < kInfinity ? e - kNormal + 1 : 31) << 10);
}

template <class Emit>
BlockScales split(const BlockMXFP4& b, Emit&& emit) {
  detail::split_16_nibbles(b.qs, 0, emit);
  return {.d = half_power(b.e)};
}

template <class Emit>
BlockScales split(const BlockIQ4_NL& b, Emit&& emit) {
  detail::split_16_nibbles(b.qs, 0, emit);
  return {.d = load_as<uint16_t>(b.d)};
}

inline BlockScales scales_of(const BlockQ2_K& b) {
  BlockScales out{.d = load_as<uint16_t>(b.d), .m = load_as<uint16_t>(b.dmin)};
  for (size_t g = 0; g < 16; ++g) {
    out.sc[g] = static_cast<int8_t>(b.scales[g] & 15);
    out.mn[g] = static_cast<uint8_t>(b.scales[g] >> 4);
  }
  return out;
}

template <class Emit>
BlockScales split(const BlockQ2_K& b, Emit&& emit) {
  for (size_t i = 0; i < 8; ++i) {  // which 32 columns
    const auto code = [&](size_t first) {
      return detail::fields(b.qs + 32 * (i / 4) + first, static_cast<int>(2 * (i % 4)), 3);
    };
    emit(32 * i, code(0), code(16));
  }
  return scales_of(b);
}

inline BlockScales scales_of(const BlockQ3_K& b) {
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  detail::split_k3(b.scales, out);
  return out;
}

template <class Emit>
BlockScales split(const BlockQ3_K& b, Emit&& emit) {
  for (size_t i = 0; i < 8; ++i) {
    const auto code = [&](size_t first) {
      return detail::fields(b.qs + 32 * (i / 4) + first, static_cast<int>(2 * (i % 4)), 3) |
             detail::fields(b.hmask + first, static_cast<int>(i), 1) << 2;
    };
    emit(32 * i, code(0), code(16));
  }
  return scales_of(b);
}

template <class Emit>
BlockScales split(const BlockQ4_K& b, Emit&& emit) {
  for (size_t i = 0; i < 8; ++i) {
    const auto code = [&](size_t first) {
      return detail::fields(b.qs + 32 * (i / 2) + first, static_cast<int>(4 * (i % 2)), 15);
    };
    emit(32 * i, code(0), code(16));
  }
  BlockScales out{.d = load_as<uint16_t>(b.d), .m = load_as<uint16_t>(b.dmin)};
  detail::split_k6(b.scales, out);
  return out;
}

template <class Emit>
BlockScales split(const BlockQ5_K& b, Emit&& emit) {
  for (size_t i = 0; i < 8; ++i) {
    const auto code = [&](size_t first) {
      return detail::fields(b.qs + 32 * (i / 2) + first, static_cast<int>(4 * (i % 2)), 15) |
             detail::upper_fields(b.qh + first, static_cast<int>(i), 1);
    };
    emit(32 * i, code(0), code(16));
  }
  BlockScales out{.d = load_as<uint16_t>(b.d), .m = load_as<uint16_t>(b.dmin)};
  detail::split_k6(b.scales, out);
  return out;
}

template <class Emit>
BlockScales split(const BlockQ6_K& b, Emit&& emit) {
  for (size_t i = 0; i < 8; ++i) {
    const size_t half = i / 4, quarter = i % 4;  // 128 columns, 32 of them
    const auto code = [&](size_t first) {
      const uint8_t* low = b.ql + 64 * half + 32 * (quarter % 2) + first;
      return detail::fields(low, quarter < 2 ? 0 : 4, 15) |
             detail::upper_fields(b.qh + 32 * half + first, static_cast<int>(2 * quarter), 3);
    };
    emit(32 * i, code(0), code(16));
  }
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  std::memcpy(out.sc, b.scales, sizeof out.sc);
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ4_XS& b, Emit&& emit) {
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  const uint32_t high = load_as<uint16_t>(b.scales_h);
  for (size_t g = 0; g < 8; ++g) {
    detail::split_16_nibbles(b.qs + 16 * g, 32 * g, emit);
    const int low = (b.scales_l[g / 2] >> (4 * (g % 2))) & 15;
    out.sc[g] = static_cast<int8_t>((low | static_cast<int>((high >> (2 * g)) & 3) << 4) - 32);
  }
  return out;
}

}  // namespace nibble
