#include "nibble/session.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/checked.h"
#include "model/config_fields.h"
#include "model/kv_cache.h"
#include "model/model_impl.h"
#include "model/transformer.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// The exact path keeps the cache exact, too.
KvCode kv_code(const ModelImpl& model, const SessionOptions& options) {
  if (options.k_type != options.v_type)
    throw Error("session", "the types of keys and values in the cache differ",
                "give both the same type");
  if (!model.int8_activations) return KvCode::f32;
  switch (options.k_type) {
    case KvType::f16:
      return KvCode::f16;
    case KvType::q8_0:
      return KvCode::q8;
    case KvType::f32:
      return KvCode::f32;
  }
  throw Error("session", "the type of the cache is unknown");
}

int context_of(const ModelImpl& model, const SessionOptions& options) {
  if (options.context < 0)
    throw Error("session", "the context size is " + std::to_string(options.context) +
                               ", expected a positive number, or 0 for the model's");
  if (options.context > kMaxContext)
    throw Error("session", "the context size is " + std::to_string(options.context) +
                               ", expected at most " + std::to_string(kMaxContext));
  if (model.config.positions == Positions::learned && options.context > model.config.context_length)
    throw Error("session", "the context size is " + std::to_string(options.context) +
                               ", and the model has learned " +
                               std::to_string(model.config.context_length) + " positions");
  return options.context > 0 ? options.context : model.config.context_length;
}

int batch_of(const SessionOptions& options, int context) {
  if (options.batch < 1)
    throw Error("session", "the batch size is " + std::to_string(options.batch) +
                               ", expected a positive number");
  return std::min({options.batch, context, kMaxBatch});
}

// The batch asked for, or Error with the numbers if the memory for its scratch is not there.
int affordable_batch(const ModelImpl& model, const SessionOptions& options, int context) {
  const int batch = batch_of(options, context);
  const uint64_t bytes = Workspace::bytes(model, batch), available = available_memory();
  if (available > 0 && bytes > available)
    throw Error("session",
                "a batch of " + std::to_string(batch) + " tokens needs " +
                    std::to_string(bytes >> 20) + " MB of memory, and " +
                    std::to_string(available >> 20) + " MB are available",
                "use a smaller batch");
  return batch;
}

}  // namespace

struct SessionImpl {
  SessionImpl(const Model& m, const SessionOptions& options)
      : model(m),
        impl(*m.impl()),
        context(context_of(impl, options)),
        cache(impl.config, kv_code(impl, options), context),
        workspace(impl, affordable_batch(impl, options, context), context) {}

  Model model;
  const ModelImpl& impl;
  int context;
  KvCache cache;
  Workspace workspace;
  int position = 0;
  std::vector<float> logits;  // [n_rows, vocab_size]
  std::atomic<bool> cancel = false;
  bool was_cancelled = false;

  void check(std::span<const Token> tokens) const {
    if (tokens.size() > static_cast<size_t>(context - position))
      throw Error("session",
                  std::to_string(tokens.size()) + " tokens do not fit: the context of " +
                      std::to_string(context) + " positions holds " + std::to_string(position),
                  "a larger context, or a shorter text");
    for (const Token token : tokens)
      if (token < 0 || token >= impl.config.vocab_size)
        throw Error("session", "the token " + std::to_string(token) +
                                   " is outside the vocabulary of " +
                                   std::to_string(impl.config.vocab_size));
  }

  // Logits of the n rows that went through all layers, as rows first.. of `logits`.
  void append_logits(size_t n, size_t first) {
    const size_t vocab = static_cast<size_t>(impl.config.vocab_size);
    const size_t padded = round_up(vocab, kPanelRows);
    float* out = logits.data() + first * vocab;
    // Rows are written padded, one after the other, and then moved together; the buffer has room
    // for the padding of all rows.
    compute_logits(impl, workspace, n, out);
    if (padded == vocab) return;
    for (size_t row = 1; row < n; ++row)
      std::memmove(out + row * vocab, out + row * padded, vocab * sizeof(float));
  }
};

uint64_t session_bytes(const Model& model, const SessionOptions& options) {
  const ModelImpl& impl = *model.impl();
  const int context = context_of(impl, options);
  return KvCache::bytes(impl.config, kv_code(impl, options), context) +
         Workspace::bytes(impl, batch_of(options, context));
}

Session::Session(const Model& model, const SessionOptions& options)
    : impl_(std::make_unique<SessionImpl>(model, options)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

std::span<const float> Session::eval(std::span<const Token> tokens, Logits which) {
  SessionImpl& s = *impl_;
  s.check(tokens);
  s.was_cancelled = false;
  const size_t vocab = static_cast<size_t>(s.impl.config.vocab_size);
  const size_t n_rows = tokens.empty()          ? 0
                        : which == Logits::all  ? tokens.size()
                        : which == Logits::last ? 1
                                                : 0;
  if (s.logits.size() < n_rows * round_up(vocab, kPanelRows))
    s.logits.resize(n_rows * round_up(vocab, kPanelRows));
  const std::lock_guard turn(s.impl.turn);
  for (size_t done = 0; done < tokens.size();) {
    const auto batch = tokens.subspan(done, std::min(s.workspace.batch, tokens.size() - done));
    const bool last = done + batch.size() == tokens.size();
    const size_t n_last = which == Logits::all ? batch.size() : last ? n_rows : 0;
    if (!run_layers(s.impl, s.cache, s.workspace, batch, s.position, n_last, s.cancel)) {
      s.cancel = false;
      s.was_cancelled = true;
      return {};
    }
    if (n_last > 0) s.append_logits(n_last, which == Logits::all ? done : 0);
    done += batch.size();
    s.position += static_cast<int>(batch.size());
  }
  return {s.logits.data(), n_rows * vocab};
}

int Session::position() const { return impl_->position; }
int Session::context() const { return impl_->context; }

void Session::truncate(int n) {
  if (n < 0 || n > impl_->position)
    throw Error("session", "cannot truncate to " + std::to_string(n) + " of " +
                               std::to_string(impl_->position) + " positions");
  impl_->position = n;
}

void Session::cancel() noexcept { impl_->cancel = true; }
bool Session::cancelled() const noexcept { return impl_->was_cancelled; }
const Model& Session::model() const { return impl_->model; }

}  // namespace nibble
