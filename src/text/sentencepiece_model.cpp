// SentencePiece's tokenizer.model: a protobuf of pieces and settings.
#include <bit>
#include <limits>

#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

// One field of a protobuf message. A number (varint or fixed) or bytes, by its wire type.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

// The fields of a message in order. Nested messages are bytes to be read by another reader.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, const std::string& where) : rest_(bytes), where_(where) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field = {};
    if (tag >> 3 == 0 || tag >> 3 > kMaxField) fail();
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = fixed(8);
        break;
      case 2: {
        const uint64_t length = varint();
        field.bytes = take(length);
        break;
      }
      case 5:
        field.value = fixed(4);
        break;
      default:
        fail();
    }
    return true;
  }

 private:
  static constexpr uint64_t kMaxField = (uint64_t{1} << 29) - 1;

  [[noreturn]] void fail() const {
    throw Error(where_, "is not a SentencePiece model: its protobuf is cut short or damaged");
  }
  std::string_view take(uint64_t n) {
    if (n > rest_.size()) fail();
    const std::string_view taken = rest_.substr(0, static_cast<size_t>(n));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }
  uint64_t fixed(size_t n) {
    uint64_t value = 0;
    const std::string_view bytes = take(n);
    for (size_t i = 0; i < n; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
    return value;
  }

  std::string_view rest_;
  const std::string& where_;
};

// Protobuf writes negative int32 as 64 bits.
Token token_of(uint64_t value) {
  const auto id = static_cast<int64_t>(value);
  return id >= 0 && id <= std::numeric_limits<Token>::max() ? static_cast<Token>(id) : -1;
}

class SentencePieceReader {
 public:
  explicit SentencePieceReader(const std::string& where) : where_(where) {
    v_.unk = 0;  // what the format means when it does not say
    v_.bos = 1;
    v_.eos = 2;
    rules_.squeeze = true;
    rules_.joins = true;
  }

  Vocabulary read(std::string_view bytes) {
    MessageReader model(bytes, where_);
    for (Field field; model.next(field);) {
      if (field.number == 1) read_piece(field.bytes);
      if (field.number == 2) read_trainer(field.bytes);
      if (field.number == 3) read_normalizer(field.bytes);
    }
    read_kind();
    for (Token* id : {&v_.unk, &v_.bos, &v_.eos})
      if (*id >= 0 && static_cast<size_t>(*id) >= v_.tokens.size()) *id = -1;
    v_.add_bos = v_.bos >= 0;
    set_sentencepiece_steps(v_, rules_);
    finish_vocabulary(v_, where_);
    return std::move(v_);
  }

 private:
  void read_piece(std::string_view bytes) {
    MessageReader piece(bytes, where_);
    std::string text;
    float score = 0;
    TokenKind kind = TokenKind::normal;
    for (Field field; piece.next(field);) {
      if (field.number == 1) text = field.bytes;
      if (field.number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
      if (field.number == 3) kind = token_kind(field.value);
    }
    if (kind == TokenKind::user_defined) text = replace_all(text, kSpaceMark, " ");
    if (v_.tokens.size() == kMaxVocabulary) throw Error(where_, "has too many tokens");
    v_.tokens.push_back(std::move(text));
    v_.scores.push_back(score);
    v_.kinds.push_back(kind);
  }

  void read_trainer(std::string_view bytes) {
    MessageReader trainer(bytes, where_);
    for (Field field; trainer.next(field);) {
      if (field.number == 3) model_type_ = field.value;
      if (field.number == 24) suffix_ = field.value != 0;
      if (field.number == 40) v_.unk = token_of(field.value);
      if (field.number == 41) v_.bos = token_of(field.value);
      if (field.number == 42) v_.eos = token_of(field.value);
    }
  }

  void read_normalizer(std::string_view bytes) {
    MessageReader normalizer(bytes, where_);
    for (Field field; normalizer.next(field);) {
      if (field.number == 2) rules_.charsmap = field.bytes;
      if (field.number == 3) rules_.prefix = field.value != 0;
      if (field.number == 4) rules_.squeeze = field.value != 0;
      if (field.number == 5) rules_.escape = field.value != 0;
    }
  }

  void read_kind() {
    if (v_.tokens.empty()) throw Error(where_, "is not a SentencePiece model: it has no pieces");
    if (model_type_ != 1 && model_type_ != 2) {
      const std::string name = model_type_ == 3   ? "word"
                               : model_type_ == 4 ? "char"
                                                  : "number " + std::to_string(model_type_);
      throw Error(where_, "is a SentencePiece model of the type " + name +
                              ", of which only BPE and unigram are supported");
    }
    v_.kind = model_type_ == 1 ? TokenizerKind::unigram : TokenizerKind::sentencepiece_bpe;
    if (suffix_)
      throw Error(where_, "is a SentencePiece model with white space behind words",
                  "a tokenizer.json of the same model may load");
  }

  const std::string& where_;
  Vocabulary v_;
  SentencePieceRules rules_;
  uint64_t model_type_ = 1;
  bool suffix_ = false;
};

}  // namespace

Vocabulary read_sentencepiece_model(std::string_view bytes, const std::string& where) {
  return SentencePieceReader(where).read(bytes);
}

}  // namespace nibble
