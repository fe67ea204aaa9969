#include "text/unigram.h"

#include <limits>
#include <random>

#include "base/utf8.h"
#include "check.h"
#include "vocabularies.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// Ids 0 to 2: <unk>, <s>, </s>; then the pieces with their scores ("_" stands for U+2581).
Vocabulary unigram_vocabulary(const std::vector<std::pair<std::string, float>>& pieces) {
  Vocabulary v = sentencepiece_vocabulary({}, false);
  v.kind = TokenizerKind::unigram;
  for (const auto& [text, score] : pieces) {
    add_token(v, replace_all(text, "_", kSpaceMark));
    v.scores.push_back(score);
  }
  return v;
}

std::string ids(const Tokenizer& tokenizer, std::string_view text,
                Special special = Special::as_text) {
  return joined(tokenizer.encode(text, special));
}

// The best sum over all ways to cut text[pos..], by trying them all.
double best_sum(const Vocabulary& v, const std::string& text, size_t pos, double unknown) {
  if (pos == text.size()) return 0;
  double best = -std::numeric_limits<double>::infinity();
  bool has_char = false;
  const size_t next = pos + decode_utf8(text, pos).length;
  for (size_t i = 3; i < v.tokens.size(); ++i) {
    if (v.tokens[i].empty() || text.compare(pos, v.tokens[i].size(), v.tokens[i]) != 0) continue;
    const size_t end = pos + v.tokens[i].size();
    has_char = has_char || end == next;
    best = std::max(best, double{v.scores[i]} + best_sum(v, text, end, unknown));
  }
  return has_char ? best : std::max(best, unknown + best_sum(v, text, next, unknown));
}

void finds_the_best_way() {
  std::mt19937 random(5);
  const std::string chars[] = {"a", "b", "c", "\u00e9", "\U0001f600"};
  const auto text = [&](size_t longest) {
    std::string out;
    for (size_t n = 1 + random() % longest; n > 0; --n) out += chars[random() % std::size(chars)];
    return out;
  };
  for (int round = 0; round < 60; ++round) {
    Vocabulary v = unigram_vocabulary({});
    float worst = 0;
    for (int i = 0; i < 12; ++i) {
      const std::string piece = text(3);
      if (std::ranges::find(v.tokens, piece) != v.tokens.end()) continue;
      add_token(v, piece);
      v.scores.push_back(-static_cast<float>(random() % 1000 + 1) / 64);
      worst = std::min(worst, v.scores.back());
    }
    const UnigramModel model(v, "test");
    UnigramModel::Scratch scratch;
    for (int i = 0; i < 20; ++i) {
      const std::string input = text(8);
      model.cut(input, scratch);
      double sum = 0;
      std::string all;
      for (const UnigramModel::Piece& piece : scratch.pieces) {
        const std::string part = input.substr(piece.begin, piece.length);
        all += part;
        if (piece.id >= 0) check_eq(v.tokens[static_cast<size_t>(piece.id)], part);
        sum += piece.id >= 0 ? double{v.scores[static_cast<size_t>(piece.id)]} : worst - 10.0;
      }
      check_eq(all, input);
      check_near(sum, best_sum(v, input, 0, worst - 10.0), 1e-9, input);
    }
  }
}

void unknown_characters() {
  Vocabulary v = unigram_vocabulary({{"_", -1}, {"a", -2}, {"_a", -2.5f}, {"xyz", -50}});
  check_eq(ids(make_tokenizer(v), "a a"), "5 5");
  check_eq(ids(make_tokenizer(v), "xyza"), "3 6 4", "three unknown characters cost more");
  check_eq(ids(make_tokenizer(v), "xya\u00e9\xff"), "3 0 4 0");
  v.fuse_unk = false;
  check_eq(ids(make_tokenizer(v), "xya\u00e9\xff"), "3 0 0 4 0 0");
  v.unk = -1;
  check_eq(ids(make_tokenizer(v), "xa"), "3 4");
}

void bytes_stand_for_unknown_characters() {
  Vocabulary v = unigram_vocabulary({{"_", -1}, {"a", -2}});
  for (int b = 0; b < 256; ++b) {
    add_token(v, byte_token_text(static_cast<uint8_t>(b)), TokenKind::byte);
    v.scores.push_back(0);
  }
  const Tokenizer t = make_tokenizer(v);
  check_eq(ids(t, "a\u00e9\xff"), "3 4 200 174 260");  // ids are byte + 5
  const std::string text("a\0b\xff \u4f60", 8);
  check_eq(t.decode(t.encode(text)), text);
  check_eq(ids(t, "<0x41>").find("70"), std::string::npos, "the text of a byte token is text");
}

void special_tokens_are_no_pieces() {
  Vocabulary v = unigram_vocabulary({{"_", -1}, {"<", -2}, {"s", -2}, {">", -2}, {"<s", -3}});
  add_token(v, "ss", TokenKind::user_defined);
  v.scores.push_back(0);
  const Tokenizer t = make_tokenizer(v);
  check_eq(ids(t, "<s>"), "3 7 6");
  check_eq(ids(t, "<s>", Special::parse), "1");
  check_eq(ids(t, "sss"), "8 3 5");
  check_eq(t.description(), "SentencePiece unigram");
  check_eq(t.find("<s"), Token{7});
  v.tokens[3] = std::string(2000, 'a');
  check_error([&] { make_tokenizer(v); }, "2000 bytes");
}

// The same tokenizer in the forms that files have.
const std::string kJson = R"({"tokenizer": {
    "added_tokens": [{"id": 0, "content": "</s>", "special": true},
                     {"id": 1, "content": "<unk>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Strip", "strip_left": false, "strip_right": true},
      {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always",
                      "split": true},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
    "post_processor": {"type": "TemplateProcessing", "single":
      [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]},
    "model": {"type": "Unigram", "unk_id": 1, "vocab": [["</s>", 0], ["<unk>", 0], ["\u2581", -2],
      ["a", -2.5], ["b", -3], ["\u2581ab", -4], ["ab", -5]]}},
  "tokenizer_config": {"eos_token": "</s>"}})";
const std::string kGguf = R"({"tokenizer.ggml.model": "t5",
  "tokenizer.ggml.tokens": ["</s>", "<unk>", "\u2581", "a", "b", "\u2581ab", "ab"],
  "tokenizer.ggml.scores": [0, 0, -2, -2.5, -3, -4, -5],
  "tokenizer.ggml.token_type": [3, 2, 1, 1, 1, 1, 1],
  "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.unknown_token_id": 1,
  "tokenizer.ggml.add_space_prefix": true, "tokenizer.ggml.remove_extra_whitespaces": true})";

void files_say_the_same() {
  const Vocabulary json = read_hugging_face_vocabulary(parse_json(kJson, "json"), "tokenizer.json");
  const Vocabulary gguf = read_gguf_vocabulary(parse_json(kGguf, "gguf"), "gguf");
  for (const Vocabulary& v : {json, gguf}) {
    check(v.kind == TokenizerKind::unigram && v.add_eos && !v.add_bos && v.eos == 0 && v.unk == 1);
    const Tokenizer t = make_tokenizer(v);
    check(t.add_eos());
    check_eq(ids(t, "ab"), "5");
    check_eq(ids(t, "  aab   b "), "2 3 6 2 4");
    check_eq(ids(t, ""), "");
    check_eq(t.decode(t.encode("ab b")), "ab b");
    const Vocabulary stored = vocabulary_from_json(vocabulary_to_json(v), "stored");
    check_eq(ids(make_tokenizer(stored), " x  ab b"), ids(t, " x  ab b"));
  }
}

// Each of these would take minutes if time were not linear.
void long_texts_are_no_trouble() {
  Vocabulary v = unigram_vocabulary({{"_", -1}});
  for (size_t n = 1; n <= 64; n *= 2) {
    add_token(v, std::string(n, 'a'));
    v.scores.push_back(-2);
  }
  const Tokenizer t = make_tokenizer(v);
  constexpr size_t kBytes = size_t{1} << 20;
  check_eq(t.encode(std::string(kBytes, 'a')).size(), kBytes / 64 + 1);
  check_eq(t.encode(std::string(kBytes, ' ')).size(), kBytes + 1);
  check_eq(ids(t, std::string(kBytes, 'x')), "3 0");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"finds the best way", finds_the_best_way},
              {"unknown characters", unknown_characters},
              {"bytes stand for unknown characters", bytes_stand_for_unknown_characters},
              {"special tokens are no pieces", special_tokens_are_no_pieces},
              {"files say the same", files_say_the_same},
              {"long texts are no trouble", long_texts_are_no_trouble}});
}
