// Memory read with no arithmetic in its way: what bounds decoding. One loop for all instruction
// sets; the flags of the file that includes it decide how wide its loads are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {
namespace {

/// See Kernels::sum_words.
uint32_t sum_words(const uint8_t* memory, size_t bytes) {
  using Line [[gnu::vector_size(64), gnu::aligned(1), gnu::may_alias]] = uint32_t;
  constexpr size_t kAhead = 1536;
  const size_t part = bytes / 4;
  Line a{}, b{}, c{}, d{};  // sums of streams that do not wait for each other
  for (const uint8_t* at = memory; at != memory + part; at += sizeof(Line)) {
    for (size_t stream = 0; stream < 4; ++stream) __builtin_prefetch(at + stream * part + kAhead);
    a += *reinterpret_cast<const Line*>(at);
    b += *reinterpret_cast<const Line*>(at + part);
    c += *reinterpret_cast<const Line*>(at + 2 * part);
    d += *reinterpret_cast<const Line*>(at + 3 * part);
  }
  const Line all = a + b + c + d;
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof(Line) / sizeof(uint32_t); ++i) sum += all[i];
  return sum;
}

}  // namespace
}  // namespace nibble
