// The published rules. Patterns are those of the models' own tokenizer.json (or of their code)
// where one exists; a GGUF file only names them.
#include <algorithm>
#include <array>

#include "text/text_steps.h"

namespace nibble {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
    R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|)"
    R"(\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kNumbers = R"(\p{N}+)";
constexpr std::string_view kNumber = R"(\p{N})";
constexpr std::string_view kThreeNumbers = R"(\p{N}{1,3})";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kHanKana = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
constexpr std::string_view kDeepSeekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSparkWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-"
    "ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    "ὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-"
    "ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛ"
    "Ꜣ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]"
    "+";
constexpr std::string_view kDeepSeekSymbols = "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+";
constexpr std::string_view kDeepSeekIdeographs = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
constexpr std::string_view kBloomWords = " ?[^(\\s|.,!?…。，、।۔،)]+";
// Words in which case may change once, as GPT-4o has them; a contraction belongs to its word.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kYoutuWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kKimi =
    R"([\p{Han}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBailing = R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|)"
                                      R"( ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}|)"
    R"( ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kUfakzeka =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kMiniCpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Groups of three digits, counted from the right.
constexpr std::string_view kRightThrees = R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))";
constexpr std::string_view kAsianScripts =
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
    "\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af"
    "\u1100-\u11ff]+";

const std::vector<SplitRule>& rules() {
  static const std::vector<SplitRule> all = {
      {"none", {}},
      {"gpt2", {kGpt2}},
      {"llama3", {kLlama3}},
      {"qwen2", {kQwen2}},
      {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, kThreeDigits}},
      {"starcoder", {kNumber, kGpt2}},
      {"generic", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, kNumbers, kThreeDigits}},
      {"qwen35", {kQwen35}},
      {"jais2", {kJais2}},
      {"deepseek-llm",
       {"[\r\n]", kDeepSeekLetters, kDeepSeekSymbols, "\\s+$", kDeepSeekIdeographs, kNumbers}},
      {"deepseek-coder", {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepSeekIdeographs, kNumber}},
      {"deepseek-v3", {kThreeNumbers, kHanKana, kDeepSeekWords}},
      {"spark", {kThreeNumbers, kHanKana, kSparkWords, kNumber}},
      {"youtu",
       {"[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b"
        "\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|"
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        kYoutuWords}},
      {"bloom", {kBloomWords}},
      {"viking", {kBloomWords, kNumber}},
      {"tekken", {kTekken}},
      {"gpt4o", {kGpt4o}},
      {"kimi-k2", {kKimi}},
      {"chameleon",
       {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", kNumber,
        R"([\p{P}!-/:-@\[-`{-~])", kGpt2}},
      {"tiny-aya", {R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4o}},
      {"superbpe", {kNumbers, R"((?=(\d{3})+(?!\d)))"}},
      {"bailing", {kBailing}},
      {"seed-coder", {kSeedCoder}},
      {"ufakzeka", {kUfakzeka}},
      {"exaone-moe", {kExaoneMoe}},
      {"minicpm5", {kThreeNumbers, kMiniCpm5}},
      {"afmoe", {kRightThrees, kAsianScripts, kDeepSeekWords}},
      {"laguna", {"[^\\n]+|[\\n]+", kQwen2}},
  };
  return all;
}

constexpr std::array kGgufRules = {
    // clang-format off
    GgufRule{"default", "generic"},
    GgufRule{"llama3", "llama3", true, true}, GgufRule{"llama-v3", "llama3", true, true},
    GgufRule{"llama-bpe", "llama3", true, true}, GgufRule{"falcon3", "llama3", true, true},
    GgufRule{"falcon-h1", "llama3", true, true}, GgufRule{"pixtral", "llama3", true, true},
    GgufRule{"midm-2.0", "llama3", true, true}, GgufRule{"lfm2", "llama3", true, true},
    GgufRule{"jina-v5-nano", "llama3", true, true},
    GgufRule{"dbrx", "llama3"}, GgufRule{"smaug-bpe", "llama3"}, GgufRule{"chatglm-bpe", "llama3"},
    GgufRule{"glm4", "llama3"},
    GgufRule{"jais-2", "jais2"}, GgufRule{"minicpm5", "minicpm5", true},
    GgufRule{"deepseek-llm", "deepseek-llm"}, GgufRule{"deepseek-coder", "deepseek-coder"},
    GgufRule{"deepseek-v3", "deepseek-v3"}, GgufRule{"hunyuan-dense", "deepseek-v3"},
    GgufRule{"joyai-llm", "deepseek-v3"}, GgufRule{"hy_v4", "deepseek-v3"},
    GgufRule{"spark2_5", "spark"}, GgufRule{"youtu", "youtu", true},
    GgufRule{"falcon", "falcon"},
    GgufRule{"starcoder", "starcoder"}, GgufRule{"refact", "starcoder"},
    GgufRule{"command-r", "starcoder"}, GgufRule{"smollm", "starcoder"},
    GgufRule{"codeshell", "starcoder"}, GgufRule{"exaone", "starcoder"},
    GgufRule{"minerva-7b", "starcoder"}, GgufRule{"mellum2", "starcoder"},
    GgufRule{"gpt-2", "gpt2"}, GgufRule{"phi-2", "gpt2"}, GgufRule{"mpt", "gpt2"},
    GgufRule{"olmo", "gpt2"}, GgufRule{"jais", "gpt2"}, GgufRule{"trillion", "gpt2"},
    GgufRule{"granite-docling", "gpt2"}, GgufRule{"exaone4", "gpt2"}, GgufRule{"gigachat", "gpt2"},
    GgufRule{"a.x-4.0", "gpt2"}, GgufRule{"mellum", "gpt2"}, GgufRule{"modern-bert", "gpt2"},
    GgufRule{"jina-es", "gpt2"}, GgufRule{"jina-de", "gpt2"}, GgufRule{"jina-v2-es", "gpt2"},
    GgufRule{"jina-v2-de", "gpt2"}, GgufRule{"jina-v1-en", "gpt2"},
    GgufRule{"jina-v2-code", "gpt2"}, GgufRule{"roberta-bpe", "gpt2"},
    GgufRule{"qwen2", "qwen2"}, GgufRule{"deepseek-r1-qwen", "qwen2"}, GgufRule{"kormo", "qwen2"},
    GgufRule{"f2llmv2", "qwen2"}, GgufRule{"stablelm2", "qwen2"}, GgufRule{"megrez", "qwen2"},
    GgufRule{"hunyuan", "qwen2"}, GgufRule{"solar-open", "qwen2"}, GgufRule{"grok-2", "qwen2"},
    GgufRule{"qwen35", "qwen35"},
    GgufRule{"poro-chat", "bloom"}, GgufRule{"bloom", "bloom"}, GgufRule{"gpt3-finnish", "bloom"},
    GgufRule{"viking", "viking"}, GgufRule{"tekken", "tekken", true, true},
    GgufRule{"gpt-4o", "gpt4o"}, GgufRule{"llama4", "gpt4o"}, GgufRule{"kanana2", "gpt4o"},
    GgufRule{"talkie", "gpt4o"}, GgufRule{"minimax-m2", "gpt4o"},
    GgufRule{"granite-embed-multi-97m", "gpt4o", true},
    GgufRule{"kimi-k2", "kimi-k2"}, GgufRule{"chameleon", "chameleon", false, true},
    GgufRule{"tiny_aya", "tiny-aya"}, GgufRule{"cohere2moe", "tiny-aya"},
    GgufRule{"superbpe", "superbpe"},
    GgufRule{"bailingmoe", "bailing"}, GgufRule{"bailingmoe2", "bailing"},
    GgufRule{"llada-moe", "bailing"}, GgufRule{"seed-coder", "seed-coder"},
    GgufRule{"ufakzeka", "ufakzeka"}, GgufRule{"exaone-moe", "exaone-moe"},
    GgufRule{"afmoe", "afmoe"}, GgufRule{"laguna", "laguna"},
    // clang-format on
};

const SplitRule* find_rule(std::string_view name) {
  if (name == "mpt") name = "gpt2";  // a name that older .nib files have
  const auto it = std::ranges::find(rules(), name, &SplitRule::name);
  return it != rules().end() ? &*it : nullptr;
}

bool has_steps(const SplitRule& rule, const std::vector<SplitStep>& steps) {
  return std::ranges::equal(rule.patterns, steps,
                            [](std::string_view pattern, const SplitStep& step) {
                              SplitStep same;
                              same.pattern = pattern;
                              return step == same;
                            });
}

}  // namespace

std::string literal_pattern(std::string_view text) {
  constexpr std::string_view kSpecial = "\\^$.|?*+()[]{}-&~#";
  std::string out;
  for (const char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::vector<SplitStep> split_rule(std::string_view name) {
  std::vector<SplitStep> steps;
  if (const SplitRule* rule = find_rule(name))
    for (const std::string_view pattern : rule->patterns) {
      steps.emplace_back();
      steps.back().pattern = pattern;
    }
  return steps;
}

bool has_split_rule(std::string_view name) { return find_rule(name) != nullptr; }

std::string_view split_rule_name(const std::vector<SplitStep>& steps) {
  const auto it =
      std::ranges::find_if(rules(), [&](const SplitRule& rule) { return has_steps(rule, steps); });
  return it != rules().end() ? it->name : kOwnRule;
}

const GgufRule* find_gguf_rule(std::string_view name) {
  const auto* it = std::ranges::find(kGgufRules, name, &GgufRule::name);
  return it != kGgufRules.end() ? it : nullptr;
}

}  // namespace nibble
