#include <algorithm>
#include <cstddef>
#include <set>
#include <utility>

#include "base/checked.h"
#include "model/transformer.h"

namespace nibble {
namespace {

// Queries computed together share each key that is loaded; more would leave the L1 cache.
constexpr size_t kQueryRows = 32;

// Hands out consecutive 64-byte aligned pieces of memory; without memory it only counts.
class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}

  template <class T>
  T* take(size_t n) {
    T* out = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ = round_up(used_ + n * sizeof(T), 64);
    return out;
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

// A row's stride in floats: room for the padding of the last panel, and no power of two, so that
// rows do not share cache sets.
size_t row_stride(int64_t n) { return round_up(static_cast<size_t>(n), 16) + 16; }

// Pairs of an input form and a group size (0: read as floats).
std::set<std::pair<uint8_t, size_t>> inputs_of(const Weights& weights) {
  std::set<std::pair<uint8_t, size_t>> out;
  const auto add = [&](const PackedMatrix& m) { out.emplace(m.input_form, m.view.shape.group); };
  add(weights.head());
  for (const LayerWeights& layer : weights.layers)
    for (const PackedMatrix* m :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      add(*m);
  return out;
}

}  // namespace

size_t Workspace::place(const ModelImpl& model, std::byte* base) {
  const Config& c = model.config;
  Arena arena(base);
  const int64_t q_dim = int64_t{c.n_heads} * c.head_dim;
  const int64_t kv_dim = int64_t{c.n_kv_heads} * c.head_dim;
  x_stride = row_stride(c.dim);
  q_stride = row_stride(q_dim);
  kv_stride = row_stride(kv_dim);
  ffn_stride = row_stride(c.ffn_dim);
  for (float** buffer : {&x, &normed, &projected}) *buffer = arena.take<float>(batch * x_stride);
  for (float** buffer : {&q, &attended}) *buffer = arena.take<float>(batch * q_stride);
  q_heads = arena.take<float>(batch * static_cast<size_t>(q_dim));
  for (float** buffer : {&k, &v}) *buffer = arena.take<float>(batch * kv_stride);
  for (float** buffer : {&gate, &up}) *buffer = arena.take<float>(batch * ffn_stride);
  for (float** buffer : {&cos, &sin})
    *buffer = arena.take<float>(batch * static_cast<size_t>(c.rope_dim) / 2);

  const size_t widest = round_up(
      static_cast<size_t>(std::max({int64_t{c.dim}, q_dim, int64_t{c.ffn_dim}})), kSuperCols);
  widest_stride = row_stride(static_cast<int64_t>(widest));
  quantized.clear();
  for (const auto& [form, group] : inputs_of(model.weights)) {
    if (form != 0 && !permuted[form]) permuted[form] = arena.take<float>(batch * widest_stride);
    if (!model.int8_activations || group == 0) continue;
    Quantized& q8 = quantized.emplace_back();
    q8.group = group;
    q8.input_form = form;
    q8.rows.codes = arena.take<int8_t>(batch * (widest + kLineBytes));
    q8.rows.scales = arena.take<float>(batch * (widest / group));
    q8.rows.sums = arena.take<int32_t>(batch * (widest / group));
  }

  const size_t rep = static_cast<size_t>(c.n_heads / c.n_kv_heads);
  const size_t head_dim_padded = round_up(static_cast<size_t>(c.head_dim), 16);
  tokens_per_block = std::clamp<size_t>(kQueryRows / rep, 1, batch);
  const size_t rows = tokens_per_block * rep;
  attention.clear();
  for (int i = 0; i < std::max(model.threads, model.threads_batch); ++i) {
    Attention& a = attention.emplace_back();
    a.scores = arena.take<float>(rows * kAttentionChunk);
    for (SoftmaxState* state : {&a.part, &a.total}) {
      state->acc = arena.take<float>(rows * head_dim_padded);
      state->max = arena.take<float>(rows);
      state->sum = arena.take<float>(rows);
    }
    a.begin = arena.take<int32_t>(rows);
    a.end = arena.take<int32_t>(rows);
  }
  return arena.used();
}

Workspace::Workspace(const ModelImpl& model, int batch_size)
    : batch(static_cast<size_t>(batch_size)) {
  memory_ = AnonymousMemory(place(model, nullptr));
  place(model, memory_.data());
}

uint64_t Workspace::bytes(const ModelImpl& model, int batch_size) {
  Workspace counted;
  counted.batch = static_cast<size_t>(batch_size);
  return counted.place(model, nullptr);
}

}  // namespace nibble
