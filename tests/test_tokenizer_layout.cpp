// Tokenizers of many layouts, as Hugging Face's library has them.
#include "vocabulary_checks.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// JSON texts but for the ids. Special tokens are parsed in the text. `decoded` is what the ids but
// kNormalized decode to, without special tokens.
constexpr Token kNormalized = 32;
struct LayoutCase {
  const char *model, *normalizer, *pre_tokenizer, *decoder, *text, *ids, *decoded;
};

#include "layout_cases.h"

void layouts_are_those_of_hugging_face() {
  for (const LayoutCase& c : kCases) {
    const std::string layout = std::string("\"normalizer\": ") + c.normalizer +
                               ", \"pre_tokenizer\": " + c.pre_tokenizer +
                               ", \"decoder\": " + c.decoder;
    const Vocabulary v =
        read(FileFormat::hugging_face, "{\"tokenizer\": {\"added_tokens\": " + std::string(kAdded) +
                                           ", " + layout + ", \"model\": " + c.model + "}}");
    const Tokenizer t = make_tokenizer(v);
    const std::string text = parse_json(c.text, "text").as_string("text");
    std::vector<Token> ids = t.encode(text, Special::parse);
    check_eq(joined(ids), c.ids, layout + " of " + text);
    std::erase(ids, kNormalized);
    check_eq(t.decode(ids), parse_json(c.decoded, "decoded").as_string("decoded"), layout);
    const Vocabulary stored = vocabulary_from_json(vocabulary_to_json(v), "stored");
    check_eq(joined(make_tokenizer(stored).encode(text, Special::parse)), c.ids, layout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"layouts are those of Hugging Face", layouts_are_those_of_hugging_face}});
}
