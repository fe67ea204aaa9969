#include "fuzz/fuzz.h"
#include "text/pre_tokenizer.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// Matches go from left to right, in the text, and do not overlap; an empty one does not touch the
// one before.
void check_matches(const std::vector<RegexScratch::Match>& matches, size_t size) {
  size_t end = 0;
  bool any = false;
  for (const RegexScratch::Match& match : matches) {
    if (match.begin > match.end || match.end > size || match.begin < end) std::abort();
    if (any && match.begin == match.end && match.begin == end) std::abort();
    end = match.end;
    any = true;
  }
}

}  // namespace

// A pattern, a zero byte, a text. The pattern is refused with an Error, or what it splits is the
// text, whatever becomes of the matches; the same way each time.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = as_text(data, size);
  const size_t zero = std::min(input.find('\0'), input.size());
  const std::string pattern(input.substr(0, zero));
  const std::string_view text = input.substr(std::min(zero + 1, input.size()));
  try {
    const Regex regex(pattern, "fuzz");
    RegexScratch scratch, other;
    regex.find_all(text, scratch);
    check_matches(scratch.matches, text.size());
    if (size % 4 == 0) {  // long enough to make the search remember what failed
      std::string longer(text);
      while (longer.size() < 3000) longer += "\n" + std::string(text);
      regex.find_all(longer, other);
      check_matches(other.matches, longer.size());
    }
    WordScratch words;
    SplitStep step;
    step.pattern = pattern;
    constexpr SplitBehavior kBehaviors[] = {SplitBehavior::isolated, SplitBehavior::previous,
                                            SplitBehavior::next, SplitBehavior::contiguous};
    step.behavior = kBehaviors[pattern.size() % std::size(kBehaviors)];
    step.invert = size % 2 != 0;
    step.on_bytes = size % 3 == 0;
    std::string all;
    for (const std::string_view word : PreTokenizer({step}, "fuzz").words(text, true, words)) {
      if (word.empty()) std::abort();
      all += word;
    }
    if (all != text) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const auto seed = [](std::string_view pattern, std::string_view text) {
    return std::string(pattern) + '\0' + std::string(text);
  };
  return {
      seed(split_rule("llama3")[0].pattern, "It's 12345 caf\u00e9s \n\n x\t(y) \U0001f600!"),
      seed(split_rule("gpt4o")[0].pattern, "CamelCase don'T I'LL  100,000.5/path\r\n"),
      seed(split_rule("kimi-k2")[0].pattern, "\u4f60\u597dabc\u30ab 'S 1234 "),
      seed(R"((?:a+)+b|(?>a|ab)c|[^x]++y)", "aaaaaaaaaaaaaaaaaaaaaaaaaac abc yyy"),
      seed(R"(\d{1,3}(?=(?:\d{3})*\b)|(?<=a)b|(?<!a)c)", "1234567 ab cc 12"),
      seed(R"([\p{L}&&[^ab]]+|[[:digit:]_-]|\p{^Lu}\P{Han}|\x{41}\u0042\R)", "abcdAB12-\r\n\u4f60"),
      seed(R"((?i:'s|ll)x*?|(?i)K|^a|b$|\Aa|b\z|b\Z|\b\w+\B)", "'S LLxxx \u212a a\nb\n"),
      seed(R"((?:a?){0,30}b|(?:(a|b)*?c){2,}|.{,5})", "aaaaaaaaaab abcabcabc"),
      seed("", "a"),
  };
}
