// The scratch of the forward pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mapped_file.h"
#include "kernels.h"
#include "model/model_impl.h"

namespace nibble {

/// One matrix times rows of the current input.
struct Product {
  const PackedMatrix* w;
  float* y;              // [n_rows, y_stride]
  size_t y_stride;       // floats, >= rows of w rounded up to 16
  size_t first_row = 0;  // of the input and of y
  size_t n_rows = 0;     // 0: all rows of the input
};

/// Scratch of one session for up to `batch` tokens, allocated once. Row strides are in floats and
/// leave room for the padding that kernels write.
class Workspace {
 public:
  /// `context` is the longest text to come, on which some RoPE scalings depend; 0: the batch.
  Workspace(const ModelImpl& model, int batch, int context = 0);
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
  float* gate = nullptr;       // [slots, ffn_dim]
  float* up = nullptr;         // [slots, ffn_dim]
  float* narrow = nullptr;     // [batch, embedding_dim], if projected
  size_t narrow_stride = 0;

  /// RoPE of all layers, or of the layers without and with a window.
  struct Rope {
    std::vector<double> frequencies;  // [rope_dim / 2], radians per position
    float magnitude = 1.0f;           // of cosines and sines
    float* cos = nullptr;             // [batch, rope_dim / 2]
    float* sin = nullptr;             // [batch, rope_dim / 2]
  };
  std::vector<Rope> rope;           // [1], or [2]: windowed layers last
  std::vector<float> alibi_slopes;  // [n_heads], or empty

  // Of experts; see experts.cpp. A slot is a row of an expert.
  size_t slots = 0;  // computed at a time: max(batch, n_experts_used)
  size_t router_stride = 0;
  float* router = nullptr;               // [batch, n_experts]
  int32_t* chosen = nullptr;             // [batch, n_experts_used]
  float* chosen_weight = nullptr;        // [batch, n_experts_used]
  int32_t* slot_of = nullptr;            // [batch, n_experts_used]
  int32_t* slot_row = nullptr;           // [batch * n_experts_used]
  int32_t* expert_end = nullptr;         // [n_experts]: the slot behind its last
  float* expert_in = nullptr;            // [slots, dim]
  float* expert_out = nullptr;           // [slots, dim]
  std::vector<Product> expert_products;  // [2 * n_experts]

  /// Room for quantized activations, one for each group size and form of the input
  /// (PackedMatrix::input_form) that the model's matrices use.
  struct Quantized {
    size_t group = 0;
    uint8_t input_form = 0;
    QuantizedRows rows;  // [slots, widest input]
  };
  /// Bytes behind the codes of a row. An odd number of lines, so that rows do not share cache sets;
  /// five, since each of many rows is read in pieces of up to eight lines, which then lie beside
  /// each other in the sets of the nearest cache.
  static constexpr size_t kRowPadding = 5 * kLineBytes;
  std::vector<Quantized> quantized;

  /// The permuted forms of an input: [kInputForms][slots, widest_stride], null where none is read.
  static constexpr size_t kInputForms = 4;  // as it is, and one for each of q, k and v
  float* permuted[kInputForms] = {};
  size_t widest_stride = 0;

  /// Attention scratch of one thread.
  struct Attention {
    float* scores = nullptr;    // [rows, kAttentionChunk]
    SoftmaxState part;          // [rows]
    SoftmaxState total;         // [rows]
    int32_t* begin = nullptr;   // [rows]
    int32_t* end = nullptr;     // [rows]
    float* slope = nullptr;     // [rows], see ScoreTerms
    int32_t* origin = nullptr;  // [rows]
  };
  std::vector<Attention> attention;  // [threads]
  size_t tokens_per_block = 0;       // tokens whose queries are computed together
  std::vector<float> split;          // states of chunks that threads computed apart; grows

 private:
  Workspace() = default;
  // With no memory given, only counts: the same code sizes and places every buffer.
  size_t place(const ModelImpl& model, std::byte* base);
  class Arena;
  void place_experts(const Config& config, Arena& arena);
  AnonymousMemory memory_;
};

}  // namespace nibble
