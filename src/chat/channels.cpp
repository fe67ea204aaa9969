#include "chat/channels.h"

namespace nibble {
namespace {

constexpr std::string_view kOpen = "<think>\n", kClose = "\n</think>\n\n";

}  // namespace

Channels::Channels(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      start_(tokenizer.find("<|start|>")),
      channel_(tokenizer.find("<|channel|>")),
      message_(tokenizer.find("<|message|>")) {}

std::optional<std::string> Channels::push(Token token) {
  if (token == start_ || token == channel_) {
    in_header_ = true;
    header_.clear();
    return "";
  }
  if (token == message_ && in_header_) {
    in_header_ = false;
    const bool answers = header_.starts_with("final"), thought = thinks_;
    thinks_ = !answers;
    if (answers) return thought ? std::string(kClose) : "";
    return thought ? "\n\n" : std::string(kOpen);
  }
  if (!in_header_) return std::nullopt;
  constexpr size_t kMaxHeader = 256;  // the rest says nothing about the channel
  if (header_.size() < kMaxHeader) header_ += tokenizer_.piece(token);
  return "";
}

std::string_view answer_of(std::string_view reply) {
  if (!reply.starts_with(kOpen)) return reply;
  const size_t close = reply.find(kClose);
  return close == reply.npos ? std::string_view() : reply.substr(close + kClose.size());
}

}  // namespace nibble
