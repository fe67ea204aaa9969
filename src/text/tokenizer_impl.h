// The tokenizer behind the public handle: tables built once from a Vocabulary, then constant.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/special_matcher.h"
#include "text/text_index.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

namespace nibble {

/// A stretch of a prompt: text, or one token.
struct PromptSpan {
  std::string_view text;
  bool parse_special = false;  // special tokens within the text mean those tokens
  Token token = -1;            // >= 0: this token, and `text` is not looked at
};

struct TokenizerImpl {
 public:
  /// Throws Error if the vocabulary contradicts itself.
  explicit TokenizerImpl(Vocabulary v);
  TokenizerImpl(const TokenizerImpl&) = delete;
  TokenizerImpl& operator=(const TokenizerImpl&) = delete;

  /// The tokens of the spans as if they were one text: words and merges cross their borders,
  /// special tokens do not begin or end in a span that does not parse them.
  std::vector<Token> encode(std::span<const PromptSpan> spans) const;
  std::string piece(Token token, bool with_special) const;
  std::string decode(std::span<const Token> tokens, bool with_special) const;
  Token find(std::string_view text) const;
  TokenKind kind(Token token) const;  // Error for an id outside the vocabulary
  bool is_end(Token token) const {
    return token >= 0 && static_cast<size_t>(token) < is_end_.size() &&
           is_end_[static_cast<size_t>(token)];
  }

  const Vocabulary vocabulary;

 private:
  struct Run;
  struct Scratch;

  std::vector<PairTable::Entry> read_merges() const;
  void rank_scores();
  void encode_run(const Run& run, Scratch& scratch, std::vector<Token>& out) const;
  void encode_fragment(const Normalizer::Input& input, bool first, Scratch& scratch,
                       std::vector<Token>& out) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<Token>& out) const;
  void run_merges(Scratch& scratch) const;
  void merge_bytes(std::string_view word, Scratch& scratch, std::vector<Token>& out) const;
  void merge_chars(std::string_view word, bool& after_unknown, Scratch& scratch,
                   std::vector<Token>& out) const;
  void put(Token id, std::string_view bytes, bool& after_unknown, std::vector<Token>& out) const;
  template <class Fn>
  void cut_out(const std::vector<SpecialMatcher::Match>& found, std::string_view text,
               std::vector<Token>& out, const Fn& between) const;
  std::string plain_text(Token token, bool first) const;
  std::string bytes_of(const std::string& alphabet_text) const;

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  SpecialMatcher specials_, normalized_specials_;
  UnigramModel unigram_;
  TextIndex by_text_;                  // the tokens that merging can make
  std::array<Token, 256> byte_ids_;    // of single bytes; -1: none
  PairTable pairs_;                    // if the vocabulary has merges
  std::vector<uint32_t> score_ranks_;  // [vocab_size] if not: 0 for the highest score
  bool cuts_at_marks_ = false;         // no merge crosses the beginning of a word
  std::vector<bool> is_end_, strip_left_, strip_right_;  // [vocab_size]
};

}  // namespace nibble
