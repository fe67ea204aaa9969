#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "chat/drafts.h"
#include "nibble/chat.h"
#include "nibble/sampler.h"
#include "nibble/session.h"

namespace nibble {

/// How long the prefix is that a and b share.
size_t common_prefix(std::span<const Token> a, std::span<const Token> b);

struct GenerateOptions {
  int max_tokens = -1;                 // -1: until the text ends
  std::span<const std::string> stops;  // texts that end the continuation; not part of it
  bool trim_start = false;             // drop the white space that it begins with
  int max_draft = 7;                   // see ChatOptions
  bool channels = false;               // show the channels of a reply, see Channels
};

/// The loop that continues a prompt, and the cache it keeps from one prompt to the next. One thread
/// at a time, but stop() may come from any thread.
class Generator {
 public:
  Generator(const Model& model, const SessionOptions& session, const SamplerOptions& sampling);

  /// Continues `prompt`, evaluating only what follows the prefix that it shares with the tokens in
  /// the cache. Throws Error if the prompt is empty or leaves no room in the context.
  Reply run(std::span<const Token> prompt, const GenerateOptions& options, const OnText& on_text);

  /// Makes run() end, now or when it starts, until allow() is called.
  void stop() noexcept;
  void allow() noexcept { stop_ = false; }

  void clear();  // empties the cache
  int position() const { return static_cast<int>(n_text_); }
  int context() const { return session_.context(); }
  uint64_t seed() const { return sampler_.seed(); }

 private:
  class Output;

  void check_prompt(std::span<const Token> prompt) const;
  /// Logits [vocab_size] after the prompt; empty if stopped.
  std::span<const float> prefill(std::span<const Token> prompt, Reply& reply);
  StopReason decode(std::span<const float> logits, const GenerateOptions& options, Output& output,
                    Reply& reply);
  /// Logits [vocab_size] after `token`, which follows the text: computed before if a draft guessed
  /// it, else now, those of up to `max_draft` guesses with them. Empty if stopped.
  std::span<const float> next(Token token, size_t max_draft, Reply& reply);
  std::span<const float> eval(std::span<const Token> tokens, Logits which);

  Session session_;
  Sampler sampler_;
  Drafts drafts_;
  size_t max_rows_;               // evaluated as one batch, which is done or not
  std::vector<Token> cached_;     // [session_.position()], the tokens in the cache
  size_t n_text_ = 0;             // of these, all but drafts
  std::span<const float> ahead_;  // [1 + drafts, vocab_size], from the text's last token on
  std::atomic<bool> stop_ = false;
};

}  // namespace nibble
