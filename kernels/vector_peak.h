// What bounds a vector instruction set: multiply-adds with no memory in their way, and memory read
// with no arithmetic in its way.
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

/// N sums that do not wait for each other. Members one by one, since a compiler may leave an array
/// in memory.
template <class V, size_t N>
struct PeakSums {
  decltype(V::zero_int()) sum = V::zero_int();
  PeakSums<V, N - 1> others;

  [[gnu::always_inline]] void multiply_add(const decltype(sum)& codes, const decltype(sum)& x) {
    V::multiply_add(sum, codes, x);
    others.multiply_add(codes, x);
  }
  [[gnu::always_inline]] decltype(sum) total() const { return V::add_int(sum, others.total()); }
};
template <class V>
struct PeakSums<V, 0> {
  template <class I>
  void multiply_add(const I&, const I&) {}
  auto total() const { return V::zero_int(); }
};

/// V::multiply_add(sum, codes, x) adds V::kProducts products of bytes to a sum, of which
/// V::kPeakSums fit the registers; it is written in assembly, so that each one is computed.
template <class V>
uint64_t peak_operations(size_t n_rounds) {
  const auto codes = V::set1_int(0x03030303), x = V::set1_int(0x02020202);
  PeakSums<V, V::kPeakSums> sums;
  for (size_t i = 0; i < n_rounds; ++i) sums.multiply_add(codes, x);
  V::keep_alive(sums.total());
  return uint64_t{2} * V::kProducts * V::kPeakSums * n_rounds;
}

template <class V>
uint32_t sum_words(const uint8_t* memory, size_t bytes) {
  constexpr size_t kStreams = 4, kLine = 64, kAhead = 1536;
  const size_t part = bytes / kStreams;
  auto a = V::zero_int(), b = a, c = a, d = a;
  for (const uint8_t* at = memory; at != memory + part; at += kLine) {
    for (size_t s = 0; s < kStreams; ++s) __builtin_prefetch(at + s * part + kAhead);
    a = V::add_int(a, V::load_int(at));
    b = V::add_int(b, V::load_int(at + part));
    c = V::add_int(c, V::load_int(at + 2 * part));
    d = V::add_int(d, V::load_int(at + 3 * part));
  }
  const auto all = V::add_int(V::add_int(a, b), V::add_int(c, d));
  uint32_t words[kLanes];  // their sum may overflow, which int must not
  __builtin_memcpy(words, &all, sizeof words);
  uint32_t sum = 0;
  for (const uint32_t word : words) sum += word;
  return sum;
}

}  // namespace
}  // namespace nibble
