// Small vocabularies made by hand, for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_impl.h"
#include "text/vocabulary.h"
#include "text/vocabulary_readers.h"

namespace nibble::test {

inline void add_token(Vocabulary& v, std::string text, TokenKind kind = TokenKind::normal) {
  v.tokens.push_back(std::move(text));
  v.kinds.push_back(kind);
}

/// Ids 0 to 2: <unk>, <s>, </s>; then, with `bytes`, 3 to 258 the bytes; then `pieces`, of which
/// each has a lower score than the one before ("_" stands for U+2581).
inline Vocabulary sentencepiece_vocabulary(const std::vector<std::string>& pieces,
                                           bool bytes = true) {
  Vocabulary v;
  add_token(v, "<unk>", TokenKind::unknown);
  add_token(v, "<s>", TokenKind::control);
  add_token(v, "</s>", TokenKind::control);
  for (int b = 0; bytes && b < 256; ++b)
    add_token(v, byte_token_text(static_cast<uint8_t>(b)), TokenKind::byte);
  v.scores.resize(v.tokens.size());
  for (const std::string& piece : pieces) {
    add_token(v, replace_all(piece, "_", kSpaceMark));
    v.scores.push_back(-static_cast<float>(v.scores.size()));
  }
  v.unk = 0;
  v.bos = 1;
  v.eos = 2;
  v.end_tokens = {2};
  v.add_bos = true;
  set_sentencepiece_steps(v, {});
  return v;
}

/// Ids 0 to 255: the bytes; then what each merge makes ("_" stands for a space), in order of rank.
/// `rule` names what cuts a text into words.
inline Vocabulary byte_vocabulary(std::string_view rule, const std::vector<std::string>& merges) {
  Vocabulary v;
  v.kind = TokenizerKind::byte_bpe;
  v.splits = split_rule(rule);
  const ByteAlphabet& alphabet = byte_alphabet();
  for (int b = 0; b < 256; ++b) add_token(v, std::string(alphabet.text(static_cast<uint8_t>(b))));
  for (const std::string& merge : merges) {
    auto [left, right] = split_merge(merge, "test");
    left = alphabet.encode(replace_all(left, "_", " "));
    right = alphabet.encode(replace_all(right, "_", " "));
    add_token(v, left + right);
    v.merges.emplace_back(left, right);
  }
  return v;
}

inline std::string joined(const std::vector<Token>& ids) {
  std::string text;
  for (const Token id : ids) text.append(text.empty() ? "" : " ").append(std::to_string(id));
  return text;
}

}  // namespace nibble::test
