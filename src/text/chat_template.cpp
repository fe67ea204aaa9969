#include "text/chat_template.h"

#include <algorithm>
#include <array>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"
#include "text/vocabulary_readers.h"

namespace nibble {

// In these texts "{bos}" and "{eos}" stand for the model's tokens.
struct ChatTemplate {
  struct Turn {
    const char* before = "";
    const char* after = "";
  };

  const char* name;
  std::array<std::string_view, 2> marks;  // all occur in the Jinja text (quotes are ')
  std::string_view unless;                // and this does not
  Turn system, user, assistant;
  const char* reply;                // where the assistant's reply begins
  bool system_in_user = false;      // the system prompt stands in the next turn of the user
  bool strip_user = false;          // white space around a message is dropped
  bool strip_others = false;        // the same of system prompts and replies
  const char* default_system = "";  // if the conversation does not begin with one
  std::array<const char*, 1> stops = {};
};

namespace {

using Turn = ChatTemplate::Turn;

constexpr Turn kChatMlSystem = {"<|im_start|>system\n", "<|im_end|>\n"};
constexpr Turn kChatMlUser = {"<|im_start|>user\n", "<|im_end|>\n"};
constexpr Turn kChatMlAssistant = {"<|im_start|>assistant\n", "<|im_end|>\n"};

// ChatML and its variants differ in the system prompt that is there by default.
constexpr ChatTemplate chatml(const char* name, std::string_view mark, const char* default_system) {
  return {.name = name,
          .marks = {"<|im_start|>", mark},
          .unless = "<|im_sep|>",
          .system = kChatMlSystem,
          .user = kChatMlUser,
          .assistant = kChatMlAssistant,
          .reply = kChatMlAssistant.before,
          .default_system = default_system};
}

// The first whose marks fit is taken: variants come before what they vary.
constexpr std::array kTemplates = {
    ChatTemplate{.name = "llama3",
                 .marks = {"<|start_header_id|>", "<|eot_id|>"},
                 .unless = {},
                 .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                 .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                 .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
                 .reply = "<|start_header_id|>assistant<|end_header_id|>\n\n",
                 .strip_user = true,
                 .strip_others = true},
    chatml("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
           "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    chatml("qwen2", "system\nYou are a helpful assistant.<|im_end|>",
           "You are a helpful assistant."),
    chatml("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
           "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    chatml("chatml", "<|im_end|>", ""),
    ChatTemplate{.name = "nibble",
                 .marks = {"'<|' + message['role'] + '|>\n'", "'<|end|>\n'"},
                 .unless = {},
                 .system = {"<|system|>\n", "<|end|>\n"},
                 .user = {"<|user|>\n", "<|end|>\n"},
                 .assistant = {"<|assistant|>\n", "<|end|>\n"},
                 .reply = "<|assistant|>\n",
                 .strip_user = true,
                 .strip_others = true},
    ChatTemplate{.name = "phi3",
                 .marks = {"<|user|>", "<|end|>"},
                 .unless = {},
                 .system = {"<|system|>\n", "<|end|>\n"},
                 .user = {"<|user|>\n", "<|end|>\n"},
                 .assistant = {"<|assistant|>\n", "<|end|>\n"},
                 .reply = "<|assistant|>\n"},
    ChatTemplate{.name = "zephyr",
                 .marks = {"<|user|>\n' + message['content'] + eos_token", "<|assistant|>"},
                 .unless = {},
                 .system = {"<|system|>\n", "{eos}\n"},
                 .user = {"<|user|>\n", "{eos}\n"},
                 .assistant = {"<|assistant|>\n", "{eos}\n"},
                 .reply = "<|assistant|>\n"},
    ChatTemplate{.name = "llama2",
                 .marks = {"[INST]", "<<SYS>>"},
                 .unless = {},
                 .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
                 .user = {"{bos}[INST] ", " [/INST]"},
                 .assistant = {" ", " {eos}"},
                 .reply = "",
                 .system_in_user = true,
                 .strip_user = true,
                 .strip_others = true},
    ChatTemplate{.name = "mistral-v1",
                 .marks = {"' [INST] '", "' [/INST]'"},
                 .unless = "[AVAILABLE_TOOLS]",
                 .system = {"", "\n\n"},
                 .user = {" [INST] ", " [/INST]"},
                 .assistant = {" ", "{eos}"},
                 .reply = "",
                 .system_in_user = true},
    ChatTemplate{.name = "mistral",
                 .marks = {"'[INST] '", "' [/INST]'"},
                 .unless = "[AVAILABLE_TOOLS]",
                 .system = {"", "\n\n"},
                 .user = {"[INST] ", " [/INST]"},
                 .assistant = {" ", "{eos}"},
                 .reply = "",
                 .system_in_user = true},
    ChatTemplate{.name = "vicuna",
                 .marks = {"USER:", "ASSISTANT:"},
                 .unless = {},
                 .system = {"", " "},
                 .user = {"USER: ", " "},
                 .assistant = {"ASSISTANT: ", "{eos}"},
                 .reply = "ASSISTANT:",
                 .default_system = "A chat between a curious user and an artificial intelligence "
                                   "assistant. The assistant gives helpful, detailed, and polite "
                                   "answers to the user's questions.",
                 .stops = {"USER:"}},
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

class Renderer {
 public:
  explicit Renderer(const ChatTemplate& style) : style_(style) {}

  std::vector<PromptPart> render(std::span<const Message> messages) {
    const bool begins_with_system = !messages.empty() && messages[0].role == Role::system;
    if (!begins_with_system && *style_.default_system) add_system(style_.default_system);
    for (const Message& message : messages) add(message);
    if (!waiting_.empty()) add_user("");
    put_markup(style_.reply);
    return std::move(parts_);
  }

 private:
  void add(const Message& message) {
    switch (message.role) {
      case Role::system:
        return add_system(message.content);
      case Role::user:
        return add_user(message.content);
      case Role::assistant:
        return put_turn(style_.assistant, message.content, style_.strip_others);
    }
  }

  void add_system(std::string_view text) {
    if (style_.system_in_user)
      waiting_.emplace_back(text);
    else
      put_turn(style_.system, text, style_.strip_others);
  }

  void add_user(std::string_view text) {
    put_markup(style_.user.before);
    for (const std::string& system : waiting_) put_turn(style_.system, system, style_.strip_others);
    waiting_.clear();
    put_turn({"", style_.user.after}, text, style_.strip_user);
  }

  void put_turn(const Turn& turn, std::string_view text, bool stripped) {
    put_markup(turn.before);
    const std::string_view content = stripped ? strip(text) : text;
    if (!content.empty()) parts_.push_back({.text = std::string(content)});
    put_markup(turn.after);
  }

  void put_markup(std::string_view text) {
    using Mark = PromptPart::Symbol;
    while (!text.empty()) {
      const bool bos = text.starts_with("{bos}"), eos = text.starts_with("{eos}");
      if (bos || eos) {
        parts_.push_back({.text = {}, .markup = true, .symbol = bos ? Mark::bos : Mark::eos});
        text.remove_prefix(5);
        continue;
      }
      const size_t end = std::min({text.size(), text.find("{bos}"), text.find("{eos}")});
      parts_.push_back({.text = std::string(text.substr(0, end)), .markup = true});
      text.remove_prefix(end);
    }
  }

  const ChatTemplate& style_;
  std::vector<PromptPart> parts_;
  std::vector<std::string> waiting_;  // system prompts for the next turn of the user
};

}  // namespace

const ChatTemplate* find_chat_template(std::string_view name) {
  const auto* found = std::ranges::find(kTemplates, name, &ChatTemplate::name);
  return found != kTemplates.end() ? found : nullptr;
}

const ChatTemplate* recognise_chat_template(std::string_view jinja) {
  // Line breaks and quotes are written in two ways.
  const std::string text = replace_all(replace_all(jinja, "\\n", "\n"), "\"", "'");
  for (const ChatTemplate& style : kTemplates) {
    if (!style.unless.empty() && contains(text, style.unless)) continue;
    if (std::ranges::all_of(style.marks, [&](std::string_view m) { return contains(text, m); }))
      return &style;
  }
  return nullptr;
}

const char* chat_template_name(const ChatTemplate& style) { return style.name; }

std::span<const char* const> chat_template_stops(const ChatTemplate& style) {
  return std::span(style.stops).first(style.stops[0] ? 1 : 0);
}

std::vector<std::string> chat_template_names() {
  std::vector<std::string> names;
  for (const ChatTemplate& style : kTemplates) names.emplace_back(style.name);
  return names;
}

std::vector<PromptPart> render_chat(const ChatTemplate& style, std::span<const Message> messages) {
  return Renderer(style).render(messages);
}

std::vector<Token> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPart> parts) {
  using Mark = PromptPart::Symbol;
  const Token bos = tokenizer.bos();
  const bool written = !parts.empty() && parts[0].symbol == Mark::bos;
  std::vector<PromptSpan> spans;
  if (bos >= 0 && !written && contains(tokenizer.impl().vocabulary.chat_template, "bos_token"))
    spans.push_back({.text = {}, .token = bos});
  for (const PromptPart& part : parts) {
    if (part.symbol == Mark::none) {
      spans.push_back({.text = part.text, .parse_special = part.markup});
      continue;
    }
    const Token token = part.symbol == Mark::bos ? bos : tokenizer.eos();
    if (token >= 0) spans.push_back({.text = {}, .token = token});
  }
  std::vector<Token> tokens = tokenizer.impl().encode(spans);
  const bool begins = !tokens.empty() && tokens.front() == bos;
  if (tokenizer.add_bos() && !begins) tokens.insert(tokens.begin(), bos);
  return tokens;
}

}  // namespace nibble
