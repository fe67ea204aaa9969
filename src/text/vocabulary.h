// The tokenizer of a file, as data: what every loader produces and the .nib file stores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "load/checkpoint.h"
#include "nibble/config.h"
#include "nibble/error.h"
#include "nibble/tokenizer.h"
#include "text/text_steps.h"

namespace nibble {

enum class TokenizerKind : uint8_t { sentencepiece_bpe, byte_bpe, unigram };

enum class TokenKind : uint8_t { normal, unknown, control, user_defined, unused, byte };

/// A token's text is as its kind of tokenizer writes it: U+2581 for a space (SentencePiece), the
/// byte-to-character alphabet of GPT-2 (byte_bpe); control and user-defined tokens are plain text.
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::sentencepiece_bpe;
  std::vector<NormalizeStep> normalizers;  // change a text
  std::vector<SplitStep> splits;           // cut it into words before anything is merged
  std::vector<DecodeStep> decoders;        // make text of tokens (not of byte_bpe)
  std::vector<std::string> tokens;         // [vocab_size]
  std::vector<TokenKind> kinds;            // [vocab_size]
  /// [vocab_size] for sentencepiece_bpe without merges (the pair whose concatenation has the
  /// highest score is merged first) and for unigram (logarithms of probabilities), else empty.
  std::vector<float> scores;
  /// By rank: the pair of lowest rank is merged first. byte_bpe, and sentencepiece_bpe as a
  /// tokenizer.json writes it: kept as they are, because ranks of pairs say more than scores.
  std::vector<std::pair<std::string, std::string>> merges;
  Token bos = -1, eos = -1, unk = -1;
  std::vector<Token> end_tokens;  // all end-of-generation tokens, eos included
  /// Special tokens that swallow the white space before and after them.
  std::vector<Token> strip_left, strip_right;
  std::vector<Token> single_word;  // special tokens that are none beside a letter or digit
  /// User-defined tokens that are looked for in the normalized text, with their text normalized.
  std::vector<Token> normalized;
  bool add_bos = false, add_eos = false;  // whether a text of this model starts, or ends, with it
  bool fuse_unk = true;                   // unknown characters side by side are one unknown token
  bool ignore_merges = false;             // a word that is a token is not merged (Llama 3)
  std::string chat_template;              // Jinja text, or empty
  std::vector<std::string> notes;         // what a user should know of how the file was read
};

/// From any checkpoint; Error if it holds no tokenizer (see has_vocabulary) or one that is unknown:
/// unknown pre-tokenizers are refused by name.
bool has_vocabulary(const Checkpoint& checkpoint);
Error no_vocabulary(const Checkpoint& checkpoint);  // what to say of one without a tokenizer
Vocabulary read_vocabulary(const Checkpoint& checkpoint);

/// From the tokenizer files of a Hugging Face directory; no weights or config.json are needed.
Vocabulary read_vocabulary_from_directory(const std::string& directory);

/// Adds unused tokens without text until there are n; no change if there are as many.
void pad_vocabulary(Vocabulary& vocabulary, size_t n);

/// The JSON text that a .nib file stores, and back (validated like any other input).
std::string vocabulary_to_json(const Vocabulary& vocabulary);
Vocabulary vocabulary_from_json(std::string_view text, const std::string& where);

/// Throws Error if the vocabulary contradicts itself (made by hand; what the functions above return
/// does not).
Tokenizer make_tokenizer(Vocabulary vocabulary);

}  // namespace nibble
