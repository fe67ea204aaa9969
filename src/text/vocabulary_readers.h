// The readers behind read_vocabulary(), one a format, and what they share. Each returns a
// vocabulary that finish_vocabulary() has completed and checked.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/vocabulary.h"

namespace nibble {

inline constexpr size_t kMaxVocabulary = size_t{1} << 20;       // four times the largest known
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

Vocabulary read_gguf_vocabulary(const Json& metadata, const std::string& where);
/// `metadata` as Checkpoint describes it for Hugging Face directories.
Vocabulary read_hugging_face_vocabulary(const Json& metadata, const std::string& where);
/// A SentencePiece tokenizer.model: a protobuf.
Vocabulary read_sentencepiece_model(std::string_view bytes, const std::string& where);
Vocabulary read_llama2c_vocabulary(const Json& tokenizer, const std::string& where);

/// What a SentencePiece model does with white space.
struct SentencePieceRules {
  bool prefix = true;         // a text starts with one more space
  bool squeeze = false;       // spaces are one, and none at the ends
  bool escape = true;         // a space is U+2581
  bool joins = false;         // a text does not begin or end at a user-defined token
  std::string charsmap = {};  // see text/charsmap.h; empty: none
};
/// Sets the normalizers and decoders that mean the same.
void set_sentencepiece_steps(Vocabulary& vocabulary, const SentencePieceRules& rules);

/// Makes control tokens of user-defined ones that end a reply, adds the end tokens, and checks.
void finish_vocabulary(Vocabulary& vocabulary, const std::string& where);
/// Throws Error(where, ...) if parts of the vocabulary contradict one another.
void check_vocabulary(const Vocabulary& vocabulary, const std::string& where);

/// The id that a file gives a special token, under that key; -1 if it is none, or if there is no
/// such token, which is noted.
Token special_id(const Json& id, const std::string& where, const char* key, Vocabulary& vocabulary);

/// The kind that SentencePiece, and GGUF after it, give this number.
TokenKind token_kind(uint64_t number);

/// The value of "<0x41>"; nothing for any other text.
std::optional<uint8_t> parse_byte_token(std::string_view text);
std::string byte_token_text(uint8_t byte);

/// `text` with every `from` (not empty) replaced.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// "a b" as a pair. Throws Error(where, ...) if it is none.
std::pair<std::string, std::string> split_merge(std::string_view text, const std::string& where);

}  // namespace nibble
