// Registers at any address, and memory read with no arithmetic in its way: what bounds decoding.
// One source for all instruction sets; the flags of the file that includes it decide how wide.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {
namespace {

#if defined(__AVX512F__)
constexpr size_t kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr size_t kRegisterBytes = 32;
#else
constexpr size_t kRegisterBytes = 16;
#endif
// Compilers take a vector wider than a register apart by way of the stack, which is no read of
// memory: the width must be that of the instruction set.
template <class T>
using Register [[gnu::vector_size(kRegisterBytes)]] = T;

// At any address. Not by memcpy(): compilers copy a register in pieces, which reading it then waits
// for.
template <class T>
struct [[gnu::packed, gnu::may_alias]] InMemory {
  Register<T> x;
};
template <class T>
Register<T> load_register(const uint8_t* from) {
  return reinterpret_cast<const InMemory<T>*>(from)->x;
}

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
