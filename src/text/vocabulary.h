// The tokenizer of a file, as data: what every loader produces and the .nib file stores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "load/checkpoint.h"
#include "nibble/config.h"

namespace nibble {

enum class TokenizerKind : uint8_t { sentencepiece_bpe, byte_bpe };

/// How byte-level BPE cuts a text into words before merging.
enum class PreTokenizer : uint8_t { none, gpt2, llama3, qwen2, falcon, starcoder, mpt };

enum class TokenKind : uint8_t { normal, unknown, control, user_defined, unused, byte };

/// A token's text is as its kind of tokenizer writes it: U+2581 for a space (SentencePiece), the
/// byte-to-character alphabet of GPT-2 (byte_bpe); control and user-defined tokens are plain text.
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::sentencepiece_bpe;
  PreTokenizer pre = PreTokenizer::none;
  std::vector<std::string> tokens;                          // [vocab_size]
  std::vector<float> scores;                                // [vocab_size], sentencepiece_bpe only
  std::vector<TokenKind> kinds;                             // [vocab_size]
  std::vector<std::pair<std::string, std::string>> merges;  // by rank, byte_bpe only (see .cpp for
                                                            // SentencePiece from tokenizer.json)
  Token bos = -1, eos = -1, unk = -1;
  std::vector<Token> end_tokens;  // all end-of-generation tokens, eos included
  bool add_bos = false;
  bool add_space_prefix = false;  // sentencepiece_bpe: a text starts with U+2581
  bool ignore_merges = false;     // byte_bpe: a word that is a token is not merged (Llama 3)
  std::string chat_template;      // Jinja text, or empty
};

/// From any checkpoint; Error if it holds no tokenizer (see has_vocabulary) or one that is unknown:
/// unknown pre-tokenizers are refused by name. `vocab_size` of the model bounds the ids.
bool has_vocabulary(const Checkpoint& checkpoint);
Vocabulary read_vocabulary(const Checkpoint& checkpoint);

/// The JSON text that a .nib file stores, and back (validated like any other input).
std::string vocabulary_to_json(const Vocabulary& vocabulary);
Vocabulary vocabulary_from_json(std::string_view text, const std::string& where);

}  // namespace nibble
