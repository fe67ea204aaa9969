// The KV cache and attention over its chunks; layouts in kernels.h (KvChunk).
#pragma once

#include "vector_math.h"

namespace nibble {
namespace {

template <class V, KvCode C>
[[gnu::always_inline]] inline typename V::F load_kv(const void* data, size_t i) {
  if constexpr (C == KvCode::f32)
    return V::load(static_cast<const float*>(data) + i);
  else if constexpr (C == KvCode::f16)
    return V::load_f16(static_cast<const uint16_t*>(data) + i);
  else
    return V::to_float(V::load_s8(static_cast<const int8_t*>(data) + i));
}

/// Writes 16 values as elements i..i+15; `scale` is of q8.
template <class V>
void store_kv(void* data, KvCode code, size_t i, typename V::F x, float scale) {
  if (code == KvCode::f32)
    V::store(static_cast<float*>(data) + i, x);
  else if (code == KvCode::f16)
    V::store_f16(static_cast<uint16_t*>(data) + i, x);
  else
    V::store_s8(static_cast<int8_t*>(data) + i,
                scale == 0 ? V::zero_int() : V::to_int(V::div(x, V::set1(scale))));
}

template <class V>
void store_value(const float* v, size_t head_dim, size_t pos, KvCode code, void* dst,
                 float* scale) {
  const float s = code == KvCode::q8 ? code_scale<V>(v, head_dim) : 0.0f;
  if (code == KvCode::q8) scale[pos] = s;
  for (size_t d = 0; d < head_dim; d += kLanes)
    store_kv<V>(dst, code, pos * padded_dim(head_dim) + d, V::load_first(v + d, head_dim - d), s);
}

/// Element i of `from` becomes element 16 * i of `to`.
template <class T>
void scatter(const void* from, void* to, size_t n) {
  for (size_t i = 0; i < n; ++i)
    static_cast<T*>(to)[i * kPanelRows] = static_cast<const T*>(from)[i];
}

template <class V>
void store_key(const float* k, size_t head_dim, size_t pos, KvCode code, void* dst, float* scale) {
  const float s = code == KvCode::q8 ? code_scale<V>(k, head_dim) : 0.0f;
  if (code == KvCode::q8) scale[pos] = s;
  for (size_t d = 0; d < head_dim; d += kLanes) {
    alignas(64) uint8_t part[kLanes * sizeof(float)];
    const size_t n = min_of(kLanes, head_dim - d);
    const size_t at = (pos / kPanelRows * head_dim + d) * kPanelRows + pos % kPanelRows;
    store_kv<V>(part, code, 0, V::load_first(k + d, n), s);
    if (code == KvCode::f32)
      scatter<float>(part, static_cast<float*>(dst) + at, n);
    else if (code == KvCode::f16)
      scatter<uint16_t>(part, static_cast<uint16_t*>(dst) + at, n);
    else
      scatter<int8_t>(part, static_cast<int8_t*>(dst) + at, n);
  }
}

/// A long cache comes from memory: what is read is fetched this many bytes ahead, across the ends
/// of pages, where the hardware's prefetching stops.
constexpr size_t kFetchKv = 8192;
template <KvCode C>
constexpr size_t kKvBytes = C == KvCode::f32   ? 4
                            : C == KvCode::f16 ? 2
                                               : 1;
/// Fetches ahead of element i, if it starts a line.
template <KvCode C>
[[gnu::always_inline]] inline void fetch_kv(const void* data, size_t i) {
  if (i * kKvBytes<C> % kLineBytes == 0)
    __builtin_prefetch(static_cast<const uint8_t*>(data) + i * kKvBytes<C> + kFetchKv);
}

/// score[t] [16 P] = q[t] . k for T queries and the 16 positions of each of P panels
/// [head_dim][16].
template <class V, KvCode C, size_t T, size_t P>
void score_panels(const void* k, size_t panel, size_t head_dim, const float* q, size_t q_stride,
                  float* score) {
  typename V::F acc[P][T];
  for (size_t p = 0; p < P; ++p)
    for (size_t t = 0; t < T; ++t) acc[p][t] = V::zero();
  for (size_t d = 0; d < head_dim; ++d) {
    typename V::F column[P];
    for (size_t p = 0; p < P; ++p) {
      const size_t at = ((panel + p) * head_dim + d) * kPanelRows;
      fetch_kv<C>(k, at + (P - 1) * head_dim * kPanelRows);
      column[p] = load_kv<V, C>(k, at);
    }
    for (size_t t = 0; t < T; ++t) {
      const auto x = V::set1(q[t * q_stride + d]);
      for (size_t p = 0; p < P; ++p) acc[p][t] = V::fma(column[p], x, acc[p][t]);
    }
  }
  for (size_t p = 0; p < P; ++p)
    for (size_t t = 0; t < T; ++t)
      V::store(score + t * kAttentionChunk + p * kPanelRows, acc[p][t]);
}

/// ScoreTerms of the 16 scores from position p of row `row`.
template <class V>
[[gnu::always_inline]] inline typename V::F with_terms(const ScoreTerms& terms, size_t row,
                                                       size_t p, typename V::F score) {
  alignas(64) static constexpr float kCount[kLanes] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                       8, 9, 10, 11, 12, 13, 14, 15};
  if (terms.softcap != 0) score = capped<V>(score, terms.softcap);
  if (!terms.slope) return score;
  const auto first = V::set1(static_cast<float>(static_cast<int32_t>(p) - terms.origin[row]));
  return V::fma(V::set1(terms.slope[row]), V::add(V::load(kCount), first), score);
}

/// Turns the dot products of one row into exp(score - max), and for q8 times the value's scale.
/// Other positions of the panels touched have no meaning afterwards.
template <class V, KvCode C>
void softmax_row(const KvChunk& kv, size_t first, size_t last, float scale, const ScoreTerms& terms,
                 size_t row, float* score, float& max, float& sum) {
  const size_t start = first / kLanes * kLanes;
  auto top = V::set1(-kInfinity);
  for (size_t p = start; p < last; p += kLanes) {
    auto s = V::mul(V::load(score + p), V::set1(scale));
    if constexpr (C == KvCode::q8) s = V::mul(s, V::load(kv.k_scale + p));
    s = with_terms<V>(terms, row, p, s);
    s = V::keep(s, first > p ? first - p : 0, min_of(last - p, kLanes), -kInfinity);
    V::store(score + p, s);
    top = V::max(top, s);
  }
  max = V::reduce_max(top);
  auto total = V::zero();
  for (size_t p = start; p < last; p += kLanes) {
    auto e = vector_exp<V>(V::sub(V::load(score + p), V::set1(max)));
    e = V::keep(e, first > p ? first - p : 0, min_of(last - p, kLanes), 0.0f);
    total = V::add(total, e);
    if constexpr (C == KvCode::q8) e = V::mul(e, V::load(kv.v_scale + p));
    V::store(score + p, e);
  }
  sum = V::reduce_add(total);
}

/// acc[t] [stride] += sum of weights[t][p] * v[p], first <= p < last, for T rows, D vectors from
/// column d. The first pass over the values fetches all columns: pieces of rows come slowly.
template <class V, KvCode C, size_t T, size_t D, bool kFirst>
void add_values(const void* v, size_t stride, size_t d, const float* weights, size_t first,
                size_t last, float* acc) {
  typename V::F sum[T][D];
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < D; ++i) sum[t][i] = V::load(acc + t * stride + d + i * kLanes);
  for (size_t p = first; p < last; ++p) {
    if constexpr (kFirst) {
      const uint8_t* later = static_cast<const uint8_t*>(v) + p * stride * kKvBytes<C> + kFetchKv;
      for (size_t i = 0; i < stride * kKvBytes<C>; i += kLineBytes) __builtin_prefetch(later + i);
    }
    typename V::F value[D];
    for (size_t i = 0; i < D; ++i) value[i] = load_kv<V, C>(v, p * stride + d + i * kLanes);
    for (size_t t = 0; t < T; ++t) {
      const auto weight = V::set1(weights[t * kAttentionChunk + p]);
      for (size_t i = 0; i < D; ++i) sum[t][i] = V::fma(weight, value[i], sum[t][i]);
    }
  }
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < D; ++i) V::store(acc + t * stride + d + i * kLanes, sum[t][i]);
}

template <class V, KvCode C, size_t T>
void add_values(const void* v, size_t stride, const float* weights, size_t first, size_t last,
                float* acc) {
  constexpr size_t kStep = min_of(T == 1 ? 8 : 4, V::kAttentionSums / T);
  if (first >= last) return;
  const auto pass = [&]<size_t D>(size_t d) {
    if (d == 0)
      add_values<V, C, T, D, true>(v, stride, d, weights, first, last, acc);
    else
      add_values<V, C, T, D, false>(v, stride, d, weights, first, last, acc);
  };
  size_t d = 0;
  for (; d + kStep * kLanes <= stride; d += kStep * kLanes) pass.template operator()<kStep>(d);
  for (; d < stride; d += kLanes) pass.template operator()<1>(d);
}

/// T rows of queries: they share the loads of keys, and of the values that all of them see. Each
/// row adds exactly the positions that it sees, in ascending order.
template <class V, KvCode C, size_t T>
void attention_rows(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                    const int32_t* begin, const int32_t* end, float scale, const ScoreTerms& terms,
                    float* scores, const SoftmaxState& out, size_t row) {
  const size_t stride = padded_dim(head_dim);
  float* acc = out.acc + row * stride;
  for (size_t i = 0; i < T * stride; i += kLanes) V::store(acc + i, V::zero());
  size_t first[T], last[T];
  size_t seen_begin = kAttentionChunk, seen_end = 0;      // by any row
  size_t common_begin = 0, common_end = kAttentionChunk;  // by all rows
  for (size_t t = 0; t < T; ++t) {
    first[t] = static_cast<size_t>(begin[row + t]);
    last[t] = end[row + t] > begin[row + t] ? static_cast<size_t>(end[row + t]) : first[t];
    common_begin = max_of(common_begin, first[t]);
    common_end = min_of(common_end, last[t]);
    if (first[t] == last[t]) continue;
    seen_begin = min_of(seen_begin, first[t]);
    seen_end = max_of(seen_end, last[t]);
  }
  float* score = scores + row * kAttentionChunk;
  constexpr size_t kPanels = min_of(4, V::kAttentionSums / T);
  size_t panel = seen_begin / kPanelRows;
  const size_t end_panel = (seen_end + kPanelRows - 1) / kPanelRows;
  const float* queries = q + row * q_stride;
  for (; panel + kPanels <= end_panel; panel += kPanels)
    score_panels<V, C, T, kPanels>(kv.k, panel, head_dim, queries, q_stride,
                                   score + panel * kPanelRows);
  for (; panel < end_panel; ++panel)
    score_panels<V, C, T, 1>(kv.k, panel, head_dim, queries, q_stride, score + panel * kPanelRows);
  for (size_t t = 0; t < T; ++t)
    softmax_row<V, C>(kv, first[t], last[t], scale, terms, row + t, score + t * kAttentionChunk,
                      out.max[row + t], out.sum[row + t]);
  if (common_begin >= common_end) common_begin = common_end = kAttentionChunk;
  const auto add_alone = [&](size_t t, size_t from, size_t to) {
    add_values<V, C, 1>(kv.v, stride, score + t * kAttentionChunk, from, to, acc + t * stride);
  };
  for (size_t t = 0; t < T; ++t) add_alone(t, first[t], min_of(last[t], common_begin));
  add_values<V, C, T>(kv.v, stride, score, common_begin, common_end, acc);
  for (size_t t = 0; t < T; ++t) add_alone(t, common_end, last[t]);
}

template <class V, KvCode C>
void attention_coded(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                     size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                     const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  size_t row = 0;
  const auto rows = [&]<size_t T>() {
    for (; row + T <= n_rows; row += T)
      attention_rows<V, C, T>(kv, head_dim, q, q_stride, begin, end, scale, terms, scores, out,
                              row);
  };
  if constexpr (V::kAttentionSums >= 16) rows.template operator()<8>();
  rows.template operator()<4>();
  rows.template operator()<1>();
}

template <class V>
void attention_chunk(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                     size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                     const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  switch (kv.code) {
    case KvCode::f32:
      return attention_coded<V, KvCode::f32>(kv, head_dim, q, q_stride, n_rows, begin, end, scale,
                                             terms, scores, out);
    case KvCode::f16:
      return attention_coded<V, KvCode::f16>(kv, head_dim, q, q_stride, n_rows, begin, end, scale,
                                             terms, scores, out);
    case KvCode::q8:
      return attention_coded<V, KvCode::q8>(kv, head_dim, q, q_stride, n_rows, begin, end, scale,
                                            terms, scores, out);
  }
}

/// exp(x) of one number, the same as in the lanes.
template <class V>
float exp_of(float x) {
  return V::first(vector_exp<V>(V::set1(x)));
}

template <class V>
void attention_merge(const SoftmaxState& into, const SoftmaxState& from, size_t n_rows,
                     size_t head_dim_padded) {
  for (size_t r = 0; r < n_rows; ++r) {
    if (from.max[r] == -kInfinity) continue;
    const bool copy = into.max[r] == -kInfinity;
    const float max = copy || from.max[r] > into.max[r] ? from.max[r] : into.max[r];
    const float a = copy ? 0.0f : exp_of<V>(into.max[r] - max);
    const float b = exp_of<V>(from.max[r] - max);
    float* acc = into.acc + r * head_dim_padded;
    const float* other = from.acc + r * head_dim_padded;
    for (size_t d = 0; d < head_dim_padded; d += kLanes) {
      const auto theirs = V::load(other + d);
      const auto scaled = V::mul(theirs, V::set1(b));
      V::store(acc + d, copy ? theirs : V::fma(V::load(acc + d), V::set1(a), scaled));
    }
    into.sum[r] = copy ? from.sum[r] : into.sum[r] * a + from.sum[r] * b;
    into.max[r] = max;
  }
}

template <class V>
void attention_finish(const SoftmaxState& state, size_t n_rows, size_t head_dim, float* y,
                      size_t y_stride) {
  for (size_t r = 0; r < n_rows; ++r) {
    const float* acc = state.acc + r * padded_dim(head_dim);
    const bool unseen = state.sum[r] == 0;
    const auto sum = V::set1(state.sum[r]);
    for (size_t d = 0; d < head_dim; d += kLanes)
      V::store_first(y + r * y_stride + d, unseen ? V::zero() : V::div(V::load(acc + d), sum),
                     head_dim - d);
  }
}

}  // namespace
}  // namespace nibble
