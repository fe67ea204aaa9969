// Every model family against a double-precision forward pass of its own, through the file forms it
// is published in: a tiny random checkpoint under the published names.
#include <algorithm>
#include <cmath>
#include <set>

#include "check.h"
#include "family_cases.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr double kTolerance = 1e-4;  // of the largest logit
constexpr int kTokens = 40;

// Cases that the engine does not compute yet. A name that is not here must pass.
const std::set<std::string> kNotYet = {
    "llama, tied and biased",
    "llama, yarn RoPE",
    "llama, dynamic RoPE",
    "qwen2, apart and yarn",
    "qwen2, window",
    "qwen3",
    "qwen3, tied",
    "smollm3",
    "granite",
    "minicpm",
    "internlm3",
    "internlm3, biases",
    "internlm3, longer than its context",
    "mixtral",
    "qwen3_moe",
    "qwen3_moe, weights not renormalized",
    "olmoe",
    "olmoe, clipped",
    "gemma",
    "gemma2",
    "gemma2, scores by another width",
    "gemma3",
    "gemma3, linear RoPE in the global layers",
    "gemma3, layer types",
    "phi3",
    "phi3, longrope in the original context",
    "phi3, longrope beyond it",
    "phi4 mini",
    "phi4 mini, beyond its original context",
    "olmo2",
    "olmo2, grouped queries",
    "cohere",
    "cohere, norms of q and k",
    "stablelm",
    "stablelm, 12B",
    "internlm2",
    "internlm2, longer than its context",
    "gpt2",
    "gpt2, prefixed",
    "starcoder",
    "starcoder, a KV head per head",
    "starcoder2",
    "starcoder2, window and apart",
    "gpt_neox",
    "gpt_neox, in sequence",
    "opt",
    "opt, 350M",
    "falcon",
    "falcon, 40B",
    "falcon, 11B",
    "falcon, RW",
    "mpt",
    "mpt, clipped, six heads",
    "bloom",
    "bloom, prefixed, six heads",
};

std::vector<int> some_tokens(int vocab) {
  std::vector<int> out;
  for (int i = 0; i < kTokens; ++i) out.push_back((i * i * 7 + i * 3 + 5) % vocab);
  return out;
}

std::vector<float> logits_of(const std::string& path, const std::vector<int>& tokens,
                             bool one_by_one = false) {
  ModelOptions options;
  options.weights = WeightType::f32;
  options.activations = Activations::f32;
  const Model model(path, options);
  SessionOptions of_session;
  of_session.context = static_cast<int>(tokens.size());
  Session session(model, of_session);
  std::vector<float> out;
  const size_t step = one_by_one ? 1 : tokens.size();
  for (size_t t = 0; t < tokens.size(); t += step) {
    const auto rows = session.eval(std::span(tokens).subspan(t, step), Logits::all);
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

/// Fails unless max |difference| <= kTolerance max |expected|.
template <class Expected>
void check_close(const std::vector<float>& found, const std::vector<Expected>& expected,
                 const std::string& what) {
  check_eq(found.size(), expected.size(), what + ": logits");
  double worst = 0, largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(found[i] - static_cast<double>(expected[i]));
    worst = difference <= worst ? worst : difference;  // NaN stays
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  if (worst <= kTolerance * largest) return;
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
  TempDir dir;
  write_hugging_face(dir / "hf", c.config, maker.tensors);
  const std::vector<float> found = logits_of(dir / "hf", tokens);
  check_close(found, expected.data, "Hugging Face");
  check_close(logits_of(dir / "hf", tokens, true), found, "token by token");
  if (!c.gguf) return;
  write_file(dir / "model.gguf", c.gguf(c.config, maker.tensors));
  const std::vector<float> from_gguf = logits_of(dir / "model.gguf", tokens);
  check_close(from_gguf, expected.data, "GGUF");
  check_close(from_gguf, found, "GGUF against Hugging Face");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<FamilyCase> families = all_cases();
  std::vector<Case> cases;
  for (const FamilyCase& c : families)
    cases.push_back({c.name.c_str(), [&c] {
                       if (!kNotYet.contains(c.name)) return run_case(c);
                       try {
                         run_case(c);
                       } catch (const Error& e) {
                         skip(e.what());
                       } catch (const Failure& f) {
                         skip(f.text);
                       }
                     }});
  return run(argc, argv, cases);
}
