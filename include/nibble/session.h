#pragma once

#include <memory>
#include <span>

#include "nibble/model.h"

namespace nibble {

enum class KvType : uint8_t { f16, q8_0, f32 };

struct SessionOptions {
  int context = 0;  // positions; 0: the model's context_length
  int batch = 512;  // tokens computed together in prefill, at most 4096 and context
  KvType k_type = KvType::f16;
  KvType v_type = KvType::f16;  // must equal k_type for now
};

/// Bytes that a Session with these options holds at most: the whole KV cache, and scratch. Throws
/// Error if the options are out of range.
NIBBLE_API uint64_t session_bytes(const Model& model, const SessionOptions& options = {});

/// Which positions of an eval() give logits.
enum class Logits : uint8_t { none, last, all };

struct SessionImpl;

/// The KV cache of one text and the scratch to extend it: tokens in, logits out. One thread at a
/// time, but cancel() may come from any thread.
class NIBBLE_API Session {
 public:
  /// Throws Error if the options are out of range or the memory cannot be had. Memory of the cache
  /// is used as positions are.
  explicit Session(const Model& model, const SessionOptions& options = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Appends tokens and returns logits [n_rows, vocab_size], row-major: n_rows is 0, 1 or
  /// tokens.size(). The span is valid until the next call. Throws Error if a token is outside the
  /// vocabulary or the context would overflow; the session is then as before. If cancelled, returns
  /// an empty span, as without tokens or for Logits::none: see cancelled(). The batches finished
  /// before stay, see position().
  std::span<const float> eval(std::span<const Token> tokens, Logits which = Logits::last);

  int position() const;  // tokens in the cache
  int context() const;   // positions it can hold
  /// Forgets all tokens from position n on; Error unless 0 <= n <= position().
  void truncate(int n);
  void reset() { truncate(0); }

  /// Makes a running eval() return between two layers. If none runs, or the last layer of its last
  /// batch is under way, the next one that has tokens returns at once.
  void cancel() noexcept;
  bool cancelled() const noexcept;  // whether the last eval() ended that way

  const Model& model() const;

 private:
  std::unique_ptr<SessionImpl> impl_;
};

}  // namespace nibble
