#include "nibble/chat.h"

#include <utility>

#include "chat/channels.h"
#include "chat/generator.h"
#include "chat/stop_filter.h"
#include "model/model_impl.h"
#include "nibble/error.h"
#include "text/chat_template.h"

namespace nibble {
namespace {

std::vector<std::string> all_stops(const ChatOptions& options, const ChatTemplate& style) {
  std::vector<std::string> stops = options.stop;
  stops.insert(stops.end(), style.stops().begin(), style.stops().end());
  StopFilter check(stops);  // throws for one that is not valid
  return stops;
}

/// Undoes what is done to the messages of a conversation unless the turn succeeds.
class MessagesGuard {
 public:
  explicit MessagesGuard(std::vector<Message>& messages) : messages_(messages), saved_(messages) {}
  ~MessagesGuard() {
    if (!kept_) messages_.swap(saved_);
  }
  MessagesGuard(const MessagesGuard&) = delete;
  MessagesGuard& operator=(const MessagesGuard&) = delete;
  void keep() { kept_ = true; }

 private:
  std::vector<Message>& messages_;
  std::vector<Message> saved_;
  bool kept_ = false;
};

}  // namespace

struct ChatImpl {
  ChatImpl(const Model& m, const ChatOptions& options)
      : model(m),
        style(m.tokenizer(), options.chat_template),
        channels(Channels(m.tokenizer()).used()),
        stops(all_stops(options, style)),
        max_tokens(options.max_tokens),
        max_draft(options.max_draft),
        generator(m, options.session, options.sampling.value_or(m.default_sampling())) {
    if (max_tokens < -1)
      throw Error::mismatch("chat", "max_tokens", "-1 or more", std::to_string(max_tokens));
    if (max_draft < 0)
      throw Error::mismatch("chat", "max_draft", "0 or more", std::to_string(max_draft));
  }

  Reply answer(const OnText& on_text);

  Model model;
  ChatTemplate style;
  bool channels;  // replies have them: their templates take answers alone
  std::vector<std::string> stops;
  int max_tokens;
  int max_draft;
  std::vector<Message> messages;  // the system prompt first, if there is one
  Generator generator;
};

Reply ChatImpl::answer(const OnText& on_text) {
  const std::vector<Token> prompt = style.encode(messages);
  Reply reply = generator.run(prompt,
                              {.max_tokens = max_tokens,
                               .stops = stops,
                               .trim_start = true,
                               .max_draft = max_draft,
                               .channels = channels},
                              on_text);
  messages.push_back({Role::assistant, channels ? std::string(answer_of(reply.text)) : reply.text});
  return reply;
}

Chat::Chat(const Model& model, const ChatOptions& options)
    : impl_(std::make_unique<ChatImpl>(model, options)) {
  set_system(options.system);
}
Chat::Chat(Chat&&) noexcept = default;
Chat& Chat::operator=(Chat&&) noexcept = default;
Chat::~Chat() = default;

Reply Chat::say(std::string_view text, const OnText& on_text) {
  impl_->generator.allow();
  MessagesGuard guard(impl_->messages);
  impl_->messages.push_back({Role::user, std::string(text)});
  Reply reply = impl_->answer(on_text);
  guard.keep();
  return reply;
}

Reply Chat::regenerate(const OnText& on_text) {
  impl_->generator.allow();
  std::vector<Message>& messages = impl_->messages;
  MessagesGuard guard(messages);
  if (!messages.empty() && messages.back().role == Role::assistant) messages.pop_back();
  if (messages.empty() || messages.back().role != Role::user)
    throw Error("chat", "there is no message to answer anew");
  Reply reply = impl_->answer(on_text);
  guard.keep();
  return reply;
}

void Chat::stop() noexcept { impl_->generator.stop(); }

void Chat::reset() {
  std::erase_if(impl_->messages, [](const Message& m) { return m.role != Role::system; });
  impl_->generator.clear();
}

void Chat::set_system(std::string text) {
  std::vector<Message>& messages = impl_->messages;
  if (!messages.empty() && messages.front().role == Role::system) messages.erase(messages.begin());
  if (!text.empty()) messages.insert(messages.begin(), {Role::system, std::move(text)});
}

void Chat::set_messages(std::vector<Message> messages) {
  for (size_t i = 1; i < messages.size(); ++i)
    if (messages[i].role == Role::system)
      throw Error("chat", "a system prompt follows other messages");
  if (!messages.empty()) static_cast<void>(impl_->style.encode(messages));
  impl_->messages = std::move(messages);
}

const std::vector<Message>& Chat::messages() const { return impl_->messages; }
int Chat::position() const { return impl_->generator.position(); }
int Chat::context() const { return impl_->generator.context(); }

}  // namespace nibble
