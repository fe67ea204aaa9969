// Quantization of activations, norms, RoPE and the other kernels that walk along a row.
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

/// One group of n <= group columns: its codes, zeros behind them, and their sum.
template <class V>
int32_t quantize_group(const float* x, size_t n, size_t group, float scale, int8_t* codes) {
  auto sum = V::zero_int();
  const auto put = [&](size_t i, typename V::F part) {
    // What is no number becomes -127, or 0 on ARM, so that sums of codes stay small.
    const auto code = V::to_int(V::max(V::div(part, V::set1(scale)), V::set1(-127.0f)));
    sum = V::add_int(sum, code);
    V::store_s8(codes + i, code);
  };
  if (scale == 0) n = 0;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) put(i, V::load(x + i));
  if (i < n) {
    put(i, V::load_first(x + i, n - i));
    i += kLanes;
  }
  for (; i < group; i += kLanes) V::store_s8(codes + i, V::zero_int());
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

/// y[i] = f(x[i]) for vectors of i < n.
template <class V, class Fn>
[[gnu::always_inline]] inline void map(const float* x, size_t n, float* y, const Fn& f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store(y + i, f(V::load(x + i)));
  if (i < n) V::store_first(y + i, f(V::load_first(x + i, n - i)), n - i);
}

/// x[i] = f(x[i], y[i]) for vectors of i < n.
template <class V, class Fn>
[[gnu::always_inline]] inline void combine(float* x, const float* y, size_t n, const Fn& f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store(x + i, f(V::load(x + i), V::load(y + i)));
  if (i < n)
    V::store_first(x + i, f(V::load_first(x + i, n - i), V::load_first(y + i, n - i)), n - i);
}

/// The sum of f(x[i]) for i < n; lanes beyond n are left out.
template <class V, class Fn>
[[gnu::always_inline]] inline float sum_of(const float* x, size_t n, const Fn& f) {
  auto sum = V::zero();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = V::add(sum, f(V::load(x + i)));
  if (i < n) sum = V::add(sum, V::keep(f(V::load_first(x + i, n - i)), 0, n - i, 0.0f));
  return V::reduce_add(sum);
}

template <class V>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, size_t n,
                float* y) {
  using F = typename V::F;
  const float count = static_cast<float>(n);
  const F mean = V::set1(sum_of<V>(x, n, [](F a) { return a; }) / count);
  const float variance = sum_of<V>(x, n,
                                   [&](F a) {
                                     const F d = V::sub(a, mean);
                                     return V::mul(d, d);
                                   }) /
                         count;
  const F inverse = V::set1(1.0f / __builtin_sqrtf(variance + eps));
  map<V>(x, n, y, [&](F a) { return V::mul(V::sub(a, mean), inverse); });
  combine<V>(y, weight, n, [](F a, F w) { return V::mul(a, w); });
  if (bias) combine<V>(y, bias, n, [](F a, F b) { return V::add(a, b); });
}

template <class V>
void add(float* x, const float* y, size_t n) {
  combine<V>(x, y, n, [](typename V::F a, typename V::F b) { return V::add(a, b); });
}

template <class V>
void add_scaled(float* x, float s, const float* y, size_t n) {
  const auto factor = V::set1(s);
  combine<V>(x, y, n, [&](typename V::F a, typename V::F b) { return V::fma(factor, b, a); });
}

template <class V>
void scale(float* x, float s, size_t n) {
  const auto factor = V::set1(s);
  map<V>(x, n, x, [&](typename V::F a) { return V::mul(a, factor); });
}

template <class V>
void clamp(float* x, float limit, size_t n) {
  const auto low = V::set1(-limit), high = V::set1(limit);
  map<V>(x, n, x, [&](typename V::F a) { return V::min(V::max(a, low), high); });
}

template <class V>
void soft_cap(float* x, float cap, size_t n) {
  map<V>(x, n, x, [&](typename V::F a) { return capped<V>(a, cap); });
}

/// x[i] = f(x[i]) * up[i], or f(x[i]).
template <class V, class Fn>
[[gnu::always_inline]] inline void activate(float* x, const float* up, size_t n, const Fn& f) {
  using F = typename V::F;
  if (up)
    combine<V>(x, up, n, [&](F a, F b) { return V::mul(f(a), b); });
  else
    map<V>(x, n, x, f);
}

/// a / (1 + exp(-t)).
template <class V>
[[gnu::always_inline]] inline typename V::F times_sigmoid(typename V::F a, typename V::F t) {
  return V::div(a, V::add(V::set1(1.0f), vector_exp<V>(V::sub(V::zero(), t))));
}

template <class V>
void silu(float* x, const float* up, size_t n) {
  activate<V>(x, up, n, [](typename V::F a) { return times_sigmoid<V>(a, a); });
}

/// (1 + tanh(t)) / 2 is the sigmoid of 2 t.
template <class V>
void gelu_tanh(float* x, const float* up, size_t n) {
  using F = typename V::F;
  activate<V>(x, up, n, [](F a) {
    const F cubic = V::fma(V::mul(V::mul(a, a), a), V::set1(0.044715f), a);
    return times_sigmoid<V>(a, V::mul(cubic, V::set1(2.0f * 0.79788456f)));
  });
}

/// max(a, 0) - |a| * erfc(|a| / sqrt(2)) / 2, which cancels nowhere.
template <class V>
void gelu(float* x, const float* up, size_t n) {
  using F = typename V::F;
  activate<V>(x, up, n, [](F a) {
    const F size = V::abs(a);
    const F tail = V::mul(vector_erfc<V>(V::mul(size, V::set1(0.70710678f))), V::set1(0.5f));
    return V::sub(V::max(V::zero(), a), V::mul(size, tail));
  });
}

template <class V>
void relu(float* x, const float* up, size_t n) {
  activate<V>(x, up, n, [](typename V::F a) { return V::max(V::zero(), a); });
}

template <class V>
void swiglu_oai(float* x, const float* up, size_t n) {
  using F = typename V::F;
  combine<V>(x, up, n, [](F gate, F linear) {
    const F limit = V::set1(7.0f), a = V::min(gate, limit);
    const F b = V::min(V::max(linear, V::set1(-7.0f)), limit);
    return V::mul(times_sigmoid<V>(a, V::mul(a, V::set1(1.702f))), V::add(b, V::set1(1.0f)));
  });
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
