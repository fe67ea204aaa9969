// The table of kernels: every arithmetic loop of the engine, once per instruction set.
//
// scalar.cpp is the specification; the other files must agree with it. All functions are leaves:
// no threads, no allocation, no exceptions, no I/O. They may be called from many threads at once
// on disjoint outputs. Sizes are elements unless said otherwise; float pointers need 4-byte
// alignment only. Buffers whose shape says "padded" may be read and written up to the padding.
//
// Reproducibility: the value of an output depends on its own row of inputs alone, never on n_rows,
// on the panel range or on which other rows are computed along: a token decoded alone equals, bit
// for bit, the same token inside a prompt (same instruction set).
#pragma once

#include <cstddef>
#include <cstdint>

#include "load_kernels.h"
#include "packed.h"

namespace nibble {

/// What activations become for products with quantized weights. int8: symmetric per row and group,
/// x ~= scale * code, code in -127..127. bf16: x rounded to it; scales and sums are not used.
enum class ActivationCode : uint8_t { int8, bf16 };
constexpr size_t code_bytes(ActivationCode code) { return code == ActivationCode::bf16 ? 2 : 1; }

/// Quantized activations, as Kernels::activations of the same table says.
struct QuantizedRows {
  int8_t* codes = nullptr;  // [n_rows, stride], columns beyond cols are 0; 64-byte aligned rows
  float* scales = nullptr;  // [n_rows, n_groups]
  int32_t* sums = nullptr;  // [n_rows, n_groups]: sum of the codes of each group
  size_t n_rows = 0;
  size_t stride = 0;    // bytes between rows: those of cols_padded codes of every matrix that reads
                        // it, or more, rounded up to 64; rows a multiple of 4 KB apart share cache
                        // sets: add an odd number of lines
  size_t n_groups = 0;  // stride between rows of scales and sums; >= cols_padded / group
  size_t group = 0;     // equals the group of every matrix that reads it
};

/// What the KV cache stores a key or value element as.
enum class KvCode : uint8_t { f32, f16, q8 };

inline constexpr size_t kAttentionChunk = 256;  // positions that one call of attention_chunk sees

/// Keys and values of one layer and KV head, for `kAttentionChunk` positions from a multiple of it.
/// Keys lie in panels of 16 positions, [16 panels][head_dim][16]; values [256][head_dim_padded],
/// head_dim_padded = head_dim rounded up to 16, padding zero. For q8, x = scale * code (int8).
struct KvChunk {
  const void* k = nullptr;
  const void* v = nullptr;
  const float* k_scale = nullptr;  // [256], q8 only
  const float* v_scale = nullptr;  // [256], q8 only
  KvCode code = KvCode::f16;
};

/// What some families do to the scores of attention; nothing by default. Applied in this order.
struct ScoreTerms {
  float softcap = 0;                // score = softcap * tanh(score / softcap); 0: as it is
  const float* slope = nullptr;     // [n_rows]: score += slope * (p - origin), ALiBi; or null
  const int32_t* origin = nullptr;  // [n_rows] position p, counted in this chunk, that gets nothing
};

/// A running softmax over a part of the positions: acc = sum exp(score - max) * v, unnormalized.
struct SoftmaxState {
  float* acc = nullptr;  // [n_rows, head_dim_padded]
  float* max = nullptr;  // [n_rows]; -infinity: no position seen
  float* sum = nullptr;  // [n_rows]
};

struct Kernels {
  const char* name;  // "scalar", "avx2", ... as NIBBLE_ISA spells it

  ActivationCode activations = ActivationCode::int8;
  /// How products are best cut into calls of matmul_q: rows in multiples of row_unit, about
  /// row_block of them; where there are many rows, panels of at most piece_bytes of codes.
  size_t row_unit = 12;
  size_t row_block = 256;
  size_t piece_bytes = 256 << 10;

  /// Quantizes x [n_rows, cols] (row stride x_stride) into `out`, whose buffers and sizes are set
  /// by the caller. int8: scale = absmax / 127 of the group, or 0, and all codes 0, where that is
  /// below the normal floats; code = x / scale rounded to nearest even. Writes zero codes for
  /// cols..stride, and zero scales and sums for groups that lie beyond cols. bf16: codes alone, to
  /// nearest even. Input must be finite.
  void (*quantize_rows)(const float* x, size_t x_stride, size_t cols, const QuantizedRows& out);

  /// y[t][n] = sum_k W[n][k] x[t][k] for the 16 * (panel_end - panel_begin) rows n of the panels,
  /// by integer dot products: per group, y += s * xs * (dot - z * xsum) or y += xs * (s * dot + m *
  /// xsum), groups in ascending order. bf16: by sums of float products, of weights that have been
  /// rounded to bf16 as well, by less than 0.005 of each. W is quantized. y [x.n_rows, y_stride] is
  /// overwritten at columns 16 * panel_begin .. 16 * panel_end - 1, the padding rows of the last
  /// panel included (zeros).
  void (*matmul_q)(const PackedView& w, size_t panel_begin, size_t panel_end,
                   const QuantizedRows& x, float* y, size_t y_stride);

  /// The same with float activations x [n_rows, x_stride], for every format of W: the weights are
  /// widened to f32 exactly as w = s * (q - z) says. The reference path for quantized weights and
  /// the only one for f32, f16, bf16. Columns beyond `cols` are not read from x.
  void (*matmul_f32)(const PackedView& w, size_t panel_begin, size_t panel_end, const float* x,
                     size_t x_stride, size_t n_rows, float* y, size_t y_stride);

  /// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i], i < n. y may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, size_t n, float* y);

  /// y[i] = (x[i] - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight[i] + bias[i], i < n;
  /// without `bias` if it is null. y may be x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, size_t n,
                     float* y);

  /// x[i] += y[i].
  void (*add)(float* x, const float* y, size_t n);
  /// x[i] += s * y[i].
  void (*add_scaled)(float* x, float s, const float* y, size_t n);
  /// x[i] *= s.
  void (*scale)(float* x, float s, size_t n);
  /// x[i] = min(max(x[i], -limit), limit).
  void (*clamp)(float* x, float limit, size_t n);
  /// x[i] = cap * tanh(x[i] / cap), with an error below 2^-21 * cap.
  void (*soft_cap)(float* x, float cap, size_t n);

  /// Activations: x[i] = f(x[i]) * up[i], or f(x[i]) if up is null.
  /// silu(a) = a / (1 + exp(-a)); gelu(a) = a / 2 * (1 + erf(a / sqrt(2)));
  /// gelu_tanh(a) = a / 2 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 a^3))); relu(a) = max(a, 0).
  void (*silu)(float* x, const float* up, size_t n);
  void (*gelu)(float* x, const float* up, size_t n);
  void (*gelu_tanh)(float* x, const float* up, size_t n);
  void (*relu)(float* x, const float* up, size_t n);
  /// gpt-oss's gate: with a = min(x[i], 7) and b = min(max(up[i], -7), 7), x[i] = a / (1 +
  /// exp(-1.702 a)) * (b + 1). `up` is not null.
  void (*swiglu_oai)(float* x, const float* up, size_t n);

  /// Rotates the first 2 * half columns of each of n_heads rows of x [n_heads, head_dim]; the pair
  /// of column i < half is (i, i + half), its angle has cos[i], sin[i]: (a, b) -> (a cos - b sin, a
  /// sin + b cos). (Loaders bring every checkpoint to this order.)
  void (*rope)(float* x, size_t n_heads, size_t head_dim, size_t half, const float* cos,
               const float* sin);

  /// Writes the key k [head_dim] as position `pos` (0..255) of a chunk, see KvChunk. For q8,
  /// `scale` receives one value at [pos].
  void (*store_key)(const float* k, size_t head_dim, size_t pos, KvCode code, void* dst,
                    float* scale);
  /// Writes the value v [head_dim] likewise, padding included.
  void (*store_value)(const float* v, size_t head_dim, size_t pos, KvCode code, void* dst,
                      float* scale);

  /// Attention of n_rows queries q [n_rows, q_stride] over the positions of one chunk:
  /// score = scale * q . k, then `terms`; row r sees the positions begin[r] <= p < end[r] of the
  /// chunk (0..256; none if end <= begin: max = -inf, sum = 0, acc = 0). `out` is overwritten.
  /// `scores` is scratch, [n_rows, 256]. What a row does not see has no influence on it, be it NaN;
  /// panels of keys and values that no row sees are not read. Sets whose activations are bf16 round
  /// to it what they multiply, if the cache is f16.
  void (*attention_chunk)(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                          size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                          const ScoreTerms& terms, float* scores, const SoftmaxState& out);

  /// Merges `from` into `into`, for the rows 0..n_rows-1: the state over both parts. Merging a row
  /// into one that has seen nothing copies it bit for bit.
  void (*attention_merge)(const SoftmaxState& into, const SoftmaxState& from, size_t n_rows,
                          size_t head_dim_padded);

  /// y[r][0..head_dim) = acc[r] / sum[r]; zeros where sum is 0.
  void (*attention_finish)(const SoftmaxState& state, size_t n_rows, size_t head_dim, float* y,
                           size_t y_stride);

  /// Runs n_rounds rounds of the multiply-adds of matmul_q on registers alone and returns how many
  /// operations that were, a product and its addition counting two: what bounds a prompt. Null
  /// where nothing is to be compared with it (scalar).
  uint64_t (*peak_operations)(size_t n_rounds) = nullptr;

  /// The sum modulo 2^32 of the 32-bit words of memory [bytes], a multiple of 256: four streams
  /// through its quarters, each fetched ahead, by the widest loads. What bounds decoding.
  uint32_t (*sum_words)(const uint8_t* memory, size_t bytes);

  LoadKernels load;
};

/// What is compiled in, best first within an architecture. Only rows whose `supported()` says yes
/// may run: CPUID and, for wide registers, what the operating system saves.
struct KernelSet {
  const Kernels* kernels;
  bool (*supported)();
};

/// All kernel sets of this build, best first; scalar is last.
const KernelSet* kernel_sets(size_t& count);
/// The set of that name, or null if this build has none or this CPU cannot run it. An empty or null
/// name means the best one.
const Kernels* find_kernels(const char* name);

}  // namespace nibble
