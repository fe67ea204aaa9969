// What the double-precision references of the model families are built of, as the papers state it:
// loops over matrices, nothing shared with the engine.
#pragma once

#include <functional>
#include <vector>

#include "family_tensors.h"

namespace nibble::test {

struct Matrix {
  int rows = 0, cols = 0;
  std::vector<double> data;  // [rows, cols]

  Matrix() = default;
  Matrix(int r, int c) : rows(r), cols(c), data(size_t(r) * size_t(c)) {}
  double* row(int r) { return data.data() + size_t(r) * size_t(cols); }
  const double* row(int r) const { return data.data() + size_t(r) * size_t(cols); }
};

Matrix operator+(Matrix a, const Matrix& b);
Matrix operator*(Matrix a, double factor);
Matrix operator*(Matrix a, const Matrix& b);  // element by element
Matrix map(Matrix x, const std::function<double(double)>& f);
/// `count` columns from `begin` on.
Matrix columns(const Matrix& x, int begin, int count);
/// Columns to[i] = from[order[i]].
Matrix pick_columns(const Matrix& x, const std::vector<int>& order);

/// x W^T + b with W [out, in].
Matrix linear(const Matrix& x, const Tensor& w, const Tensor* bias = nullptr);
Matrix embed(const std::vector<int>& tokens, const Tensor& table);

/// Normalizes groups of columns: (x - mean) / sqrt(variance + eps) or x / sqrt(mean square + eps),
/// times (offset + weight), plus bias. The weight is that of a row or, if shorter, of a group.
struct Norm {
  double eps = 1e-5;
  bool centered = false;         // LayerNorm; else RMSNorm
  double offset = 0;             // 1 in Gemma
  int group = 0;                 // columns; 0: the row
  const Tensor* bias = nullptr;  // as the weight
};
Matrix normalize(const Matrix& x, const Tensor& weight, const Norm& norm);

double silu(double x);
double gelu(double x);       // x Phi(x)
double gelu_tanh(double x);  // its approximation by tanh
double relu(double x);
/// By the names of Hugging Face's ACT2FN.
std::function<double(double)> activation(const std::string& name);

/// Rotary embedding: the first 2 * frequencies.size() columns of every head are rotated.
struct Rope {
  std::vector<double> frequencies;  // radians per position
  double magnitude = 1;             // of the rotated columns (YaRN, LongRoPE)
  bool pairs = false;               // columns (2i, 2i + 1) rotate together; else (i, i + n / 2)
};
Matrix rotate(const Matrix& x, int head_dim, const Rope& rope);

/// Frequencies of the default RoPE, theta^(-2i / dim).
std::vector<double> rope_frequencies(double theta, int dim);
/// RoPE as config.json states it in rope_theta, rope_scaling, max_position_embeddings and
/// original_max_position_embeddings. `length`: of the text, for the types that depend on it.
Rope rope_of(const FamilyConfig& config, int rotated, int length);

struct Attention {
  int n_heads = 0, n_kv_heads = 0, head_dim = 0;
  double scale = 0;
  int window = 0;                  // positions seen, one's own included; 0: all before
  double soft_cap = 0;             // 0: none
  std::vector<double> alibi = {};  // [n_heads] slopes, or none
};
/// Causal attention; q [n, n_heads * head_dim], k and v [n, n_kv_heads * head_dim].
Matrix attend(const Matrix& q, const Matrix& k, const Matrix& v, const Attention& a);

/// Slopes of ALiBi (Press et al., 2021, and its code for heads that are no power of two).
std::vector<double> alibi_slopes(int n_heads, double max_bias = 8);

/// Sparse experts: softmax over the router's logits, the `top` largest weigh the experts' outputs,
/// renormalized to sum 1 or not.
Matrix mixture(const Matrix& x, const Tensor& router, int top, bool renormalize,
               const std::function<Matrix(const Matrix&, int)>& expert);

/// The tensors of one checkpoint by prefix: "P.weight" and, if there, "P.bias".
struct Net {
  const FamilyConfig& config;
  const Tensors& tensors;

  Matrix linear(const Matrix& x, const std::string& prefix) const;
  Matrix conv1d(const Matrix& x, const std::string& prefix) const;  // weight [in, out]
  Matrix rms_norm(const Matrix& x, const std::string& prefix, double eps, double offset = 0) const;
  Matrix layer_norm(const Matrix& x, const std::string& prefix, double eps) const;
  Matrix embed(const std::vector<int>& tokens, const std::string& prefix) const;
  const Tensor* find(const std::string& name) const;
  const Tensor& at(const std::string& name) const;
};

}  // namespace nibble::test
