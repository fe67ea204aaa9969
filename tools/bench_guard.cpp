#include "bench_guard.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <span>

#include "base/hash.h"
#include "kernels.h"
#include "model/model_loader.h"

namespace nibble::tools {
namespace {

constexpr size_t kScalarTokens = 3;
constexpr size_t kTokens = 70;                   // more than any tile of rows, and no multiple
constexpr uint64_t kScalarBudget = 300'000'000;  // parameters that the scalar kernels multiply
// Activations are rounded to int8: another order of additions moves a value across a rounding
// border, and that others. Where that goes on through all layers, logits differ as much as two
// roundings do, each as far from the exact ones as the scalar kernels' are; they differ by far more
// where a kernel is wrong.
constexpr double kTolerance = 0.02, kRoundings = 2;

/// The shapes and formats among a model's matrices.
std::set<std::string> formats_of(const Model& model) {
  std::set<std::string> formats;
  for (const ModelInfo::Tensor& t : model.info().tensors)
    formats.insert(std::to_string(t.rows) + " " + std::to_string(t.cols) + " " + t.type);
  return formats;
}

/// The fewest layers from the first on that hold every format, and more where that costs little.
int layers_to_check(const Model& model) {
  ModelOptions options;
  options.threads = 1;
  const std::set<std::string> all = formats_of(model);
  const int n_layers = model.config().n_layers;
  int n = 1;
  while (n < n_layers && formats_of(model_with(model, options, n)) != all) ++n;
  while (n < n_layers && model_with(model, options, n + 1).info().n_params < kScalarBudget) ++n;
  return n;
}

/// Relative norm of the difference; NaN where a value is.
double distance(std::span<const float> found, std::span<const float> expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double e = static_cast<double>(expected[i]);
    const double d = static_cast<double>(found[i]) - e;
    difference += d * d;
    norm += e * e;
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

/// Logits [tokens, vocab] of tokens that are computed one by one.
std::vector<float> logits_one_by_one(const Model& model, std::span<const Token> tokens) {
  SessionOptions options;
  options.context = static_cast<int>(tokens.size());
  options.batch = 1;
  Session session(model, options);
  std::vector<float> logits;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto one = session.eval(tokens.subspan(i, 1), Logits::last);
    logits.insert(logits.end(), one.begin(), one.end());
  }
  return logits;
}

std::vector<float> logits_at_once(const Model& model, std::span<const Token> tokens) {
  SessionOptions options;
  options.context = options.batch = static_cast<int>(tokens.size());
  Session session(model, options);
  const auto logits = session.eval(tokens, Logits::all);
  return {logits.begin(), logits.end()};
}

}  // namespace

BenchGuard::BenchGuard(const Model& model)
    : model_(model), n_layers_(layers_to_check(model)), tokens_(kTokens) {
  std::mt19937 random(1);
  std::uniform_int_distribution<Token> token(0, model.config().vocab_size - 1);
  for (Token& t : tokens_) t = token(random);
}

BenchCheck BenchGuard::check(const ModelOptions& options) {
  const size_t vocab = static_cast<size_t>(model_.config().vocab_size);
  const std::span<const Token> tokens(tokens_);
  const Kernels* kernels = find_kernels(options.isa.c_str());
  const bool bf16 = kernels && kernels->activations == ActivationCode::bf16;
  const auto scalar_logits = [&](Activations activations) {
    ModelOptions scalar = options;
    scalar.isa = "scalar";
    scalar.activations = activations;
    return logits_at_once(model_with(model_, scalar, n_layers_), tokens.first(kScalarTokens));
  };
  // bf16 is far nearer to exact activations than to int8.
  std::vector<float>& reference = bf16 ? exact_ : reference_;
  if (reference.empty()) reference = scalar_logits(bf16 ? Activations::f32 : options.activations);
  const Model model = model_with(model_, options, n_layers_);
  const bool is_scalar = model.info().kernels == "scalar";
  const auto checked = is_scalar ? tokens.first(kScalarTokens) : tokens;
  const std::vector<float> alone = logits_one_by_one(model, checked);
  const std::vector<float> together = logits_at_once(model, checked);
  BenchCheck result;
  result.hash = hash_of(std::as_bytes(std::span(alone).first(reference.size())));
  result.error = distance(std::span(alone).first(reference.size()), reference);
  // Row by row: what is wrong in one of many rows must not drown. Written so that NaN stays.
  for (size_t at = 0; at < alone.size(); at += vocab) {
    const double error =
        distance(std::span(together).subspan(at, vocab), std::span(alone).subspan(at, vocab));
    if (!(error <= result.error) && !std::isnan(result.error)) result.error = error;
  }
  result.tolerance = kTolerance;
  if (!(result.error < kTolerance)) {
    if (exact_.empty()) exact_ = scalar_logits(Activations::f32);
    result.tolerance = std::max(kTolerance, kRoundings * distance(reference, exact_));
  }
  const bool right = result.error < result.tolerance;
  result.verdict = right ? BenchCheck::Verdict::ok : BenchCheck::Verdict::wrong;
  return result;
}

}  // namespace nibble::tools
