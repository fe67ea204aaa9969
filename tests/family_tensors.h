// Checkpoints of the model families in miniature: a config.json, random tensors under Hugging
// Face's names, and both as files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gguf_builder.h"
#include "load/json.h"

namespace nibble::test {

struct Tensor {
  std::vector<uint64_t> shape;  // as in PyTorch, the contiguous dimension last
  std::vector<float> data;
};
using Tensors = std::map<std::string, Tensor>;

/// config.json.
class FamilyConfig {
 public:
  explicit FamilyConfig(const std::string& text);
  /// The same with the members of `changes` added or replaced.
  FamilyConfig with(const std::string& changes) const;
  FamilyConfig without(const std::string& key) const;

  bool has(const std::string& key) const;  // there and not null
  int integer(const std::string& key) const;
  int integer(const std::string& key, int absent) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double absent) const;
  bool flag(const std::string& key, bool absent = false) const;
  std::string string(const std::string& key, const std::string& absent = {}) const;
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string> strings(const std::string& key) const;
  FamilyConfig object(const std::string& key) const;
  std::string text() const { return write_json(json_); }

 private:
  explicit FamilyConfig(Json::Object members) : json_(std::move(members)) {}
  const Json& at(const std::string& key) const;
  Json json_;
};

/// "model.layers.#.x" with the layer's number.
std::string layer_name(std::string name, int layer);

/// Random tensors, the same for the same seed: matrices keep the size of what they multiply, norms
/// are near 1 and biases far from 0, so that a term that is left out shows.
class TensorMaker {
 public:
  explicit TensorMaker(uint64_t seed) : state_(seed) {}
  void matrix(const std::string& name, int rows, int cols, double gain = 1);
  void vector(const std::string& name, int n, double center, double spread);
  void bias(const std::string& name, int n) { vector(name, n, 0, 0.5); }
  void norm(const std::string& name, int n, double center = 1) { vector(name, n, center, 0.4); }
  /// P.weight [rows, cols], and P.bias [rows] if `with_bias`.
  void linear(const std::string& prefix, int rows, int cols, bool with_bias = false);
  /// P.weight and P.bias [n].
  void layer_norm(const std::string& prefix, int n, bool with_bias = true);
  void constant(const std::string& name, const std::vector<uint64_t>& shape, float value);

  Tensors tensors;

 private:
  double uniform();  // in (-1, 1)
  uint64_t state_;
};

/// A Hugging Face directory of config.json and model.safetensors in f32.
void write_hugging_face(const std::string& directory, const FamilyConfig& config,
                        const Tensors& tensors);

/// A GGUF file as llama.cpp's converter writes one; keys without their architecture.
class GgufWriter {
 public:
  GgufWriter(std::string architecture, const Tensors& source);
  GgufWriter& u32(const std::string& key, int64_t value);
  GgufWriter& f32(const std::string& key, double value);
  GgufWriter& boolean(const std::string& key, bool value);
  GgufWriter& booleans(const std::string& key, const std::vector<bool>& values);
  GgufWriter& string(const std::string& key, const std::string& value);
  void tensor(const std::string& name, const Tensor& tensor);
  /// Source tensors "from.weight" and "from.bias", those that exist, as "to.weight" and "to.bias".
  void copy(const std::string& to, const std::string& from);
  /// copy() in every layer, whose number replaces '#'.
  void copy_layers(int n_layers, const std::vector<std::pair<std::string, std::string>>& to_from);
  const Tensor& source(const std::string& name) const;
  const Tensor* find_source(const std::string& name) const;
  std::string build() const { return gguf_.build(); }

 private:
  GgufBuilder gguf_;
  std::string architecture_;
  const Tensors& source_;
};

/// Rows of each head from halves (i, i + d / 2) to pairs (2i, 2i + 1): LlamaModel.permute.
Tensor halves_to_pairs(const Tensor& w, int n_heads);
Tensor transposed(const Tensor& w);
/// Rows [begin, begin + count), of a matrix or a vector.
Tensor take_rows(const Tensor& w, uint64_t begin, uint64_t count);
/// Rows of a matrix or a vector in that order.
Tensor pick_rows(const Tensor& w, const std::vector<int>& order);
Tensor plus(const Tensor& w, float value);
/// One tensor [n, shape...] of n of equal shape.
Tensor stacked(const std::vector<const Tensor*>& parts);

/// Where the rows of q, then of k, then of v lie in fused weights whose KV groups hold
/// `q_per_kv` heads of q, one of k and one of v.
std::vector<int> grouped_qkv_order(int n_kv_heads, int q_per_kv, int head_dim);
/// The same for heads that hold q, k and v each.
inline std::vector<int> interleaved_qkv_order(int n_heads, int head_dim) {
  return grouped_qkv_order(n_heads, 1, head_dim);
}

}  // namespace nibble::test
