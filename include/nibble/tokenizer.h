#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/config.h"
#include "nibble/export.h"

namespace nibble {

/// Whether the text of a special token ("</s>", "<|eot_id|>") inside a text means that token.
enum class Special : uint8_t { as_text, parse };

struct TokenizerImpl;

/// Text to tokens and back, exactly as the model's reference implementation. Immutable: all methods
/// may be called from many threads at once. Cheap to copy.
class NIBBLE_API Tokenizer {
 public:
  /// Tokens of any bytes (invalid UTF-8 included), without BOS or EOS. Time is O(n log n).
  std::vector<Token> encode(std::string_view text, Special special = Special::as_text) const;

  /// The bytes of `tokens`, which need not be whole UTF-8 characters. Control tokens give no bytes
  /// unless `with_special`. Throws Error for an id outside the vocabulary.
  std::string decode(std::span<const Token> tokens, bool with_special = false) const;

  /// The bytes that `token` adds to a text in progress (no stripping of a first space). Throws
  /// Error for an id outside the vocabulary.
  std::string piece(Token token, bool with_special = false) const;

  int32_t vocab_size() const;
  Token bos() const;               // -1: none
  Token eos() const;               // -1: none
  bool add_bos() const;            // whether a text of this model starts with bos()
  bool add_eos() const;            // whether a whole text of this model ends with eos()
  bool is_end(Token token) const;  // any end-of-generation token
  /// Throws Error for an id outside the vocabulary.
  bool is_special(Token token) const;
  /// The id of a token with exactly this text (special tokens included), or -1.
  Token find(std::string_view text) const;
  /// "SentencePiece BPE" or "byte-level BPE, llama3 rule".
  std::string description() const;

  // For the library itself: TokenizerImpl is not public.
  const TokenizerImpl& impl() const { return *impl_; }
  explicit Tokenizer(std::shared_ptr<const TokenizerImpl> impl);

 private:
  std::shared_ptr<const TokenizerImpl> impl_;
};

/// Decodes a stream of tokens into whole UTF-8 characters: bytes of an unfinished character are
/// held back until they are complete or can never be (then they become U+FFFD). One thread at a
/// time.
class NIBBLE_API StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool with_special = false);
  /// The text that became complete. Throws Error for an id outside the vocabulary.
  std::string push(Token token);
  std::string flush();  // what is left, and start anew

 private:
  Tokenizer tokenizer_;
  bool with_special_;
  std::string pending_;
};

}  // namespace nibble
