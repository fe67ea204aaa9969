// Memory read with no arithmetic in its way: what bounds decoding. One loop for all instruction
// sets; the flags of the file that includes it decide how wide its loads are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {
namespace {

#if defined(__AVX512F__)
constexpr size_t kWidestLoad = 64;
#elif defined(__AVX2__)
constexpr size_t kWidestLoad = 32;
#else
constexpr size_t kWidestLoad = 16;
#endif

/// See Kernels::sum_words.
inline uint32_t sum_words(const uint8_t* memory, size_t bytes) {
  // Compilers take a vector wider than a register apart by way of the stack, which is no read of
  // memory: the width must be that of the instruction set.
  using Vector [[gnu::vector_size(kWidestLoad), gnu::aligned(1), gnu::may_alias]] = uint32_t;
  constexpr size_t kLine = 64, kAhead = 1536;
  const size_t part = bytes / 4;
  Vector a{}, b{}, c{}, d{};  // sums of streams that do not wait for each other
  for (const uint8_t* at = memory; at != memory + part; at += kLine) {
    for (size_t stream = 0; stream < 4; ++stream) __builtin_prefetch(at + stream * part + kAhead);
    for (size_t i = 0; i < kLine; i += sizeof(Vector)) {
      a += *reinterpret_cast<const Vector*>(at + i);
      b += *reinterpret_cast<const Vector*>(at + part + i);
      c += *reinterpret_cast<const Vector*>(at + 2 * part + i);
      d += *reinterpret_cast<const Vector*>(at + 3 * part + i);
    }
  }
  const Vector all = a + b + c + d;
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof(Vector) / sizeof(uint32_t); ++i) sum += all[i];
  return sum;
}

}  // namespace
}  // namespace nibble
