// decode(encode(x)) is x for every tokenizer that loses nothing, whatever the text.
#include <functional>
#include <random>

#include "base/utf8.h"
#include "check.h"
#include "text/normal_forms.h"
#include "vocabularies.h"

namespace {

using namespace nibble;
using namespace nibble::test;

constexpr int kTexts = 300;

// Ranges of code points, both ends included; a text mixes a few of them.
struct Range {
  uint32_t first, last;
};
constexpr Range kRanges[] = {{0x20, 0x7e},
                             {0x61, 0x65},
                             {0x20, 0x20},
                             {0x0a, 0x0a},
                             {0x09, 0x0d},
                             {0x30, 0x39},
                             {0, 0x1f},
                             {0, 0},
                             {0x7f, 0xa0},
                             {0xc0, 0x24f},
                             {0x300, 0x36f},
                             {0x391, 0x3c9},
                             {0x430, 0x44f},
                             {0x590, 0x5ff},
                             {0x600, 0x6ff},
                             {0x900, 0x97f},
                             {0xe00, 0xe7f},
                             {0x1100, 0x11ff},
                             {0x2000, 0x200f},
                             {0x2028, 0x202f},
                             {0x3000, 0x30ff},
                             {0x4e00, 0x9fff},
                             {0xac00, 0xd7a3},
                             {0xe000, 0xf8ff},
                             {0xfdd0, 0xfdef},
                             {0xfe00, 0xfe0f},
                             {0xfff0, 0xffff},
                             {0x1f300, 0x1faff},
                             {0x1f1e6, 0x1f1ff},
                             {0x1f3fb, 0x1f3ff},
                             {0x20000, 0x2a6df},
                             {0xe0100, 0xe01ef},
                             {0x1fffe, 0x1ffff},
                             {0x10fffe, 0x10ffff},
                             {0x10ffff, 0x10ffff},
                             {0x10000, 0x10ffff}};
// Sequences that are one character to people, special tokens, contractions.
constexpr std::string_view kPieces[] = {
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f4\u200d\u2620\ufe0f",
    "e\u0301\u0323",
    "</s>",
    "<|endoftext|>",
    "<0x41>",
    "'S 'll I'M",
    "  \n\n \t ",
    "100,000.5",
    "\r\n"};

std::string random_text(std::mt19937& random) {
  const auto below = [&](size_t n) { return random() % n; };
  const Range some[] = {kRanges[below(std::size(kRanges))], kRanges[below(std::size(kRanges))],
                        kRanges[below(std::size(kRanges))]};
  std::string text;
  for (size_t n = below(60); n > 0; --n) {
    if (below(12) == 0) {
      text += kPieces[below(std::size(kPieces))];
      continue;
    }
    const Range& range = some[below(std::size(some))];
    const auto c = range.first + static_cast<uint32_t>(below(range.last - range.first + 1));
    if (c < 0xd800 || c >= 0xe000) append_utf8(text, c);
  }
  return text;
}

// U+2581 stands for a space in SentencePiece's texts, and becomes one.
std::string without_marks(const std::string& text) { return replace_all(text, kSpaceMark, "."); }

// Falcon's vocabulary lacks 28 bytes, of control characters and of far planes; StarCoder's and
// MPT's some. Characters with such a byte are left out.
std::string without_missing_bytes(const Tokenizer& t, const std::string& text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const std::string c = text.substr(pos, decode_utf8(text, pos).length);
    pos += c.size();
    bool known = true;
    for (const char byte : c) known = known && t.find(std::string(1, byte)) >= 0;
    if (known) out += c;
  }
  return out;
}

void check_lossless(const Tokenizer& t, const std::string& name,
                    const std::function<std::string(const std::string&)>& before) {
  std::mt19937 random(11);
  for (int i = 0; i < kTexts; ++i) {
    const std::string text = before(random_text(random));
    const std::vector<Token> tokens = t.encode(text);
    check_eq(t.decode(tokens), text, name);
    std::string streamed;
    StreamDecoder stream(t);
    for (const Token token : tokens) {
      check(!t.is_special(token), name + ": a special token in " + text);
      streamed += stream.push(token);
    }
    streamed += stream.flush();
    check(streamed.ends_with(text), name + ", streamed: " + text);
  }
}

std::string as_it_is(const std::string& text) { return text; }

void byte_level_rules() {
  const std::vector<std::string> merges = {"h e", "l l", "_ t", "_t he", "1 2", "\xc3 \xa9", "_ _"};
  for (const char* rule :
       {"none",           "gpt2",        "llama3",  "qwen2",    "falcon",     "starcoder",
        "generic",        "qwen35",      "jais2",   "bloom",    "viking",     "deepseek-llm",
        "tekken",         "gpt4o",       "kimi-k2", "superbpe", "tiny-aya",   "bailing",
        "deepseek-coder", "spark",       "youtu",   "minicpm5", "seed-coder", "chameleon",
        "afmoe",          "deepseek-v3", "laguna",  "ufakzeka", "exaone-moe"}) {
    check(has_split_rule(rule), rule);
    check_lossless(make_tokenizer(byte_vocabulary(rule, merges)), rule, as_it_is);
  }
}

void byte_level_normalized() {
  Vocabulary v = byte_vocabulary("qwen2", {"h e"});
  v.normalizers = {{.type = NormalizeStep::Type::nfc}};
  check_lossless(make_tokenizer(v), "NFC", [](const std::string& text) {
    std::string composed;
    append_normal_form(composed, text, NormalForm::nfc);
    return composed;
  });
}

void sentencepiece() {
  Vocabulary v = sentencepiece_vocabulary({"_", "h", "e", "he", "_h", "_he", "__", "\u4f60"});
  check_lossless(make_tokenizer(v), "BPE", without_marks);
  v.kind = TokenizerKind::unigram;
  check_lossless(make_tokenizer(v), "unigram", without_marks);
  set_sentencepiece_steps(v, {.prefix = false});
  check_lossless(make_tokenizer(v), "unigram without prefix", without_marks);
}

void published_gguf() {
  for (const char* name : {"falcon", "gpt-2", "llama-spm", "mpt", "phi-3", "starcoder"}) {
    const std::string path = shared(std::string("data/vocab/ggml-vocab-") + name + ".gguf");
    const Tokenizer t = make_tokenizer(read_vocabulary(open_checkpoint(path)));
    const bool byte_level = t.impl().vocabulary.kind == TokenizerKind::byte_bpe;
    check_lossless(t, name, [&](const std::string& text) {
      return byte_level ? without_missing_bytes(t, text) : without_marks(text);
    });
  }
}

void published_llama3() {
  const std::string path = shared("data/hf/llama-3");
  check_lossless(make_tokenizer(read_vocabulary_from_directory(path)), "Llama 3", as_it_is);
}

void published_qwen2() {
  const std::string path = shared("data/hf/qwen2.5");
  check_lossless(make_tokenizer(read_vocabulary_from_directory(path)), "Qwen2.5",
                 [](const std::string& text) {
                   std::string composed;
                   append_normal_form(composed, text, NormalForm::nfc);
                   return composed;
                 });
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"byte-level, every rule", byte_level_rules},
              {"byte-level, normalized", byte_level_normalized},
              {"SentencePiece", sentencepiece},
              {"published GGUF", published_gguf},
              {"published Llama 3", published_llama3},
              {"published Qwen2.5", published_qwen2}});
}
