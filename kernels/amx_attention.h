// Attention on tiles of bf16 (AMX), over a cache of fp16; other caches as AVX-512 does it.
//
// Queries, keys, values and the weights of the softmax are rounded to bf16, sums are f32: what
// models compute that are run in bf16. For 32 rows of queries, a chunk and heads of 64 columns, the
// products take 2 * 64 tile products of 16 cycles where 2 * 32,768 fma at two a cycle took 32,768
// cycles; the softmax of 512 vectors and the pairs of 2 * 512 lines remain.
#pragma once

#include "amx_matmul.h"
#include "vector_attention.h"

namespace nibble {
namespace {

constexpr size_t kTileHeadDim = 256;  // the widest head of the tile kernels
constexpr size_t kAttentionRows = 2 * kTileRows;

/// Two lines of f32 as a line of pairs of bf16: to nearest, ties away from zero.
[[gnu::always_inline]] inline __m512i paired(__m512 even, __m512 odd) {
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(~0xffff);
  const __m512i a = _mm512_add_epi32(_mm512_castps_si512(even), half);
  const __m512i b = _mm512_add_epi32(_mm512_castps_si512(odd), half);
  return _mm512_ternarylogic_epi32(b, upper, _mm512_srli_epi32(a, 16), Avx512::kAndOr);
}

/// The positions that any row sees.
struct SeenPositions {
  bool at[kAttentionChunk] = {};
  size_t begin = kAttentionChunk, end = 0;

  SeenPositions(const int32_t* from, const int32_t* to, size_t n_rows) {
    for (size_t t = 0; t < n_rows; ++t) {
      if (to[t] <= from[t]) continue;
      const auto first = static_cast<size_t>(from[t]), last = static_cast<size_t>(to[t]);
      __builtin_memset(at + first, 1, last - first);
      begin = min_of(begin, first);
      end = max_of(end, last);
    }
  }
  bool any_of_panel(size_t panel) const {
    for (size_t i = 0; i < kPanelRows; ++i)
      if (at[panel * kPanelRows + i]) return true;
    return false;
  }
};

/// Up to 32 rows of queries over one chunk, R tiles of them.
template <int R, class Tiles>
class TileAttention {
 public:
  TileAttention(Tiles& tiles, const KvChunk& kv, const SeenPositions& seen, size_t head_dim,
                size_t n_rows, float* scores)
      : tiles_(tiles),
        kv_(kv),
        seen_(seen),
        head_dim_(head_dim),
        n_rows_(n_rows),
        stride_(padded_dim(head_dim)),
        scores_(scores) {}

  /// scores = q . k of the panels of keys that are seen. Each is made pairs of, and multiplied
  /// while the next one is.
  void score(const float* q, size_t q_stride) {
    const size_t dim = (head_dim_ + kTileCols - 1) / kTileCols * kTileCols;
    QuantizedRows rounded;
    rounded.codes = reinterpret_cast<int8_t*>(queries_);
    rounded.n_rows = n_rows_;
    rounded.stride = dim * sizeof(uint16_t);
    round_rows(q, q_stride, head_dim_, rounded);
    size_t n = 0, before = 0;
    const auto multiply = [&](size_t i) {
      if (i % 2 == 0)
        score_panel<0>(before, dim);
      else
        score_panel<1>(before, dim);
    };
    for (size_t panel = seen_.begin / kPanelRows; panel * kPanelRows < seen_.end; ++panel) {
      if (!seen_.any_of_panel(panel)) continue;
      pair_keys(panel, dim, pairs_[n % 2]);
      if (n > 0) multiply(n - 1);
      before = panel;
      ++n;
    }
    if (n > 0) multiply(n - 1);
  }

  void pair_keys(size_t panel, size_t dim, uint8_t* out) const {
    const size_t at = panel * head_dim_ * kPanelRows;
    const auto line = [&](size_t d) {
      const auto* keys = static_cast<const uint16_t*>(kv_.k) + at + d * kPanelRows;
      return d < head_dim_ ? Avx512::load_f16(keys) : Avx512::zero();
    };
    for (size_t d = 0; d < dim; d += 2, out += kLineBytes) {
      fetch_kv<KvCode::f16>(kv_.k, at + d * kPanelRows);
      _mm512_store_si512(out, paired(line(d), line(d + 1)));
    }
  }

  /// Panels in turns take the sums 0 and 2, 1 and 3.
  template <int kTurn>
  void score_panel(size_t panel, size_t dim) {
    unrolled<R>([&]<int r>() { tiles_.template zero<2 * r + kTurn>(); });
    for (size_t d = 0; d < dim; d += kTileCols) {
      tiles_.template load<kRight + kTurn>(pairs_[kTurn] + d * kColumnBytes, kLineBytes);
      unrolled<R>([&]<int r>() {
        const uint8_t* rows = queries_ + (r * kTileRows * dim + d) * sizeof(uint16_t);
        tiles_.template load<kLeft + r>(rows, dim * sizeof(uint16_t));
        tiles_.template multiply_add<2 * r + kTurn, kLeft + r, kRight + kTurn>();
      });
    }
    unrolled<R>([&]<int r>() {
      float* out = scores_ + r * kTileRows * kAttentionChunk + panel * kPanelRows;
      tiles_.template store<2 * r + kTurn>(out, kScoreBytes);
    });
  }

  /// The weights of row t in bf16, zero where it does not look, and their sum.
  float round_weights(size_t t, size_t first, size_t last) {
    auto* out = reinterpret_cast<uint16_t*>(weights_ + t * kWeightBytes);
    __builtin_memset(out, 0, kAttentionChunk * sizeof *out);
    auto total = Avx512::zero();
    for (size_t p = first / kLanes * kLanes; p < last; p += kLanes) {
      const __m512i upper = rounded_bf16(Avx512::load(scores_ + t * kAttentionChunk + p));
      total = Avx512::add(total, _mm512_castsi512_ps(_mm512_slli_epi32(upper, 16)));
      _mm512_mask_cvtepi32_storeu_epi16(out + p, 0xffff, upper);
    }
    return Avx512::reduce_add(total);
  }

  /// acc [n_rows, stride] = weights times values, two tiles of columns at a time.
  void add_values(float* acc) {
    for (size_t d = 0; d < stride_; d += 2 * kLanes)
      if (d + kLanes < stride_)
        add_columns<2>(d, acc);
      else
        add_columns<1>(d, acc);
  }

  template <int P>
  void add_columns(size_t d, float* acc) {
    unrolled<R>([&]<int r>() { unrolled<P>([&]<int p>() { tiles_.template zero<2 * r + p>(); }); });
    const size_t begin = seen_.begin / kTileCols * kTileCols;
    for (size_t p0 = begin; p0 < seen_.end; p0 += kTileCols) {
      pair_values<P>(p0, d, pairs_[p0 / kTileCols % 2]);
      if (p0 > begin) multiply_values<P>(p0 - kTileCols);
    }
    if (begin < seen_.end) multiply_values<P>((seen_.end - 1) / kTileCols * kTileCols);
    unrolled<R>([&]<int r>() {
      unrolled<P>([&]<int p>() {
        float* out = acc + r * kTileRows * stride_ + d + p * kLanes;
        tiles_.template store<2 * r + p>(out, stride_ * sizeof(float));
      });
    });
  }

  template <int P>
  void pair_values(size_t p0, size_t d, uint8_t* out) const {
    const auto* values = static_cast<const uint16_t*>(kv_.v) + d;
    const auto row = [&](size_t p, size_t column) {
      return seen_.at[p] ? Avx512::load_f16(values + p * stride_ + column) : Avx512::zero();
    };
    for (size_t p = p0; p < p0 + kTileCols; p += 2, out += kLineBytes) {
      for (size_t i = 0; d == 0 && i < 2 * stride_; i += kLineBytes / sizeof(uint16_t))
        fetch_kv<KvCode::f16>(kv_.v, p * stride_ + i);
      unrolled<P>([&]<int i>() {
        const __m512i both = paired(row(p, i * kLanes), row(p + 1, i * kLanes));
        _mm512_store_si512(out + i * kTileBytes, both);
      });
    }
  }

  template <int P>
  void multiply_values(size_t p0) {
    unrolled<R>([&]<int r>() {
      const uint8_t* rows = weights_ + r * kTileRows * kWeightBytes + p0 * sizeof(uint16_t);
      tiles_.template load<kLeft + r>(rows, kWeightBytes);
    });
    unrolled<P>([&]<int p>() {
      tiles_.template load<kRight + p>(pairs_[p0 / kTileCols % 2] + p * kTileBytes, kLineBytes);
      unrolled<R>(
          [&]<int r>() { tiles_.template multiply_add<2 * r + p, kLeft + r, kRight + p>(); });
    });
  }

  static constexpr size_t kScoreBytes = kAttentionChunk * sizeof(float);
  static constexpr size_t kWeightBytes = kAttentionChunk * sizeof(uint16_t) + kLineBytes;

  Tiles& tiles_;
  const KvChunk& kv_;
  const SeenPositions& seen_;
  size_t head_dim_, n_rows_;
  size_t stride_;  // of a row of values
  float* scores_;  // [n_rows, kAttentionChunk]
  alignas(64) uint8_t queries_[kAttentionRows * kTileHeadDim * sizeof(uint16_t)];
  alignas(64) uint8_t weights_[kAttentionRows * kWeightBytes];  // of the softmax
  alignas(64) uint8_t pairs_[2][kTileHeadDim * kColumnBytes];   // of keys or values
};

inline bool any_nan(const float* x, size_t n) {
  __mmask16 found = 0;
  for (size_t i = 0; i < n; i += kLanes)
    found |= _mm512_cmp_ps_mask(Avx512::load(x + i), Avx512::load(x + i), _CMP_UNORD_Q);
  return found != 0;
}

/// Rows row..row+n_rows-1, R tiles of them. Returns false if a sum is no number: a value may then
/// be none that some row does not see, but meets with a weight of 0.
template <int R, class Tiles>
bool attention_tiles(Tiles& tiles, const KvChunk& kv, size_t head_dim, const float* q,
                     size_t q_stride, size_t row, size_t n_rows, const int32_t* begin,
                     const int32_t* end, float scale, const ScoreTerms& terms, float* scores,
                     const SoftmaxState& out) {
  const SeenPositions seen(begin + row, end + row, n_rows);
  const size_t stride = padded_dim(head_dim), low = min_of(kTileRows, n_rows);
  scores += row * kAttentionChunk;
  TileAttention<R, Tiles> work(tiles, kv, seen, head_dim, n_rows, scores);
  tiles.configure(tile_config(low, n_rows - low));
  work.score(q + row * q_stride, q_stride);
  for (size_t t = 0; t < n_rows; ++t) {
    const auto first = static_cast<size_t>(begin[row + t]);
    const size_t last = end[row + t] > begin[row + t] ? static_cast<size_t>(end[row + t]) : first;
    float& sum = out.sum[row + t];
    softmax_row<Avx512, KvCode::f16>(kv, first, last, scale, terms, row + t,
                                     scores + t * kAttentionChunk, out.max[row + t], sum);
    sum = work.round_weights(t, first, last);
  }
  work.add_values(out.acc + row * stride);
  tiles.release();
  return !any_nan(out.acc + row * stride, n_rows * stride);
}

template <class Tiles>
void attention_chunk_tiles(const KvChunk& kv, size_t head_dim, const float* q, size_t q_stride,
                           size_t n_rows, const int32_t* begin, const int32_t* end, float scale,
                           const ScoreTerms& terms, float* scores, const SoftmaxState& out) {
  bool done = kv.code == KvCode::f16 && head_dim <= kTileHeadDim;
  Tiles tiles;
  for (size_t row = 0; done && row < n_rows; row += kAttentionRows) {
    const size_t n = min_of(kAttentionRows, n_rows - row);
    const auto run = n > kTileRows ? attention_tiles<2, Tiles> : attention_tiles<1, Tiles>;
    done = run(tiles, kv, head_dim, q, q_stride, row, n, begin, end, scale, terms, scores, out);
  }
  if (!done)
    attention_chunk<Avx512>(kv, head_dim, q, q_stride, n_rows, begin, end, scale, terms, scores,
                            out);
}

}  // namespace
}  // namespace nibble
