#include "family_math.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "check.h"

namespace nibble::test {

Matrix operator+(Matrix a, const Matrix& b) {
  check(a.rows == b.rows && a.cols == b.cols, "the reference adds unequal shapes");
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] += b.data[i];
  return a;
}
Matrix operator*(Matrix a, double factor) {
  for (double& x : a.data) x *= factor;
  return a;
}
Matrix operator*(Matrix a, const Matrix& b) {
  check(a.rows == b.rows && a.cols == b.cols, "the reference multiplies unequal shapes");
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] *= b.data[i];
  return a;
}
Matrix map(Matrix x, const std::function<double(double)>& f) {
  for (double& v : x.data) v = f(v);
  return x;
}

Matrix pick_columns(const Matrix& x, const std::vector<int>& order) {
  Matrix out(x.rows, static_cast<int>(order.size()));
  for (int r = 0; r < x.rows; ++r)
    for (size_t i = 0; i < order.size(); ++i) out.row(r)[i] = x.row(r)[order[i]];
  return out;
}

Matrix columns(const Matrix& x, int begin, int count) {
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), begin);
  return pick_columns(x, order);
}

Matrix linear(const Matrix& x, const Tensor& w, const Tensor* bias) {
  const auto in = static_cast<int>(w.shape[1]), out = static_cast<int>(w.shape[0]);
  check_eq(x.cols, in, "the reference multiplies unequal widths");
  Matrix y(x.rows, out);
  for (int r = 0; r < x.rows; ++r)
    for (int o = 0; o < out; ++o) {
      double sum = bias ? bias->data[static_cast<size_t>(o)] : 0.0;
      const float* row = w.data.data() + static_cast<size_t>(o) * static_cast<size_t>(in);
      for (int i = 0; i < in; ++i) sum += x.row(r)[i] * row[i];
      y.row(r)[o] = sum;
    }
  return y;
}

Matrix embed(const std::vector<int>& tokens, const Tensor& table) {
  const auto dim = static_cast<int>(table.shape[1]);
  Matrix x(static_cast<int>(tokens.size()), dim);
  for (size_t t = 0; t < tokens.size(); ++t)
    for (int i = 0; i < dim; ++i)
      x.row(static_cast<int>(t))[i] =
          table.data[static_cast<size_t>(tokens[t]) * static_cast<size_t>(dim) +
                     static_cast<size_t>(i)];
  return x;
}

Matrix normalize(const Matrix& x, const Tensor& weight, const Norm& norm) {
  const int group = norm.group ? norm.group : x.cols;
  check_eq(x.cols % group, 0, "the reference's norm");
  Matrix out = x;
  for (int r = 0; r < x.rows; ++r)
    for (int begin = 0; begin < x.cols; begin += group) {
      double* v = out.row(r) + begin;
      const double mean = norm.centered ? std::accumulate(v, v + group, 0.0) / group : 0;
      double squares = 0;
      for (int i = 0; i < group; ++i) squares += (v[i] - mean) * (v[i] - mean);
      const double scale = 1 / std::sqrt(squares / group + norm.eps);
      for (int i = 0; i < group; ++i) {
        const size_t at = static_cast<size_t>(begin + i) % weight.data.size();
        v[i] = (v[i] - mean) * scale * (norm.offset + weight.data[at]) +
               (norm.bias ? norm.bias->data[at] : 0.0);
      }
    }
  return out;
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return x * 0.5 * (1 + std::erf(x / std::numbers::sqrt2)); }
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double relu(double x) { return x > 0 ? x : 0; }

std::function<double(double)> activation(const std::string& name) {
  if (name == "silu" || name == "swish") return silu;
  if (name == "gelu") return gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return gelu_tanh;
  if (name == "relu") return relu;
  fail("the reference knows no activation " + name);
}

Matrix rotate(const Matrix& x, int head_dim, const Rope& rope) {
  Matrix out = x;
  const auto n = static_cast<int>(rope.frequencies.size());
  check(2 * n <= head_dim, "the reference rotates more than a head");
  for (int r = 0; r < x.rows; ++r)
    for (int head = 0; head < x.cols; head += head_dim)
      for (int i = 0; i < n; ++i) {
        const int first = head + (rope.pairs ? 2 * i : i);
        const int second = head + (rope.pairs ? 2 * i + 1 : i + n);
        const double angle = r * rope.frequencies[static_cast<size_t>(i)];
        const double c = std::cos(angle) * rope.magnitude, s = std::sin(angle) * rope.magnitude;
        const double a = x.row(r)[first], b = x.row(r)[second];
        out.row(r)[first] = a * c - b * s;
        out.row(r)[second] = b * c + a * s;
      }
  return out;
}

std::vector<double> rope_frequencies(double theta, int dim) {
  std::vector<double> out;
  for (int i = 0; i < dim; i += 2) out.push_back(std::pow(theta, -static_cast<double>(i) / dim));
  return out;
}

namespace {

// Llama 3.1's reference code, apply_scaling.
double llama3_frequency(double f, const FamilyConfig& scaling) {
  const double context = scaling.number("original_max_position_embeddings");
  const double low = scaling.number("low_freq_factor"), high = scaling.number("high_freq_factor");
  const double wavelength = 2 * std::numbers::pi / f, factor = scaling.number("factor");
  if (wavelength < context / high) return f;
  if (wavelength > context / low) return f / factor;
  const double smooth = (context / wavelength - low) / (high - low);
  return (1 - smooth) * f / factor + smooth * f;
}

// YaRN (Peng et al., 2023), section 3.2 and its code: NTK-by-parts.
void apply_yarn(Rope& rope, const FamilyConfig& config, const FamilyConfig& scaling, int dim) {
  const double theta = config.number("rope_theta", 10000), factor = scaling.number("factor");
  const double context = scaling.number("original_max_position_embeddings");
  const auto turns_at = [&](double turns) {
    return dim * std::log(context / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(turns_at(scaling.number("beta_fast", 32))), 0.0);
  const double high = std::min(std::ceil(turns_at(scaling.number("beta_slow", 1))), dim - 1.0);
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
    const double f = rope.frequencies[i];
    rope.frequencies[i] = f / factor * ramp + f * (1 - ramp);
  }
  const auto magnitude = [&](double scale) { return 0.1 * scale * std::log(factor) + 1; };
  rope.magnitude = scaling.number("attention_factor", magnitude(1));
  if (scaling.has("mscale"))
    rope.magnitude =
        magnitude(scaling.number("mscale")) / magnitude(scaling.number("mscale_all_dim"));
}

// LongRoPE as Phi-3 publishes it: factors for texts up to and beyond the original context.
void apply_longrope(Rope& rope, const FamilyConfig& config, const FamilyConfig& scaling,
                    int length) {
  const double original = config.number("original_max_position_embeddings");
  const auto factors = scaling.numbers(length > original ? "long_factor" : "short_factor");
  check_eq(factors.size(), rope.frequencies.size(), "the test's longrope factors");
  for (size_t i = 0; i < factors.size(); ++i) rope.frequencies[i] /= factors[i];
  const double scale = config.number("max_position_embeddings") / original;
  rope.magnitude = scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(original)) : 1;
}

}  // namespace

Rope rope_of(const FamilyConfig& config, int rotated, int length) {
  const double theta = config.number("rope_theta", 10000);
  Rope rope{rope_frequencies(theta, rotated)};
  if (!config.has("rope_scaling")) return rope;
  const FamilyConfig scaling = config.object("rope_scaling");
  const std::string type = scaling.string("rope_type", scaling.string("type"));
  if (type == "linear") {
    for (double& f : rope.frequencies) f /= scaling.number("factor");
  } else if (type == "llama3") {
    for (double& f : rope.frequencies) f = llama3_frequency(f, scaling);
  } else if (type == "yarn") {
    apply_yarn(rope, config, scaling, rotated);
  } else if (type == "longrope" || type == "su") {
    apply_longrope(rope, config, scaling, length);
  } else if (type == "dynamic") {
    const double context = config.number("max_position_embeddings");
    const double factor = scaling.number("factor"), seen = std::max<double>(length, context);
    const double stretch = factor * seen / context - (factor - 1);
    rope.frequencies =
        rope_frequencies(theta * std::pow(stretch, rotated / (rotated - 2.0)), rotated);
  } else {
    check(type == "default", "the reference knows no RoPE " + type);
  }
  return rope;
}

Matrix attend(const Matrix& q, const Matrix& k, const Matrix& v, const Attention& a) {
  check_eq(q.cols, a.n_heads * a.head_dim, "the reference's q");
  check_eq(k.cols, a.n_kv_heads * a.head_dim, "the reference's k");
  Matrix out(q.rows, q.cols);
  for (int t = 0; t < q.rows; ++t)
    for (int h = 0; h < a.n_heads; ++h) {
      const int kv = h / (a.n_heads / a.n_kv_heads) * a.head_dim;
      const int first = a.window > 0 ? std::max(0, t - a.window + 1) : 0;
      std::vector<double> p;
      for (int s = first; s <= t; ++s) {
        double score = 0;
        for (int i = 0; i < a.head_dim; ++i)
          score += q.row(t)[h * a.head_dim + i] * k.row(s)[kv + i];
        score *= a.scale;
        if (a.soft_cap > 0) score = a.soft_cap * std::tanh(score / a.soft_cap);
        if (!a.alibi.empty()) score -= a.alibi[static_cast<size_t>(h)] * (t - s);
        p.push_back(score);
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& x : p) sum += x = std::exp(x - largest);
      for (int s = first; s <= t; ++s)
        for (int i = 0; i < a.head_dim; ++i)
          out.row(t)[h * a.head_dim + i] +=
              p[static_cast<size_t>(s - first)] / sum * v.row(s)[kv + i];
    }
  return out;
}

std::vector<double> alibi_slopes(int n_heads, double max_bias) {
  int power = 1;
  while (2 * power <= n_heads) power *= 2;
  std::vector<double> slopes;
  for (int h = 0; h < n_heads; ++h)
    slopes.push_back(h < power ? std::exp2(-max_bias * (h + 1) / power)
                               : std::exp2(-max_bias * (2 * (h - power) + 1) / (2 * power)));
  return slopes;
}

Matrix mixture(const Matrix& x, const Tensor& router, int top, bool renormalize,
               const std::function<Matrix(const Matrix&, int)>& expert) {
  const Matrix logits = linear(x, router);
  const int n = logits.cols;
  std::vector<Matrix> outputs;
  for (int e = 0; e < n; ++e) outputs.push_back(expert(x, e));
  Matrix out(x.rows, outputs[0].cols);
  for (int r = 0; r < x.rows; ++r) {
    std::vector<std::pair<double, int>> weights;
    double sum = 0, kept = 0;
    for (int e = 0; e < n; ++e) weights.emplace_back(std::exp(logits.row(r)[e]), e);
    for (const auto& [w, e] : weights) sum += w;
    std::sort(weights.rbegin(), weights.rend());
    for (int i = 0; i < top; ++i) kept += weights[static_cast<size_t>(i)].first;
    for (int i = 0; i < top; ++i) {
      const auto [w, e] = weights[static_cast<size_t>(i)];
      for (int c = 0; c < out.cols; ++c)
        out.row(r)[c] += w / (renormalize ? kept : sum) * outputs[static_cast<size_t>(e)].row(r)[c];
    }
  }
  return out;
}

const Tensor* Net::find(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}
const Tensor& Net::at(const std::string& name) const {
  const Tensor* found = find(name);
  if (!found) fail("the test's checkpoint has no " + name);
  return *found;
}
Matrix Net::linear(const Matrix& x, const std::string& prefix) const {
  return nibble::test::linear(x, at(prefix + ".weight"), find(prefix + ".bias"));
}
Matrix Net::conv1d(const Matrix& x, const std::string& prefix) const {
  return nibble::test::linear(x, transposed(at(prefix + ".weight")), find(prefix + ".bias"));
}
Matrix Net::rms_norm(const Matrix& x, const std::string& prefix, double eps, double offset) const {
  return normalize(x, at(prefix + ".weight"), {.eps = eps, .offset = offset});
}
Matrix Net::layer_norm(const Matrix& x, const std::string& prefix, double eps) const {
  return normalize(x, at(prefix + ".weight"),
                   {.eps = eps, .centered = true, .bias = find(prefix + ".bias")});
}
Matrix Net::embed(const std::vector<int>& tokens, const std::string& prefix) const {
  return nibble::test::embed(tokens, at(prefix + ".weight"));
}

}  // namespace nibble::test
