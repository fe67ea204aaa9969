// Registers at any address, in vectors of GCC and Clang: one source for all instruction sets; the
// flags of the file that includes it decide how wide.
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

}  // namespace
}  // namespace nibble
