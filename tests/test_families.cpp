// Every model family against a double-precision forward pass of its own, through the file forms it
// is published in: a tiny random checkpoint under the published names.
#include <algorithm>

#include "family_cases.h"
#include "logits.h"
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

std::vector<float> stepwise(const Model& model, const std::vector<int>& tokens, size_t step) {
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

template <class Expected>
void check_close(const std::vector<float>& found, const std::vector<Expected>& expected,
                 const std::string& what, double tolerance) {
  const double error = relative_max(found, expected);
  check(error <= tolerance,
        what + ": the largest difference is " + std::to_string(error) + " of the largest logit");
}

void run_case(const FamilyCase& c) {
  uint64_t seed = 0;
  for (const char letter : c.name) seed = seed * 31 + static_cast<unsigned char>(letter);
  const Tensors tensors = c.tensors(seed);
  const std::vector<int> tokens = some_tokens(c.config.integer("vocab_size"));
  const Matrix expected = c.reference({c.config, tensors}, tokens);
  TempDir dir;
  SessionOptions options;  // beyond the contexts of some
  options.context = kTokens;
  const auto logits = [&](const std::string& name, const ModelOptions& how) {
    return logits_of(Model(dir / name, how), tokens, options);
  };
  c.publish(dir / "hf", c.config, tensors);
  const Model model(dir / "hf", exact_options());
  const std::vector<float> found = logits_of(model, tokens, options);
  check_close(found, expected.data, "Hugging Face", kTolerance);
  check(stepwise(model, tokens, 1) == found, "token by token differs");
  check(stepwise(model, tokens, 7) == found, "seven tokens at a time differ");
  const std::vector<float> last = last_logits_of(model, tokens);
  check(std::ranges::equal(last, std::span(found).last(last.size())), "the last token differs");
  check_eq(last.size() * tokens.size(), found.size(), "logits of the last token");

  QuantizeOptions as_it_is;
  as_it_is.weights = WeightType::f32;
  quantize(dir / "hf", dir / "model.nib", as_it_is);
  check(logits("model.nib", exact_options()) == found, ".nib differs");
  ModelOptions eight_bits;
  eight_bits.weights = WeightType::q8;
  check_close(logits("hf", eight_bits), expected.data, "8 bits", kRough);
  if (!c.gguf) return;
  write_file(dir / "model.gguf", c.gguf(c.config, tensors));
  const std::vector<float> from_gguf = logits("model.gguf", exact_options());
  check_close(from_gguf, expected.data, "GGUF", kTolerance);
  check_close(from_gguf, found, "GGUF against Hugging Face", kTolerance);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Case> cases;
  for (const FamilyCase& c : all_cases()) cases.push_back({c.name.c_str(), [&c] { run_case(c); }});
  const std::vector<FamilyCase> gpt_oss = gpt_oss_cases();
  for (const FamilyCase& c : gpt_oss) cases.push_back({c.name.c_str(), [&c] { run_case(c); }});
  return run(argc, argv, cases);
}
