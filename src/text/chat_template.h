// Chat templates, recognised by their text: how a conversation becomes a prompt.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/chat.h"
#include "nibble/tokenizer.h"

namespace nibble {

/// A piece of a prompt. Markup is tokenized with special tokens parsed, content as plain text: text
/// of a user can never become a special token.
struct PromptPart {
  enum class Symbol : uint8_t { none, bos, eos };

  std::string text;
  bool markup = false;
  Symbol symbol = Symbol::none;  // else the model's token of that name, and no text
};

/// One known style of prompt: data, see the table in chat_template.cpp.
struct ChatTemplate;

/// The template of that name, or null.
const ChatTemplate* find_chat_template(std::string_view name);
/// The template whose marks occur in the Jinja text of a model, or null.
const ChatTemplate* recognise_chat_template(std::string_view jinja);
const char* chat_template_name(const ChatTemplate& style);
/// Texts that end a reply besides the end tokens ("USER:" of Vicuna).
std::span<const char* const> chat_template_stops(const ChatTemplate& style);

/// The prompt of a conversation that ends where the assistant's reply begins. A BOS token at its
/// start is encode_prompt's matter, unless every turn of the style begins with one (Llama 2). An
/// assistant's message is followed by what ends it in training, so that the render of a longer
/// conversation starts with the render of a shorter one.
std::vector<PromptPart> render_chat(const ChatTemplate& style, std::span<const Message> messages);

/// Tokens of a rendered prompt, as the whole text would give them: words and merges cross the
/// borders of parts. BOS comes first if the tokenizer adds it or the model's own template writes
/// it, and the parts do not.
std::vector<Token> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPart> parts);

}  // namespace nibble
