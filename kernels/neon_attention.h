// The KV cache and streaming softmax of the ARM kernel sets.
#pragma once

#include "neon_common.h"

namespace nibble {
namespace {

constexpr float kUnseen = -__builtin_inff();

constexpr size_t padded(size_t head_dim) { return (head_dim + 15) / 16 * 16; }

/// 16 values as elements of the cache, at p. `scale` is that of q8.
inline void put_block(uint8_t* p, KvCode code, const Block& b, float scale) {
  switch (code) {
    case KvCode::f32:
      for (size_t i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, vreinterpretq_u8_f32(b.v[i]));
      return;
    case KvCode::f16:
      for (size_t i = 0; i < 4; ++i) vst1_u8(p + 8 * i, vreinterpret_u8_f16(vcvt_f16_f32(b.v[i])));
      return;
    case KvCode::q8:
      vst1q_u8(p, vreinterpretq_u8_s8(codes_of(b, scale)));
      return;
  }
}

constexpr size_t bytes_of(KvCode code) {
  return code == KvCode::f32 ? 4 : code == KvCode::f16 ? 2 : 1;
}

/// The scale of a vector to be stored; kept at scale[pos] if the cache has scales.
inline float note_scale(const float* x, size_t n, size_t pos, KvCode code, float* scale) {
  if (code != KvCode::q8) return 0.0f;
  return scale[pos] = scale_of(x, n);
}

inline void store_key(const float* k, size_t head_dim, size_t pos, KvCode code, void* dst,
                      float* scale) {
  const float s = note_scale(k, head_dim, pos, code, scale);
  const size_t size = bytes_of(code);
  uint8_t* panel = static_cast<uint8_t*>(dst) + pos / kPanelRows * head_dim * kPanelRows * size;
  uint8_t* lane = panel + pos % kPanelRows * size;
  for (size_t d = 0; d < head_dim; d += 16) {
    uint8_t elements[64];
    put_block(elements, code, load_first(k + d, head_dim - d), s);
    for (size_t i = 0; i < min_of(16, head_dim - d); ++i)
      for (size_t byte = 0; byte < size; ++byte)
        lane[(d + i) * kPanelRows * size + byte] = elements[i * size + byte];
  }
}

inline void store_value(const float* v, size_t head_dim, size_t pos, KvCode code, void* dst,
                        float* scale) {
  const float s = note_scale(v, head_dim, pos, code, scale);
  const size_t size = bytes_of(code);
  uint8_t* row = static_cast<uint8_t*>(dst) + pos * padded(head_dim) * size;
  for (size_t d = 0; d < head_dim; d += 16)
    put_block(row + d * size, code, load_first(v + d, head_dim - d), s);
}

/// Positions begin <= p < end, or panels of them.
struct Range {
  size_t begin;
  size_t end;
};

/// Calls fn(Rows<n>, first row, range) so that every row sees its range once, in ascending order:
/// what all rows share together, the rest one by one, and nothing that a row does not see.
template <size_t T, class Fn>
void for_shared_ranges(const Range (&ranges)[T], const Fn& fn) {
  Range shared = ranges[0];
  for (size_t t = 1; t < T; ++t) {
    shared.begin = max_of(shared.begin, ranges[t].begin);
    shared.end = min_of(shared.end, ranges[t].end);
  }
  if (shared.begin >= shared.end) {
    for (size_t t = 0; t < T; ++t) fn(Rows<1>{}, t, ranges[t]);
    return;
  }
  for (size_t t = 0; t < T; ++t) fn(Rows<1>{}, t, Range{ranges[t].begin, shared.begin});
  fn(Rows<T>{}, size_t{0}, shared);
  for (size_t t = 0; t < T; ++t) fn(Rows<1>{}, t, Range{shared.end, ranges[t].end});
}

/// scores[t][p] = scale * q[t] . k[p] for the panels of 16 positions in `panels`.
template <class Element, size_t T>
void score_panels(const KvChunk& kv, size_t head_dim, Range panels, const float* q, size_t q_stride,
                  float scale, float* scores) {
  const auto* keys = static_cast<const uint8_t*>(kv.k);
  for (size_t panel = panels.begin; panel < panels.end; ++panel) {
    const auto column = [&](size_t d) {
      return Element::load(keys + (panel * head_dim + d) * kPanelRows * Element::kBytes);
    };
    Block dot[T];
    for (size_t t = 0; t < T; ++t) dot[t] = splat(0.0f);
    add_products(dot, column, 0, head_dim, q, q_stride);
    const size_t p = panel * kPanelRows;
    for (size_t i = 0; i < 4; ++i) {
      float32x4_t factor = vdupq_n_f32(scale);
      if (kv.code == KvCode::q8) factor = vmulq_f32(factor, vld1q_f32(kv.k_scale + p + 4 * i));
      for (size_t t = 0; t < T; ++t)
        vst1q_f32(scores + t * kAttentionChunk + p + 4 * i, vmulq_f32(dot[t].v[i], factor));
    }
  }
}

/// ScoreTerms of the scores begin <= p < end (multiples of 4) of row `row`.
inline void add_terms(const ScoreTerms& terms, size_t row, size_t begin, size_t end,
                      float* scores) {
  static constexpr float kCount[4] = {0, 1, 2, 3};
  for (size_t p = begin; p < end; p += 4) {
    float32x4_t score = vld1q_f32(scores + p);
    if (terms.softcap != 0) score = capped(score, terms.softcap);
    if (terms.slope) {
      const float first = static_cast<float>(static_cast<int32_t>(p) - terms.origin[row]);
      const float32x4_t distance = vaddq_f32(vld1q_f32(kCount), vdupq_n_f32(first));
      score = vfmaq_n_f32(score, distance, terms.slope[row]);
    }
    vst1q_f32(scores + p, score);
  }
}

/// Turns the scores of one row into weights exp(score - max); returns their sum. What shares a
/// vector with the range and is not seen becomes zero.
inline float soften(const ScoreTerms& terms, size_t row, float* scores, Range seen, float* max) {
  *max = kUnseen;
  if (seen.begin == seen.end) return 0.0f;
  const size_t begin = seen.begin / 4 * 4;
  const size_t end = (seen.end + 3) / 4 * 4;
  if (terms.softcap != 0 || terms.slope) add_terms(terms, row, begin, end, scores);
  for (size_t p = begin; p < seen.begin; ++p) scores[p] = kUnseen;
  for (size_t p = seen.end; p < end; ++p) scores[p] = kUnseen;
  float32x4_t top = vdupq_n_f32(kUnseen);
  for (size_t p = begin; p < end; p += 4) top = vmaxq_f32(top, vld1q_f32(scores + p));
  *max = vmaxvq_f32(top);
  float32x4_t sum = vdupq_n_f32(0.0f);
  for (size_t p = begin; p < end; p += 4) {
    const float32x4_t weight = exp_lanes(vsubq_f32(vld1q_f32(scores + p), vdupq_n_f32(*max)));
    vst1q_f32(scores + p, weight);
    sum = vaddq_f32(sum, weight);
  }
  return vaddvq_f32(sum);
}

/// acc[t] += sum of weights[t][p] * v[p] over the range.
template <class Element, size_t T>
void add_values(const KvChunk& kv, size_t stride, Range seen, const float* weights, float* acc) {
  const auto* values = static_cast<const uint8_t*>(kv.v);
  for (size_t d = 0; d < stride; d += 16) {
    const auto column = [&](size_t p) {
      return Element::load(values + (p * stride + d) * Element::kBytes);
    };
    Block sum[T];
    for (size_t t = 0; t < T; ++t) sum[t] = load_block(acc + t * stride + d);
    add_products(sum, column, seen.begin, seen.end, weights, kAttentionChunk);
    for (size_t t = 0; t < T; ++t) store_block(acc + t * stride + d, sum[t]);
  }
}

/// Everything one call of attention_chunk is about.
struct Attention {
  const KvChunk& kv;
  size_t head_dim;
  const float* q;  // [n_rows, q_stride]
  size_t q_stride;
  const int32_t* begin;
  const int32_t* end;
  float scale;
  const ScoreTerms& terms;
  float* scores;  // [n_rows, 256]
  const SoftmaxState& out;

  Range seen_by(size_t row) const {
    const int32_t first = begin[row];
    const int32_t last = end[row] > first ? end[row] : first;
    return {static_cast<size_t>(first), static_cast<size_t>(last)};
  }
};

template <class Element, size_t T>
void attend_tile(const Attention& a, size_t row) {
  const size_t stride = padded(a.head_dim);
  float* scores = a.scores + row * kAttentionChunk;
  float* acc = a.out.acc + row * stride;
  Range seen[T];
  Range panels[T];
  for (size_t t = 0; t < T; ++t) {
    seen[t] = a.seen_by(row + t);
    panels[t] = {seen[t].begin / kPanelRows, (seen[t].end + kPanelRows - 1) / kPanelRows};
    if (seen[t].begin == seen[t].end) panels[t].end = panels[t].begin;
  }
  for_shared_ranges(panels, [&](auto rows, size_t t, Range range) {
    score_panels<Element, decltype(rows)::kCount>(a.kv, a.head_dim, range,
                                                  a.q + (row + t) * a.q_stride, a.q_stride, a.scale,
                                                  scores + t * kAttentionChunk);
  });
  for (size_t t = 0; t < T; ++t) {
    float* weights = scores + t * kAttentionChunk;
    a.out.sum[row + t] = soften(a.terms, row + t, weights, seen[t], a.out.max + row + t);
    if (a.kv.code == KvCode::q8)
      for (size_t p = seen[t].begin; p < seen[t].end; ++p) weights[p] *= a.kv.v_scale[p];
    for (size_t d = 0; d < stride; d += 16) store_block(acc + t * stride + d, splat(0.0f));
  }
  for_shared_ranges(seen, [&](auto rows, size_t t, Range range) {
    add_values<Element, decltype(rows)::kCount>(a.kv, stride, range, scores + t * kAttentionChunk,
                                                acc + t * stride);
  });
}

template <class Element>
void attend(const Attention& a, size_t n_rows) {
  for_row_tiles(0, n_rows, [&](auto rows, size_t row) {
    attend_tile<Element, decltype(rows)::kCount>(a, row);
  });
}

inline void attention_chunk(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                            size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                            const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  const Attention a{kv, head_dim, q, q_stride, begin, end, scale, terms, scores, out};
  switch (kv.code) {
    case KvCode::f32:
      return attend<ElementF32>(a, n_rows);
    case KvCode::f16:
      return attend<ElementF16>(a, n_rows);
    case KvCode::q8:
      return attend<ElementI8>(a, n_rows);
  }
}

inline void attention_merge(const SoftmaxState& into, const SoftmaxState& from, size_t n_rows,
                            size_t head_dim_padded) {
  for (size_t row = 0; row < n_rows; ++row) {
    if (from.max[row] == kUnseen) continue;
    float* acc = into.acc + row * head_dim_padded;
    const float* other = from.acc + row * head_dim_padded;
    const bool copy = into.max[row] == kUnseen;
    const float max = copy || from.max[row] > into.max[row] ? from.max[row] : into.max[row];
    const float a = copy ? 0.0f : exp_one(into.max[row] - max);
    const float b = copy ? 1.0f : exp_one(from.max[row] - max);
    for (size_t d = 0; d < head_dim_padded; d += 16) {
      Block sum = load_block(other + d);
      if (!copy) {
        const Block old = load_block(acc + d);
        for (size_t i = 0; i < 4; ++i)
          sum.v[i] = vfmaq_n_f32(vmulq_n_f32(sum.v[i], b), old.v[i], a);
      }
      store_block(acc + d, sum);
    }
    into.sum[row] = copy ? from.sum[row] : into.sum[row] * a + from.sum[row] * b;
    into.max[row] = max;
  }
}

inline void attention_finish(const SoftmaxState& state, size_t n_rows, size_t head_dim, float* y,
                             size_t y_stride) {
  for (size_t row = 0; row < n_rows; ++row) {
    const float* acc = state.acc + row * padded(head_dim);
    const float sum = state.sum[row];
    for (size_t d = 0; d < head_dim; d += 16) {
      Block b = load_block(acc + d);
      for (size_t i = 0; i < 4; ++i)
        b.v[i] = sum == 0.0f ? vdupq_n_f32(0.0f) : vdivq_f32(b.v[i], vdupq_n_f32(sum));
      store_first(y + row * y_stride + d, b, head_dim - d);
    }
  }
}

}  // namespace
}  // namespace nibble
