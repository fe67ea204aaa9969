#include "nibble/tokenizer.h"

#include "base/utf8.h"
#include "text/tokenizer_impl.h"

namespace nibble {

Tokenizer make_tokenizer(Vocabulary vocabulary) {
  return Tokenizer(std::make_shared<const TokenizerImpl>(std::move(vocabulary)));
}

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerImpl> impl) : impl_(std::move(impl)) {}

std::vector<Token> Tokenizer::encode(std::string_view text, Special special) const {
  const PromptSpan span{.text = text, .parse_special = special == Special::parse};
  return impl_->encode({&span, 1});
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool with_special) const {
  return impl_->decode(tokens, with_special);
}

std::string Tokenizer::piece(Token token, bool with_special) const {
  return impl_->piece(token, with_special);
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(impl_->vocabulary.tokens.size());
}
Token Tokenizer::bos() const { return impl_->vocabulary.bos; }
Token Tokenizer::eos() const { return impl_->vocabulary.eos; }
bool Tokenizer::add_bos() const { return impl_->vocabulary.add_bos; }
bool Tokenizer::add_eos() const { return impl_->vocabulary.add_eos; }
bool Tokenizer::is_end(Token token) const { return impl_->is_end(token); }

bool Tokenizer::is_special(Token token) const {
  const TokenKind kind = impl_->kind(token);
  return kind == TokenKind::control || kind == TokenKind::unknown;
}

Token Tokenizer::find(std::string_view text) const { return impl_->find(text); }

std::string Tokenizer::description() const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  if (vocabulary.kind == TokenizerKind::sentencepiece_bpe) return "SentencePiece BPE";
  if (vocabulary.kind == TokenizerKind::unigram) return "SentencePiece unigram";
  return "byte-level BPE, " + std::string(split_rule_name(vocabulary.splits)) + " rule";
}

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool with_special)
    : tokenizer_(std::move(tokenizer)), with_special_(with_special) {}

std::string StreamDecoder::push(Token token) {
  pending_ += tokenizer_.piece(token, with_special_);
  const size_t complete = complete_utf8_prefix(pending_);
  std::string out = repair_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return out;
}

std::string StreamDecoder::flush() {
  std::string out = repair_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace nibble
