// Replies in channels, OpenAI's harmony format: <|channel|>analysis<|message|>TEXT<|end|><|start|>
// assistant<|channel|>final<|message|>TEXT<|return|>. They are shown as other models that reason
// write by themselves: <think>TEXT</think> and the answer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nibble/tokenizer.h"

namespace nibble {

class Channels {
 public:
  explicit Channels(const Tokenizer& tokenizer);

  /// Whether the tokenizer has the tokens of the format.
  bool used() const { return channel_ >= 0 && message_ >= 0 && start_ >= 0; }
  /// What stands in the text for `token`; nothing if it is the token's own text. Only if used().
  std::optional<std::string> push(Token token);

 private:
  Tokenizer tokenizer_;
  Token start_, channel_, message_;
  bool in_header_ = false;  // between <|start|> or <|channel|> and <|message|>
  bool thinks_ = false;     // <think> is open
  std::string header_;      // from <|channel|> on
};

/// A reply without what was thought before its answer; empty if there is no answer.
std::string_view answer_of(std::string_view reply);

}  // namespace nibble
