#include "text/chat_template.h"

#include <algorithm>
#include <optional>

#include "nibble/error.h"
#include "text/messages.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace nibble {
namespace {

std::string known_names() {
  std::string list;
  for (const std::string& name : chat_template_names()) list += (list.empty() ? "" : ", ") + name;
  return list;
}

/// The text of a token, if that text means the token.
std::string token_text(const Tokenizer& tokenizer, Token token) {
  if (token < 0) return {};
  const std::string text = tokenizer.piece(token, true);
  const std::vector<Token> tokens = tokenizer.encode(text, Special::parse);
  return tokens.size() == 1 && tokens[0] == token ? text : std::string();
}

std::string choose_source(const std::string& wanted, const std::string& own) {
  if (wanted.empty() && own.empty())
    throw Error("chat template", "the model has none",
                "choose one of " + known_names() + "; or continue a text without a template");
  if (wanted.empty()) return own;
  std::string named = named_chat_template(wanted);
  if (!named.empty()) return named;
  if (wanted.find('{') == std::string::npos)
    throw Error("chat template", "there is none called \"" + wanted + "\"",
                "known: " + known_names());
  return wanted;
}

/// The system prompt before the first message of the user.
std::vector<Message> without_system(std::span<const Message> messages) {
  std::vector<Message> out;
  std::string system;
  for (const Message& message : messages) {
    if (message.role == Role::system) {
      system += message.content + "\n\n";
      continue;
    }
    out.push_back(message);
    if (message.role != Role::user) continue;
    out.back().content.insert(0, system);
    system.clear();
  }
  if (!system.empty()) out.push_back({Role::user, std::string(strip(system))});
  return out;
}

std::string all_text(std::span<const PromptPart> parts) {
  std::string text;
  for (const PromptPart& part : parts) text += part.text;
  return text;
}

// What the template is tried with: nothing that it would treat apart or change.
constexpr const char* kSystem = "7310942865";
constexpr const char* kQuestion = "5129036478";
constexpr const char* kAnswer = "8460271935";

}  // namespace

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::string& wanted)
    : tokenizer_(tokenizer),
      jinja_(choose_source(wanted, tokenizer.impl().vocabulary.chat_template)),
      bos_(token_text(tokenizer, tokenizer.bos())),
      eos_(token_text(tokenizer, tokenizer.eos())),
      unk_(token_text(tokenizer, tokenizer.impl().vocabulary.unk)) {
  // A template that replaces the model's own may not know that texts of this model start with BOS.
  const std::string& own = tokenizer.impl().vocabulary.chat_template;
  const bool replaces = !wanted.empty() || bos_.empty();
  starts_with_bos_ =
      tokenizer.add_bos() || (replaces && own.find("bos_token") != std::string::npos);
  learn();
}

void ChatTemplate::learn() {
  const std::vector<Message> question = {{Role::user, kQuestion}};
  const std::vector<Message> with_system = {{Role::system, kSystem}, {Role::user, kQuestion}};
  std::optional<Error> refusal;
  try {
    typed_content_ = !shows(question, kQuestion);
  } catch (const Error& e) {
    refusal = e;
    typed_content_ = true;
  }
  try {
    if (typed_content_ && !shows(question, kQuestion))
      throw Error("chat template", "it does not show what the user says",
                  "choose another: " + known_names());
  } catch (const Error& e) {
    throw refusal ? *refusal : e;
  }
  try {
    system_in_user_ = !shows(with_system, kSystem);
  } catch (const Error&) {
    system_in_user_ = true;
  }
  find_stops();
}

void ChatTemplate::find_stops() {
  std::string text;
  try {
    const std::vector<Message> messages = {
        {Role::user, "x"}, {Role::assistant, kAnswer}, {Role::user, kQuestion}};
    text = all_text(run(messages, false));
  } catch (const Error&) {
    return;
  }
  const size_t begin = text.find(kAnswer), end = text.find(kQuestion);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return;
  std::string_view border = std::string_view(text).substr(0, end).substr(begin);
  border = strip(border.substr(std::string_view(kAnswer).size()));
  if (!eos_.empty() && border.starts_with(eos_)) border = strip(border.substr(eos_.size()));
  border = strip(border.substr(0, border.find('\n')));
  constexpr size_t kShortest = 3, kLongest = 200;
  if (border.size() < kShortest || border.size() > kLongest) return;
  const std::vector<Token> tokens = tokenizer_.encode(border, Special::parse);
  const auto special = [&](Token token) { return tokenizer_.is_special(token); };
  if (std::ranges::none_of(tokens, special)) stops_.emplace_back(border);
}

bool ChatTemplate::shows(std::span<const Message> messages, std::string_view text) const {
  return all_text(run(messages, true)).find(text) != std::string::npos;
}

std::vector<PromptPart> ChatTemplate::run(std::span<const Message> messages, bool reply) const {
  Json::Array list;
  for (const Message& message : messages) {
    Json content(message.content);
    if (typed_content_)
      content =
          Json(Json::Array{Json(Json::Object{{"type", "text"}, {"text", std::move(content)}})});
    list.emplace_back(
        Json::Object{{"role", role_name(message.role)}, {"content", std::move(content)}});
  }
  // transformers passes tools and documents in any case.
  const std::vector<jinja::Variable> variables = {{"messages", Json(std::move(list))},
                                                  {"add_generation_prompt", Json(reply)},
                                                  {"bos_token", Json(bos_), true},
                                                  {"eos_token", Json(eos_), true},
                                                  {"unk_token", Json(unk_), true},
                                                  {"tools", Json()},
                                                  {"documents", Json()}};
  jinja::Limits limits;
  size_t longest = size_t{1} << 20;  // of a prompt, whose tokens take many times its memory
  for (const Message& message : messages) {
    limits.bytes += 64 * message.content.size();
    limits.steps += 1000 + message.content.size();
    longest += 1000 + 8 * message.content.size();
  }
  std::vector<PromptPart> parts;
  size_t size = 0;
  for (jinja::Span& span : jinja_.render(variables, now_, limits)) {
    size += span.text.size();
    if (size > longest) throw Error("chat template", "it makes too much text");
    parts.push_back({std::move(span.text), span.from_template});
  }
  return parts;
}

std::vector<PromptPart> ChatTemplate::render(std::span<const Message> messages, bool reply) const {
  const auto is_system = [](const Message& message) { return message.role == Role::system; };
  if (system_in_user_ && std::ranges::any_of(messages, is_system))
    return run(without_system(messages), reply);
  return run(messages, reply);
}

std::vector<Token> ChatTemplate::encode(std::span<const Message> messages, bool reply) const {
  std::vector<Token> tokens = encode_parts(tokenizer_, render(messages, reply));
  const Token bos = tokenizer_.bos();
  const bool begins = !tokens.empty() && tokens.front() == bos;
  if (starts_with_bos_ && bos >= 0 && !begins) tokens.insert(tokens.begin(), bos);
  return tokens;
}

std::string ChatTemplate::description() const {
  const std::vector<Message> one = {{Role::user, kQuestion}};
  const std::vector<Message> more = {{Role::system, kSystem},
                                     {Role::user, kQuestion},
                                     {Role::assistant, kAnswer},
                                     {Role::user, " x\n"}};
  const auto text_of = [&](const ChatTemplate& style) {
    std::string all;
    for (const std::vector<Message>& messages : {one, more}) {
      std::string text = all_text(style.render(messages));
      // Whether BOS is written or left to the tokenizer makes no difference.
      if (!style.bos_.empty() && text.starts_with(style.bos_)) text.erase(0, style.bos_.size());
      all += text + '\0';
    }
    return all;
  };
  try {
    const std::string own = text_of(*this);
    for (const std::string& name : chat_template_names())
      if (text_of(ChatTemplate(tokenizer_, name)) == own) return name;
  } catch (const Error&) {  // it refuses one of the two
  }
  return "custom";
}

std::vector<Token> encode_parts(const Tokenizer& tokenizer, std::span<const PromptPart> parts) {
  std::vector<PromptSpan> spans;
  for (const PromptPart& part : parts)
    spans.push_back({.text = part.text, .parse_special = part.markup});
  return tokenizer.impl().encode(spans);
}

}  // namespace nibble
