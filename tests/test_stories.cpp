// A real trained model: published text and perplexities, from every form of the same weights.
#include <cmath>

#include "check.h"
#include "files.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// The Hugging Face directory holds no tokenizer: its ids are those of the GGUF.
Tokenizer stories_tokenizer() {
  return Model(shared("data/stories260K/stories260K.gguf")).tokenizer();
}

void published_text() {
  std::string golden = read_file(shared("data/stories260K/golden.txt"));
  while (golden.ends_with('\n')) golden.pop_back();
  const std::string prompt = "Once upon a time";
  check(golden.starts_with(prompt));
  const Tokenizer tokenizer = stories_tokenizer();
  ModelOptions options;
  options.weights = WeightType::f32;
  for (const char* name : {"stories260K.gguf", "hf", "stories260K.bin"}) {
    const Model model(shared("data/stories260K/" + std::string(name)), options);
    std::vector<Token> tokens = {tokenizer.bos()};
    for (const Token t : tokenizer.encode(prompt)) tokens.push_back(t);
    Session session(model);
    Sampler greedy({.temperature = 0});
    StreamDecoder decoder(tokenizer);
    std::string text = prompt;
    for (std::vector<Token> next = tokens; text.size() < golden.size();) {
      next = {greedy.sample(session.eval(next))};
      text += decoder.push(next[0]);
    }
    check_eq(text.substr(0, golden.size()), golden, name);
  }
}

// Perplexity of golden.txt after BOS.
double perplexity(const Model& model, const Tokenizer& tokenizer) {
  std::string golden = read_file(shared("data/stories260K/golden.txt"));
  std::vector<Token> tokens = {tokenizer.bos()};
  for (const Token t : tokenizer.encode(golden)) tokens.push_back(t);
  check_eq(tokens.size(), size_t{258}, "tokens of golden.txt with BOS");
  Session session(model);
  const auto logits = session.eval(tokens, Logits::all);
  const size_t vocab = static_cast<size_t>(model.config().vocab_size);
  double sum = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const auto row = logits.subspan(t * vocab, vocab);
    double total = 0;
    for (const float l : row) total += std::exp(double{l});
    sum += std::log(total) - double{row[static_cast<size_t>(tokens[t + 1])]};
  }
  return std::exp(sum / static_cast<double>(tokens.size() - 1));
}

void published_perplexities() {
  const std::string path = shared("data/stories260K/stories260K.gguf");
  const Tokenizer tokenizer = stories_tokenizer();
  const auto with = [&](WeightType type) {
    ModelOptions options;
    options.weights = type;
    return perplexity(Model(path, options), tokenizer);
  };
  check_near(with(WeightType::f32), 1.6384, 0.00005, "f32");
  check_near(with(WeightType::q8), 1.6384, 1.6384 * 0.003, "q8");
  check_near(with(WeightType::automatic), 1.788, 1.788 * 0.01, "q4, group 32, zero points");
  TempDir dir;
  QuantizeOptions symmetric;
  symmetric.symmetric = true;
  quantize(path, dir / "m.nib", symmetric);
  const Model nib(dir / "m.nib");
  check_near(perplexity(nib, nib.tokenizer()), 1.748, 1.748 * 0.01, "q4, group 32, symmetric");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"the published text, from every file form", published_text},
              {"the published perplexities", published_perplexities}});
}
