// A small model whose layers lie on grids, as a Hugging Face directory of any of their forms.
#pragma once

#include <filesystem>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "check.h"
#include "quantized_layers.h"

namespace nibble::test {

// A LLaMA of one layer: 64 wide, 4 heads of 16, 2 KV heads, FFN 128, 40 tokens.
inline constexpr size_t kDim = 64, kKv = 32, kFfn = 128, kVocab = 40;

inline std::string model_config(const std::string& quantization, bool tied) {
  return std::string(R"({"model_type":"llama","hidden_size":64,"num_hidden_layers":1,)"
                     R"("num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128,)"
                     R"("vocab_size":40,"max_position_embeddings":64,"rms_norm_eps":1e-5,)"
                     R"("rope_theta":10000.0,"tie_word_embeddings":)") +
         (tied ? "true" : "false") +
         (quantization.empty() ? "" : ",\"quantization_config\":{" + quantization + "}") + "}";
}

inline StoredTensor floats(const std::string& name, std::vector<uint64_t> shape,
                           std::mt19937& random, float mean, float spread) {
  uint64_t n = 1;
  for (const uint64_t d : shape) n *= d;
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return {name, DType::f32, std::move(shape), bytes_of(values)};
}

struct Linear {
  std::string name;
  size_t rows, cols;
};
inline const std::vector<Linear> kLinears = {
    {"self_attn.q_proj", kDim, kDim}, {"self_attn.k_proj", kKv, kDim},
    {"self_attn.v_proj", kKv, kDim},  {"self_attn.o_proj", kDim, kDim},
    {"mlp.gate_proj", kFfn, kDim},    {"mlp.up_proj", kFfn, kDim},
    {"mlp.down_proj", kDim, kFfn}};

/// How a model stores a layer; an empty answer: in floats.
using Store = std::function<StoredTensors(QuantizedLayer&, const std::string& prefix)>;

inline StoredTensor dense(const QuantizedLayer& l, const std::string& prefix) {
  std::vector<float> values;
  for (size_t r = 0; r < l.rows; ++r)
    for (size_t c = 0; c < l.cols; ++c) values.push_back(l.weight(r, c));
  return {prefix + ".weight", DType::f32, {l.rows, l.cols}, bytes_of(values)};
}

struct Pair {
  std::string quantized, plain;  // directories of the same function
};

/// Writes a random model twice: with its layers as `store` has them, and with their weights in f32.
inline Pair write_pair(const TempDir& dir, const std::string& quantization, unsigned bits,
                       const Store& store, bool tied = false, const StoredTensors& extra = {},
                       const std::vector<Linear>& linears = kLinears) {
  std::mt19937 random(bits + static_cast<unsigned>(quantization.size()));
  StoredTensors common = {
      floats("model.embed_tokens.weight", {kVocab, kDim}, random, 0, 1),
      floats("model.norm.weight", {kDim}, random, 1, 0.1f),
      floats("model.layers.0.input_layernorm.weight", {kDim}, random, 1, 0.1f),
      floats("model.layers.0.post_attention_layernorm.weight", {kDim}, random, 1, 0.1f)};
  if (!tied) common.push_back(floats("lm_head.weight", {kVocab, kDim}, random, 0, 0.2f));
  StoredTensors quantized = common, plain = common;
  for (const Linear& linear : linears) {
    const std::string prefix = "model.layers.0." + linear.name;
    QuantizedLayer l = random_layer(random, linear.rows, linear.cols, 32, bits);
    for (float& s : l.scales) s = half_to_float(float_to_half(s * (bits == 8 ? 0.5f : 4.0f)));
    StoredTensors stored = store(l, prefix);
    plain.push_back(dense(l, prefix));
    if (stored.empty()) stored.push_back(dense(l, prefix));
    std::move(stored.begin(), stored.end(), std::back_inserter(quantized));
  }
  quantized.insert(quantized.end(), extra.begin(), extra.end());
  const Pair pair{dir / "quantized", dir / "plain"};
  for (const auto& [path, tensors, config] :
       {std::tuple{pair.quantized, quantized, quantization}, {pair.plain, plain, std::string()}}) {
    std::filesystem::create_directory(path);
    write_file(path + "/config.json", model_config(config, tied));
    write_file(path + "/model.safetensors", safetensors_of(tensors));
  }
  return pair;
}

}  // namespace nibble::test
