#include "text/regex.h"

#include "check.h"
#include "text/pre_tokenizer.h"

namespace {

using namespace nibble;
using namespace nibble::test;

std::string cut(const std::string& pattern, std::string_view text,
                SplitBehavior behavior = SplitBehavior::isolated, bool invert = false) {
  SplitStep step;
  step.pattern = pattern;
  step.behavior = behavior;
  step.invert = invert;
  WordScratch scratch;
  std::string out;
  for (const std::string_view word : PreTokenizer({step}, "test").words(text, true, scratch))
    out.append(out.empty() ? "" : "|").append(word);
  return out;
}

// The words of this case are those of Hugging Face's tokenizers, which run Oniguruma.
void matches_as_oniguruma() {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {R"(\w)", "\t.sab\r\nb\t\u00bd\n", "\t.|s|a|b|\r\n|b|\t|\u00bd|\n"},
      {R"((?:\w\w*+){1,2})", "-1\u3000a  \u00bd\t-", "-|1|\u3000|a|  |\u00bd|\t-"},
      {R"(\w\b)", "s\u017f\u00d1'x\u017fx\u00bdab_", "s\u017f|\u00d1|'x\u017fx\u00bdab|_"},
      {R"(a{1,2}+)", "aaaaab", "aaaaa|b"},
      {R"(\s+$)", "a \n b \n", "a| |\n b| \n"},
      {R"((?=(\d{3})+(?!\d)))", "1234567 x", "1|234|567 x"},
      {R"(\d{1,3}(?=(?:\d{3})*\b))", "1234567 12", "1|234|567| |12"},
      {R"((?:a|ab)(?:c|bcd))", "abcd abcd", "abcd| |abcd"},
      {R"((?>a|ab)c)", "abc ac", "abc |ac"},
      {R"([\p{L}&&[^ab]]+)", "abcdab\u00e9", "ab|cd|ab|\u00e9"},
      {R"((?i:'s|ll)x)", "'\u017fx LLx", "'\u017fx| |LLx"},
      {R"([^\S\n]+?x|\s)", " \t x\n", " \t x|\n"},
      {R"((?<=a)b|(?<!a)c)", "abcac", "a|b|c|ac"},
      {R"((?:ab){0}()c|b)", "abcac", "a|b|c|a|c"},
  };
  for (const auto& [pattern, text, words] : cases) check_eq(cut(pattern, text), words, pattern);
}

void splits_behave() {
  check_eq(cut("b", "abbcb"), "a|b|b|c|b");
  check_eq(cut("b", "abbcb", SplitBehavior::removed), "a|c");
  check_eq(cut("b", "abbcb", SplitBehavior::removed, true), "b|b|b");
  check_eq(cut("b", "abbcb", SplitBehavior::previous), "ab|b|cb");
  check_eq(cut("b", "abbcb", SplitBehavior::next), "a|b|bc|b");
  check_eq(cut("b", "abbcb", SplitBehavior::contiguous), "a|bb|c|b");
  check_eq(cut(literal_pattern("a.[b"), "xa.[by"), "x|a.[b|y");
}

// Each of two steps writes a mark before what the other one writes.
void words_do_not_explode() {
  std::vector<SplitStep> steps;
  for (int i = 0; i < 12; ++i) {
    steps.push_back({.type = SplitStep::Type::metaspace});
    steps.push_back({.pattern = "[^x]"});
    steps.push_back({.type = SplitStep::Type::space_prefix});
    steps.push_back({.pattern = "[^x]"});
  }
  WordScratch scratch;
  check_error([&] { PreTokenizer(steps, "test").words("ababab", true, scratch); },
              "becomes too long");
}

void refuses_what_it_cannot_do() {
  const auto refuse = [](const std::string& pattern, const char* why) {
    check_error([&] { Regex(pattern, "rule"); }, why);
  };
  refuse("(a", "does not end");
  refuse("a)", "without a \"(\"");
  refuse("[a", "ends too early");
  refuse("*a", "repeats nothing");
  refuse("(?:a*)*", "what can be empty");
  refuse("a{2,1}", "n above m");
  refuse("a{1001}", "more than 1000");
  refuse("(?:(?:a{1000}b){1000}c){1000}", "too large");
  refuse("(?:(?:(?:(?:()()){1000}){1000}){1000}){1000}", "matches no character");
  refuse("(?:(?:(?:(?:(?:ab){0}){1000}){1000}){1000}){1000}", "matches no character");
  refuse(R"((a)\1)", "the escape \"\\1\"");
  refuse(R"(\p{Klingon})", "\"Klingon\"");
  refuse("(?<=ab)c", "looks behind");
  refuse("[b-a]", "backwards");
  refuse("\\", "ends too early");
  refuse("\xff", "no UTF-8");
  refuse(std::string(100, '('), "nests too deeply");
  refuse("a" + std::string(100, '?'), "nests too deeply");
}

// Patterns that take a backtracking matcher quadratic or exponential time; at this length they
// would take minutes.
void time_is_linear() {
  constexpr size_t kBytes = size_t{1} << 18;
  const std::string letters(kBytes, 'a'), spaces(kBytes, ' '), digits(kBytes, '1');
  RegexScratch scratch;
  const auto count = [&](const char* pattern, const std::string& text) {
    Regex(pattern, "test").find_all(text, scratch);
    return scratch.matches.size();
  };
  check_eq(count("(?:a+)+b", letters), size_t{0});
  check_eq(count("(?:a|aa)+$|b", letters), size_t{1});
  check_eq(count("a*b|a", letters), kBytes);
  check_eq(count("a*?b|a", letters), kBytes);
  check_eq(count("(?:a?){30}b|a", letters), kBytes);
  check_eq(count(R"(\s+$|\s(?!\s*x))", spaces + "x"), size_t{0});
  check_eq(count(R"(\s(?=\s*x))", spaces + "x"), kBytes);
  check_eq(count(R"(\s(?=(?: |  )*x))", spaces + "x"), kBytes);
  check_eq(count(R"((?>(?: )*)y|\s)", spaces), kBytes);
  check_eq(count(R"([^x]++y|\s)", spaces), kBytes);
  check_eq(count(R"(\d{1,3}(?=(?:\d{3})*\b))", digits), (kBytes + 2) / 3);
  check_eq(count(R"((?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+!|.)", letters), kBytes);
}

// What is remembered of atomic groups, a few kilobytes for each character here, has a bound.
void memory_is_bounded() {
  std::string text;
  for (int i = 0; i < 40'000; ++i) text += "bbcab";
  RegexScratch scratch;
  const Regex regex("(?>(?:(?:(?=(?=(?:[ab])*?)aaba)(?:(?:[^a])?\?|(?:a|c)))?\?){0,20})", "test");
  check_error([&] { regex.find_all(text + "c", scratch); }, "takes too much memory");
  regex.find_all(std::string_view(text).substr(0, 20'000), scratch);
}

// The published rules on a text of many kinds of characters, and on long runs.
void rules_cut_as_published() {
  const std::string text =
      "Hello, World's 12345 caf\u00e9s e\u0301 \u4f60\u597d\u30ab\u30ca don't I'LL \r\n\n  x\t"
      "CamelCase/path \u0e01\u0e33 100,000.5 \U0001f600!";
  const std::pair<const char*, const char*> cases[] = {
      {"llama3",
       "Hello|,| World|'s| |123|45| caf\u00e9s| e|\u0301| \u4f60\u597d\u30ab\u30ca| don|'t| I|'LL|"
       " \r\n\n| | x|\tCamelCase|/path| \u0e01\u0e33| |100|,|000|.|5| \U0001f600!"},
  };
  for (const auto& [rule, words] : cases) {
    WordScratch scratch;
    std::string out;
    for (const std::string_view word :
         PreTokenizer(split_rule(rule), "test").words(text, true, scratch))
      out.append(out.empty() ? "" : "|").append(word);
    check_eq(out, words, rule);
  }
}

void every_gguf_name_has_a_rule() {
  for (const char* name :
       {"default",      "llama-bpe",  "deepseek-llm", "deepseek-coder",  "deepseek-v3",
        "falcon",       "mpt",        "starcoder",    "gpt-2",           "refact",
        "command-r",    "qwen2",      "qwen35",       "stablelm2",       "olmo",
        "dbrx",         "smaug-bpe",  "poro-chat",    "chatglm-bpe",     "viking",
        "jais",         "tekken",     "smollm",       "codeshell",       "bloom",
        "gpt3-finnish", "exaone",     "chameleon",    "minerva-7b",      "megrez",
        "gpt-4o",       "superbpe",   "trillion",     "granite-docling", "bailingmoe",
        "llama4",       "kimi-k2",    "hunyuan",      "seed-coder",      "afmoe",
        "tiny_aya",     "exaone-moe", "minicpm5",     "youtu",           "jais-2"}) {
    const GgufRule* rule = find_gguf_rule(name);
    check(rule && has_split_rule(rule->rule), name);
    // Words that are only cut are the text.
    const PreTokenizer words(split_rule(rule->rule), name);
    WordScratch scratch;
    std::string all;
    const std::string text = "a B1234 \u4f60\r\n\u0301 \t\u0e01\u0e33'S!?\U0001f600  ";
    for (const std::string_view word : words.words(text, true, scratch)) all += word;
    check_eq(all, text, name);
  }
  check(!find_gguf_rule("no-such-rule"));
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"matches as Oniguruma", matches_as_oniguruma},
              {"splits behave", splits_behave},
              {"words do not explode", words_do_not_explode},
              {"refuses what it cannot do", refuses_what_it_cannot_do},
              {"time is linear", time_is_linear},
              {"memory is bounded", memory_is_bounded},
              {"rules cut as published", rules_cut_as_published},
              {"every GGUF name has a rule", every_gguf_name_has_a_rule}});
}
