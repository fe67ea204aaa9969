// Attention of the ARM kernel sets: vector_attention.h, but for the products with keys and values,
// whose sums add_products() keeps in registers; GCC would store those of vector_attention.h at each
// step.
#pragma once

#include "neon_vector.h"
#include "vector_attention.h"

namespace nibble {
namespace {

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

/// scores[t][p] = q[t] . k[p] for the panels of 16 positions in `panels`.
template <KvCode C, size_t T>
void score_panels(const void* k, size_t head_dim, Range panels, const float* q, size_t q_stride,
                  float* scores) {
  for (size_t panel = panels.begin; panel < panels.end; ++panel) {
    const auto column = [&](size_t d) {
      return load_kv<Neon, C>(k, (panel * head_dim + d) * kPanelRows);
    };
    Block dot[T];
    for (size_t t = 0; t < T; ++t) dot[t] = splat(0.0f);
    add_products(dot, column, 0, head_dim, q, q_stride);
    for (size_t t = 0; t < T; ++t)
      store_block(scores + t * kAttentionChunk + panel * kPanelRows, dot[t]);
  }
}

/// acc[t] += sum of weights[t][p] * v[p] over the range.
template <KvCode C, size_t T>
void add_values(const void* v, size_t stride, Range seen, const float* weights, float* acc) {
  for (size_t d = 0; d < stride; d += 16) {
    const auto column = [&](size_t p) { return load_kv<Neon, C>(v, p * stride + d); };
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

template <KvCode C, size_t T>
void attend_tile(const Attention& a, size_t row) {
  const size_t stride = padded_dim(a.head_dim);
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
    score_panels<C, decltype(rows)::kCount>(a.kv.k, a.head_dim, range, a.q + (row + t) * a.q_stride,
                                            a.q_stride, scores + t * kAttentionChunk);
  });
  for (size_t t = 0; t < T; ++t) {
    softmax_row<Neon, C>(a.kv, seen[t].begin, seen[t].end, a.scale, a.terms, row + t,
                         scores + t * kAttentionChunk, a.out.max[row + t], a.out.sum[row + t]);
    for (size_t d = 0; d < stride; d += 16) store_block(acc + t * stride + d, splat(0.0f));
  }
  for_shared_ranges(seen, [&](auto rows, size_t t, Range range) {
    add_values<C, decltype(rows)::kCount>(a.kv.v, stride, range, scores + t * kAttentionChunk,
                                          acc + t * stride);
  });
}

template <KvCode C>
void attend(const Attention& a, size_t n_rows) {
  for_row_tiles(0, n_rows,
                [&](auto rows, size_t row) { attend_tile<C, decltype(rows)::kCount>(a, row); });
}

inline void attention_chunk(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                            size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                            const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  const Attention a{kv, head_dim, q, q_stride, begin, end, scale, terms, scores, out};
  switch (kv.code) {
    case KvCode::f32:
      return attend<KvCode::f32>(a, n_rows);
    case KvCode::f16:
      return attend<KvCode::f16>(a, n_rows);
    case KvCode::q8:
      return attend<KvCode::q8>(a, n_rows);
  }
}

}  // namespace
}  // namespace nibble
