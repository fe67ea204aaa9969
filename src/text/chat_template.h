// Chat templates: how a conversation becomes a prompt.
#pragma once

#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/chat.h"
#include "nibble/tokenizer.h"
#include "text/jinja.h"

namespace nibble {

/// A piece of a prompt. Markup, which is what the template wrote, is tokenized with special tokens
/// parsed, the rest as plain text: text of a user can never become a special token.
struct PromptPart {
  std::string text;
  bool markup = false;
};

/// A template for the tokens of one model. Immutable; what it learns about the template, it learns
/// once, by rendering short conversations.
class ChatTemplate {
 public:
  /// `wanted`: a name of chat_template_names(), Jinja text, or empty for the template that came
  /// with the tokenizer. Throws Error if there is none, or if it does not parse, or does not show
  /// what the user says.
  explicit ChatTemplate(const Tokenizer& tokenizer, const std::string& wanted = {});

  /// The prompt of a conversation. With `reply` it ends where the assistant's reply begins;
  /// without, the last message is complete. A system prompt that the template refuses or leaves out
  /// comes before the first message of the user. Throws Error if the template refuses the
  /// conversation.
  std::vector<PromptPart> render(std::span<const Message> messages, bool reply = true) const;

  /// Its tokens, as the whole text would give them: words and merges cross the borders of parts.
  /// BOS comes first, once, if the tokenizer adds it or the model's own template writes it.
  std::vector<Token> encode(std::span<const Message> messages, bool reply = true) const;

  /// Texts that end a reply besides the end tokens: what the template writes before the next
  /// message of the user, unless a special token is there ("USER:" of Vicuna).
  const std::vector<std::string>& stops() const { return stops_; }

  /// The named template that renders alike, or "custom".
  std::string description() const;

 private:
  std::vector<PromptPart> run(std::span<const Message> messages, bool reply) const;
  bool shows(std::span<const Message> messages, std::string_view text) const;
  void learn();
  void find_stops();

  Tokenizer tokenizer_;
  jinja::Template jinja_;
  std::tm now_ = jinja::local_time();  // one date for a conversation: its beginning stays the same
  std::string bos_, eos_, unk_;        // texts of tokens, "" if there is none
  bool starts_with_bos_ = false;
  bool typed_content_ = false;   // messages are lists of parts: [{"type": "text", "text": ...}]
  bool system_in_user_ = false;  // the template has no place for a system prompt
  std::vector<std::string> stops_;
};

/// The Jinja text of a template that is known by name; empty if there is none.
std::string named_chat_template(std::string_view name);

/// Tokens of parts as if they were one text.
std::vector<Token> encode_parts(const Tokenizer& tokenizer, std::span<const PromptPart> parts);

}  // namespace nibble
