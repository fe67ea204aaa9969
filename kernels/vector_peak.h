// The multiply-adds that a vector instruction set reaches with no memory in their way.
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

}  // namespace
}  // namespace nibble
