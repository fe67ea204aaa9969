// Blocks of Q2_K and Q3_K to the words of a panel's lines. In the file the four codes of a byte lie
// 32 columns apart, in a panel four: fields of two bits are transposed, whole words at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/ggml_split.h"

namespace nibble {

/// Four words, and four bytes side by side in each.
using Words4 [[gnu::vector_size(16)]] = uint32_t;

constexpr uint32_t every_byte(uint32_t value) { return 0x01010101u * value; }

/// 64 bytes, field i of byte 16c + j the code of column 128 (c / 2) + 32i + 16 (c % 2) + j, to the
/// words of 16 columns each: out[i][c], in which bits 2p and 2p + 1 of byte t are column 4p + t.
inline void transpose_fields(const uint8_t* qs, Words4 (&out)[4]) {
  const auto a = load_as<Words4>(qs), b = load_as<Words4>(qs + 16);
  const auto c = load_as<Words4>(qs + 32), d = load_as<Words4>(qs + 48);
  Words4 x[4];  // [p][c]: bytes 4p..4p + 3 of 16
  for (size_t p = 0; p < 4; ++p) x[p] = Words4{a[p], b[p], c[p], d[p]};
  const auto swap = [&](size_t i, size_t j, int shift, uint32_t mask) {
    const Words4 t = ((x[i] >> shift) ^ x[j]) & mask;
    x[i] ^= t << shift;
    x[j] ^= t;
  };
  swap(0, 2, 4, every_byte(0x0f));
  swap(1, 3, 4, every_byte(0x0f));
  swap(0, 1, 2, every_byte(0x33));
  swap(2, 3, 2, every_byte(0x33));
  for (size_t i = 0; i < 4; ++i) out[i] = x[i];
}

/// The words of 256 columns, n for each 32 of them.
inline void store_fields(const uint8_t* qs, size_t n, std::byte* words) {
  Words4 fields[4];
  transpose_fields(qs, fields);
  for (size_t i = 0; i < 4; ++i) {
    const auto halves = reinterpret_cast<Codes16>(fields[i]);
    store_as(words + n * 4 * i, uint64_t{halves[0]});
    store_as(words + n * 4 * (i + 4), uint64_t{halves[1]});
  }
}

inline void store_codes(const BlockQ2_K& b, std::byte* words) { store_fields(b.qs, 2, words); }

/// Two units of 16 columns take three words here: the low bits of each, and the upper ones of both.
inline void store_codes(const BlockQ3_K& b, std::byte* words) {
  store_fields(b.qs, 3, words);
  // Bit i of hmask[j] belongs to column 32i + j. Lanes: its first and second 16 columns, then
  // those of i + 4.
  const auto bits_of = [&](size_t p) {
    const auto first = load_as<uint32_t>(b.hmask + 4 * p);
    const auto second = load_as<uint32_t>(b.hmask + 16 + 4 * p);
    return Words4{first, second, first >> 4, second >> 4};
  };
  // Bits i and i + 1 of `even`: bit i of x and of y, for i = 0 and 2; `odd` has those of i + 1.
  struct Pairs {
    Words4 even, odd;
    Pairs(Words4 x, Words4 y)
        : even((x & every_byte(5)) | (y & every_byte(5)) << 1),
          odd(((x >> 1) & every_byte(5)) | (y & every_byte(10))) {}
  };
  const Pairs low(bits_of(0), bits_of(1)), high(bits_of(2), bits_of(3));
  // Byte t gets column 4p + t at bit 2, 3, 6, 7; then bytes 2 and 3 go between bytes 0 and 1.
  const auto store = [&](size_t i, Words4 first, Words4 second) {
    Words4 upper = (first & every_byte(3)) << 2 | (second & every_byte(3)) << 6;
    upper = (upper | upper >> 18) & 0xffffu;
    store_as(words + 12 * i + 8, upper[0] | upper[1] << 16);
    store_as(words + 12 * (i + 4) + 8, upper[2] | upper[3] << 16);
  };
  store(0, low.even, high.even);
  store(1, low.odd, high.odd);
  store(2, low.even >> 2, high.even >> 2);
  store(3, low.odd >> 2, high.odd >> 2);
}

}  // namespace nibble
