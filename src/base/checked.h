// Arithmetic on sizes that come from files. Every size, offset and count is computed here, so that
// none can wrap.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "nibble/error.h"

namespace nibble {

/// a * b and a + b, or Error naming `where` when the result does not fit 64 bits.
inline uint64_t checked_mul(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r)) throw Error(where, "a size overflows 64 bits");
  return r;
}
inline uint64_t checked_add(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t r = 0;
  if (__builtin_add_overflow(a, b, &r)) throw Error(where, "a size overflows 64 bits");
  return r;
}

/// `value` as To, or Error if To cannot hold it.
template <std::integral To, std::integral From>
To checked_cast(From value, const std::string& where) {
  if (!std::in_range<To>(value))
    throw Error(where, "the number " + std::to_string(value) + " is out of range");
  return static_cast<To>(value);
}

/// n rounded up to a multiple of `multiple`; the caller has bounded n.
constexpr uint64_t round_up(uint64_t n, uint64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
constexpr uint64_t ceil_div(uint64_t n, uint64_t d) { return (n + d - 1) / d; }

}  // namespace nibble
