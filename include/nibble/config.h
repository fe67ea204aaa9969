#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

using Token = int32_t;

/// RMSNorm (arXiv 1910.07467) or LayerNorm (arXiv 1607.06450).
enum class NormKind : uint8_t { rms, layer };

/// Where the norms of a sublayer f stand: x + f(norm(x)), x + norm(f(x)), x + norm(f(norm(x))) or
/// norm(x + f(x)).
enum class NormPlacement : uint8_t { before, after, around, residual };

/// x += attention(norm(x)), then x += ffn(norm(x)); or both of the same x at once, each with its
/// own norm or with one norm for both.
enum class Residual : uint8_t { sequential, parallel, parallel_one_norm };

/// swiglu_oai is gpt-oss's gate, of which up is a part: see Kernels.
enum class Activation : uint8_t { silu, gelu, gelu_tanh, relu, swiglu_oai };

/// How attention knows positions: RoPE (arXiv 2104.09864), ALiBi (arXiv 2108.12409), or a vector a
/// position that is added to the embedding.
enum class Positions : uint8_t { rope, alibi, learned };

/// Norms of queries and keys before RoPE: RMSNorm of a head with one weight vector for all heads,
/// RMSNorm of all heads together, or LayerNorm of a head with weights of its own.
enum class QkNorm : uint8_t { none, head, row, own_head };

enum class RopeScaling : uint8_t { none, linear, llama3, yarn, dynamic, longrope };

/// What distinguishes the arithmetic of one model family from another's; the defaults are LLaMA's.
struct Traits {
  NormKind norm = NormKind::rms;
  bool norm_bias = false;
  NormPlacement norm_placement = NormPlacement::before;
  bool embedding_norm = false;  // a norm of the embeddings
  bool output_norm = true;      // a norm before the head
  Residual residual = Residual::sequential;
  Activation activation = Activation::silu;
  bool gated_ffn = true;  // down(act(gate(x)) * up(x)); else down(act(up(x)))
  bool qkv_bias = false;
  bool o_bias = false;
  bool ffn_bias = false;  // of every expert and the router, if there are experts
  QkNorm qk_norm = QkNorm::none;
  Positions positions = Positions::rope;
  bool attention_sinks = false;  // a learned score of each head, without a value, in its softmax
};

/// The architecture of a model, whatever file it came from. All counts are positive and proven
/// consistent once a model is loaded.
struct Config : Traits {
  std::string architecture = "llama";
  std::string name;  // what the file calls itself; may be empty
  int32_t n_layers = 0;
  int32_t dim = 0;            // width of the residual stream
  int32_t embedding_dim = 0;  // width of the embedding where it differs (projected); 0: dim
  int32_t n_heads = 0;        // query heads
  int32_t n_kv_heads = 0;     // key and value heads; n_heads is a multiple of it
  int32_t head_dim = 0;
  int32_t ffn_dim = 0;  // of each expert, if there are experts
  int32_t vocab_size = 0;
  int32_t context_length = 0;  // positions seen in training
  float norm_eps = 1e-5f;
  bool tied_embeddings = false;

  int32_t n_experts = 0;           // 0: one feed-forward network for all tokens
  int32_t n_experts_used = 0;      // of each token
  bool normalize_experts = false;  // the weights of the experts used add up to 1

  float rope_theta = 10000.0f;
  float rope_local_theta = 0.0f;  // of the layers with a window; 0: rope_theta, scaled alike
  int32_t rope_dim = 0;           // rotated columns of a head, even, <= head_dim
  RopeScaling rope_scaling = RopeScaling::none;
  float rope_factor = 1.0f;
  float rope_attention_factor = 1.0f;     // yarn, longrope: of cosines and sines
  float rope_low_freq_factor = 1.0f;      // llama3
  float rope_high_freq_factor = 4.0f;     // llama3
  float rope_beta_fast = 32.0f;           // yarn
  float rope_beta_slow = 1.0f;            // yarn
  bool rope_truncate = true;              // yarn: between whole numbers of pairs
  int32_t rope_original_context = 0;      // llama3, yarn, dynamic, longrope
  std::vector<float> rope_freq_factors;   // [rope_dim / 2] divisors of the frequencies, or empty
  std::vector<float> rope_short_factors;  // [rope_dim / 2], longrope: up to the original context
  std::vector<float> rope_long_factors;   // [rope_dim / 2], longrope: beyond it

  int32_t position_offset = 0;  // learned: the row of position 0
  float alibi_max_bias = 8.0f;  // ALiBi: the slope of the last head is 2^-alibi_max_bias
  float alibi_scale = 1.0f;     // of all slopes

  int32_t sliding_window = 0;          // positions a query looks back, itself included; 0: all
  std::vector<uint8_t> window_layers;  // [n_layers], 1: has the window; empty: all have it
  std::vector<uint8_t> nope_layers;    // [n_layers], 1: does not rotate; empty: none

  float attention_scale = 0.0f;  // of q . k; 0: 1 / sqrt(head_dim)
  // The query at position p is multiplied by 1 + growth * log(1 + floor(p /
  // rope_original_context)).
  float query_growth = 0.0f;
  float attention_softcap = 0.0f;  // s = cap * tanh(s / cap) of the scores; 0: none
  float qkv_clip = 0.0f;           // q, k, v are held within +-clip; 0: none
  bool activation_scales = false;  // act(up(x)) is divided by a vector, as AWQ makes some models
  float embedding_scale = 1.0f;
  float residual_scale = 1.0f;  // of what a sublayer adds
  float logit_scale = 1.0f;
  float logit_softcap = 0.0f;  // 0: none
};

}  // namespace nibble
