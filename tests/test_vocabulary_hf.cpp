// Vocabularies of Hugging Face's tokenizer.json.
#include "vocabulary_checks.h"

namespace {

using namespace nibble;
using namespace nibble::test;

const std::string kByteLevelJson = R"({
  "tokenizer": {
    "added_tokens": [
      {"id": 3, "content": "<|bos|>", "special": true},
      {"id": 5, "content": "<|im_end|>", "special": false},
      {"id": 6, "content": "[x]", "special": false, "lstrip": true, "rstrip": true,
       "single_word": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "REGEX"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
                                                {"Sequence": {"id": "A", "type_id": 0}}]}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"],
              "ignore_merges": true}},
  "tokenizer_config": {"bos_token": {"content": "<|bos|>"}, "eos_token": null,
    "chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]},
  "config": {"vocab_size": 8, "bos_token_id": 1, "eos_token_id": 1},
  "generation_config": {"eos_token_id": [5, 2]}})";
const std::string kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";

std::string byte_level_json(const std::string& regex = kLlama3Regex) {
  return replaced(kByteLevelJson, "REGEX", regex);
}
Vocabulary hugging_face(const std::string& metadata) {
  return read(FileFormat::hugging_face, metadata);
}

void reads_hugging_face_byte_level() {
  const Vocabulary v = hugging_face(byte_level_json());
  check(v.kind == TokenizerKind::byte_bpe && rule_of(v) == "llama3" && v.ignore_merges);
  check_eq(v.tokens.size(), size_t{8}, "one for each row of the model");
  check(v.kinds[4] == TokenKind::unused && v.kinds[7] == TokenKind::unused && v.tokens[7].empty());
  check(v.kinds[5] == TokenKind::control && v.kinds[6] == TokenKind::user_defined);
  check(v.bos == 3 && v.eos == -1 && v.add_bos);
  check_eq(joined(v.end_tokens), "1 2 5");
  check_eq(joined(v.strip_left) + "," + joined(v.strip_right) + "," + joined(v.single_word),
           "6,6,6");
  check_eq(v.chat_template, "D");

  const Vocabulary pairs = hugging_face(replaced(byte_level_json(), "\"a b\"", "[\"a\", \"b\"]"));
  check(pairs.merges == v.merges, "merges as pairs");
  check(hugging_face(byte_level_json(replaced(kLlama3Regex, "{1,3}", ""))).splits ==
        split_rule("qwen2"));
  const Vocabulary few =
      hugging_face(replaced(byte_level_json(), "\"vocab_size\": 8", "\"vocab_size\": 6"));
  check_eq(few.tokens.size(), size_t{6}, "a token without a row in the model is left out");
  const Vocabulary no_bos =
      hugging_face(replaced(byte_level_json(), "\"eos_token\": null", "\"add_bos_token\": false"));
  check(!no_bos.add_bos && no_bos.eos == 1, "eos from config.json when no other file names it");
  check(v.notes.empty(), "nothing to note");
  const Vocabulary beyond = hugging_face(replaced(byte_level_json(), "[5, 2]", "[5, 9, -1]"));
  check_eq(joined(beyond.end_tokens), "1 5");
  check(beyond.notes.size() == 1 && beyond.notes[0].starts_with("eos_token_id is 9"), "noted");
  const Vocabulary ends_beyond = hugging_face(
      replaced(replaced(byte_level_json(), "\"eos_token_id\": 1", "\"eos_token_id\": 99"),
               "\"eos_token\": null", "\"x\": null"));
  check(ends_beyond.eos == -1 && ends_beyond.notes.size() == 2, "eos beyond the tokens");
}

void reads_simple_pre_tokenizers() {
  const std::string json = byte_level_json();
  const size_t begin = json.find("{\"type\": \"Sequence\", \"pretokenizers\"");
  const size_t end = json.find("\"post_processor\"");
  const auto rule = [&](const std::string& pre) {
    return hugging_face(json.substr(0, begin) + pre + ", " + json.substr(end)).splits;
  };
  const std::string byte_level = R"({"type": "ByteLevel", "add_prefix_space": false})";
  check(rule(byte_level) == split_rule("gpt2"));
  check(rule(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits",
              "individual_digits": true}, )" +
             byte_level + "]}") == split_rule("starcoder"));
  check(rule(R"({"type": "ByteLevel", "add_prefix_space": true})").size() == 2);
  check(rule("null").empty());
  check_error([&] { rule("[1]"); }, "is not known");
  check_error([&] { rule(R"({"type": "FixedLength", "length": 5})"); }, "FixedLength");
}

const std::string kSpmJson = R"({"tokenizer": {
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
                     {"id": 1, "content": "<s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": null,
    "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
      "vocab": {"<unk>": 0, "<s>": 1, "<0x41>": 2, "a": 3, "\u2581": 4, "\u2581a": 5},
      "merges": ["\u2581 a"]}},
  "tokenizer_config": {"bos_token": "<s>", "add_bos_token": true}})";

void reads_hugging_face_sentencepiece() {
  const Vocabulary v = hugging_face(kSpmJson);
  check(v.kind == TokenizerKind::sentencepiece_bpe && v.scores.empty() && v.merges.size() == 1);
  check(v.unk == 0 && v.kinds[0] == TokenKind::unknown && v.kinds[1] == TokenKind::control);
  check(v.kinds[2] == TokenKind::byte && v.bos == 1 && v.add_bos);
  check(adds_prefix(v) && v.splits.empty());
  const Tokenizer t = make_tokenizer(v);
  check_eq(joined(t.encode("a aA")), "5 5 2");

  const size_t begin = kSpmJson.find("\"normalizer\""), end = kSpmJson.find("\"model\"");
  const auto with = [&](const std::string& middle) {
    return hugging_face(kSpmJson.substr(0, begin) + middle + ", " + kSpmJson.substr(end));
  };
  const std::string metaspace = R"("normalizer": null, "pre_tokenizer": {"type": "Metaspace",
      "replacement": "\u2581", "prepend_scheme": "first", "split": false})";
  const Vocabulary first = with(metaspace);
  check(first.normalizers.empty() && first.splits.size() == 1 && first.splits[0].first_only);
  check(with(replaced(metaspace, "first", "never")).splits[0].never);
  check(!with(replaced(metaspace, "first", "always")).splits[0].first_only);
  check_eq(with(replaced(metaspace, "false", "true")).splits.size(), size_t{2});
  check_error([&] { with(replaced(metaspace, "first", "second")); }, "pre_tokenizer is not known");
  check_error([&] { with("\"normalizer\": {\"type\": \"Nmt\"}"); }, "normalizer is not known");
  const Vocabulary gemma = with(R"("normalizer": {"type": "Replace", "pattern": {"String": " "},
      "content": "\u2581"}, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
      "behavior": "MergedWithPrevious", "invert": false})");
  check(!adds_prefix(gemma));
}

void reads_normalizers() {
  using Type = NormalizeStep::Type;
  const auto steps = [](const std::string& normalizer) {
    return hugging_face(
               replaced(byte_level_json(), "\"normalizer\": null", "\"normalizer\": " + normalizer))
        .normalizers;
  };
  const auto all = steps(R"({"type": "Sequence", "normalizers": [
      {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}]},
      {"type": "Strip", "strip_left": false, "strip_right": true}, {"type": "StripAccents"},
      {"type": "Prepend", "prepend": "x"},
      {"type": "Replace", "pattern": {"String": "a"}, "content": "b"},
      {"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""},
      {"type": "Precompiled", "precompiled_charsmap": "AAAAAGE="}]})");
  const std::vector<NormalizeStep> expected = {
      {.type = Type::nfc},
      {.type = Type::nfkd},
      {.type = Type::lowercase},
      {.type = Type::strip, .left = false},
      {.type = Type::strip_accents},
      {.type = Type::prepend, .content = "x"},
      {.type = Type::replace, .pattern = "a", .content = "b"},
      {.type = Type::replace_matches, .pattern = "a+"},
      {.type = Type::charsmap, .content = std::string("\0\0\0\0a", 5)}};
  check(all == expected);
  check(steps(R"({"type": "Precompiled", "precompiled_charsmap": ""})").empty());
  for (const char* bad :
       {R"({"type": "Precompiled", "precompiled_charsmap": "?"})", R"({"type": "BertNormalizer"})",
        R"({"type": "Replace", "pattern": {"String": ""}, "content": "b"})", "7"})
    check_error([&] { steps(bad); }, "normalizer");
  // A token of the text as it becomes.
  const Vocabulary v =
      hugging_face(replaced(replaced(byte_level_json(), "\"normalizer\": null",
                                     "\"normalizer\": {\"type\": \"Lowercase\"}"),
                            "\"content\": \"[x]\"", "\"content\": \"[X]\", \"normalized\": true"));
  check_eq(joined(v.normalized), "5 6");
  check_eq(joined(make_tokenizer(v).encode("A [x] B [X]")), "0 6 1 6");
}

void reads_decoders() {
  using Type = DecodeStep::Type;
  const size_t begin = kSpmJson.find("\"pre_tokenizer\"");
  const auto with = [&](const std::string& decoder) {
    return hugging_face(kSpmJson.substr(0, begin) + "\"decoder\": " + decoder + ", " +
                        kSpmJson.substr(begin));
  };
  const Vocabulary llama = with(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  const std::vector<DecodeStep> expected = {
      {.type = Type::replace, .pattern = std::string(kSpaceMark), .content = " "},
      {.type = Type::fuse},
      {.type = Type::strip, .content = " ", .start = 1}};
  check(llama.decoders == expected);
  check_eq(make_tokenizer(llama).decode(std::vector<Token>{5, 5, 2, 4}), "a aA ");
  const Tokenizer metaspace = make_tokenizer(
      with(R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"})"));
  check_eq(metaspace.decode(std::vector<Token>{1, 5, 5}), "a a");
  check_eq(metaspace.piece(5), " a");
  for (const char* bad : {R"({"type": "WordPiece"})", R"({"type": "Strip", "content": ""})",
                          R"({"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"})"})
    check_error([&] { with(bad); }, "decoder");
}

void reads_post_processors() {
  const std::string json = byte_level_json();
  const size_t begin = json.find("\"post_processor\""), end = json.find("\"model\"");
  const auto with = [&](const std::string& processor) {
    return hugging_face(json.substr(0, begin) + "\"post_processor\": " + processor + ", " +
                        json.substr(end));
  };
  const Vocabulary both = with(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<|bos|>"}}, {"Sequence": {"id": "A"}},
      {"SpecialToken": {"id": "<|im_end|>"}}]})");
  check(both.add_bos && both.add_eos && both.bos == 3 && both.eos == 5);
  const Vocabulary behind = with(R"({"type": "TemplateProcessing", "single": [
      {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<|im_end|>"}}]})");
  check(!behind.add_bos && behind.add_eos && behind.eos == 5);
  const Vocabulary none = with("null");
  check(!none.add_bos && !none.add_eos);
}

void refuses_bad_hugging_face() {
  std::string processors;
  for (int i = 0; i < 150; ++i)
    processors += std::string(i > 0 ? "," : "") + R"({"type": "ByteLevel"})";
  check_error(
      [&] {
        read_hugging_face_vocabulary(
            parse_json(R"({"tokenizer": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
              "pre_tokenizer": {"type": "ByteLevel"}, "post_processor": {"type": "Sequence",
              "processors": [)" +
                           processors + "]}}}",
                       "test"),
            "test");
      },
      "too many steps");
  const auto refuse = [](const std::string& base, const char* from, const char* to,
                         const char* why) {
    check_error([&] { make_tokenizer(hugging_face(replaced(base, from, to))); }, why);
  };
  const std::string json = byte_level_json();
  check_error([] { make_tokenizer(hugging_face(byte_level_json("(a"))); }, "does not end");
  refuse(json, "\"type\": \"BPE\"", "\"type\": \"WordLevel\"", "\"WordLevel\"");
  refuse(json, "\"type\": \"BPE\"", "\"type\": \"Unigram\"", "pre_tokenizer is not known");
  refuse(json, "\"ab\": 2", "\"ab\": 1", "have the same id");
  refuse(json, "\"ab\": 2", "\"ab\": -1", "the id of a token is -1");
  refuse(json, "\"ab\": 2", "\"ab\": 99999999999", "the id of a token is 99999999999");
  refuse(json, "[\"a b\"]", "[[\"a\"]]", "texts of a merge is 1, expected 2");
  refuse(json, "[\"a b\"]", "[7]", "tokenizer.json");
  refuse(json, "[\"a b\"]", "[\"b b\"]", "is not in the vocabulary");
  refuse(json, "[5, 2]", "[5, \"x\"]", "generation_config.json: eos_token_id");
  refuse(json, "\"id\": 3", "\"idx\": 3", "an added token has no id");
  refuse(json, "\"normalizer\": null", "\"normalizer\": {\"type\": \"Nmt\"}", "Nmt");
  refuse(json, "\"normalizer\": null", "\"decoder\": {\"type\": \"CTC\"}", "CTC");
  check_error([] { hugging_face("{}"); }, "put tokenizer.json");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"reads tokenizer.json: byte-level", reads_hugging_face_byte_level},
              {"reads tokenizer.json: simple pre-tokenizers", reads_simple_pre_tokenizers},
              {"reads tokenizer.json: SentencePiece", reads_hugging_face_sentencepiece},
              {"reads normalizers", reads_normalizers},
              {"reads decoders", reads_decoders},
              {"reads post-processors", reads_post_processors},
              {"refuses bad tokenizer.json", refuses_bad_hugging_face}});
}
