// Quantization of activations, norms, RoPE and the other kernels that walk along a row.
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

/// One group of n <= group columns: its codes, zeros behind them, and their sum.
template <class V>
int32_t quantize_group(const float* x, size_t n, size_t group, float scale, int8_t* codes) {
  auto sum = V::zero_int();
  for (size_t i = 0; i < group; i += kLanes) {
    auto code = V::zero_int();
    if (i < n && scale != 0) {
      const auto part = i + kLanes <= n ? V::load(x + i) : V::load_first(x + i, n - i);
      code = V::to_int(V::div(part, V::set1(scale)));
    }
    sum = V::add_int(sum, code);
    V::store_s8(codes + i, code);
  }
  return V::reduce_add_int(sum);
}

template <class V>
void quantize_rows(const float* x, size_t x_stride, size_t cols, const QuantizedRows& out) {
  for (size_t t = 0; t < out.n_rows; ++t) {
    const float* row = x + t * x_stride;
    int8_t* codes = out.codes + t * out.stride;
    for (size_t g = 0; g < out.n_groups; ++g) {
      const size_t begin = min_of(g * out.group, cols);
      const size_t n = min_of(out.group, cols - begin);
      const float scale = code_scale<V>(row + begin, n);
      out.scales[t * out.n_groups + g] = scale;
      out.sums[t * out.n_groups + g] =
          quantize_group<V>(row + begin, n, out.group, scale, codes + g * out.group);
    }
    for (size_t k = out.n_groups * out.group; k < out.stride; ++k) codes[k] = 0;
  }
}

/// Sums of squares in float lanes.
template <class V>
void rms_norm(const float* x, const float* weight, float eps, size_t n, float* y) {
  auto sum0 = V::zero(), sum1 = V::zero();
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const auto a = V::load(x + i), b = V::load(x + i + kLanes);
    sum0 = V::fma(a, a, sum0);
    sum1 = V::fma(b, b, sum1);
  }
  for (; i < n; i += kLanes) {
    const auto a = V::load_first(x + i, n - i);
    sum0 = V::fma(a, a, sum0);
  }
  const float mean = V::reduce_add(V::add(sum0, sum1)) / static_cast<float>(n);
  const auto inverse = V::set1(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i + kLanes <= n; i += kLanes)
    V::store(y + i, V::mul(V::mul(V::load(x + i), inverse), V::load(weight + i)));
  if (i < n)
    V::store_first(
        y + i,
        V::mul(V::mul(V::load_first(x + i, n - i), inverse), V::load_first(weight + i, n - i)),
        n - i);
}

template <class V>
void add(float* x, const float* y, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store(x + i, V::add(V::load(x + i), V::load(y + i)));
  if (i < n)
    V::store_first(x + i, V::add(V::load_first(x + i, n - i), V::load_first(y + i, n - i)), n - i);
}

template <class V>
[[gnu::always_inline]] inline typename V::F silu(typename V::F a) {
  const auto one = V::set1(1.0f);
  return V::div(a, V::add(one, vector_exp<V>(V::sub(V::zero(), a))));
}

template <class V>
void silu_mul(float* gate, const float* up, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    V::store(gate + i, V::mul(silu<V>(V::load(gate + i)), V::load(up + i)));
  if (i < n)
    V::store_first(gate + i,
                   V::mul(silu<V>(V::load_first(gate + i, n - i)), V::load_first(up + i, n - i)),
                   n - i);
}

template <class V>
void rope(float* x, size_t n_heads, size_t head_dim, size_t half, const float* cos,
          const float* sin) {
  for (size_t h = 0; h < n_heads; ++h) {
    float* first = x + h * head_dim;
    float* second = first + half;
    for (size_t i = 0; i < half; i += kLanes) {
      const size_t n = half - i;
      const auto a = V::load_first(first + i, n), b = V::load_first(second + i, n);
      const auto c = V::load_first(cos + i, n), s = V::load_first(sin + i, n);
      V::store_first(first + i, V::fma(a, c, V::sub(V::zero(), V::mul(b, s))), n);
      V::store_first(second + i, V::fma(a, s, V::mul(b, c)), n);
    }
  }
}

}  // namespace
}  // namespace nibble
