#include "bench_run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <thread>

#include "base/clock.h"
#include "model/config_reader.h"
#include "model/model_impl.h"

namespace nibble::tools {
namespace {

constexpr int kEvaluations = 4;  // of drafts, in one repetition

std::vector<Token> random_tokens(const Model& model, int n) {
  std::mt19937 random(1);
  std::uniform_int_distribution<Token> token(0, model.config().vocab_size - 1);
  std::vector<Token> tokens(static_cast<size_t>(n));
  for (Token& t : tokens) t = token(random);
  return tokens;
}

/// Bytes of the KV cache that one evaluation reads at a position.
double kv_bytes(const Config& c, KvType type, double position) {
  const double element = type == KvType::f16   ? 2.0
                         : type == KvType::f32 ? 4.0
                                               : 1.0 + 4.0 / c.head_dim;
  double seen = 0;
  for (int layer = 0; layer < c.n_layers; ++layer)
    seen += has_window(c, layer) ? std::min(position, 1.0 * c.sliding_window) : position;
  return 2.0 * c.n_kv_heads * c.head_dim * element * seen;
}

double params_of(const PackedMatrix& m) {
  return m.empty() ? 0 : 1.0 * m.view.shape.rows * m.view.shape.cols;
}

/// Parameters of a layer that one token meets: of experts those that it uses.
double params_of(const LayerWeights& layer, const Config& c) {
  double all = 0, experts = 0;
  for_each_matrix(layer, [&](const PackedMatrix& m) { all += params_of(m); });
  for (const ExpertWeights& e : layer.experts)
    experts += params_of(e.gate) + params_of(e.up) + params_of(e.down);
  return c.n_experts > 0 ? all - experts * (c.n_experts - c.n_experts_used) / c.n_experts : all;
}

/// Multiplications and additions of matrices: the layers' for each token, but of the last layer
/// only keys and values where no logits are wanted; the head's for each row of logits.
double operations(const Model& model, int n_tokens, int n_rows) {
  const Weights& w = model.impl()->weights;
  const LayerWeights& last = w.layers.back();
  double layers = params_of(w.project_in);
  for (const LayerWeights& layer : w.layers) layers += params_of(layer, model.config());
  const double finish = params_of(last, model.config()) - params_of(last.k) - params_of(last.v);
  const double head = params_of(w.project_out) + params_of(w.head());
  return 2 * (layers * n_tokens - finish * (n_tokens - n_rows) + head * n_rows);
}

int context_of(const BenchTest& test) {
  return test.depth + test.n_prompt + test.n_gen + test.n_verify;
}

class TestRun {
 public:
  TestRun(const Model& model, const BenchTest& test, const BenchRunOptions& options)
      : test_(test), session_(model, session_options(test, options)) {
    const int n = session_.context();
    tokens_ = random_tokens(model, n);
    session_.eval(std::span(tokens_).first(static_cast<size_t>(test.depth)), Logits::none);
  }

  /// Seconds of a prompt and a generation.
  double text(int n_prompt, int n_gen) {
    session_.truncate(test_.depth);
    const auto start = Clock::now();
    if (n_prompt > 0) session_.eval(from_depth(0, n_prompt), Logits::last);
    for (int i = 0; i < n_gen; ++i) session_.eval(from_depth(n_prompt + i, 1), Logits::last);
    return seconds_since(start);
  }

  /// Seconds of an evaluation of one token, and of `n_verify` together, in turns.
  std::pair<double, double> drafts() {
    double one = 0, many = 0;
    for (int i = 0; i < kEvaluations; ++i) {
      one += evaluation(1);
      many += evaluation(test_.n_verify);
    }
    return {one / kEvaluations, many / kEvaluations};
  }

 private:
  static SessionOptions session_options(const BenchTest& test, const BenchRunOptions& options) {
    SessionOptions session;
    session.context = context_of(test);
    session.batch = batch_of(test, options);
    session.k_type = session.v_type = options.kv;
    return session;
  }
  std::span<const Token> from_depth(int first, int n) const {
    return std::span(tokens_).subspan(static_cast<size_t>(test_.depth + first),
                                      static_cast<size_t>(n));
  }
  double evaluation(int n) {
    session_.truncate(test_.depth);
    const auto start = Clock::now();
    session_.eval(from_depth(0, n), Logits::all);
    return seconds_since(start);
  }

  BenchTest test_;
  Session session_;
  std::vector<Token> tokens_;
};

}  // namespace

int batch_of(const BenchTest& test, const BenchRunOptions& options) {
  return std::min({options.batch, context_of(test), kMaxBatch});
}

void show_status(const std::string& text) {
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r%s\033[K", text.c_str());
}

void run_test(const Model& model, const BenchRunOptions& options, MemoryMeter* meter,
              BenchRow& row) {
  const BenchTest& test = row.test;
  if (options.delay > 0) std::this_thread::sleep_for(std::chrono::seconds(options.delay));
  show_status(test.name() + ": warm-up");
  TestRun run(model, test, options);
  if (options.warm_up) {  // a generation is warm after a token
    if (test.n_verify > 0)
      run.drafts();
    else
      run.text(test.n_prompt, std::min(test.n_gen, 1));
  }
  const bool metered = meter != nullptr && test.n_gen > 0 && test.n_prompt == 0;
  double before = metered ? meter->read() : 0;
  for (int i = 0; i < options.repetitions; ++i) {
    show_status(test.name() + ": run " + std::to_string(i + 1) + " of " +
                std::to_string(options.repetitions));
    if (test.n_verify > 0) {
      const auto [one, many] = run.drafts();
      row.seconds.push_back(many);
      row.times_one.push_back(many / one);
    } else {
      row.seconds.push_back(run.text(test.n_prompt, test.n_gen));
    }
    if (!metered) continue;
    const double after = meter->read();
    row.bandwidths.push_back((before + after) / 2);
    before = after;
  }
  show_status("");
  const int n_generated = test.n_gen + test.n_verify;
  if (test.n_prompt == 0) {
    const double position = test.depth + (n_generated + 1) / 2.0;  // on average
    const double once = static_cast<double>(model.info().decode_bytes) +
                        kv_bytes(model.config(), options.kv, position);
    row.bytes = once * std::max(test.n_gen, 1);
    row.in_cache = once < static_cast<double>(last_cache_bytes());
  }
  if (test.n_gen == 0)
    row.operations = operations(model, test.n_prompt + test.n_verify, std::max(test.n_verify, 1));
}

}  // namespace nibble::tools
