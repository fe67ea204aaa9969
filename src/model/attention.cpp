#include "model/attention.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/config_reader.h"

namespace nibble {
namespace {

constexpr int kChunk = static_cast<int>(kAttentionChunk);

// The attention of one layer and batch: what all its tasks share.
class LayerAttention {
 public:
  LayerAttention(const ModelImpl& model, const KvCache& cache, Workspace& workspace, int layer,
                 size_t n_tokens, int position)
      : kernels_(*model.kernels),
        config_(model.config),
        cache_(cache),
        ws_(workspace),
        layer_(layer),
        n_tokens_(n_tokens),
        position_(position),
        rep_(static_cast<size_t>(config_.n_heads / config_.n_kv_heads)),
        head_dim_(static_cast<size_t>(config_.head_dim)),
        padded_(static_cast<size_t>(cache.head_dim_padded())),
        window_(has_window(config_, layer) ? config_.sliding_window : 0),
        sinks_(config_.attention_sinks
                   ? model.weights.layers[static_cast<size_t>(layer)].sinks.data()
                   : nullptr),
        scale_(config_.attention_scale > 0.0f
                   ? config_.attention_scale
                   : 1.0f / std::sqrt(static_cast<float>(config_.head_dim))) {}

  // The tokens first..first+n-1 of one KV head, by one thread: chunk after chunk.
  void block(int kv_head, size_t first, Workspace::Attention& scratch) const {
    const size_t n = std::min(ws_.tokens_per_block, n_tokens_ - first);
    const size_t rows = n * rep_;
    start(kv_head, scratch.total, rows);
    for (int c = first_chunk(first); c <= last_chunk(first + n - 1); ++c) {
      chunk(kv_head, first, n, c, scratch, scratch.part);
      merge(scratch.total, scratch.part, rows);
    }
    finish(kv_head, first, n, scratch.total);
  }

  // The state of one chunk alone, for the same tokens.
  void chunk(int kv_head, size_t first, size_t n, int c, Workspace::Attention& scratch,
             const SoftmaxState& out) const {
    for (size_t t = 0; t < n; ++t) {
      const int p = position_ + static_cast<int>(first + t);
      const int begin = window_ > 0 ? p + 1 - window_ : 0;
      for (size_t r = 0; r < rep_; ++r) {
        scratch.begin[t * rep_ + r] = std::clamp(begin - c * kChunk, 0, kChunk);
        scratch.end[t * rep_ + r] = std::clamp(p + 1 - c * kChunk, 0, kChunk);
        scratch.origin[t * rep_ + r] = p - c * kChunk;
      }
    }
    if (!ws_.alibi_slopes.empty())
      for (size_t t = 0; t < n; ++t)
        std::copy_n(ws_.alibi_slopes.data() + static_cast<size_t>(kv_head) * rep_, rep_,
                    scratch.slope + t * rep_);
    const ScoreTerms terms{config_.attention_softcap,
                           ws_.alibi_slopes.empty() ? nullptr : scratch.slope, scratch.origin};
    const float* q =
        ws_.q_heads + (static_cast<size_t>(kv_head) * ws_.batch + first) * rep_ * head_dim_;
    kernels_.attention_chunk(cache_.chunk(layer_, kv_head, c), head_dim_, q, head_dim_, n * rep_,
                             scratch.begin, scratch.end, scale_, terms, scratch.scores, out);
  }

  void finish(int kv_head, size_t first, size_t n, const SoftmaxState& state) const {
    for (size_t t = 0; t < n; ++t) {
      const SoftmaxState rows{state.acc + t * rep_ * padded_, state.max + t * rep_,
                              state.sum + t * rep_};
      float* y = ws_.attended + (first + t) * ws_.q_stride +
                 static_cast<size_t>(kv_head) * rep_ * head_dim_;
      kernels_.attention_finish(rows, rep_, head_dim_, y, head_dim_);
    }
  }

  // A state that has seen nothing, or the score that each head adds to its softmax.
  void start(int kv_head, const SoftmaxState& state, size_t rows) const {
    std::fill_n(state.acc, rows * padded_, 0.0f);
    std::fill_n(state.max, rows, -INFINITY);
    std::fill_n(state.sum, rows, sinks_ ? 1.0f : 0.0f);
    if (sinks_)
      for (size_t r = 0; r < rows; ++r)
        state.max[r] = sinks_[static_cast<size_t>(kv_head) * rep_ + r % rep_];
  }

  void merge(const SoftmaxState& into, const SoftmaxState& from, size_t rows) const {
    kernels_.attention_merge(into, from, rows, padded_);
  }

  int first_chunk(size_t first_token) const {
    const int p = position_ + static_cast<int>(first_token);
    return window_ > 0 ? std::max(0, p + 1 - window_) / kChunk : 0;
  }
  int last_chunk(size_t last_token) const {
    return (position_ + static_cast<int>(last_token)) / kChunk;
  }
  size_t rep() const { return rep_; }
  size_t padded() const { return padded_; }

 private:
  const Kernels& kernels_;
  const Config& config_;
  const KvCache& cache_;
  Workspace& ws_;
  int layer_;
  size_t n_tokens_;
  int position_;
  size_t rep_;  // query heads that share a KV head
  size_t head_dim_;
  size_t padded_;
  int window_;          // 0: none
  const float* sinks_;  // [n_heads], or null
  float scale_;
};

}  // namespace

void attend(const ModelImpl& model, const KvCache& cache, Workspace& ws, int layer, size_t n_tokens,
            int position, int n_threads) {
  const LayerAttention work(model, cache, ws, layer, n_tokens, position);
  const size_t n_heads = static_cast<size_t>(model.config.n_kv_heads);
  const size_t n_blocks = ceil_div(n_tokens, ws.tokens_per_block);
  const int first_chunk = work.first_chunk(0);
  const size_t n_chunks = static_cast<size_t>(work.last_chunk(n_tokens - 1) - first_chunk + 1);
  const auto head_of = [&](size_t task) { return static_cast<int>(task % n_heads); };

  if (n_blocks > 1 || n_chunks == 1 || n_heads >= 8 * static_cast<size_t>(n_threads)) {
    const auto task = [&](size_t i, int thread) {
      work.block(head_of(i), i / n_heads * ws.tokens_per_block,
                 ws.attention[static_cast<size_t>(thread)]);
    };
    model.pool->run(n_heads * n_blocks, task, n_threads);
    return;
  }

  // One block of tokens and a long cache: chunks are computed apart, then merged in their order.
  const size_t rows = n_tokens * work.rep();
  const size_t state_size = rows * (work.padded() + 2);
  if (ws.split.size() < n_heads * n_chunks * state_size)
    ws.split.resize(n_heads * n_chunks * state_size);
  const auto state = [&](size_t head, size_t chunk) {
    float* at = ws.split.data() + (head * n_chunks + chunk) * state_size;
    return SoftmaxState{at, at + rows * work.padded(), at + rows * (work.padded() + 1)};
  };
  const auto one_chunk = [&](size_t i, int thread) {
    const size_t head = i % n_heads, chunk = i / n_heads;
    work.chunk(static_cast<int>(head), 0, n_tokens, first_chunk + static_cast<int>(chunk),
               ws.attention[static_cast<size_t>(thread)], state(head, chunk));
  };
  model.pool->run(n_heads * n_chunks, one_chunk, n_threads);
  const auto one_head = [&](size_t head, int thread) {
    const SoftmaxState& total = ws.attention[static_cast<size_t>(thread)].total;
    work.start(static_cast<int>(head), total, rows);
    for (size_t chunk = 0; chunk < n_chunks; ++chunk) work.merge(total, state(head, chunk), rows);
    work.finish(static_cast<int>(head), 0, n_tokens, total);
  };
  model.pool->run(n_heads, one_head, n_threads);
}

}  // namespace nibble
