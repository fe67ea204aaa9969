#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "nibble/config.h"
#include "nibble/export.h"

namespace nibble {

struct SamplerOptions {
  float temperature = 0.8f;           // 0: greedy
  int32_t top_k = 40;                 // 0: off
  float top_p = 0.95f;                // 1: off
  float min_p = 0.05f;                // 0: off
  float repeat_penalty = 1.0f;        // 1: off; recent tokens: positive logits / it, negative * it
  int32_t repeat_last_n = 64;         // tokens the penalty looks back; 0: none, -1: all
  std::optional<uint64_t> seed = {};  // none: a random one
};

/// Chooses a token from logits. Owns its random state and the recent tokens; one thread at a time.
/// Order: repeat penalty, top-k, top-p, min-p, temperature, draw. Ties go to the lower id.
class NIBBLE_API Sampler {
 public:
  /// Throws Error for an option that is NaN or out of its range.
  explicit Sampler(const SamplerOptions& options = {});
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;
  ~Sampler();

  /// `logits` [vocab_size]; NaN counts as -infinity. Does not record the choice: see accept().
  /// Throws Error if no logit is above -infinity.
  Token sample(std::span<const float> logits);
  /// Records a token of the text so far, prompt included, for the repeat penalty.
  void accept(Token token);
  /// Forgets the recent tokens; the random state goes on.
  void reset();
  uint64_t seed() const;  // the seed in use

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble
