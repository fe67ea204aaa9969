#include "model/experts.h"

#include <cmath>
#include <vector>

namespace nibble {
namespace {

using Vector = std::vector<float>;

// A slot is one row of one expert. Slots are sorted by expert, then by row, and computed in
// windows of as many as the workspace holds.
class Experts {
 public:
  Experts(const ModelImpl& model, Workspace& workspace, const Products& products,
          const LayerWeights& layer, size_t n, void (*activate)(float*, const float*, size_t))
      : kernels_(*model.kernels),
        config_(model.config),
        ws_(workspace),
        products_(products),
        layer_(layer),
        n_(n),
        n_experts_(static_cast<size_t>(config_.n_experts)),
        used_(static_cast<size_t>(config_.n_experts_used)),
        dim_(static_cast<size_t>(config_.dim)),
        ffn_dim_(static_cast<size_t>(config_.ffn_dim)),
        activate_(activate) {}

  void run() {
    const Input normed{ws_.normed, ws_.x_stride, dim_};
    products_.for_rows(n_, [&](size_t t) { products_.quantize(normed, t, {&layer_.router}); });
    products_.multiply({{&layer_.router, ws_.router, ws_.router_stride}}, normed, n_);
    products_.for_rows(n_, [&](size_t t) { choose(t); });
    assign_slots();
    products_.for_rows(
        n_, [&](size_t t) { std::fill_n(ws_.projected + t * ws_.x_stride, dim_, 0.0f); });
    for (size_t first = 0; first < n_ * used_; first += ws_.slots)
      window(first, std::min(first + ws_.slots, n_ * used_));
  }

 private:
  // The experts of row t in ascending order, and their weights.
  void choose(size_t t) {
    float* score = ws_.router + t * ws_.router_stride;
    int32_t* chosen = ws_.chosen + t * used_;
    float* weight = ws_.chosen_weight + t * used_;
    if (!layer_.router_bias.empty()) kernels_.add(score, layer_.router_bias.data(), n_experts_);
    const float max = *std::max_element(score, score + n_experts_);
    float sum = 0;
    for (size_t e = 0; e < n_experts_; ++e) sum += score[e] = std::exp(score[e] - max);
    float sum_chosen = 0;
    for (size_t i = 0; i < used_; ++i) {
      float* best = std::max_element(score, score + n_experts_);
      size_t at = i;
      for (; at > 0 && chosen[at - 1] > best - score; --at) {
        chosen[at] = chosen[at - 1];
        weight[at] = weight[at - 1];
      }
      chosen[at] = static_cast<int32_t>(best - score);
      weight[at] = *best;
      sum_chosen += *best;
      *best = -1.0f;  // below what is left
    }
    const float total = config_.normalize_experts ? sum_chosen : sum;
    for (size_t i = 0; i < used_; ++i) weight[i] /= total;
  }

  void assign_slots() {
    int32_t* end = ws_.expert_end;  // first the counts, then where the next slot goes
    std::fill_n(end, n_experts_, 0);
    for (size_t i = 0; i < n_ * used_; ++i) ++end[ws_.chosen[i]];
    int32_t before = 0;
    for (size_t e = 0; e < n_experts_; ++e) {
      before += end[e];
      end[e] = before - end[e];
    }
    for (size_t i = 0; i < n_ * used_; ++i) {
      const int32_t slot = end[ws_.chosen[i]]++;
      ws_.slot_of[i] = slot;
      ws_.slot_row[slot] = static_cast<int32_t>(i / used_);
    }
  }

  // Computes the slots first..last-1 and adds them to their rows.
  void window(size_t first, size_t last) {
    const size_t n = last - first;
    gather(first, n);
    multiply_experts(first, last, true);
    products_.for_rows(n, [&](size_t s) { act(s, first + s); });
    multiply_experts(first, last, false);
    products_.for_rows(n_, [&](size_t t) {
      for (size_t i = t * used_; i < (t + 1) * used_; ++i) {
        const auto slot = static_cast<size_t>(ws_.slot_of[i]);
        if (slot < first || slot >= last) continue;
        float* y = ws_.projected + t * ws_.x_stride;
        const float weight = ws_.chosen_weight[i];
        kernels_.add_scaled(y, weight, ws_.expert_out + (slot - first) * ws_.x_stride, dim_);
        const Vector& bias = layer_.experts[static_cast<size_t>(ws_.chosen[i])].down_bias;
        if (!bias.empty()) kernels_.add_scaled(y, weight, bias.data(), dim_);
      }
    });
  }

  void gather(size_t first, size_t n) {
    products_.for_rows(n, [&](size_t s) {
      const auto row = static_cast<size_t>(ws_.slot_row[first + s]);
      std::copy_n(ws_.normed + row * ws_.x_stride, dim_, ws_.expert_in + s * ws_.x_stride);
      const ExpertWeights& expert = expert_of(first + s);
      if (config_.gated_ffn)
        products_.quantize(expert_in(), s, {&expert.gate, &expert.up});
      else
        products_.quantize(expert_in(), s, {&expert.up});
    });
  }

  void act(size_t s, size_t slot) {
    float* up = ws_.up + s * ws_.ffn_stride;
    float* gate = ws_.gate + s * ws_.ffn_stride;
    const ExpertWeights& expert = expert_of(slot);
    if (!expert.gate_bias.empty()) kernels_.add(gate, expert.gate_bias.data(), ffn_dim_);
    if (!expert.up_bias.empty()) kernels_.add(up, expert.up_bias.data(), ffn_dim_);
    if (config_.gated_ffn)
      activate_(gate, up, ffn_dim_);
    else
      activate_(up, nullptr, ffn_dim_);
    products_.quantize(hidden(), s, {&expert.down});
  }

  // The products of all experts with slots in first..last-1: from `in` to the hidden layer, or from
  // there to `out`.
  void multiply_experts(size_t first, size_t last, bool in) {
    size_t count = 0;
    for (size_t e = 0; e < n_experts_; ++e) {
      const size_t begin = std::max(first, e == 0 ? 0 : end_of(e - 1));
      const size_t end = std::min(last, end_of(e));
      if (begin >= end) continue;
      const ExpertWeights& expert = layer_.experts[e];
      const auto add = [&](const PackedMatrix& w, float* y, size_t stride) {
        ws_.expert_products[count++] = {&w, y, stride, begin - first, end - begin};
      };
      if (in && config_.gated_ffn) add(expert.gate, ws_.gate, ws_.ffn_stride);
      if (in) add(expert.up, ws_.up, ws_.ffn_stride);
      if (!in) add(expert.down, ws_.expert_out, ws_.x_stride);
    }
    const std::span<const Product> all(ws_.expert_products.data(), count);
    products_.multiply(all, in ? expert_in() : hidden(), last - first);
  }

  Input expert_in() const { return {ws_.expert_in, ws_.x_stride, dim_}; }
  Input hidden() const { return {config_.gated_ffn ? ws_.gate : ws_.up, ws_.ffn_stride, ffn_dim_}; }
  size_t end_of(size_t expert) const { return static_cast<size_t>(ws_.expert_end[expert]); }
  const ExpertWeights& expert_of(size_t slot) const {
    const int32_t* ends = ws_.expert_end;
    const auto found = std::upper_bound(ends, ends + n_experts_, static_cast<int32_t>(slot));
    return layer_.experts[static_cast<size_t>(found - ends)];
  }

  const Kernels& kernels_;
  const Config& config_;
  Workspace& ws_;
  const Products& products_;
  const LayerWeights& layer_;
  size_t n_, n_experts_, used_, dim_, ffn_dim_;
  void (*activate_)(float*, const float*, size_t);
};

}  // namespace

void run_experts(const ModelImpl& model, Workspace& workspace, const Products& products,
                 const LayerWeights& layer, size_t n,
                 void (*activate)(float* x, const float* up, size_t n)) {
  Experts(model, workspace, products, layer, n, activate).run();
}

}  // namespace nibble
