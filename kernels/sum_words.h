// Memory read with no arithmetic in its way: what bounds decoding.
#pragma once

#include "registers.h"

namespace nibble {
namespace {

/// See Kernels::sum_words.
inline uint32_t sum_words(const uint8_t* memory, size_t bytes) {
  using Words = Register<uint32_t>;
  constexpr size_t kLine = 64, kAhead = 1536;
  const size_t part = bytes / 4;
  Words a{}, b{}, c{}, d{};  // sums of streams that do not wait for each other
  for (const uint8_t* at = memory; at != memory + part; at += kLine) {
    for (size_t stream = 0; stream < 4; ++stream) __builtin_prefetch(at + stream * part + kAhead);
    for (size_t i = 0; i < kLine; i += kRegisterBytes) {
      a += load_register<uint32_t>(at + i);
      b += load_register<uint32_t>(at + part + i);
      c += load_register<uint32_t>(at + 2 * part + i);
      d += load_register<uint32_t>(at + 3 * part + i);
    }
  }
  const Words all = a + b + c + d;
  uint32_t sum = 0;
  for (size_t i = 0; i < kRegisterBytes / sizeof(uint32_t); ++i) sum += all[i];
  return sum;
}

}  // namespace
}  // namespace nibble
