#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels.h"
#include "model/weights.h"
#include "nibble/error.h"
#include "nibble/model.h"

namespace nibble {

inline constexpr int kMaxBatch = 4096;  // tokens that a session computes together at most

/// Everything a Model shares. Constant after loading, but for the pool, which one evaluation at a
/// time may use: hold `turn`.
struct ModelImpl {
  Config config;
  Weights weights;
  std::optional<Tokenizer> tokenizer;
  std::optional<Error> no_tokenizer;  // why there is none, of a model from files
  SamplerOptions sampling;
  ModelInfo info;
  const Kernels* kernels = nullptr;
  bool int8_activations = true;
  int threads = 1;        // decode
  int threads_batch = 1;  // prefill
  std::unique_ptr<ThreadPool> pool;
  mutable std::mutex turn;
};

}  // namespace nibble
