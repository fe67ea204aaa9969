#include "model/transformer.h"

#include <algorithm>
#include <initializer_list>

#include "base/checked.h"
#include "model/attention.h"
#include "model/rope.h"

namespace nibble {
namespace {

// Rows below this are not worth waking the other threads for.
constexpr size_t kRowsPerThread = 4;
// Activations that a piece of work of a matrix product reads again for every panel: should stay in
// the L2 cache.
constexpr size_t kActivationBlock = size_t{512} << 10;

// One matrix times the rows of the current input.
struct Product {
  const PackedMatrix* w;
  float* y;         // [n_rows, y_stride]
  size_t y_stride;  // floats, >= rows of w rounded up to 16
};

class ForwardPass {
 public:
  ForwardPass(const ModelImpl& model, Workspace& workspace, size_t n_rows,
              const InputTap* tap = nullptr)
      : model_(model),
        kernels_(*model.kernels),
        config_(model.config),
        ws_(workspace),
        tap_(tap),
        n_(n_rows),
        n_threads_(n_rows == 1 ? model.threads : model.threads_batch) {}

  void embed(std::span<const Token> tokens) {
    for_rows([&](size_t t) {
      unpack_row(model_.weights.embedding.view, static_cast<size_t>(tokens[t]), row(ws_.x, t));
    });
  }

  // What a layer needs to know of the positions of the rows.
  void place(int position) {
    const size_t half = model_.rope_frequencies.size();
    for_rows([&](size_t t) {
      rope_angles(model_.rope_frequencies, position + static_cast<int>(t), ws_.cos + t * half,
                  ws_.sin + t * half);
    });
  }

  // x += W_o attention(rope(W_q norm(x)), rope(W_k norm(x)), W_v norm(x))
  void attention_block(int index, KvCache& cache, int position) {
    const LayerWeights& layer = model_.weights.layers[static_cast<size_t>(index)];
    for_rows([&](size_t t) {
      kernels_.rms_norm(row(ws_.x, t), layer.attn_norm.data(), config_.norm_eps, dim(),
                        row(ws_.normed, t));
      quantize(ws_.normed, ws_.x_stride, dim(), t, {&layer.q, &layer.k, &layer.v});
    });
    multiply({{&layer.q, ws_.q, ws_.q_stride},
              {&layer.k, ws_.k, ws_.kv_stride},
              {&layer.v, ws_.v, ws_.kv_stride}},
             ws_.normed, ws_.x_stride, dim());
    for_rows([&](size_t t) { rotate_and_store(layer, index, cache, position, t); });
    attend(model_, cache, ws_, index, n_, position, n_threads_);
    const size_t q_dim = static_cast<size_t>(config_.n_heads * config_.head_dim);
    for_rows([&](size_t t) { quantize(ws_.attended, ws_.q_stride, q_dim, t, {&layer.o}); });
    multiply({{&layer.o, ws_.projected, ws_.x_stride}}, ws_.attended, ws_.q_stride, q_dim);
  }

  // x += W_down (silu(W_gate norm(x)) * W_up norm(x)); adds the attention's output first.
  void ffn_block(int index) {
    const LayerWeights& layer = model_.weights.layers[static_cast<size_t>(index)];
    for_rows([&](size_t t) {
      kernels_.add(row(ws_.x, t), row(ws_.projected, t), dim());
      kernels_.rms_norm(row(ws_.x, t), layer.ffn_norm.data(), config_.norm_eps, dim(),
                        row(ws_.normed, t));
      quantize(ws_.normed, ws_.x_stride, dim(), t, {&layer.gate, &layer.up});
    });
    multiply({{&layer.gate, ws_.gate, ws_.ffn_stride}, {&layer.up, ws_.up, ws_.ffn_stride}},
             ws_.normed, ws_.x_stride, dim());
    const size_t ffn_dim = static_cast<size_t>(config_.ffn_dim);
    for_rows([&](size_t t) {
      kernels_.silu(ws_.gate + t * ws_.ffn_stride, ws_.up + t * ws_.ffn_stride, ffn_dim);
      quantize(ws_.gate, ws_.ffn_stride, ffn_dim, t, {&layer.down});
    });
    multiply({{&layer.down, ws_.projected, ws_.x_stride}}, ws_.gate, ws_.ffn_stride, ffn_dim);
    for_rows([&](size_t t) { kernels_.add(row(ws_.x, t), row(ws_.projected, t), dim()); });
  }

  // Rows first.. of x, normed and multiplied with the head.
  void logits(size_t first, float* out) {
    const PackedMatrix& head = model_.weights.head();
    for_rows([&](size_t t) {
      kernels_.rms_norm(row(ws_.x, first + t), model_.weights.output_norm.data(), config_.norm_eps,
                        dim(), row(ws_.normed, t));
      quantize(ws_.normed, ws_.x_stride, dim(), t, {&head});
    });
    multiply({{&head, out, round_up(head.view.shape.rows, kPanelRows)}}, ws_.normed, ws_.x_stride,
             dim());
  }

 private:
  size_t dim() const { return static_cast<size_t>(config_.dim); }
  float* row(float* buffer, size_t t) const { return buffer + t * ws_.x_stride; }

  // fn(t) for every row, on all threads if there are enough rows.
  template <class Fn>
  void for_rows(Fn&& fn) {
    if (n_ < 2 * kRowsPerThread) {
      for (size_t t = 0; t < n_; ++t) fn(t);
      return;
    }
    const auto piece = [&](size_t i, int) {
      const size_t end = std::min(n_, (i + 1) * kRowsPerThread);
      for (size_t t = i * kRowsPerThread; t < end; ++t) fn(t);
    };
    model_.pool->run(ceil_div(n_, kRowsPerThread), piece, n_threads_);
  }

  // The quantized form of an input of `cols` columns that a matrix reads.
  QuantizedRows quantized_rows(const PackedMatrix& w, size_t cols) const {
    const size_t group = w.view.shape.group;
    for (const Workspace::Quantized& q8 : ws_.quantized) {
      if (q8.group != group || q8.input_form != w.input_form) continue;
      QuantizedRows rows = q8.rows;
      rows.n_rows = n_;
      rows.stride = round_up(cols, kSuperCols) + kLineBytes;  // no power of two
      rows.n_groups = round_up(cols, kSuperCols) / group;
      rows.group = group;
      return rows;
    }
    return {};
  }

  bool reads_int8(const PackedMatrix& w) const {
    return model_.int8_activations && w.view.shape.scheme != Scheme::none;
  }

  // Prepares row t of x for the matrices that will read it: permutes it once for each order of
  // columns, quantizes it once for each order and group size.
  void quantize(const float* x, size_t x_stride, size_t cols, size_t t,
                std::initializer_list<const PackedMatrix*> readers) const {
    size_t done[Workspace::kInputForms] = {};  // bits: 1, and group sizes, which are powers of two
    const float* source = x + t * x_stride;
    for (const PackedMatrix* w : readers) {
      const size_t group = w->view.shape.group;
      const float* from = source;
      if (w->input_form != 0) {
        float* to = ws_.permuted[w->input_form] + t * ws_.widest_stride;
        if ((done[w->input_form] & 1) == 0)
          for (size_t c = 0; c < cols; ++c) to[c] = source[w->column_order[c]];
        done[w->input_form] |= 1;
        from = to;
      }
      if (!reads_int8(*w) || (done[w->input_form] & group) != 0) continue;
      done[w->input_form] |= group;
      QuantizedRows one = quantized_rows(*w, cols);
      one.codes += t * one.stride;
      one.scales += t * one.n_groups;
      one.sums += t * one.n_groups;
      one.n_rows = 1;
      kernels_.quantize_rows(from, x_stride, cols, one);
    }
  }

  // All products of one input in one parallel loop: pieces are (panels of a product, block of
  // rows).
  void multiply(std::initializer_list<Product> products, const float* x, size_t x_stride,
                size_t cols) {
    if (tap_) show_input(products, x, x_stride, cols);
    size_t bytes = 0;
    for (const Product& p : products) bytes += p.w->bytes;
    const size_t piece_bytes =
        std::clamp<size_t>(bytes / (static_cast<size_t>(n_threads_) * 8), 16 << 10, 256 << 10);
    const size_t row_block =
        n_ <= 16 ? n_ : std::max<size_t>(16, kActivationBlock / cols / 16 * 16);
    const size_t n_row_blocks = ceil_div(n_, row_block);
    const auto panels_per_piece = [&](const Product& p) {
      return std::max<size_t>(1, piece_bytes / p.w->view.code_stride);
    };
    const auto pieces_of = [&](const Product& p) {
      return ceil_div(ceil_div(p.w->view.shape.rows, kPanelRows), panels_per_piece(p)) *
             n_row_blocks;
    };
    size_t n_pieces = 0;
    for (const Product& p : products) n_pieces += pieces_of(p);
    const auto piece = [&](size_t i, int) {
      const Product* p = products.begin();
      while (i >= pieces_of(*p)) i -= pieces_of(*p++);
      const size_t first_panel = i / n_row_blocks * panels_per_piece(*p);
      const size_t end_panel =
          std::min(first_panel + panels_per_piece(*p), ceil_div(p->w->view.shape.rows, kPanelRows));
      const size_t first_row = i % n_row_blocks * row_block;
      multiply_piece(*p, first_panel, end_panel, x, x_stride, cols, first_row,
                     std::min(row_block, n_ - first_row));
    };
    model_.pool->run(n_pieces, piece, n_threads_);
  }

  void show_input(std::initializer_list<Product> products, const float* x, size_t x_stride,
                  size_t cols) const {
    std::vector<const PackedMatrix*> readers;
    for (const Product& p : products) readers.push_back(p.w);
    (*tap_)(readers, x, x_stride, n_, cols);
  }

  void multiply_piece(const Product& p, size_t first_panel, size_t end_panel, const float* x,
                      size_t x_stride, size_t cols, size_t first_row, size_t n_rows) const {
    const PackedView& w = p.w->view;
    float* y = p.y + first_row * p.y_stride;
    if (!reads_int8(*p.w)) {
      if (p.w->input_form != 0) {
        x = ws_.permuted[p.w->input_form];
        x_stride = ws_.widest_stride;
      }
      kernels_.matmul_f32(w, first_panel, end_panel, x + first_row * x_stride, x_stride, n_rows, y,
                          p.y_stride);
      return;
    }
    QuantizedRows rows = quantized_rows(*p.w, cols);
    rows.codes += first_row * rows.stride;
    rows.scales += first_row * rows.n_groups;
    rows.sums += first_row * rows.n_groups;
    rows.n_rows = n_rows;
    kernels_.matmul_q(w, first_panel, end_panel, rows, y, p.y_stride);
  }

  // Adds biases, rotates q and k of token t, writes k and v to the cache, and lays the queries out
  // by KV head.
  void rotate_and_store(const LayerWeights& layer, int index, KvCache& cache, int position,
                        size_t t) {
    const size_t head_dim = static_cast<size_t>(config_.head_dim);
    const size_t n_heads = static_cast<size_t>(config_.n_heads);
    const size_t n_kv_heads = static_cast<size_t>(config_.n_kv_heads);
    float* q = ws_.q + t * ws_.q_stride;
    float* k = ws_.k + t * ws_.kv_stride;
    float* v = ws_.v + t * ws_.kv_stride;
    if (config_.qkv_bias) {
      kernels_.add(q, layer.q_bias.data(), layer.q_bias.size());
      kernels_.add(k, layer.k_bias.data(), layer.k_bias.size());
      kernels_.add(v, layer.v_bias.data(), layer.v_bias.size());
    }
    const size_t half = model_.rope_frequencies.size();
    const float* cos = ws_.cos + t * half;
    const float* sin = ws_.sin + t * half;
    kernels_.rope(q, n_heads, head_dim, half, cos, sin);
    kernels_.rope(k, n_kv_heads, head_dim, half, cos, sin);
    const size_t group = n_heads / n_kv_heads * head_dim;  // floats of the queries of a KV head
    for (size_t h = 0; h < n_kv_heads; ++h) {
      cache.store(kernels_, index, static_cast<int>(h), position + static_cast<int>(t),
                  k + h * head_dim, v + h * head_dim);
      std::copy_n(q + h * group, group, ws_.q_heads + (h * ws_.batch + t) * group);
    }
  }

  const ModelImpl& model_;
  const Kernels& kernels_;
  const Config& config_;
  Workspace& ws_;
  const InputTap* tap_;  // or null
  size_t n_;
  int n_threads_;
};

}  // namespace

bool run_layers(const ModelImpl& model, KvCache& cache, Workspace& workspace,
                std::span<const Token> tokens, int position, const std::atomic<bool>& cancel) {
  ForwardPass pass(model, workspace, tokens.size());
  pass.embed(tokens);
  pass.place(position);
  for (int layer = 0; layer < model.config.n_layers; ++layer) {
    if (cancel.load(std::memory_order_relaxed)) return false;
    pass.attention_block(layer, cache, position);
    pass.ffn_block(layer);
  }
  return true;
}

void embed_tokens(const ModelImpl& model, Workspace& workspace, std::span<const Token> tokens) {
  ForwardPass(model, workspace, tokens.size()).embed(tokens);
}

void run_layer(const ModelImpl& model, KvCache& cache, Workspace& workspace, int layer, size_t n,
               const InputTap& tap) {
  ForwardPass pass(model, workspace, n, &tap);
  pass.place(0);
  pass.attention_block(layer, cache, 0);
  pass.ffn_block(layer);
}

void compute_logits(const ModelImpl& model, Workspace& workspace, size_t first, size_t n,
                    float* out) {
  ForwardPass(model, workspace, n).logits(first, out);
}

}  // namespace nibble
