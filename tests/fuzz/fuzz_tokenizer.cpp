#include <algorithm>

#include "fuzz/fuzz.h"
#include "text/tokenizer_impl.h"
#include "text/vocabulary_readers.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// A vocabulary whose every part is a byte or a short text of the input: all inputs are one.
class VocabularyMaker {
 public:
  explicit VocabularyMaker(std::string_view bytes) : rest_(bytes) {}

  Vocabulary make() {
    Vocabulary v;
    v.kind = static_cast<TokenizerKind>(number(3));
    v.ignore_merges = number(2) != 0;
    v.fuse_unk = number(2) != 0;
    for (size_t n = number(4); n > 0; --n)
      v.normalizers.push_back({.type = static_cast<NormalizeStep::Type>(number(12)),
                               .pattern = text() + " ",
                               .content = text(),
                               .left = number(2) != 0,
                               .joins = number(2) != 0});
    for (size_t n = number(3); n > 0; --n)
      v.splits.push_back({.type = static_cast<SplitStep::Type>(number(3)),
                          .pattern = text(),
                          .behavior = static_cast<SplitBehavior>(number(5)),
                          .invert = number(2) != 0,
                          .first_only = number(2) != 0,
                          .on_bytes = number(2) != 0});
    for (size_t n = number(4); n > 0; --n)
      v.decoders.push_back({.type = static_cast<DecodeStep::Type>(number(4)),
                            .pattern = text() + "a",
                            .content = text() + " ",
                            .start = static_cast<uint32_t>(number(3)),
                            .first = number(2) != 0});
    const bool scored = v.kind == TokenizerKind::unigram || number(2) != 0;
    for (bool more = true; more; more = !rest_.empty()) {
      const auto id = static_cast<Token>(v.tokens.size());
      v.kinds.push_back(static_cast<TokenKind>(number(5)));
      v.tokens.push_back(text());
      if (scored && v.kind != TokenizerKind::byte_bpe)
        v.scores.push_back(-static_cast<float>(number(64)) / 4);
      for (std::vector<Token>* ids : {&v.strip_left, &v.strip_right, &v.single_word, &v.normalized})
        if (number(4) == 3) ids->push_back(id);
      if (v.kinds.back() == TokenKind::unknown) v.unk = id;
    }
    if (v.scores.empty()) add_merges(v);
    return v;
  }

 private:
  // Of pairs of tokens whose texts together are one.
  static void add_merges(Vocabulary& v) {
    const auto is_token = [&](const std::string& text) {
      const auto it = std::ranges::find(v.tokens, text);
      return it != v.tokens.end() &&
             v.kinds[static_cast<size_t>(it - v.tokens.begin())] == TokenKind::normal;
    };
    for (const std::string& whole : v.tokens)
      for (size_t at = 1; at < whole.size() && v.merges.size() < 100; ++at)
        if (is_token(whole.substr(0, at)) && is_token(whole.substr(at)) && is_token(whole))
          v.merges.emplace_back(whole.substr(0, at), whole.substr(at));
  }
  size_t number(size_t below) {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return byte % below;
  }
  std::string text() {
    const std::string out(rest_.substr(0, number(8)));
    rest_.remove_prefix(std::min(rest_.size(), out.size()));
    return out;
  }
  std::string_view rest_;
};

Vocabulary read(char form, std::string_view bytes) {
  switch (form) {
    case 'h':
      return read_hugging_face_vocabulary(parse_json(bytes, "fuzz"), "fuzz");
    case 'g':
      return read_gguf_vocabulary(parse_json(bytes, "fuzz"), "fuzz");
    case 'v':
      return VocabularyMaker(bytes).make();
    case 'n':
      return vocabulary_from_json(bytes, "fuzz");
    default:
      return read_sentencepiece_model(bytes, "fuzz");
  }
}

void check_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<Token> plain = tokenizer.encode(text);
  for (const Token token : plain)
    if (token < 0 || token >= tokenizer.vocab_size() ||
        (tokenizer.is_special(token) && token != tokenizer.impl().vocabulary.unk))
      std::abort();  // what a user wrote became a special token
  for (const Special special : {Special::as_text, Special::parse}) {
    const std::vector<Token> tokens = tokenizer.encode(text, special);
    if (tokens != tokenizer.encode(text, special)) std::abort();
    tokenizer.decode(tokens);
    tokenizer.decode(tokens, true);
    StreamDecoder stream(tokenizer);
    for (const Token token : tokens) stream.push(token);
    stream.flush();
  }
}

}  // namespace

// The form of a tokenizer, a text, a zero byte, the tokenizer. It is refused with an Error, or
// tokenizes, also after it was stored, and no text becomes a special token.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = as_text(data, size);
  const size_t zero = input.find('\0');
  if (zero == std::string_view::npos || zero == 0) return 0;
  const std::string_view text = input.substr(1, zero - 1);
  try {
    const Vocabulary v = read(input[0], input.substr(zero + 1));
    const Tokenizer tokenizer = make_tokenizer(v);
    check_tokenizer(tokenizer, text);
    const Tokenizer stored = make_tokenizer(vocabulary_from_json(vocabulary_to_json(v), "stored"));
    if (stored.encode(text) != tokenizer.encode(text)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}

namespace {

const std::string kText = "h <s>a b  AB\u00e9e\u0301 \ufb01 </s>[x] 12 \u4f60\n\xff ab'll";

const std::string kByteLevel = R"({"tokenizer": {
  "added_tokens": [{"id": 3, "content": "<s>", "special": true, "lstrip": true},
    {"id": 4, "content": "[x]", "special": false, "rstrip": true, "normalized": true},
    {"id": 5, "content": "ab", "single_word": true}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+"}, "behavior": "Isolated"},
    {"type": "Digits", "individual_digits": true}, {"type": "Punctuation"},
    {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}]},
  "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
    {"Sequence": {"id": "A"}}]}, "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 6, "\u0120a": 7},
    "merges": ["a b", ["\u0120", "a"]], "ignore_merges": true}},
  "config": {"vocab_size": 9, "eos_token_id": [3, 4]}, "tokenizer_config": {"bos_token": "<s>"}})";
const std::string kCharacters = R"({"tokenizer": {
  "added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"Regex": " +"}, "content": "\u2581"},
    {"type": "Strip", "strip_left": true, "strip_right": true}, {"type": "StripAccents"}]},
  "pre_tokenizer": {"type": "Split", "pattern": {"String": "b"}, "behavior": "MergedWithPrevious"},
  "decoder": {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
  "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": {"<unk>": 0,
    "<0x41>": 1, "a": 2, "\u2581": 3, "\u2581a": 4, "b": 5}, "merges": ["\u2581 a"]}}})";
const std::string kUnigram = R"({"tokenizer": {
  "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
    {"id": 6, "content": "h \u2581", "normalized": true}],
  "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAAAGE="},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"},
  "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"},
  "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": [["<unk>", 0],
    ["\u2581", -1], ["a", -2.5], ["\u2581a", -3], ["<0x41>", 0], ["ab", -3.25]]}}})";
const std::string kGguf = R"({"tokenizer.ggml.model": "t5",
  "tokenizer.ggml.tokens": ["</s>", "<unk>", "\u2581", "a", "b", "\u2581ab", "<0x41>", "[x]", "ab"],
  "tokenizer.ggml.scores": [0, 0, -2, -2.5, -3, -4, 0, 0, -9],
  "tokenizer.ggml.token_type": [3, 2, 1, 1, 1, 1, 6, 4, 1], "tokenizer.ggml.pre": "llama-bpe",
  "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.eos_token_id": 0,
  "tokenizer.ggml.precompiled_charsmap": [4, 0, 0, 0, 0, 0, 0, 0, 97, 0],
  "tokenizer.ggml.add_space_prefix": true, "tokenizer.ggml.remove_extra_whitespaces": true})";

std::string swapped(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

// A SentencePiece model: pieces of one-byte lengths, then the settings.
std::string sentencepiece_model(char type) {
  std::string out;
  const auto field = [](char number, const std::string& bytes) {
    return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
  };
  const auto piece = [&](const std::string& text, float score, char kind) {
    out += field(1, field(1, text) + "\x15" + raw(score) + "\x18" + kind);
  };
  piece("<unk>", 0, 2);
  piece("<s>", 0, 3);
  piece("</s>", 0, 3);
  piece("<0x41>", 0, 6);
  piece("a", -1, 1);
  piece("\u2581", -2, 1);
  piece("\u2581a", -2.5f, 1);
  piece("[x]", 0, 4);
  const std::string map("\x04\0\0\0\0\0\0\0x\0", 10);
  return out + field(2, std::string{0x18, type}) + field(3, field(2, map) + "\x18\x01\x20\x01");
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  const auto add = [&](char form, const std::string& tokenizer) {
    seeds.push_back(form + kText + '\0' + tokenizer);
  };
  for (const std::string* json : {&kByteLevel, &kCharacters, &kUnigram}) {
    add('h', *json);
    add('n', vocabulary_to_json(read('h', *json)));
  }
  add('g', kGguf);
  add('g', swapped(kGguf, "t5", "llama"));
  add('g', swapped(kGguf, "t5", "gpt2"));
  for (const char* bytes : {"\2ab\1\0ccc\0"
                            "0\1\1\1<\0\0\0\0\1ab\0\0\0\0 _ab \3h \2",
                            "1xx1\2 \1 \1ha\0\0\0h\0\1"
                            "b\1",
                            "0abcdefghijklmnopqrstuvwxyzab<s>[x]   \u00e9\u0301",
                            "\u2581\u2581 ab\x01\x02\x03\x04\x05\x06 ab"})
    seeds.push_back('v' + kText + '\0' + bytes + kText + kText);
  for (const char type : {'\1', '\2'}) add('m', sentencepiece_model(type));
  return seeds;
}
