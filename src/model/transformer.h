// The forward pass: one function per step of a layer, for every family and format.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/mapped_file.h"
#include "kernels.h"
#include "model/kv_cache.h"
#include "model/model_impl.h"

namespace nibble {

/// Scratch of one session for up to `batch` tokens, allocated once. Row strides are in floats and
/// leave room for the padding that kernels write.
class Workspace {
 public:
  Workspace(const ModelImpl& model, int batch);
  static uint64_t bytes(const ModelImpl& model, int batch);

  size_t batch = 0;
  size_t x_stride = 0, q_stride = 0, kv_stride = 0, ffn_stride = 0;
  float* x = nullptr;          // [batch, dim] residual stream
  float* normed = nullptr;     // [batch, dim] input of a sublayer
  float* projected = nullptr;  // [batch, dim] output of a sublayer
  float* q = nullptr;          // [batch, n_heads * head_dim]
  float* k = nullptr;          // [batch, n_kv_heads * head_dim]
  float* v = nullptr;          // [batch, n_kv_heads * head_dim]
  float* q_heads = nullptr;    // [n_kv_heads, batch, n_heads / n_kv_heads, head_dim]
  float* attended = nullptr;   // [batch, n_heads * head_dim]
  float* gate = nullptr;       // [batch, ffn_dim]
  float* up = nullptr;         // [batch, ffn_dim]
  float* cos = nullptr;        // [batch, rope_dim / 2]
  float* sin = nullptr;        // [batch, rope_dim / 2]

  /// Room for quantized activations, one for each group size and form of the input
  /// (PackedMatrix::input_form) that the model's matrices use.
  struct Quantized {
    size_t group = 0;
    uint8_t input_form = 0;
    QuantizedRows rows;  // [batch, widest input]
  };
  std::vector<Quantized> quantized;

  /// The permuted forms of an input: [kInputForms][batch, widest_stride], null where none is read.
  static constexpr size_t kInputForms = 4;  // as it is, and one for each of q, k and v
  float* permuted[kInputForms] = {};
  size_t widest_stride = 0;

  /// Attention scratch of one thread.
  struct Attention {
    float* scores = nullptr;   // [rows, kAttentionChunk]
    SoftmaxState part;         // [rows]
    SoftmaxState total;        // [rows]
    int32_t* begin = nullptr;  // [rows]
    int32_t* end = nullptr;    // [rows]
  };
  std::vector<Attention> attention;  // [threads]
  size_t tokens_per_block = 0;       // tokens whose queries are computed together
  std::vector<float> split;          // states of chunks that threads computed apart; grows

 private:
  Workspace() = default;
  // With no memory given, only counts: the same code sizes and places every buffer.
  size_t place(const ModelImpl& model, std::byte* base);
  AnonymousMemory memory_;
};

/// Runs tokens at positions position.. through all layers and appends them to the cache; their
/// final hidden states stay in workspace.x. The caller holds model.turn, has checked the tokens
/// (tokens.size() <= workspace.batch) and the context. Returns false if `cancel` was set: the cache
/// is then valid up to `position` only.
bool run_layers(const ModelImpl& model, KvCache& cache, Workspace& workspace,
                std::span<const Token> tokens, int position, const std::atomic<bool>& cancel);

/// Sees the input of matrix products: rows x [n_rows, stride] of `cols` columns that all matrices
/// of `readers` multiply.
using InputTap = std::function<void(std::span<const PackedMatrix* const> readers, const float* x,
                                    size_t stride, size_t n_rows, size_t cols)>;

/// The parts of run_layers(), for calibration, which stands between the layers: the embeddings of
/// tokens as rows of workspace.x, and one layer over the rows 0..n-1 of workspace.x as positions
/// 0..n-1 of a text. `tap` is called once for every input that matrices share; only the matrices of
/// that layer need to exist. The caller holds model.turn.
void embed_tokens(const ModelImpl& model, Workspace& workspace, std::span<const Token> tokens);
void run_layer(const ModelImpl& model, KvCache& cache, Workspace& workspace, int layer, size_t n,
               const InputTap& tap);

/// Logits of the rows first..first+n-1 of the last run_layers(): out [n, vocab_size rounded up to
/// 16].
void compute_logits(const ModelImpl& model, Workspace& workspace, size_t first, size_t n,
                    float* out);

}  // namespace nibble
