// Norms, activations, RoPE and the other kernels of the ARM kernel sets that walk along a row.
#pragma once

#include "neon_common.h"

namespace nibble {
namespace {

inline void rms_norm(const float* x, const float* weight, float eps, size_t n, float* y) {
  Block sum = splat(0.0f);
  for (size_t i = 0; i < n; i += 16) {
    const Block b = load_first(x + i, n - i);
    for (size_t j = 0; j < 4; ++j) sum.v[j] = vfmaq_f32(sum.v[j], b.v[j], b.v[j]);
  }
  const float mean = sum_lanes(sum) / static_cast<float>(n);
  const float32x4_t root = vsqrtq_f32(vdupq_n_f32(mean + eps));
  const float32x4_t inverse = vdivq_f32(vdupq_n_f32(1.0f), root);
  for (size_t i = 0; i < n; i += 16) {
    Block b = load_first(x + i, n - i);
    const Block w = load_first(weight + i, n - i);
    for (size_t j = 0; j < 4; ++j) b.v[j] = vmulq_f32(vmulq_f32(b.v[j], inverse), w.v[j]);
    store_first(y + i, b, n - i);
  }
}

/// y[i] = f(x[i]) for quads of i < n.
template <class Fn>
void map(const float* x, size_t n, float* y, const Fn& f) {
  for (size_t i = 0; i < n; i += 16) {
    Block a = load_first(x + i, n - i);
    for (size_t j = 0; j < 4; ++j) a.v[j] = f(a.v[j]);
    store_first(y + i, a, n - i);
  }
}

/// x[i] = f(x[i], y[i]) for quads of i < n.
template <class Fn>
void combine(float* x, const float* y, size_t n, const Fn& f) {
  for (size_t i = 0; i < n; i += 16) {
    Block a = load_first(x + i, n - i);
    const Block b = load_first(y + i, n - i);
    for (size_t j = 0; j < 4; ++j) a.v[j] = f(a.v[j], b.v[j]);
    store_first(x + i, a, n - i);
  }
}

inline void layer_norm(const float* x, const float* weight, const float* bias, float eps, size_t n,
                       float* y) {
  const float count = static_cast<float>(n);
  Block sum = splat(0.0f);
  for (size_t i = 0; i < n; i += 16) {
    const Block b = load_first(x + i, n - i);
    for (size_t j = 0; j < 4; ++j) sum.v[j] = vaddq_f32(sum.v[j], b.v[j]);
  }
  const float32x4_t mean = vdupq_n_f32(sum_lanes(sum) / count);
  map(x, n, y, [&](float32x4_t a) { return vsubq_f32(a, mean); });
  Block squares = splat(0.0f);
  for (size_t i = 0; i < n; i += 16) {
    const Block d = load_first(y + i, n - i);
    for (size_t j = 0; j < 4; ++j) squares.v[j] = vfmaq_f32(squares.v[j], d.v[j], d.v[j]);
  }
  const float32x4_t root = vsqrtq_f32(vdupq_n_f32(sum_lanes(squares) / count + eps));
  const float32x4_t inverse = vdivq_f32(vdupq_n_f32(1.0f), root);
  combine(y, weight, n,
          [&](float32x4_t a, float32x4_t w) { return vmulq_f32(vmulq_f32(a, inverse), w); });
  if (bias) combine(y, bias, n, [](float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); });
}

inline void add(float* x, const float* y, size_t n) {
  combine(x, y, n, [](float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); });
}

inline void add_scaled(float* x, float s, const float* y, size_t n) {
  combine(x, y, n, [s](float32x4_t a, float32x4_t b) { return vfmaq_n_f32(a, b, s); });
}

inline void scale(float* x, float s, size_t n) {
  map(x, n, x, [s](float32x4_t a) { return vmulq_n_f32(a, s); });
}

inline void clamp(float* x, float limit, size_t n) {
  const float32x4_t low = vdupq_n_f32(-limit), high = vdupq_n_f32(limit);
  map(x, n, x, [&](float32x4_t a) { return vminq_f32(vmaxq_f32(a, low), high); });
}

inline void soft_cap(float* x, float cap, size_t n) {
  map(x, n, x, [cap](float32x4_t a) { return capped(a, cap); });
}

/// x[i] = f(x[i]) * up[i], or f(x[i]).
template <class Fn>
void activate(float* x, const float* up, size_t n, const Fn& f) {
  if (up)
    combine(x, up, n, [&](float32x4_t a, float32x4_t b) { return vmulq_f32(f(a), b); });
  else
    map(x, n, x, f);
}

/// a / (1 + exp(-t)).
inline float32x4_t times_sigmoid(float32x4_t a, float32x4_t t) {
  return vdivq_f32(a, vaddq_f32(vdupq_n_f32(1.0f), exp_lanes(vnegq_f32(t))));
}

inline void silu(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float32x4_t a) { return times_sigmoid(a, a); });
}

/// (1 + tanh(t)) / 2 is the sigmoid of 2 t.
inline void gelu_tanh(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float32x4_t a) {
    const float32x4_t cubic = vfmaq_n_f32(a, vmulq_f32(vmulq_f32(a, a), a), 0.044715f);
    return times_sigmoid(a, vmulq_n_f32(cubic, 2.0f * 0.79788456f));
  });
}

/// max(a, 0) - |a| * erfc(|a| / sqrt(2)) / 2, which cancels nowhere.
inline void gelu(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float32x4_t a) {
    const float32x4_t size = vabsq_f32(a);
    const float32x4_t tail = vmulq_n_f32(erfc_lanes(vmulq_n_f32(size, 0.70710678f)), 0.5f);
    return vfmsq_f32(vmaxq_f32(a, vdupq_n_f32(0.0f)), size, tail);
  });
}

inline void relu(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float32x4_t a) { return vmaxq_f32(a, vdupq_n_f32(0.0f)); });
}

inline void swiglu_oai(float* x, const float* up, size_t n) {
  combine(x, up, n, [](float32x4_t gate, float32x4_t linear) {
    const float32x4_t limit = vdupq_n_f32(7.0f), a = vminq_f32(gate, limit);
    const float32x4_t b = vminq_f32(vmaxq_f32(linear, vdupq_n_f32(-7.0f)), limit);
    return vmulq_f32(times_sigmoid(a, vmulq_n_f32(a, 1.702f)), vaddq_f32(b, vdupq_n_f32(1.0f)));
  });
}

inline void rope(float* x, size_t n_heads, size_t head_dim, size_t half, const float* cos,
                 const float* sin) {
  for (size_t head = 0; head < n_heads; ++head) {
    float* low = x + head * head_dim;
    float* high = low + half;
    for (size_t i = 0; i < half; i += 16) {
      Block a = load_first(low + i, half - i);
      Block b = load_first(high + i, half - i);
      const Block c = load_first(cos + i, half - i);
      const Block s = load_first(sin + i, half - i);
      for (size_t j = 0; j < 4; ++j) {
        const float32x4_t from = a.v[j];
        a.v[j] = vfmsq_f32(vmulq_f32(from, c.v[j]), b.v[j], s.v[j]);
        b.v[j] = vfmaq_f32(vmulq_f32(b.v[j], c.v[j]), from, s.v[j]);
      }
      store_first(low + i, a, half - i);
      store_first(high + i, b, half - i);
    }
  }
}

}  // namespace
}  // namespace nibble
