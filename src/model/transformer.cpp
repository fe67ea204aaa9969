#include "model/transformer.h"

#include <cmath>

#include "model/attention.h"
#include "model/config_reader.h"
#include "model/experts.h"
#include "model/products.h"
#include "model/rope.h"

namespace nibble {
namespace {

using Vector = std::vector<float>;

class ForwardPass {
 public:
  ForwardPass(const ModelImpl& model, Workspace& workspace, size_t n_rows, int position = 0,
              const InputTap* tap = nullptr)
      : model_(model),
        kernels_(*model.kernels),
        config_(model.config),
        ws_(workspace),
        products_(model, workspace, n_rows, tap),
        n_(n_rows),
        position_(position),
        activate_(activation_kernel()) {}

  // x = project(embedding) + position
  void embed(std::span<const Token> tokens) {
    const Weights& w = model_.weights;
    const bool projected = !w.project_in.empty();
    const size_t width = w.embedding.view.shape.cols;
    products_.for_rows(n_, [&](size_t t) {
      float* x = projected ? ws_.narrow + t * ws_.narrow_stride : row(ws_.x, t);
      unpack_row(w.embedding.view, static_cast<size_t>(tokens[t]), x);
      if (config_.embedding_scale != 1.0f) kernels_.scale(x, config_.embedding_scale, width);
      if (projected) products_.quantize(narrow_input(width), t, {&w.project_in});
    });
    if (projected)
      products_.multiply({{&w.project_in, ws_.x, ws_.x_stride}}, narrow_input(width), n_);
    if (config_.embedding_norm)
      products_.for_rows(n_, [&](size_t t) {
        norm(row(ws_.x, t), w.embedding_norm, w.embedding_norm_bias, row(ws_.x, t));
      });
    if (config_.positions == Positions::learned)
      products_.for_rows(n_, [&](size_t t) {
        const size_t p = static_cast<size_t>(position_ + config_.position_offset) + t;
        unpack_row(w.positions.view, p, row(ws_.normed, t));
        kernels_.add(row(ws_.x, t), row(ws_.normed, t), dim());
      });
  }

  // What a layer needs to know of the positions of the rows.
  void place() {
    products_.for_rows(n_, [&](size_t t) {
      for (Workspace::Rope& r : ws_.rope) {
        const size_t half = r.frequencies.size();
        rope_angles(r.frequencies, position_ + static_cast<int>(t), r.magnitude, r.cos + t * half,
                    r.sin + t * half);
      }
    });
  }

  // projected = W_o attention(rope(W_q h), rope(W_k h), W_v h) for h = norm(x). Of the rows before
  // the last n_last only keys and values are computed; the last become rows 0..n_last-1. Returns
  // false if an InputTap left the product of W_o out.
  bool attention_block(int index, KvCache& cache, size_t n_last) {
    const LayerWeights& layer = model_.weights.layers[static_cast<size_t>(index)];
    const Product q{&layer.q, ws_.q, ws_.q_stride};
    const Product k{&layer.k, ws_.k, ws_.kv_stride}, v{&layer.v, ws_.v, ws_.kv_stride};
    const bool all = n_last == n_;
    products_.for_rows(n_, [&](size_t t) {
      input(t, layer.attn_norm, layer.attn_norm_bias);
      products_.quantize(normed(), t, {&layer.q, &layer.k, &layer.v});
    });
    if (all)
      products_.multiply({q, k, v}, normed(), n_);
    else
      products_.multiply({k, v}, normed(), n_);
    products_.for_rows(n_, [&](size_t t) {
      store(layer, index, cache, t);
      if (all) place_queries(layer, index, t);
    });
    if (!all) {
      keep_last(n_last);
      if (n_ == 0) return true;
      products_.for_rows(n_, [&](size_t t) { products_.quantize(normed(), t, {&layer.q}); });
      products_.multiply({q}, normed(), n_);
      products_.for_rows(n_, [&](size_t t) { place_queries(layer, index, t); });
    }
    attend(model_, cache, ws_, index, n_, position_, products_.n_threads());
    const Input attended{ws_.attended, ws_.q_stride,
                         static_cast<size_t>(config_.n_heads * config_.head_dim)};
    products_.for_rows(n_, [&](size_t t) { products_.quantize(attended, t, {&layer.o}); });
    return products_.multiply({{&layer.o, ws_.projected, ws_.x_stride}}, attended, n_);
  }

  // x += attention; x += W_down act(W_up h) for h = norm(x), of this x or of the one before.
  void ffn_block(int index) {
    const LayerWeights& layer = model_.weights.layers[static_cast<size_t>(index)];
    products_.for_rows(n_, [&](size_t t) {
      if (config_.residual == Residual::parallel) input(t, layer.ffn_norm, layer.ffn_norm_bias);
      finish(t, layer.o_bias, layer.attn_post_norm, layer.attn_post_norm_bias);
      if (config_.norm_placement == NormPlacement::residual)
        norm(row(ws_.x, t), layer.attn_norm, layer.attn_norm_bias, row(ws_.x, t));
      if (config_.residual == Residual::sequential) input(t, layer.ffn_norm, layer.ffn_norm_bias);
    });
    if (config_.n_experts > 0)
      run_experts(model_, ws_, products_, layer, n_, activate_);
    else
      feed_forward(layer);
    products_.for_rows(n_, [&](size_t t) {
      finish(t, layer.down_bias, layer.ffn_post_norm, layer.ffn_post_norm_bias);
      if (config_.norm_placement == NormPlacement::residual)
        norm(row(ws_.x, t), layer.ffn_norm, layer.ffn_norm_bias, row(ws_.x, t));
    });
  }

  // The rows of x, normed and multiplied with the head.
  void logits(float* out) {
    const Weights& w = model_.weights;
    const PackedMatrix& head = w.head();
    const bool projected = !w.project_out.empty();
    const size_t stride = round_up(head.view.shape.rows, kPanelRows);
    const PackedMatrix& reader = projected ? w.project_out : head;
    products_.for_rows(n_, [&](size_t t) {
      const float* x = row(ws_.x, t);
      if (config_.output_norm)
        norm(x, w.output_norm, w.output_norm_bias, row(ws_.normed, t));
      else
        std::copy_n(x, dim(), row(ws_.normed, t));
      products_.quantize(normed(), t, {&reader});
    });
    if (projected) {
      const Input narrow = narrow_input(w.project_out.view.shape.rows);
      products_.multiply({{&w.project_out, ws_.narrow, ws_.narrow_stride}}, normed(), n_);
      products_.for_rows(n_, [&](size_t t) { products_.quantize(narrow, t, {&head}); });
      products_.multiply({{&head, out, stride}}, narrow, n_);
    } else {
      products_.multiply({{&head, out, stride}}, normed(), n_);
    }
    if (config_.logit_scale == 1.0f && config_.logit_softcap == 0.0f) return;
    products_.for_rows(n_, [&](size_t t) {
      float* y = out + t * stride;
      if (config_.logit_scale != 1.0f) kernels_.scale(y, config_.logit_scale, stride);
      if (config_.logit_softcap != 0.0f) kernels_.soft_cap(y, config_.logit_softcap, stride);
    });
  }

 private:
  using ActivationKernel = void (*)(float* x, const float* up, size_t n);

  ActivationKernel activation_kernel() const {
    switch (config_.activation) {
      case Activation::silu:
        break;
      case Activation::gelu:
        return kernels_.gelu;
      case Activation::gelu_tanh:
        return kernels_.gelu_tanh;
      case Activation::relu:
        return kernels_.relu;
      case Activation::swiglu_oai:
        return kernels_.swiglu_oai;
    }
    return kernels_.silu;
  }

  size_t dim() const { return static_cast<size_t>(config_.dim); }
  float* row(float* buffer, size_t t) const { return buffer + t * ws_.x_stride; }
  Input normed() const { return {ws_.normed, ws_.x_stride, dim()}; }
  Input narrow_input(size_t width) const { return {ws_.narrow, ws_.narrow_stride, width}; }

  void norm(const float* x, const Vector& weight, const Vector& bias, float* y) const {
    if (config_.norm == NormKind::rms)
      kernels_.rms_norm(x, weight.data(), config_.norm_eps, dim(), y);
    else
      kernels_.layer_norm(x, weight.data(), bias.empty() ? nullptr : bias.data(), config_.norm_eps,
                          dim(), y);
  }

  // normed = what a sublayer reads of row t.
  void input(size_t t, const Vector& weight, const Vector& bias) const {
    const bool normed = config_.norm_placement == NormPlacement::before ||
                        config_.norm_placement == NormPlacement::around;
    if (normed)
      norm(row(ws_.x, t), weight, bias, row(ws_.normed, t));
    else
      std::copy_n(row(ws_.x, t), dim(), row(ws_.normed, t));
  }

  // Adds what a sublayer projected for row t to x.
  void finish(size_t t, const Vector& bias, const Vector& post_norm,
              const Vector& post_norm_bias) const {
    float* y = row(ws_.projected, t);
    if (!bias.empty()) kernels_.add(y, bias.data(), dim());
    if (!post_norm.empty()) norm(y, post_norm, post_norm_bias, y);
    if (config_.residual_scale == 1.0f)
      kernels_.add(row(ws_.x, t), y, dim());
    else
      kernels_.add_scaled(row(ws_.x, t), config_.residual_scale, y, dim());
  }

  // projected = W_down (act(W_gate normed) * W_up normed), or W_down (act(W_up normed) * factors)
  void feed_forward(const LayerWeights& layer) {
    const size_t ffn_dim = static_cast<size_t>(config_.ffn_dim);
    const bool gated = config_.gated_ffn;
    products_.for_rows(n_, [&](size_t t) {
      if (gated)
        products_.quantize(normed(), t, {&layer.gate, &layer.up});
      else
        products_.quantize(normed(), t, {&layer.up});
    });
    const Product gate{&layer.gate, ws_.gate, ws_.ffn_stride};
    const Product up{&layer.up, ws_.up, ws_.ffn_stride};
    if (gated)
      products_.multiply({gate, up}, normed(), n_);
    else
      products_.multiply({up}, normed(), n_);
    const Input hidden{gated ? ws_.gate : ws_.up, ws_.ffn_stride, ffn_dim};
    products_.for_rows(n_, [&](size_t t) {
      float* gate_row = ws_.gate + t * ws_.ffn_stride;
      float* up_row = ws_.up + t * ws_.ffn_stride;
      if (!layer.gate_bias.empty()) kernels_.add(gate_row, layer.gate_bias.data(), ffn_dim);
      if (!layer.up_bias.empty()) kernels_.add(up_row, layer.up_bias.data(), ffn_dim);
      const float* factors = layer.act_factors.empty() ? nullptr : layer.act_factors.data();
      activate_(gated ? gate_row : up_row, gated ? up_row : factors, ffn_dim);
      products_.quantize(hidden, t, {&layer.down});
    });
    products_.multiply({{&layer.down, ws_.projected, ws_.x_stride}}, hidden, n_);
  }

  // Norms of the queries or keys of one row, [n_heads, head_dim].
  void norm_heads(const Vector& weight, size_t n_heads, float* x) const {
    const size_t head_dim = static_cast<size_t>(config_.head_dim);
    const float eps = config_.norm_eps;
    if (config_.qk_norm == QkNorm::row)
      return kernels_.rms_norm(x, weight.data(), eps, n_heads * head_dim, x);
    for (size_t h = 0; h < n_heads; ++h) {
      float* head = x + h * head_dim;
      if (config_.qk_norm == QkNorm::head)
        kernels_.rms_norm(head, weight.data(), eps, head_dim, head);
      else
        kernels_.layer_norm(head, weight.data() + h * head_dim, nullptr, eps, head_dim, head);
    }
  }

  float query_factor(int position) const {
    const auto contexts = static_cast<double>(position / config_.rope_original_context);
    return static_cast<float>(1.0 +
                              static_cast<double>(config_.query_growth) * std::log1p(contexts));
  }

  // What queries and keys share: bias, norm, RoPE. x [n_heads, head_dim] belongs to row t.
  void finish_heads(const Vector& bias, const Vector& norm, int index, size_t n_heads, size_t t,
                    float* x) const {
    const size_t head_dim = static_cast<size_t>(config_.head_dim);
    if (config_.qkv_bias) kernels_.add(x, bias.data(), bias.size());
    if (config_.qk_norm != QkNorm::none) norm_heads(norm, n_heads, x);
    if (config_.qkv_clip != 0.0f) kernels_.clamp(x, config_.qkv_clip, n_heads * head_dim);
    if (config_.positions != Positions::rope || is_nope(config_, index)) return;
    const bool local = ws_.rope.size() > 1 && has_window(config_, index);
    const Workspace::Rope& r = ws_.rope[local ? 1 : 0];
    const size_t half = r.frequencies.size();
    kernels_.rope(x, n_heads, head_dim, half, r.cos + t * half, r.sin + t * half);
  }

  // Finishes the keys and values of row t and writes them to the cache.
  void store(const LayerWeights& layer, int index, KvCache& cache, size_t t) {
    const size_t head_dim = static_cast<size_t>(config_.head_dim);
    const size_t n_heads = static_cast<size_t>(config_.n_kv_heads);
    float* k = ws_.k + t * ws_.kv_stride;
    float* v = ws_.v + t * ws_.kv_stride;
    finish_heads(layer.k_bias, layer.k_norm, index, n_heads, t, k);
    if (config_.qkv_bias) kernels_.add(v, layer.v_bias.data(), layer.v_bias.size());
    if (config_.qkv_clip != 0.0f) kernels_.clamp(v, config_.qkv_clip, n_heads * head_dim);
    for (size_t h = 0; h < n_heads; ++h)
      cache.store(kernels_, index, static_cast<int>(h), position_ + static_cast<int>(t),
                  k + h * head_dim, v + h * head_dim);
  }

  // Finishes the queries of row t and lays them out by KV head.
  void place_queries(const LayerWeights& layer, int index, size_t t) {
    const size_t head_dim = static_cast<size_t>(config_.head_dim);
    const size_t n_heads = static_cast<size_t>(config_.n_heads);
    const size_t n_kv_heads = static_cast<size_t>(config_.n_kv_heads);
    float* q = ws_.q + t * ws_.q_stride;
    finish_heads(layer.q_bias, layer.q_norm, index, n_heads, t, q);
    if (config_.query_growth != 0.0f)
      kernels_.scale(q, query_factor(position_ + static_cast<int>(t)), n_heads * head_dim);
    const size_t group = n_heads / n_kv_heads * head_dim;  // floats of the queries of a KV head
    for (size_t h = 0; h < n_kv_heads; ++h)
      std::copy_n(q + h * group, group, ws_.q_heads + (h * ws_.batch + t) * group);
  }

  // Goes on with the last n rows alone, as rows 0..n-1.
  void keep_last(size_t n) {
    const size_t first = n_ - n;
    for (size_t t = 0; t < n; ++t) {
      std::copy_n(row(ws_.x, first + t), dim(), row(ws_.x, t));
      std::copy_n(row(ws_.normed, first + t), dim(), row(ws_.normed, t));
    }
    n_ = n;
    position_ += static_cast<int>(first);
    place();
  }

  const ModelImpl& model_;
  const Kernels& kernels_;
  const Config& config_;
  Workspace& ws_;
  Products products_;
  size_t n_;      // rows
  int position_;  // of row 0
  ActivationKernel activate_;
};

}  // namespace

bool run_layers(const ModelImpl& model, KvCache& cache, Workspace& workspace,
                std::span<const Token> tokens, int position, size_t n_last,
                const std::atomic<bool>& cancel) {
  ForwardPass pass(model, workspace, tokens.size(), position);
  pass.embed(tokens);
  pass.place();
  for (int layer = 0; layer < model.config.n_layers; ++layer) {
    if (cancel.load(std::memory_order_relaxed)) return false;
    const bool last = layer + 1 == model.config.n_layers;
    pass.attention_block(layer, cache, last ? n_last : tokens.size());
    if (!last || n_last > 0) pass.ffn_block(layer);
  }
  return true;
}

void embed_tokens(const ModelImpl& model, Workspace& workspace, std::span<const Token> tokens) {
  ForwardPass(model, workspace, tokens.size()).embed(tokens);
}

void run_layer(const ModelImpl& model, KvCache& cache, Workspace& workspace, int layer, size_t n,
               const InputTap& tap) {
  ForwardPass pass(model, workspace, n, 0, &tap);
  pass.place();
  if (pass.attention_block(layer, cache, n)) pass.ffn_block(layer);
}

void compute_logits(const ModelImpl& model, Workspace& workspace, size_t n, float* out) {
  ForwardPass(model, workspace, n).logits(out);
}

}  // namespace nibble
