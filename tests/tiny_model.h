// A small random model in every file form that loaders read, and its forward pass in double
// precision, written from the papers and not from the engine: RMSNorm (arXiv 1910.07467), RoPE
// (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), grouped-query attention (arXiv 2305.13245).
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gguf_builder.h"
#include "stored_tensors.h"

namespace nibble::test {

/// Weights under llama2.c's names and pair order (RoPE pairs 2i, 2i + 1), row-major [rows, cols].
struct TinyModel {
  int dim = 48, n_layers = 2, n_heads = 6, n_kv_heads = 2, head_dim = 8, ffn_dim = 100, vocab = 77;
  int context = 600;
  float theta = 10000.0f, eps = 1e-5f;
  bool tied = false, qkv_bias = false;
  int sliding_window = 0;
  std::string extra_config;  // members of config.json, each with a comma in front

  struct Matrix {
    int rows = 0, cols = 1;  // cols 0: a vector
    std::vector<float> data;
    std::vector<uint64_t> shape() const {
      const auto n = static_cast<uint64_t>(rows);
      return cols == 0 ? std::vector{n} : std::vector{n, static_cast<uint64_t>(cols)};
    }
  };
  std::map<std::string, Matrix> tensors;

  int q_dim() const { return n_heads * head_dim; }
  int kv_dim() const { return n_kv_heads * head_dim; }

  void randomize(uint32_t seed) {
    std::mt19937 random(seed);
    const auto add = [&](const std::string& name, int rows, int cols, float mean, float spread) {
      Matrix m{rows, cols,
               std::vector<float>(static_cast<size_t>(rows) *
                                  static_cast<size_t>(cols == 0 ? 1 : cols))};
      std::normal_distribution<float> normal(mean, spread);
      for (float& v : m.data) v = normal(random);
      tensors[name] = std::move(m);
    };
    const auto matrix = [&](const std::string& name, int rows, int cols) {
      add(name, rows, cols, 0.0f, 1.5f / std::sqrt(static_cast<float>(cols)));
    };
    matrix("token_embd.weight", vocab, dim);
    add("output_norm.weight", dim, 0, 1.0f, 0.1f);
    if (!tied) matrix("output.weight", vocab, dim);
    for (int i = 0; i < n_layers; ++i) {
      const std::string b = "blk." + std::to_string(i) + ".";
      add(b + "attn_norm.weight", dim, 0, 1.0f, 0.1f);
      matrix(b + "attn_q.weight", q_dim(), dim);
      matrix(b + "attn_k.weight", kv_dim(), dim);
      matrix(b + "attn_v.weight", kv_dim(), dim);
      matrix(b + "attn_output.weight", dim, q_dim());
      if (qkv_bias) {
        add(b + "attn_q.bias", q_dim(), 0, 0.0f, 0.3f);
        add(b + "attn_k.bias", kv_dim(), 0, 0.0f, 0.3f);
        add(b + "attn_v.bias", kv_dim(), 0, 0.0f, 0.3f);
      }
      add(b + "ffn_norm.weight", dim, 0, 1.0f, 0.1f);
      matrix(b + "ffn_gate.weight", ffn_dim, dim);
      matrix(b + "ffn_up.weight", ffn_dim, dim);
      matrix(b + "ffn_down.weight", dim, ffn_dim);
    }
  }

  const Matrix& get(const std::string& name) const { return tensors.at(name); }

  std::vector<double> multiply(const std::string& name, const std::vector<double>& x) const {
    const Matrix& w = get(name);
    std::vector<double> y(static_cast<size_t>(w.rows), 0.0);
    for (size_t n = 0; n < y.size(); ++n)
      for (size_t k = 0; k < x.size(); ++k) y[n] += double{w.data[n * x.size() + k]} * x[k];
    return y;
  }

  std::vector<double> norm(const std::string& name, const std::vector<double>& x) const {
    double sum = 0;
    for (const double v : x) sum += v * v;
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + double{eps});
    std::vector<double> y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * inverse * double{get(name).data[i]};
    return y;
  }

  // Rotates each pair (2i, 2i + 1) of every head by position * theta^(-2i / head_dim).
  void rotate(std::vector<double>& x, int position) const {
    for (size_t h = 0; h < x.size(); h += static_cast<size_t>(head_dim))
      for (int i = 0; i < head_dim / 2; ++i) {
        const double f = std::pow(double{theta}, -2.0 * i / head_dim);
        const double c = std::cos(position * f), s = std::sin(position * f);
        double& a = x[h + static_cast<size_t>(2 * i)];
        double& b = x[h + static_cast<size_t>(2 * i + 1)];
        const double a0 = a, b0 = b;
        a = a0 * c - b0 * s;
        b = a0 * s + b0 * c;
      }
  }

  std::vector<double> attend(const std::vector<double>& q,
                             const std::vector<std::vector<double>>& keys,
                             const std::vector<std::vector<double>>& values) const {
    std::vector<double> out(q.size(), 0.0);
    const size_t hd = static_cast<size_t>(head_dim), last = keys.size() - 1;
    const size_t window = static_cast<size_t>(sliding_window);
    const size_t first = window > 0 && last + 1 > window ? last + 1 - window : 0;
    for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
      const size_t kv = h / static_cast<size_t>(n_heads / n_kv_heads) * hd;
      std::vector<double> p(keys.size(), 0.0);
      double sum = 0;
      for (size_t t = first; t <= last; ++t) {
        double dot = 0;
        for (size_t d = 0; d < hd; ++d) dot += q[h * hd + d] * keys[t][kv + d];
        p[t] = std::exp(dot / std::sqrt(double(head_dim)));
        sum += p[t];
      }
      for (size_t t = first; t <= last; ++t)
        for (size_t d = 0; d < hd; ++d) out[h * hd + d] += p[t] / sum * values[t][kv + d];
    }
    return out;
  }

  /// Logits [tokens.size(), vocab]; without biases.
  std::vector<double> forward(const std::vector<int>& tokens) const {
    std::vector<std::vector<std::vector<double>>> keys(static_cast<size_t>(n_layers)),
        values = keys;
    std::vector<double> logits;
    for (size_t pos = 0; pos < tokens.size(); ++pos) {
      const Matrix& embedding = get("token_embd.weight");
      const auto first = embedding.data.begin() + tokens[pos] * dim;
      std::vector<double> x(first, first + dim);
      for (int i = 0; i < n_layers; ++i) {
        const std::string b = "blk." + std::to_string(i) + ".";
        const size_t layer = static_cast<size_t>(i);
        std::vector<double> h = norm(b + "attn_norm.weight", x);
        std::vector<double> q = multiply(b + "attn_q.weight", h);
        std::vector<double> k = multiply(b + "attn_k.weight", h);
        std::vector<double> v = multiply(b + "attn_v.weight", h);
        rotate(q, static_cast<int>(pos));
        rotate(k, static_cast<int>(pos));
        keys[layer].push_back(k);
        values[layer].push_back(v);
        h = multiply(b + "attn_output.weight", attend(q, keys[layer], values[layer]));
        for (size_t j = 0; j < x.size(); ++j) x[j] += h[j];
        h = norm(b + "ffn_norm.weight", x);
        std::vector<double> gate = multiply(b + "ffn_gate.weight", h);
        const std::vector<double> up = multiply(b + "ffn_up.weight", h);
        for (size_t j = 0; j < gate.size(); ++j)
          gate[j] = gate[j] / (1 + std::exp(-gate[j])) * up[j];
        h = multiply(b + "ffn_down.weight", gate);
        for (size_t j = 0; j < x.size(); ++j) x[j] += h[j];
      }
      const std::vector<double> row =
          multiply(tied ? "token_embd.weight" : "output.weight", norm("output_norm.weight", x));
      logits.insert(logits.end(), row.begin(), row.end());
    }
    return logits;
  }
};

/// llama2.c's run.c: seven int32, then arrays over all layers in this order, then two RoPE tables.
inline void write_llama2c(const TinyModel& m, const std::string& path) {
  std::string out;
  for (const int n : {m.dim, m.ffn_dim, m.n_layers, m.n_heads, m.n_kv_heads,
                      m.tied ? m.vocab : -m.vocab, m.context})
    out += raw<int32_t>(n);
  out += bytes_of(m.get("token_embd.weight").data);
  for (const char* name : {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm",
                           "ffn_gate", "ffn_down", "ffn_up"})
    for (int i = 0; i < m.n_layers; ++i)
      out += bytes_of(m.get("blk." + std::to_string(i) + "." + name + ".weight").data);
  out += bytes_of(m.get("output_norm.weight").data);
  out += bytes_of(std::vector<float>(static_cast<size_t>(m.context * m.head_dim), 0.5f));
  if (!m.tied) out += bytes_of(m.get("output.weight").data);
  write_file(path, out);
}

/// From pairs (2i, 2i + 1) to pairs (i, i + head_dim / 2), head by head.
inline TinyModel::Matrix to_halves(const TinyModel::Matrix& w, int head_dim) {
  TinyModel::Matrix out = w;
  const size_t cols = static_cast<size_t>(w.cols == 0 ? 1 : w.cols);
  for (int row = 0; row < w.rows; ++row) {
    const int head = row / head_dim, j = row % head_dim;
    const int from = head * head_dim + (j < head_dim / 2 ? 2 * j : 2 * (j - head_dim / 2) + 1);
    for (size_t c = 0; c < cols; ++c)
      out.data[static_cast<size_t>(row) * cols + c] = w.data[static_cast<size_t>(from) * cols + c];
  }
  return out;
}

inline bool is_rotated(const std::string& name) {
  return name.find("attn_q.") != std::string::npos || name.find("attn_k.") != std::string::npos;
}

/// GGUF v3 (ggml docs/gguf.md), f32.
inline void write_gguf(const TinyModel& m, const std::string& path) {
  GgufBuilder out;
  const auto count = [&](const std::string& key, int n) {
    out.u32("llama." + key, static_cast<uint32_t>(n));
  };
  out.string("general.architecture", "llama");
  count("context_length", m.context);
  count("embedding_length", m.dim);
  count("block_count", m.n_layers);
  count("feed_forward_length", m.ffn_dim);
  count("attention.head_count", m.n_heads);
  count("attention.head_count_kv", m.n_kv_heads);
  count("attention.key_length", m.head_dim);
  out.f32("llama.attention.layer_norm_rms_epsilon", m.eps).f32("llama.rope.freq_base", m.theta);
  for (const auto& [name, w] : m.tensors) {
    const std::vector<uint64_t> shape = w.shape();
    out.tensor(name, 0, {shape.rbegin(), shape.rend()}, bytes_of(w.data));
  }
  write_file(path, out.build());
}

inline std::string hugging_face_name(const std::string& name) {
  static const std::pair<const char*, const char*> parts[] = {
      {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  const size_t dot = name.find('.', 4);
  const std::string rest = name.substr(dot + 1);
  const size_t end = rest.find('.');
  for (const auto& [from, to] : parts)
    if (rest.substr(0, end) == from)
      return "model.layers." + name.substr(4, dot - 4) + "." + to + rest.substr(end);
  return name;
}

/// A Hugging Face directory: config.json and one f32 safetensors file.
inline void write_hugging_face(const TinyModel& m, const std::string& directory,
                               const std::string& model_type = "llama") {
  std::filesystem::create_directories(directory);
  StoredTensors tensors;
  for (const auto& [name, w] : m.tensors)
    tensors.push_back({hugging_face_name(name), DType::f32, w.shape(),
                       bytes_of(is_rotated(name) ? to_halves(w, m.head_dim).data : w.data)});
  write_file(directory + "/model.safetensors", safetensors_of(tensors));
  const auto n = [](int v) { return std::to_string(v); };
  std::ostringstream eps;
  eps.precision(9);
  eps << m.eps;
  write_file(directory + "/config.json",
             "{\"model_type\":\"" + model_type + "\",\"hidden_size\":" + n(m.dim) +
                 ",\"num_hidden_layers\":" + n(m.n_layers) + ",\"num_attention_heads\":" +
                 n(m.n_heads) + ",\"num_key_value_heads\":" + n(m.n_kv_heads) +
                 ",\"head_dim\":" + n(m.head_dim) + ",\"intermediate_size\":" + n(m.ffn_dim) +
                 ",\"vocab_size\":" + n(m.vocab) + ",\"max_position_embeddings\":" + n(m.context) +
                 ",\"rms_norm_eps\":" + eps.str() + ",\"rope_theta\":" + std::to_string(m.theta) +
                 ",\"tie_word_embeddings\":" + (m.tied ? "true" : "false") + m.extra_config + "}");
}

}  // namespace nibble::test
