#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>

#include "base/checked.h"
#include "model/rope.h"
#include "model/workspace.h"

namespace nibble {
namespace {

// Queries computed together share each key that is loaded; more would leave the L1 cache.
constexpr size_t kQueryRows = 32;

// A row's stride in floats: room for the padding of the last panel, and no power of two, so that
// rows do not share cache sets.
size_t row_stride(int64_t n) { return round_up(static_cast<size_t>(n), 16) + 16; }

// Pairs of an input form and a group size (0: read as floats).
std::set<std::pair<uint8_t, size_t>> inputs_of(const Weights& weights) {
  std::set<std::pair<uint8_t, size_t>> out;
  const auto add = [&](const PackedMatrix& m) { out.emplace(m.input_form, m.view.shape.group); };
  for (const PackedMatrix* m : {&weights.head(), &weights.project_in, &weights.project_out})
    if (!m->empty()) add(*m);
  for (const LayerWeights& layer : weights.layers) for_each_matrix(layer, add);
  return out;
}

// Slopes of the heads (arXiv 2108.12409): a geometric sequence down to 2^-max_bias for the last of
// 2^n heads; other numbers of heads take the even steps of the next one first, then the odd ones.
std::vector<float> alibi_slopes_of(const Config& c) {
  const auto n = static_cast<size_t>(c.n_heads);
  const size_t full = std::bit_ceil(n);
  std::vector<float> out;
  const auto slope = [&](size_t step) {
    const double exponent = static_cast<double>(c.alibi_max_bias) * static_cast<double>(step) /
                            static_cast<double>(full);
    return static_cast<float>(std::exp2(-exponent) * static_cast<double>(c.alibi_scale));
  };
  if (full == n)
    for (size_t i = 1; i <= n; ++i) out.push_back(slope(i));
  for (size_t i = 2; i <= full && out.size() < n; i += 2) out.push_back(slope(i));
  for (size_t i = 1; i <= full && out.size() < n; i += 2) out.push_back(slope(i));
  return out;
}

}  // namespace

// Hands out consecutive 64-byte aligned pieces of memory; without memory it only counts.
class Workspace::Arena {
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

void Workspace::place_experts(const Config& c, Arena& arena) {
  const auto n_experts = static_cast<size_t>(c.n_experts);
  const size_t n_chosen = batch * static_cast<size_t>(c.n_experts_used);
  router_stride = row_stride(c.n_experts);
  router = arena.take<float>(batch * router_stride);
  chosen_weight = arena.take<float>(n_chosen);
  for (int32_t** buffer : {&chosen, &slot_of, &slot_row}) *buffer = arena.take<int32_t>(n_chosen);
  expert_end = arena.take<int32_t>(n_experts);
  for (float** buffer : {&expert_in, &expert_out}) *buffer = arena.take<float>(slots * x_stride);
  expert_products.resize(2 * n_experts);
}

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
  slots = std::max(batch, static_cast<size_t>(c.n_experts_used));
  for (float** buffer : {&gate, &up}) *buffer = arena.take<float>(slots * ffn_stride);
  narrow_stride = row_stride(c.embedding_dim);
  if (c.embedding_dim > 0) narrow = arena.take<float>(batch * narrow_stride);
  if (c.positions == Positions::rope) rope.resize(c.rope_local_theta > 0 ? 2 : 1);
  for (Rope& r : rope)
    for (float** buffer : {&r.cos, &r.sin})
      *buffer = arena.take<float>(batch * static_cast<size_t>(c.rope_dim) / 2);
  if (c.n_experts > 0) place_experts(c, arena);

  const size_t widest = round_up(static_cast<size_t>(std::max({c.dim, static_cast<int32_t>(q_dim),
                                                               c.ffn_dim, c.embedding_dim})),
                                 kSuperCols);
  widest_stride = row_stride(static_cast<int64_t>(widest));
  quantized.clear();
  for (const auto& [form, group] : inputs_of(model.weights)) {
    if (form != 0 && !permuted[form]) permuted[form] = arena.take<float>(slots * widest_stride);
    if (!model.int8_activations || group == 0) continue;
    Quantized& q8 = quantized.emplace_back();
    q8.group = group;
    q8.input_form = form;
    q8.rows.codes =
        arena.take<int8_t>(slots * (widest * code_bytes(model.kernels->activations) + kRowPadding));
    q8.rows.scales = arena.take<float>(slots * (widest / group));
    q8.rows.sums = arena.take<int32_t>(slots * (widest / group));
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
    a.slope = arena.take<float>(rows);
    a.origin = arena.take<int32_t>(rows);
  }
  return arena.used();
}

Workspace::Workspace(const ModelImpl& model, int batch_size, int context)
    : batch(static_cast<size_t>(batch_size)) {
  memory_ = AnonymousMemory(place(model, nullptr));
  place(model, memory_.data());
  const Config& c = model.config;
  for (size_t i = 0; i < rope.size(); ++i) {
    rope[i].frequencies = rope_frequencies(c, context > 0 ? context : batch_size, i == 1);
    if (i == 0) rope[i].magnitude = c.rope_attention_factor;
  }
  if (c.positions == Positions::alibi) alibi_slopes = alibi_slopes_of(c);
}

uint64_t Workspace::bytes(const ModelImpl& model, int batch_size) {
  Workspace counted;
  counted.batch = static_cast<size_t>(batch_size);
  return counted.place(model, nullptr);
}

}  // namespace nibble
