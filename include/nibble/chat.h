#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/session.h"

namespace nibble {

enum class Role : uint8_t { system, user, assistant };

struct Message {
  Role role = Role::user;
  std::string content;
};

struct ChatOptions {
  std::string system = {};                      // the system prompt; empty: none
  std::optional<SamplerOptions> sampling = {};  // none: the model's
  int max_tokens = -1;                          // of a reply; -1: until it ends
  std::vector<std::string> stop = {};           // texts that end a reply; not part of it
  /// "" (the model's), a name of chat_template_names(), or Jinja text.
  std::string chat_template = {};
  SessionOptions session = {};
  /// Guesses of how a reply repeats earlier text, at most so many tokens (0: none; 7 are used),
  /// computed together where that is faster. The reply is the same to the bit.
  int max_draft = 7;
};

/// Why a reply ended: an end token, a stop text, max_tokens, a full context, or stop() and OnText.
enum class StopReason : uint8_t { end, stop_text, length, context, cancelled };

struct Reply {
  std::string text;  // with what gpt-oss thinks before as <think>, which messages() leave out
  StopReason stop = StopReason::end;
  int n_prompt = 0;    // tokens evaluated before the reply, those kept from before not counted
  int n_new = 0;       // tokens of the reply
  int n_drafted = 0;   // tokens computed on a guess
  int n_accepted = 0;  // of these, the right ones
  double prefill_s = 0;
  double decode_s = 0;
};

/// Receives whole UTF-8 characters as they are made; false stops the reply. What it throws passes
/// through, and the conversation is as before. Of the Chat it may call stop() alone.
using OnText = std::function<bool(std::string_view text)>;

/// Names of the templates that come with the library: "chatml", "llama3", ...
NIBBLE_API std::vector<std::string> chat_template_names();

struct ChatImpl;

/// A conversation. One thread at a time, but stop() may come from any thread. Text of users can
/// never become a special token.
class NIBBLE_API Chat {
 public:
  /// Throws Error if the template is unknown or cannot be used, the model has no tokenizer or an
  /// option is invalid.
  explicit Chat(const Model& model, const ChatOptions& options = {});
  Chat(Chat&&) noexcept;
  Chat& operator=(Chat&&) noexcept;
  ~Chat();

  /// Adds a user's message and answers it. A stopped reply stays in the conversation as far as it
  /// came. Throws Error, with the conversation as before, if the message does not fit the context.
  Reply say(std::string_view text, const OnText& on_text = {});
  /// Answers the last user message anew. Throws Error if there is none.
  Reply regenerate(const OnText& on_text = {});
  /// Ends a running reply, in mid-prefill too; without effect if none runs.
  void stop() noexcept;

  void reset();  // forgets all messages but the system prompt
  /// From the next turn on; the conversation is kept. It is not rendered before: what the template
  /// refuses, that turn throws as Error.
  void set_system(std::string text);
  /// Replaces the conversation, a system prompt first if there is one; the next turn reads it.
  /// Throws Error, with the conversation as before, if the template cannot render it.
  void set_messages(std::vector<Message> messages);
  const std::vector<Message>& messages() const;
  int position() const;  // tokens in the context
  int context() const;

 private:
  std::unique_ptr<ChatImpl> impl_;
};

}  // namespace nibble
