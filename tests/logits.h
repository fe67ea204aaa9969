// The logits of models, and how far they are from those expected.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "files.h"
#include "nibble/model.h"
#include "nibble/session.h"

namespace nibble::test {

/// Weights as the file has them and products in f32.
inline ModelOptions exact_options() {
  ModelOptions options;
  options.weights = WeightType::f32;
  options.activations = Activations::f32;
  return options;
}

/// The logits of all tokens, [tokens.size(), vocab], of one evaluation.
inline std::vector<float> logits_of(const Model& model, const std::vector<Token>& tokens,
                                    const SessionOptions& options = {}) {
  Session session(model, options);
  const auto logits = session.eval(tokens, Logits::all);
  return {logits.begin(), logits.end()};
}

/// The largest difference relative to the largest value expected; infinite if one is no number.
template <class Expected>
double relative_max(std::span<const float> found, const std::vector<Expected>& expected) {
  check_eq(found.size(), expected.size(), "logits");
  double worst = 0, largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto value = static_cast<double>(expected[i]);
    const double difference = std::abs(double{found[i]} - value);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
    largest = std::max(largest, std::abs(value));
  }
  return worst / largest;
}

/// The norm of the difference relative to that of the values expected; NaN if one is no number.
template <class Expected>
double relative_norm(std::span<const float> found, const std::vector<Expected>& expected) {
  check_eq(found.size(), expected.size(), "logits");
  double above = 0, below = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto value = static_cast<double>(expected[i]);
    above += (double{found[i]} - value) * (double{found[i]} - value);
    below += value * value;
  }
  return std::sqrt(above / below);
}

/// The logits beside a checkpoint of the shared test data, and the ids of the tokens they are of.
inline std::vector<float> read_logits(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}
inline std::vector<Token> read_ids(const std::string& path) {
  std::istringstream text(read_file(path));
  std::vector<Token> out;
  for (std::string word; std::getline(text, word, ',');) out.push_back(std::stoi(word));
  return out;
}

}  // namespace nibble::test
