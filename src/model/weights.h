// The weights of a model by their place in the forward pass, and how they get there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "base/read_ahead.h"
#include "base/thread_pool.h"
#include "load/checkpoint.h"
#include "nibble/model.h"
#include "quant/packed_matrix.h"

namespace nibble {

/// The feed-forward network of one expert.
struct ExpertWeights {
  PackedMatrix gate;             // [ffn_dim, dim], if gated
  PackedMatrix up;               // [ffn_dim, dim]
  PackedMatrix down;             // [dim, ffn_dim]
  std::vector<float> gate_bias;  // [ffn_dim]
  std::vector<float> up_bias;    // [ffn_dim]
  std::vector<float> down_bias;  // [dim]
};

/// Vectors and matrices that the config does not ask for are empty.
struct LayerWeights {
  std::vector<float> attn_norm;            // [dim]
  std::vector<float> attn_norm_bias;       // [dim]
  PackedMatrix q;                          // [n_heads * head_dim, dim]
  PackedMatrix k;                          // [n_kv_heads * head_dim, dim]
  PackedMatrix v;                          // [n_kv_heads * head_dim, dim]
  PackedMatrix o;                          // [dim, n_heads * head_dim]
  std::vector<float> q_bias;               // [n_heads * head_dim]
  std::vector<float> k_bias;               // [n_kv_heads * head_dim]
  std::vector<float> v_bias;               // [n_kv_heads * head_dim]
  std::vector<float> o_bias;               // [dim]
  std::vector<float> q_norm;               // [head_dim], or [n_heads * head_dim]: see QkNorm
  std::vector<float> k_norm;               // [head_dim], or [n_kv_heads * head_dim]
  std::vector<float> sinks;                // [n_heads]
  std::vector<float> attn_post_norm;       // [dim]
  std::vector<float> attn_post_norm_bias;  // [dim]
  std::vector<float> ffn_norm;             // [dim]
  std::vector<float> ffn_norm_bias;        // [dim]
  PackedMatrix gate;                       // [ffn_dim, dim]
  PackedMatrix up;                         // [ffn_dim, dim]
  PackedMatrix down;                       // [dim, ffn_dim]
  std::vector<float> gate_bias;            // [ffn_dim]
  std::vector<float> up_bias;              // [ffn_dim]
  std::vector<float> down_bias;            // [dim]
  std::vector<float> act_factors;          // [ffn_dim] that act(up(x)) is multiplied by
  std::vector<float> ffn_post_norm;        // [dim]
  std::vector<float> ffn_post_norm_bias;   // [dim]
  PackedMatrix router;                     // [n_experts, dim]
  std::vector<float> router_bias;          // [n_experts]
  std::vector<ExpertWeights> experts;      // [n_experts], in place of gate, up and down
};

struct Weights {
  PackedMatrix embedding;                  // [vocab_size, embedding_dim or dim]
  std::vector<float> embedding_norm;       // [dim]
  std::vector<float> embedding_norm_bias;  // [dim]
  PackedMatrix positions;                  // [context_length + position_offset, dim]
  PackedMatrix project_in;                 // [dim, embedding_dim]
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;       // [dim]
  std::vector<float> output_norm_bias;  // [dim]
  PackedMatrix project_out;             // [embedding_dim, dim]
  PackedMatrix output;                  // as the embedding; empty if tied

  const PackedMatrix& head() const { return output.empty() ? embedding : output; }

  // Where the bytes of the matrices live: packed at load, or inside the files of a .nib. Shared, so
  // that a copy of the weights copies the vectors alone.
  std::shared_ptr<AnonymousMemory> packed;
  std::shared_ptr<const std::vector<MappedFile>> files;
};

/// One matrix on its way from a checkpoint into panels.
struct PlannedMatrix {
  std::string name;  // as .nib files call it
  MatrixSource source;
  PackedShape shape;
  PackTarget target;
  RowMap rows;
  PackedMatrix* destination = nullptr;
};

/// What a checkpoint's tensors become. It points into the checkpoint and the Weights.
struct WeightPlan {
  std::vector<PlannedMatrix> matrices;
  /// Names and values of the vectors, for writing; they are there after read_vectors().
  std::vector<std::pair<std::string, std::vector<float>*>> vectors;
  std::vector<std::function<void()>> reads;

  /// Reads the vectors (norms, biases). They lie between matrices: once those have been read, these
  /// cost no time. Throws Error for values that are not finite.
  void read_vectors() const;
};

struct QuantizeRule {
  WeightType weights = WeightType::automatic;
  uint16_t group = 32;
  bool symmetric = false;
};

/// Calls fn(matrix) for the matrices that the layer has.
template <class Fn>
void for_each_matrix(const LayerWeights& layer, Fn&& fn) {
  const auto call = [&](const PackedMatrix& m) {
    if (!m.empty()) fn(m);
  };
  for (const PackedMatrix* m :
       {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down, &layer.router})
    call(*m);
  for (const ExpertWeights& expert : layer.experts)
    for (const PackedMatrix* m : {&expert.gate, &expert.up, &expert.down}) call(*m);
}

/// Calls fn(vector) for the vectors of the layer, be they empty.
template <class Fn>
void for_each_vector(const LayerWeights& l, Fn&& fn) {
  for (const std::vector<float>* v : {&l.attn_norm,
                                      &l.attn_norm_bias,
                                      &l.q_bias,
                                      &l.k_bias,
                                      &l.v_bias,
                                      &l.o_bias,
                                      &l.q_norm,
                                      &l.k_norm,
                                      &l.sinks,
                                      &l.attn_post_norm,
                                      &l.attn_post_norm_bias,
                                      &l.ffn_norm,
                                      &l.ffn_norm_bias,
                                      &l.gate_bias,
                                      &l.up_bias,
                                      &l.down_bias,
                                      &l.act_factors,
                                      &l.ffn_post_norm,
                                      &l.ffn_post_norm_bias,
                                      &l.router_bias})
    fn(*v);
  for (const ExpertWeights& e : l.experts)
    for (const std::vector<float>* v : {&e.gate_bias, &e.up_bias, &e.down_bias}) fn(*v);
}

/// Finds every tensor of the model's family, checks its shape against the config, and says what it
/// becomes. `weights` and `checkpoint` must outlive the plan. Throws Error that names what
/// is missing, of a wrong shape, or present but unknown to the family.
WeightPlan plan_weights(const Checkpoint& checkpoint, const Config& config,
                        const QuantizeRule& rule, Weights& weights);

/// Packs one matrix into `out` (total_bytes() of its layout, zero before), on all threads. Throws
/// Error if it holds a value that is not finite.
void pack_matrix(const PlannedMatrix& matrix, std::byte* out, const Kernels& kernels,
                 ThreadPool& pool);

/// Packs all matrices of the plan into memory of the weights, on all threads of the pool, letting
/// go of each source as it is consumed, and telling `reader` where they are. Refuses with the
/// numbers if memory does not suffice.
void pack_weights(const Checkpoint& checkpoint, const WeightPlan& plan, Weights& weights,
                  const Kernels& kernels, ThreadPool& pool, ReadAhead& reader,
                  const Progress& progress);

/// Points the matrices at the packed tensors of a .nib checkpoint; no byte is copied.
void map_weights(const Checkpoint& checkpoint, const Config& config, Weights& weights);

/// Weights that come from no file: `shape` says what a matrix of that place is, `fill` writes the
/// bytes of its panels begin..end-1 (called from all threads). Norms are ones, biases zeros.
struct WeightGenerator {
  std::function<PackedShape(bool linear, uint32_t rows, uint32_t cols)> shape;
  std::function<void(const PackedShape&, const PackedLayout&, std::byte* out, size_t begin,
                     size_t end)>
      fill;
};
void generate_weights(const Config& config, const WeightGenerator& generator, Weights& weights,
                      ThreadPool& pool);

}  // namespace nibble
