// Times the tokenizers of models on ordinary and on hostile texts: one megabyte and two of each.
//   bench_tokenizer MODEL...
// A model is a GGUF or .nib file, or a folder with tokenizer.json or tokenizer.model.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <random>

#include "base/clock.h"
#include "base/utf8.h"
#include "load/checkpoint.h"
#include "nibble/error.h"
#include "text/vocabulary.h"

namespace {

using namespace nibble;

constexpr size_t kBytes = 1000000;
constexpr int kRuns = 3;

struct Kind {
  const char* name;
  std::function<void(std::string&, std::mt19937&)> add;  // some more of the text
};

Kind repeated(const char* name, std::string text) {
  return {name, [text](std::string& out, std::mt19937&) { out += text; }};
}

// Words of random letters between `first` and `last`, as long as those of prose.
void add_word(std::string& out, std::mt19937& random, uint32_t first, uint32_t last) {
  for (size_t n = 1 + random() % 9; n > 0; --n)
    append_utf8(out, first + static_cast<uint32_t>(random()) % (last - first));
  out += random() % 8 ? " " : random() % 8 ? ", " : ".\n";
}

std::vector<Kind> kinds() {
  static constexpr const char* kWords[] = {
      "the ",     "quick ", "brown ", "fox",    "'s ",   "jumps ", "over ",    "a ",
      "lazy ",    "dog. ",  "And ",   "then, ", "in ",   "of ",    "language", "models ",
      "we ",      "\n\n",   "have ",  "12 ",    "it ",   "was ",   "said ",    "to ",
      "(never) ", "Paris ", "is ",    "called", " that", " for "};
  return {
      {"English words",
       [](std::string& out, std::mt19937& random) { out += kWords[random() % std::size(kWords)]; }},
      {"random Latin words",
       [](std::string& out, std::mt19937& random) { add_word(out, random, 'a', 'z'); }},
      {"random Han words",
       [](std::string& out, std::mt19937& random) { add_word(out, random, 0x4e00, 0x9f00); }},
      repeated("one letter", "a"),
      repeated("spaces", " "),
      repeated("combining marks", "\u0301"),
      repeated("digits", "7"),
      repeated("emoji", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
      {"random bytes",
       [](std::string& out, std::mt19937& random) { out += static_cast<char>(random()); }},
      repeated("a b a b", "a b "),
      repeated("newlines", "\n"),
      repeated("special tokens", "<|im_start|></s><|"),
  };
}

std::string text_of(const Kind& kind, size_t bytes) {
  std::mt19937 random(1);
  std::string text;
  while (text.size() < bytes) kind.add(text, random);
  return text;
}

double seconds(const Tokenizer& tokenizer, const std::string& text, size_t& tokens) {
  double best = 1e9;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = Clock::now();
    tokens = tokenizer.encode(text, Special::parse).size();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

Tokenizer open(const std::string& path) {
  return make_tokenizer(std::filesystem::is_directory(path)
                            ? read_vocabulary_from_directory(path)
                            : read_vocabulary(open_checkpoint(path)));
}

void report(const std::string& path) {
  const Tokenizer tokenizer = open(path);
  std::printf("\n%s: %s, %d tokens\n", path.c_str(), tokenizer.description().c_str(),
              tokenizer.vocab_size());
  std::printf("| text | 1 MB, s | 2 MB, s | ratio | tokens of 1 MB |\n|---|---|---|---|---|\n");
  for (const Kind& kind : kinds()) {
    const std::string text = text_of(kind, 2 * kBytes);
    size_t tokens = 0, ignored = 0;
    const double one = seconds(tokenizer, text.substr(0, kBytes), tokens);
    const double two = seconds(tokenizer, text, ignored);
    std::printf("| %s | %.3f | %.3f | %.2f | %zu |\n", kind.name, one, two, two / one, tokens);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    for (int i = 1; i < argc; ++i) report(argv[i]);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
