// The specification: every kernel as plain loops, in the words of kernels.h and packed.h. The other
// files must agree with this one; it is compiled without ISA flags and runs everywhere.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "affine.h"
#include "base/half.h"
#include "load_loops.h"
#include "sets.h"
#include "sum_words.h"

namespace nibble {
namespace {

constexpr size_t kBlock = 128;  // columns unpacked at a time: the largest group

/// The weight of row r, column k of an f32, f16 or bf16 panel.
float float_at(Codes codes, const uint8_t* panel, size_t k, size_t r) {
  const size_t i = k * kPanelRows + r;
  if (codes == Codes::f32) return reinterpret_cast<const float*>(panel)[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(panel)[i];
  return codes == Codes::f16 ? half_to_float(bits) : bf16_to_float(bits);
}

/// x / scale rounded to nearest even; 0 where that is no code (input that is not finite).
int8_t round_code(float x, float scale) {
  const float code = std::nearbyint(x / scale);
  return code >= -127.0f && code <= 127.0f ? static_cast<int8_t>(code) : int8_t{0};
}

/// absmax / 127, or 0 where that is below the normal floats.
float scale_of(const float* x, size_t n) {
  float absmax = 0;
  for (size_t i = 0; i < n; ++i) absmax = std::max(absmax, std::abs(x[i]));
  const float scale = absmax / 127.0f;
  return scale >= std::numeric_limits<float>::min() ? scale : 0.0f;
}

void quantize_rows(const float* x, size_t x_stride, size_t cols, const QuantizedRows& out) {
  for (size_t t = 0; t < out.n_rows; ++t) {
    const float* row = x + t * x_stride;
    int8_t* codes = out.codes + t * out.stride;
    std::memset(codes, 0, out.stride);
    for (size_t g = 0; g < out.n_groups; ++g) {
      const size_t begin = std::min(g * out.group, cols);
      const size_t end = std::min(begin + out.group, cols);
      const float scale = scale_of(row + begin, end - begin);
      int32_t sum = 0;
      for (size_t k = begin; k < end && scale != 0; ++k) {
        codes[k] = round_code(row[k], scale);
        sum += codes[k];
      }
      out.scales[t * out.n_groups + g] = scale;
      out.sums[t * out.n_groups + g] = sum;
    }
  }
}

void matmul_q(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
              float* y, size_t y_stride) {
  const size_t group = w.shape.group;
  for (size_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint8_t* codes = w.codes + panel * w.code_stride;
    const uint8_t* scales = w.scales + panel * w.scale_stride;
    for (size_t t = 0; t < x.n_rows; ++t)
      std::fill_n(y + t * y_stride + panel * kPanelRows, kPanelRows, 0.0f);
    for (size_t g = 0; g < w.cols_padded / group; ++g) {
      uint8_t q[kBlock][kPanelRows];
      Affine affine[kPanelRows];
      for (size_t k = 0; k < group; ++k)
        for (size_t r = 0; r < kPanelRows; ++r)
          q[k][r] = code_at(w.shape.codes, codes, g * group + k, r);
      for (size_t r = 0; r < kPanelRows; ++r) affine[r] = affine_at(w.shape, scales, g, r);
      for (size_t t = 0; t < x.n_rows; ++t) {
        const int8_t* xq = x.codes + t * x.stride + g * group;
        const float xs = x.scales[t * x.n_groups + g];
        const int32_t xsum = x.sums[t * x.n_groups + g];
        int32_t dot[kPanelRows] = {};
        for (size_t k = 0; k < group; ++k)
          for (size_t r = 0; r < kPanelRows; ++r) dot[r] += q[k][r] * xq[k];
        float* out = y + t * y_stride + panel * kPanelRows;
        for (size_t r = 0; r < kPanelRows; ++r) {
          const auto [s, z, m] = affine[r];
          out[r] += xs * (s * static_cast<float>(dot[r] - z * xsum) + m * static_cast<float>(xsum));
        }
      }
    }
  }
}

/// Widens n columns from k0 of a panel to weights [n][16].
void unpack_weights(const PackedView& w, size_t panel, size_t k0, size_t n,
                    float (*weights)[kPanelRows]) {
  const PackedShape& shape = w.shape;
  const uint8_t* codes = w.codes + panel * w.code_stride;
  for (size_t k = 0; k < n; ++k)
    for (size_t r = 0; r < kPanelRows; ++r) {
      if (shape.scheme == Scheme::none) {
        weights[k][r] = float_at(shape.codes, codes, k0 + k, r);
        continue;
      }
      const uint8_t* scales = w.scales + panel * w.scale_stride;
      const auto [s, z, m] = affine_at(shape, scales, (k0 + k) / shape.group, r);
      const int32_t q = code_at(shape.codes, codes, k0 + k, r);
      weights[k][r] = s * static_cast<float>(q - z) + m;
    }
}

void matmul_f32(const PackedView& w, size_t panel_begin, size_t panel_end, const float* x,
                size_t x_stride, size_t n_rows, float* y, size_t y_stride) {
  for (size_t panel = panel_begin; panel < panel_end; ++panel) {
    for (size_t t = 0; t < n_rows; ++t)
      std::fill_n(y + t * y_stride + panel * kPanelRows, kPanelRows, 0.0f);
    for (size_t k0 = 0; k0 < w.shape.cols; k0 += kBlock) {
      const size_t n = std::min(kBlock, w.shape.cols - k0);
      float weights[kBlock][kPanelRows];
      unpack_weights(w, panel, k0, n, weights);
      for (size_t t = 0; t < n_rows; ++t) {
        float* out = y + t * y_stride + panel * kPanelRows;
        for (size_t k = 0; k < n; ++k)
          for (size_t r = 0; r < kPanelRows; ++r)
            out[r] += weights[k][r] * x[t * x_stride + k0 + k];
      }
    }
  }
}

/// A group of columns of rounding, row by row: w = scale * (q - zero), q - zero within low..high.
struct GroupGrid {
  float scale[kPanelRows], low[kPanelRows], high[kPanelRows];
  int zero[kPanelRows];
};

/// x within low..high (NaN becomes low), to nearest even: adding kUnits, which has no bits below
/// that of 1, rounds without a call.
int round_within(float x, float low, float high) {
  constexpr float kUnits = 0x1.8p23f;
  x = x > low ? x : low;
  x = x < high ? x : high;
  return static_cast<int>(x + kUnits - kUnits);
}

/// The grid of row r, whose weights are in min..max, which include 0. A scale that fp16 does not
/// hold becomes the nearest that it does.
void find_grid(const PackedShape& shape, float min, float max, size_t r, GroupGrid& grid,
               ScaleF16Zero& out) {
  const bool symmetric = shape.scheme == Scheme::f16;
  const float most = shape.codes == Codes::q8 ? 127.0f : 7.0f;
  const float wanted = symmetric ? std::max(max, -min) / most : (max - min) / 15;
  out.s[r] = float_to_half(std::clamp(wanted, 0x1p-24f, 65504.0f));
  grid.scale[r] = half_to_float(out.s[r]);
  grid.zero[r] = symmetric ? shape.zero : round_within(-min / grid.scale[r], 0, 15);
  grid.low[r] = symmetric ? -most : -static_cast<float>(grid.zero[r]);
  grid.high[r] = symmetric ? most : 15 + grid.low[r];
  if (!symmetric) out.z[r] = static_cast<uint8_t>(grid.zero[r]);
}

/// Adds the codes of column c to a panel, which are zero before.
void put_column(Codes codes, uint8_t* panel, size_t c, const int (&q)[kPanelRows]) {
  uint8_t* first = panel + (codes == Codes::q8 ? c / 4 : c / 8) * kLineBytes + c % 4;
  const int shift = codes == Codes::q4 && c % 8 >= 4 ? 4 : 0;
  for (size_t r = 0; r < kPanelRows; ++r)
    first[4 * r] = static_cast<uint8_t>(first[4 * r] | q[r] << shift);
}

void round_columns(const PackedShape& shape, Codes from, const void* w, size_t n, uint8_t* codes,
                   uint8_t* scales) {
  const auto* panel = static_cast<const uint8_t*>(w);
  const size_t scale_bytes = shape.scheme == Scheme::f16 ? sizeof(ScaleF16) : sizeof(ScaleF16Zero);
  std::memset(codes, 0, n * (shape.codes == Codes::q8 ? 16 : 8));
  for (size_t begin = 0; begin < n; begin += shape.group, scales += scale_bytes) {
    float x[128 * kPanelRows];  // [group][16], as floats once and side by side
    for (size_t i = 0; i < shape.group * kPanelRows; ++i) x[i] = float_at(from, panel, begin, i);
    float min[kPanelRows] = {}, max[kPanelRows] = {};  // NaN is passed over
    for (size_t c = 0; c < shape.group; ++c)
      for (size_t r = 0; r < kPanelRows; ++r) {
        min[r] = x[c * kPanelRows + r] < min[r] ? x[c * kPanelRows + r] : min[r];
        max[r] = x[c * kPanelRows + r] > max[r] ? x[c * kPanelRows + r] : max[r];
      }
    GroupGrid grid;
    for (size_t r = 0; r < kPanelRows; ++r)
      find_grid(shape, min[r], max[r], r, grid, *reinterpret_cast<ScaleF16Zero*>(scales));
    for (size_t c = 0; c < shape.group; ++c) {
      int q[kPanelRows];
      for (size_t r = 0; r < kPanelRows; ++r)
        q[r] = grid.zero[r] +
               round_within(x[c * kPanelRows + r] / grid.scale[r], grid.low[r], grid.high[r]);
      put_column(shape.codes, codes, begin + c, q);
    }
  }
}

void rms_norm(const float* x, const float* weight, float eps, size_t n, float* y) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const double mean = sum / static_cast<double>(n);
  const float inverse = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
  for (size_t i = 0; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, size_t n,
                float* y) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    squares += d * d;
  }
  const double inverse =
      1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
  for (size_t i = 0; i < n; ++i) {
    const double normed = (static_cast<double>(x[i]) - mean) * inverse;
    y[i] = static_cast<float>(normed) * weight[i] + (bias ? bias[i] : 0.0f);
  }
}

void add(float* x, const float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] += y[i];
}

void add_scaled(float* x, float s, const float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] += s * y[i];
}

void scale(float* x, float s, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] *= s;
}

void clamp(float* x, float limit, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] = std::min(std::max(x[i], -limit), limit);
}

void soft_cap(float* x, float cap, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] = cap * std::tanh(x[i] / cap);
}

/// x[i] = f(x[i]) * up[i].
template <class Fn>
void activate(float* x, const float* up, size_t n, const Fn& f) {
  for (size_t i = 0; i < n; ++i) x[i] = up ? f(x[i]) * up[i] : f(x[i]);
}

void silu(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float a) { return a / (1.0f + std::exp(-a)); });
}

void gelu(float* x, const float* up, size_t n) {
  // erfc(-t) = 1 + erf(t), without its cancellation.
  activate(x, up, n, [](float a) { return 0.5f * a * std::erfc(a * -0.70710678f); });
}

void gelu_tanh(float* x, const float* up, size_t n) {
  // (1 + tanh(t)) / 2 = 1 / (1 + exp(-2 t)), without its cancellation.
  activate(x, up, n, [](float a) {
    return a / (1.0f + std::exp(-2.0f * 0.79788456f * (a + 0.044715f * a * a * a)));
  });
}

void relu(float* x, const float* up, size_t n) {
  activate(x, up, n, [](float a) { return std::max(a, 0.0f); });
}

void swiglu_oai(float* x, const float* up, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const float a = std::min(x[i], 7.0f), b = std::clamp(up[i], -7.0f, 7.0f);
    x[i] = a / (1.0f + std::exp(-1.702f * a)) * (b + 1.0f);
  }
}

void rope(float* x, size_t n_heads, size_t head_dim, size_t half, const float* cos,
          const float* sin) {
  for (size_t h = 0; h < n_heads; ++h) {
    float* row = x + h * head_dim;
    for (size_t i = 0; i < half; ++i) {
      const float a = row[i], b = row[i + half];
      row[i] = a * cos[i] - b * sin[i];
      row[i + half] = a * sin[i] + b * cos[i];
    }
  }
}

float kv_at(const void* data, KvCode code, size_t i) {
  if (code == KvCode::f32) return static_cast<const float*>(data)[i];
  if (code == KvCode::f16) return half_to_float(static_cast<const uint16_t*>(data)[i]);
  return static_cast<float>(static_cast<const int8_t*>(data)[i]);
}

/// Stores x as element i; `scale` is of q8.
void kv_put(void* data, KvCode code, size_t i, float x, float scale) {
  if (code == KvCode::f32)
    static_cast<float*>(data)[i] = x;
  else if (code == KvCode::f16)
    static_cast<uint16_t*>(data)[i] = float_to_half(x);
  else
    static_cast<int8_t*>(data)[i] = scale == 0 ? int8_t{0} : round_code(x, scale);
}

size_t padded(size_t head_dim) { return (head_dim + 15) / 16 * 16; }

void store_key(const float* k, size_t head_dim, size_t pos, KvCode code, void* dst, float* scale) {
  const float s = scale_of(k, head_dim);
  if (code == KvCode::q8) scale[pos] = s;
  for (size_t d = 0; d < head_dim; ++d)
    kv_put(dst, code, (pos / kPanelRows * head_dim + d) * kPanelRows + pos % kPanelRows, k[d], s);
}

void store_value(const float* v, size_t head_dim, size_t pos, KvCode code, void* dst,
                 float* scale) {
  const size_t stride = padded(head_dim);
  const float s = scale_of(v, head_dim);
  if (code == KvCode::q8) scale[pos] = s;
  for (size_t d = 0; d < stride; ++d)
    kv_put(dst, code, pos * stride + d, d < head_dim ? v[d] : 0.0f, s);
}

void attention_chunk(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                     size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                     const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  const size_t stride = padded(head_dim);
  for (size_t r = 0; r < n_rows; ++r) {
    const auto first = static_cast<size_t>(begin[r]);
    const auto last = static_cast<size_t>(std::max(begin[r], end[r]));
    float* score = scores + r * kAttentionChunk;
    float max = -std::numeric_limits<float>::infinity();
    for (size_t p = first; p < last; ++p) {
      float dot = 0;
      for (size_t d = 0; d < head_dim; ++d)
        dot += q[r * q_stride + d] *
               kv_at(kv.k, kv.code, (p / kPanelRows * head_dim + d) * kPanelRows + p % kPanelRows);
      score[p] = dot * (kv.code == KvCode::q8 ? scale * kv.k_scale[p] : scale);
      if (terms.softcap != 0) score[p] = terms.softcap * std::tanh(score[p] / terms.softcap);
      if (terms.slope)
        score[p] += terms.slope[r] * static_cast<float>(static_cast<int32_t>(p) - terms.origin[r]);
      max = std::max(max, score[p]);
    }
    float sum = 0;
    float* acc = out.acc + r * stride;
    std::fill_n(acc, stride, 0.0f);
    for (size_t p = first; p < last; ++p) {
      const float e = std::exp(score[p] - max);
      const float weight = kv.code == KvCode::q8 ? e * kv.v_scale[p] : e;
      sum += e;
      for (size_t d = 0; d < stride; ++d) acc[d] += weight * kv_at(kv.v, kv.code, p * stride + d);
    }
    out.max[r] = max;
    out.sum[r] = sum;
  }
}

void attention_merge(const SoftmaxState& into, const SoftmaxState& from, size_t n_rows,
                     size_t head_dim_padded) {
  constexpr float kUnseen = -std::numeric_limits<float>::infinity();
  for (size_t r = 0; r < n_rows; ++r) {
    if (from.max[r] == kUnseen) continue;
    float* acc = into.acc + r * head_dim_padded;
    const float* other = from.acc + r * head_dim_padded;
    if (into.max[r] == kUnseen) {
      std::copy_n(other, head_dim_padded, acc);
      into.sum[r] = from.sum[r];
      into.max[r] = from.max[r];
      continue;
    }
    const float max = std::max(into.max[r], from.max[r]);
    const float a = std::exp(into.max[r] - max);
    const float b = std::exp(from.max[r] - max);
    for (size_t d = 0; d < head_dim_padded; ++d) acc[d] = acc[d] * a + other[d] * b;
    into.sum[r] = into.sum[r] * a + from.sum[r] * b;
    into.max[r] = max;
  }
}

void attention_finish(const SoftmaxState& state, size_t n_rows, size_t head_dim, float* y,
                      size_t y_stride) {
  for (size_t r = 0; r < n_rows; ++r) {
    const float sum = state.sum[r];
    const float* acc = state.acc + r * padded(head_dim);
    for (size_t d = 0; d < head_dim; ++d) y[r * y_stride + d] = sum == 0 ? 0.0f : acc[d] / sum;
  }
}

}  // namespace

const Kernels kScalarKernels = {
    .name = "scalar",
    .quantize_rows = quantize_rows,
    .matmul_q = matmul_q,
    .matmul_f32 = matmul_f32,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .add_scaled = add_scaled,
    .scale = scale,
    .clamp = clamp,
    .soft_cap = soft_cap,
    .silu = silu,
    .gelu = gelu,
    .gelu_tanh = gelu_tanh,
    .relu = relu,
    .swiglu_oai = swiglu_oai,
    .rope = rope,
    .store_key = store_key,
    .store_value = store_value,
    .attention_chunk = attention_chunk,
    .attention_merge = attention_merge,
    .attention_finish = attention_finish,
    .sum_words = sum_words,
    .load = load_kernels(round_columns),
};

}  // namespace nibble
