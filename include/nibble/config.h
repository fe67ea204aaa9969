#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

using Token = int32_t;

enum class RopeScaling : uint8_t { none, linear, llama3 };

/// The architecture of a model, whatever file it came from. All counts are positive and proven
/// consistent once a model is loaded.
struct Config {
  std::string architecture = "llama";
  std::string name;  // what the file calls itself; may be empty
  int32_t n_layers = 0;
  int32_t dim = 0;         // width of the residual stream
  int32_t n_heads = 0;     // query heads
  int32_t n_kv_heads = 0;  // key and value heads; n_heads is a multiple of it
  int32_t head_dim = 0;
  int32_t ffn_dim = 0;
  int32_t vocab_size = 0;
  int32_t context_length = 0;  // positions seen in training
  float norm_eps = 1e-5f;

  float rope_theta = 10000.0f;
  int32_t rope_dim = 0;  // rotated columns of a head, even, <= head_dim
  RopeScaling rope_scaling = RopeScaling::none;
  float rope_factor = 1.0f;
  float rope_low_freq_factor = 1.0f;     // llama3
  float rope_high_freq_factor = 4.0f;    // llama3
  int32_t rope_original_context = 0;     // llama3
  std::vector<float> rope_freq_factors;  // [rope_dim / 2] divisors of the frequencies, or empty

  int32_t sliding_window = 0;  // positions a query looks back, itself included; 0: all
  bool tied_embeddings = false;
  bool qkv_bias = false;
};

}  // namespace nibble
