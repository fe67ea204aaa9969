#include "chat/generator.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "chat/channels.h"
#include "chat/stop_filter.h"
#include "nibble/error.h"

namespace nibble {

size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const auto [end, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(end - a.begin());
}

/// From tokens to the caller's text: whole characters, up to a stop text.
class Generator::Output {
 public:
  Output(const Tokenizer& tokenizer, const GenerateOptions& options, const OnText& on_text)
      : decoder_(tokenizer), filter_(options.stops), on_text_(on_text), trim_(options.trim_start) {
    if (options.channels) channels_.emplace(tokenizer);
  }

  void push(Token token) {
    const auto markup = channels_ ? channels_->push(token) : std::nullopt;
    emit(filter_.push(markup ? *markup : decoder_.push(token)));
  }

  /// The text ends here: what was held back belongs to it, unless the caller refused more.
  void finish() {
    if (refused_ || filter_.stopped()) return;
    emit(filter_.push(decoder_.flush()));
    if (!refused_ && !filter_.stopped()) emit(filter_.flush());
  }

  bool refused() const { return refused_; }
  bool stopped() const { return filter_.stopped(); }
  std::string take_text() { return std::move(text_); }

 private:
  void emit(std::string piece) {
    if (trim_) {
      piece.erase(0, std::min(piece.find_first_not_of(" \t\r\n"), piece.size()));
      trim_ = piece.empty();
    }
    if (piece.empty()) return;
    text_ += piece;
    if (on_text_) refused_ = !on_text_(piece);
  }

  StreamDecoder decoder_;
  std::optional<Channels> channels_;
  StopFilter filter_;
  const OnText& on_text_;
  bool trim_;
  bool refused_ = false;
  std::string text_;
};

Generator::Generator(const Model& model, const SessionOptions& session,
                     const SamplerOptions& sampling)
    : session_(model, session),
      sampler_(sampling),
      max_rows_(static_cast<size_t>(std::min(session.batch, session_.context()))) {}

void Generator::check_prompt(std::span<const Token> prompt) const {
  if (prompt.empty()) throw Error("prompt", "has no tokens", "give it some text");
  if (prompt.size() < static_cast<size_t>(context())) return;
  throw Error("prompt",
              "its " + std::to_string(prompt.size()) + " tokens leave no room in a context of " +
                  std::to_string(context()),
              "shorten it, or start with a larger context");
}

Reply Generator::run(std::span<const Token> prompt, const GenerateOptions& options,
                     const OnText& on_text) {
  check_prompt(prompt);
  Output output(session_.model().tokenizer(), options, on_text);
  Reply reply;
  auto start = Clock::now();
  const std::span<const float> logits = prefill(prompt, reply);
  reply.prefill_s = seconds_since(start);
  start = Clock::now();
  reply.stop = logits.empty() ? StopReason::cancelled : decode(logits, options, output, reply);
  output.finish();
  if (output.stopped()) reply.stop = StopReason::stop_text;
  if (output.refused()) reply.stop = StopReason::cancelled;
  reply.decode_s = seconds_since(start);
  reply.text = output.take_text();
  return reply;
}

std::span<const float> Generator::prefill(std::span<const Token> prompt, Reply& reply) {
  // The last token is evaluated anew in any case: its logits are needed.
  const size_t keep = std::min(common_prefix(cached_, prompt), prompt.size() - 1);
  session_.truncate(static_cast<int>(keep));
  cached_.resize(keep);
  n_text_ = keep;  // also if what follows throws
  sampler_.reset();
  for (const Token token : prompt) sampler_.accept(token);
  drafts_.reset(prompt);
  const std::span<const float> logits = eval(prompt.subspan(keep), Logits::last);
  n_text_ = cached_.size();
  reply.n_prompt = static_cast<int>(n_text_ - keep);
  return logits;
}

StopReason Generator::decode(std::span<const float> logits, const GenerateOptions& options,
                             Output& output, Reply& reply) {
  const Tokenizer& tokenizer = session_.model().tokenizer();
  if (options.max_tokens == 0) return StopReason::length;
  while (true) {
    const Token token = sampler_.sample(logits);
    if (tokenizer.is_end(token)) return StopReason::end;
    sampler_.accept(token);
    ++reply.n_new;
    output.push(token);
    if (output.refused() || stop_) return StopReason::cancelled;
    if (output.stopped()) return StopReason::stop_text;
    if (reply.n_new == options.max_tokens) return StopReason::length;
    if (position() == context()) return StopReason::context;
    int max_draft = std::min(options.max_draft, context() - position() - 1);
    if (options.max_tokens > 0)
      max_draft = std::min(max_draft, options.max_tokens - reply.n_new - 1);
    logits = next(token, static_cast<size_t>(max_draft), reply);
    if (logits.empty()) return StopReason::cancelled;
  }
}

std::span<const float> Generator::next(Token token, size_t max_draft, Reply& reply) {
  drafts_.push(token);
  const auto vocab_size = static_cast<size_t>(session_.model().config().vocab_size);
  if (n_text_ < cached_.size() && cached_[n_text_] == token) {
    ++n_text_;
    ++reply.n_accepted;
    ahead_ = ahead_.subspan(vocab_size);
    return ahead_.first(vocab_size);
  }
  session_.truncate(position());
  cached_.resize(n_text_);
  const std::span<const Token> draft = drafts_.guess(std::min(max_draft, max_rows_ - 1));
  std::array<Token, Drafts::kMaxRows> rows = {token};
  std::copy(draft.begin(), draft.end(), rows.begin() + 1);
  const size_t n_rows = 1 + draft.size();
  const auto start = Clock::now();
  ahead_ = eval(std::span(rows).first(n_rows), Logits::all);
  if (ahead_.empty()) return {};
  drafts_.measured(n_rows, seconds_since(start));
  ++n_text_;
  reply.n_drafted += static_cast<int>(draft.size());
  return ahead_.first(vocab_size);
}

std::span<const float> Generator::eval(std::span<const Token> tokens, Logits which) {
  while (!stop_) {
    const std::span<const float> logits = session_.eval(tokens, which);
    const size_t done = static_cast<size_t>(session_.position()) - cached_.size();
    cached_.insert(cached_.end(), tokens.begin(),
                   tokens.begin() + static_cast<std::ptrdiff_t>(done));
    if (!session_.cancelled()) return logits;
    tokens = tokens.subspan(done);  // unless stop_ is set, the cancel was for an earlier run
  }
  return {};
}

void Generator::stop() noexcept {
  stop_ = true;
  session_.cancel();
}

void Generator::clear() {
  session_.reset();
  cached_.clear();
  n_text_ = 0;
}

}  // namespace nibble
