// What the vector kernels share. vector_*.h are the kernels of every instruction set that works on
// vectors of 16 floats (one register of AVX-512, two of AVX2, four of NEON), written once as
// templates over V: a struct of the instruction set's operations, see avx2_vector.h.
//
// These headers are compiled with ISA flags. Everything in them, and in the files that include
// them, is a template over V or in an anonymous namespace, and no standard library function
// template is called: a shared inline function compiled here could end up in code that runs on any
// CPU. Multiplications that feed an addition are written as V::fma, so that the compiler's freedom
// to contract does not make two paths differ.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace nibble {
namespace {

constexpr size_t kLanes = 16;

constexpr size_t min_of(size_t a, size_t b) { return a < b ? a : b; }
constexpr size_t max_of(size_t a, size_t b) { return a < b ? b : a; }
constexpr size_t padded_dim(size_t head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }

/// Calls fn.operator()<i>() for i = 0..n-1.
template <size_t n, class Fn>
[[gnu::always_inline]] inline void unrolled(const Fn& fn) {
  if constexpr (n > 1) unrolled<n - 1>(fn);
  if constexpr (n > 0) fn.template operator()<n - 1>();
}

constexpr float kInfinity = __builtin_inff();
constexpr float kSmallestNormal = 0x1p-126f;

/// exp(x) with an error below 2 ulp for -87.3 <= x <= 88; beyond, the value at that end. NaN stays.
/// x = n ln 2 + r, |r| <= ln(2) / 2; the series of exp(r) to r^7 / 7! misses 6e-9 of it.
template <class V>
[[gnu::always_inline]] inline typename V::F vector_exp(typename V::F x) {
  using F = typename V::F;
  x = V::min(V::set1(88.0f), V::max(V::set1(-87.3f), x));
  const F n = V::round(V::mul(x, V::set1(1.44269504f)));
  // ln 2 in two parts: 355 / 512, whose products with n are exact, and the rest.
  F r = V::fma(n, V::set1(-0.693359375f), x);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  F sum = V::set1(1.0f / 5040);
  sum = V::fma(sum, r, V::set1(1.0f / 720));
  sum = V::fma(sum, r, V::set1(1.0f / 120));
  sum = V::fma(sum, r, V::set1(1.0f / 24));
  sum = V::fma(sum, r, V::set1(1.0f / 6));
  sum = V::fma(sum, r, V::set1(0.5f));
  sum = V::fma(sum, r, V::set1(1.0f));
  sum = V::fma(sum, r, V::set1(1.0f));
  return V::times_pow2(sum, n);
}

/// erfc(x) for x >= 0 with a relative error below 2^-22 + x^2 * 2^-23: exp(-x^2) times a function
/// of t = 1 / (1 + x / 2), fitted by the polynomial of Numerical Recipes (2nd edition, 6.2).
template <class V>
[[gnu::always_inline]] inline typename V::F vector_erfc(typename V::F x) {
  using F = typename V::F;
  const F t = V::div(V::set1(1.0f), V::fma(x, V::set1(0.5f), V::set1(1.0f)));
  F sum = V::set1(0.17087277f);
  sum = V::fma(sum, t, V::set1(-0.82215223f));
  sum = V::fma(sum, t, V::set1(1.48851587f));
  sum = V::fma(sum, t, V::set1(-1.13520398f));
  sum = V::fma(sum, t, V::set1(0.27886807f));
  sum = V::fma(sum, t, V::set1(-0.18628806f));
  sum = V::fma(sum, t, V::set1(0.09678418f));
  sum = V::fma(sum, t, V::set1(0.37409196f));
  sum = V::fma(sum, t, V::set1(1.00002368f));
  sum = V::fma(sum, t, V::set1(-1.26551223f));
  return V::mul(t, vector_exp<V>(V::fma(V::sub(V::zero(), x), x, sum)));
}

/// cap * tanh(a / cap); tanh(t) = 1 - 2 / (1 + exp(2 t)).
template <class V>
[[gnu::always_inline]] inline typename V::F capped(typename V::F a, float cap) {
  const auto one = V::set1(1.0f), two = V::set1(2.0f);
  const auto e = vector_exp<V>(V::mul(V::div(a, V::set1(cap)), two));
  return V::mul(V::sub(one, V::div(two, V::add(one, e))), V::set1(cap));
}

/// The largest |x[i]|, i < n; 0 if n is 0.
template <class V>
float absmax(const float* x, size_t n) {
  auto max = V::zero();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) max = V::max(max, V::abs(V::load(x + i)));
  if (i < n) max = V::max(max, V::abs(V::load_first(x + i, n - i)));
  return V::reduce_max(max);
}

/// absmax / 127, or 0 where that is below the normal floats: a scale that int8 codes can divide by.
template <class V>
float code_scale(const float* x, size_t n) {
  const float scale = absmax<V>(x, n) / 127.0f;
  return scale >= kSmallestNormal ? scale : 0.0f;
}

}  // namespace
}  // namespace nibble
