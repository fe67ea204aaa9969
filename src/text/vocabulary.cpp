#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "base/ascii.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

constexpr const char* kNibTensor = "nibble.vocabulary";

// Texts of tokens that end a reply, whatever model they belong to.
constexpr std::array<std::string_view, 15> kEndTexts = {
    "</s>",          "<|endoftext|>",   "<|end_of_text|>",    "<|im_end|>", "<|end|>",
    "<|eot_id|>",    "<|eom_id|>",      "<end_of_turn>",      "<eos>",      "<EOT>",
    "<|endofturn|>", "<|end_of_turn|>", "<end_of_utterance>", "<|return|>", "<|call|>",
};

void check_id(Token token, const Vocabulary& vocabulary, const std::string& where,
              const char* what) {
  if (token < 0 || static_cast<size_t>(token) >= vocabulary.tokens.size())
    throw Error::mismatch(where, what, "below " + std::to_string(vocabulary.tokens.size()),
                          std::to_string(token));
}

void check_length(size_t found, size_t expected, const std::string& where, const char* what) {
  if (found != expected)
    throw Error::mismatch(where, what, std::to_string(expected), std::to_string(found));
}

// Replacements are short, so that no chain of them makes a token's text explode.
void check_decoder(const DecodeStep& step, const std::string& where) {
  constexpr size_t kMaxContent = 64;
  const bool empty = (step.type == DecodeStep::Type::replace && step.pattern.empty()) ||
                     (step.type == DecodeStep::Type::strip && step.content.empty());
  if (empty || step.content.size() > kMaxContent)
    throw Error(where, "its decoder replaces " + printable(step.pattern) + " by " +
                           printable(step.content) + ", which is not supported");
}

}  // namespace

TokenKind token_kind(uint64_t number) {
  switch (number) {
    case 2:
      return TokenKind::unknown;
    case 3:
      return TokenKind::control;
    case 4:
      return TokenKind::user_defined;
    case 5:
      return TokenKind::unused;
    case 6:
      return TokenKind::byte;
    default:
      return TokenKind::normal;
  }
}

std::optional<uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_value(text[3]), low = hex_value(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

std::string byte_token_text(uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0;;) {
    const size_t found = text.find(from, pos);
    out += text.substr(pos, found - pos);
    if (found == std::string_view::npos) return out;
    out += to;
    pos = found + from.size();
  }
}

std::pair<std::string, std::string> split_merge(std::string_view text, const std::string& where) {
  const size_t space = text.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == text.size())
    throw Error(where, "the merge " + printable(text) + " is not two texts with a space between");
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
}

void check_vocabulary(const Vocabulary& v, const std::string& where) {
  const size_t n = v.tokens.size();
  if (n == 0 || n > kMaxVocabulary)
    throw Error::mismatch(where, "the number of tokens", "1 to " + std::to_string(kMaxVocabulary),
                          std::to_string(n));
  check_length(v.kinds.size(), n, where, "the number of token types");
  const bool scored = v.kind == TokenizerKind::unigram ||
                      (v.kind == TokenizerKind::sentencepiece_bpe && v.merges.empty());
  check_length(v.scores.size(), scored ? n : 0, where, "the number of token scores");
  for (const float score : v.scores)
    if (!std::isfinite(score)) throw Error(where, "the score of a token is not a finite number");
  for (size_t i = 0; i < n; ++i)
    if (v.kinds[i] == TokenKind::byte && !parse_byte_token(v.tokens[i]))
      throw Error::mismatch(where, "the byte token " + std::to_string(i),
                            "\"<0x00>\" to \"<0xFF>\"", printable(v.tokens[i]));
  for (const Token id : v.end_tokens) check_id(id, v, where, "the id of an end token");
  for (const std::vector<Token>* ids :
       {&v.strip_left, &v.strip_right, &v.single_word, &v.normalized})
    for (const Token id : *ids) check_id(id, v, where, "the id of a special token");
  if (v.bos != -1) check_id(v.bos, v, where, "the id of the BOS token");
  if (v.eos != -1) check_id(v.eos, v, where, "the id of the EOS token");
  if (v.unk != -1) check_id(v.unk, v, where, "the id of the unknown token");
  if (v.add_bos && v.bos < 0) throw Error(where, "texts start with a BOS token, but there is none");
  if (v.add_eos && v.eos < 0) throw Error(where, "texts end with an EOS token, but there is none");
  constexpr size_t kMaxSteps = 250;  // each goes through the whole text
  if (std::max({v.normalizers.size(), v.splits.size(), v.decoders.size()}) > kMaxSteps)
    throw Error(where, "its tokenizer has more than " + std::to_string(kMaxSteps) + " steps");
  for (const DecodeStep& step : v.decoders) check_decoder(step, where);
}

Token special_id(const Json& json, const std::string& where, const char* key, Vocabulary& v) {
  constexpr int64_t kNone = std::numeric_limits<uint32_t>::max();  // -1 as the uint32 of a GGUF
  const int64_t id = json.as_int(where + ": " + key);
  if (id == -1 || id == kNone) return -1;
  if (id >= 0 && static_cast<uint64_t>(id) < v.tokens.size()) return static_cast<Token>(id);
  constexpr size_t kMaxNotes = 20;
  if (v.notes.size() < kMaxNotes)
    v.notes.push_back(std::string(key) + " is " + std::to_string(id) + ", but there are only " +
                      std::to_string(v.tokens.size()) + " tokens: it is ignored");
  return -1;
}

void set_sentencepiece_steps(Vocabulary& v, const SentencePieceRules& rules) {
  const std::string mark(rules.escape ? kSpaceMark : std::string_view(" "));
  const auto normalize = [&](NormalizeStep step) { v.normalizers.push_back(std::move(step)); };
  v.normalizers.clear();
  if (!rules.charsmap.empty())
    normalize({.type = NormalizeStep::Type::charsmap, .content = rules.charsmap});
  if (rules.squeeze) normalize({.type = NormalizeStep::Type::squeeze, .joins = rules.joins});
  if (rules.prefix)
    normalize({.type = NormalizeStep::Type::prepend, .content = mark, .joins = rules.joins});
  if (rules.escape)
    normalize({.type = NormalizeStep::Type::replace, .pattern = " ", .content = mark});
  v.decoders = {{.type = DecodeStep::Type::metaspace}, {.type = DecodeStep::Type::fuse}};
  const uint32_t strips = rules.squeeze ? UINT32_MAX : rules.prefix ? 1 : 0;
  if (strips > 0)
    v.decoders.push_back({.type = DecodeStep::Type::strip, .content = " ", .start = strips});
}

void finish_vocabulary(Vocabulary& v, const std::string& where) {
  if (v.eos >= 0) v.end_tokens.push_back(v.eos);
  // Gemma has tokens for HTML: there </s> is one of them.
  const bool has_html = std::ranges::find(v.tokens, "</strong>") != v.tokens.end();
  // A reply in channels is several messages: <|end|> ends each, <|return|> the reply.
  const bool has_messages = std::ranges::find(v.tokens, "<|return|>") != v.tokens.end();
  for (size_t i = 0; i < std::min(v.tokens.size(), v.kinds.size()); ++i) {
    TokenKind& kind = v.kinds[i];
    if (kind != TokenKind::control && kind != TokenKind::user_defined) continue;
    if (std::ranges::find(kEndTexts, v.tokens[i]) == kEndTexts.end()) continue;
    if (has_html && v.tokens[i] == "</s>" && v.eos != static_cast<Token>(i)) continue;
    if (has_messages && v.tokens[i] == "<|end|>") {
      std::erase(v.end_tokens, static_cast<Token>(i));
      continue;
    }
    kind = TokenKind::control;  // as plain text it must not end a reply
    v.end_tokens.push_back(static_cast<Token>(i));
  }
  for (std::vector<Token>* ids :
       {&v.end_tokens, &v.strip_left, &v.strip_right, &v.single_word, &v.normalized}) {
    std::ranges::sort(*ids);
    ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
  }
  if (v.bos < 0) v.add_bos = false;
  if (v.eos < 0) v.add_eos = false;
  check_vocabulary(v, where);
}

// Ids 0 to 2 are unknown, BOS and EOS, the next 256 the bytes; a space is written as such.
Vocabulary read_llama2c_vocabulary(const Json& tokenizer, const std::string& where) {
  constexpr std::array<std::string_view, 3> kSpecial = {"<unk>", "<s>", "</s>"};
  constexpr size_t kFirstPiece = kSpecial.size() + 256;
  const Json* tokens = tokenizer.find("tokens");
  const Json* scores = tokenizer.find("scores");
  if (!tokens || !scores) throw Error(where, "its tokens or scores are missing");
  Vocabulary v;
  for (const Json& token : tokens->as_array(where)) {
    const size_t id = v.tokens.size();
    if (id < kSpecial.size()) {
      v.tokens.emplace_back(kSpecial[id]);
      v.kinds.push_back(id == 0 ? TokenKind::unknown : TokenKind::control);
    } else if (id < kFirstPiece) {
      v.tokens.push_back(byte_token_text(static_cast<uint8_t>(id - kSpecial.size())));
      v.kinds.push_back(TokenKind::byte);
    } else {
      v.tokens.push_back(replace_all(token.as_string(where), " ", kSpaceMark));
      v.kinds.push_back(TokenKind::normal);
    }
  }
  if (v.tokens.size() < kFirstPiece)
    throw Error::mismatch(where, "the number of tokens", std::to_string(kFirstPiece) + " at least",
                          std::to_string(v.tokens.size()));
  for (const Json& score : scores->as_array(where))
    v.scores.push_back(static_cast<float>(score.as_number(where)));
  v.unk = 0;
  v.bos = 1;
  v.eos = 2;
  v.add_bos = true;
  set_sentencepiece_steps(v, {});
  finish_vocabulary(v, where);
  return v;
}

bool has_vocabulary(const Checkpoint& checkpoint) {
  const Json& metadata = checkpoint.metadata;
  switch (checkpoint.format) {
    case FileFormat::gguf:
      return metadata.find("tokenizer.ggml.model") != nullptr;
    case FileFormat::hugging_face:
      return metadata.find("tokenizer") || metadata.find("tokenizer_model");
    case FileFormat::nib:
      return checkpoint.find(kNibTensor) != nullptr;
    case FileFormat::llama2c:
      return metadata.find("tokenizer") != nullptr;
  }
  return false;
}

Error no_vocabulary(const Checkpoint& checkpoint) {
  return Error(checkpoint.path, "holds no tokenizer",
               checkpoint.format == FileFormat::hugging_face
                   ? "put tokenizer.json or tokenizer.model beside the weights"
                   : "");
}

Vocabulary read_vocabulary(const Checkpoint& checkpoint) {
  const std::string& where = checkpoint.path;
  if (!has_vocabulary(checkpoint)) throw no_vocabulary(checkpoint);
  switch (checkpoint.format) {
    case FileFormat::gguf:
      return read_gguf_vocabulary(checkpoint.metadata, where);
    case FileFormat::hugging_face:
      return read_hugging_face_vocabulary(checkpoint.metadata, where);
    case FileFormat::nib:
      break;
    case FileFormat::llama2c:
      return read_llama2c_vocabulary(*checkpoint.metadata.find("tokenizer"), where + ": tokenizer");
  }
  const auto bytes = checkpoint.get(kNibTensor).data;
  return vocabulary_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                              where + ": " + kNibTensor);
}

void pad_vocabulary(Vocabulary& v, size_t n) {
  if (v.tokens.size() >= n) return;
  if (n > kMaxVocabulary)
    throw Error::mismatch("vocabulary", "the number of tokens",
                          "up to " + std::to_string(kMaxVocabulary), std::to_string(n));
  v.tokens.resize(n);
  v.kinds.resize(n, TokenKind::unused);
  if (!v.scores.empty()) v.scores.resize(n);
}

}  // namespace nibble
