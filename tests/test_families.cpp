// Every model family against a double-precision forward pass of its own, through the file forms it
// is published in: a tiny random checkpoint under the published names.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "family_cases.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr double kTolerance = 1e-4;  // of the largest logit
// The same of weights and activations of 8 bits, with which these cases choose the same experts.
constexpr double kRough = 0.15;
constexpr int kTokens = 40;

std::vector<int> some_tokens(int vocab) {
  std::vector<int> out;
  for (int i = 0; i < kTokens; ++i) out.push_back((i * i * 7 + i * 3 + 5) % vocab);
  return out;
}

ModelOptions exact() {
  ModelOptions options;
  options.weights = WeightType::f32;
  options.activations = Activations::f32;
  return options;
}

std::vector<float> logits_of(const Model& model, const std::vector<int>& tokens, size_t step) {
  SessionOptions options;
  options.context = static_cast<int>(tokens.size());
  Session session(model, options);
  std::vector<float> out;
  for (size_t t = 0; t < tokens.size(); t += step) {
    const auto rows =
        session.eval(std::span(tokens).subspan(t, std::min(step, tokens.size() - t)), Logits::all);
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

// Of the last token alone, when the last layer has only that row of its batch to finish and none
// of the batch before.
std::vector<float> last_logits_of(const Model& model, const std::vector<int>& tokens) {
  SessionOptions options;
  options.context = static_cast<int>(tokens.size());
  options.batch = 16;
  Session session(model, options);
  const auto row = session.eval(tokens, Logits::last);
  return {row.begin(), row.end()};
}

/// Fails unless max |difference| <= tolerance max |expected|.
template <class Expected>
void check_close(const std::vector<float>& found, const std::vector<Expected>& expected,
                 const std::string& what, double tolerance) {
  check_eq(found.size(), expected.size(), what + ": logits");
  double worst = 0, largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(found[i] - static_cast<double>(expected[i]));
    worst = difference <= worst ? worst : difference;  // NaN stays
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  if (worst <= tolerance * largest) return;
  std::ostringstream text;
  text << what << ": the largest difference is " << worst / largest << " of the largest logit";
  fail(text.str());
}

void run_case(const FamilyCase& c) {
  uint64_t seed = 0;
  for (const char letter : c.name) seed = seed * 31 + static_cast<unsigned char>(letter);
  TensorMaker maker(seed);
  c.make(maker, c.config);
  const std::vector<int> tokens = some_tokens(c.config.integer("vocab_size"));
  const Matrix expected = c.reference({c.config, maker.tensors}, tokens);
  const size_t all = tokens.size();
  TempDir dir;
  write_hugging_face(dir / "hf", c.config, maker.tensors);
  const Model model(dir / "hf", exact());
  const std::vector<float> found = logits_of(model, tokens, all);
  check_close(found, expected.data, "Hugging Face", kTolerance);
  check(logits_of(model, tokens, 1) == found, "token by token differs");
  check(logits_of(model, tokens, 7) == found, "seven tokens at a time differ");
  const std::vector<float> last = last_logits_of(model, tokens);
  check(std::ranges::equal(last, std::span(found).last(last.size())), "the last token differs");
  check_eq(last.size() * tokens.size(), found.size(), "logits of the last token");

  QuantizeOptions as_it_is;
  as_it_is.weights = WeightType::f32;
  quantize(dir / "hf", dir / "model.nib", as_it_is);
  check(logits_of(Model(dir / "model.nib", exact()), tokens, all) == found, ".nib differs");
  ModelOptions eight_bits;
  eight_bits.weights = WeightType::q8;
  check_close(logits_of(Model(dir / "hf", eight_bits), tokens, all), expected.data, "8 bits",
              kRough);
  if (!c.gguf) return;
  write_file(dir / "model.gguf", c.gguf(c.config, maker.tensors));
  const std::vector<float> from_gguf = logits_of(Model(dir / "model.gguf", exact()), tokens, all);
  check_close(from_gguf, expected.data, "GGUF", kTolerance);
  check_close(from_gguf, found, "GGUF against Hugging Face", kTolerance);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<FamilyCase> families = all_cases();
  std::vector<Case> cases;
  for (const FamilyCase& c : families) cases.push_back({c.name.c_str(), [&c] { run_case(c); }});
  return run(argc, argv, cases);
}
