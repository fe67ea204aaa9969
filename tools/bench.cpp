#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <random>

#include "args.h"
#include "bandwidth.h"
#include "base/thread_pool.h"
#include "batch.h"
#include "bench_report.h"
#include "kernels.h"
#include "model/synthetic.h"

namespace nibble::tools {
namespace {

constexpr int kMaxTokens = 1 << 24;
constexpr uint64_t kSmallParams = 500'000'000;  // checked against the scalar kernels unasked
constexpr int kCheckTokens = 8;
// Activations are rounded to int8: where another order of additions moves a value across a
// rounding border, logits move by far less than this, and by far more where a kernel is wrong.
constexpr double kCheckTolerance = 0.02;

struct Request {
  CommonOptions common;
  std::string model_path, shape;
  KvType kv = KvType::f16;
  std::vector<int> n_prompt{512}, n_gen{128}, depth{0}, threads{0};
  std::vector<BenchTest> combined;  // -pg
  std::vector<std::string> isas;
  int repetitions = 5, batch = 512;
  bool check = false, no_warmup = false, no_bandwidth = false;
  BenchFormat format = BenchFormat::md;
};

void set_isas(Request& request, const std::string& value) {
  if (value != "all") {
    request.isas = split_list(value, ",");
    if (request.isas.empty()) throw UsageError("the list is empty");
    return;
  }
  request.isas.clear();
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  for (size_t i = 0; i < count; ++i)
    if (sets[i].supported()) request.isas.emplace_back(sets[i].kernels->name);
}

void add_combined(Request& request, const std::string& value) {
  const std::vector<int> pair = parse_ints(value, 1, kMaxTokens);
  if (pair.size() != 2) throw UsageError("expected two numbers: prompt,generated");
  request.combined.push_back({pair[0], pair[1], 0});
}

void add_test_flags(Flags& flags, Request& r) {
  flags.add({"--shape", "NAME", "a published model's shapes with random weights; list: names", "",
             to_string(r.shape)});
  flags.add({"-p, --n-prompt", "N,..", "prompt lengths; 0: none", "512",
             to_int_list(r.n_prompt, 0, kMaxTokens)});
  flags.add({"-n, --n-gen", "N,..", "numbers of tokens to generate; 0: none", "128",
             to_int_list(r.n_gen, 0, kMaxTokens)});
  flags.add({"-pg", "P,G", "a prompt and a generation, timed together", "",
             [&r](const std::string& value) { add_combined(r, value); }});
  flags.add({"-d, --n-depth", "N,..", "tokens in the context before", "0",
             to_int_list(r.depth, 0, kMaxTokens)});
  flags.add({"-r, --repetitions", "N", "runs of each test", "5", to_int(r.repetitions, 1, 100000)});
  flags.add({"-b, --batch-size", "N", "prompt tokens computed together", "512",
             to_int(r.batch, 1, kMaxTokens)});
  flags.add({"-o, --output", "FORMAT", "md, csv, json or jsonl", "md",
             to_choice<BenchFormat>(r.format, {{"md", BenchFormat::md},
                                               {"csv", BenchFormat::csv},
                                               {"json", BenchFormat::json},
                                               {"jsonl", BenchFormat::jsonl}})});
  flags.add({"--check", "", "compare with the scalar kernels, models over 500 M parameters too", "",
             to_switch(r.check)});
  flags.add({"--no-warmup", "", "no run before those that count", "", to_switch(r.no_warmup)});
  flags.add(
      {"--no-bandwidth", "", "do not measure how fast memory is", "", to_switch(r.no_bandwidth)});
}

/// The flags of every command, of which some take lists here.
void add_load_flags(Flags& flags, Request& r) {
  add_model_flags(flags, r.common);
  r.isas = {r.common.model.isa};  // what the environment said
  r.threads = {r.common.model.threads};
  flags.add({"-t, --threads", "N,..", "threads; 0: all suitable cores; also $NIBBLE_THREADS", "0",
             to_int_list(r.threads, 0, kMaxThreads)});
  flags.add({"--isa", "NAME,..", "kernels; all: each set that this CPU runs; also $NIBBLE_ISA",
             "the best", [&r](const std::string& value) { set_isas(r, value); }});
  flags.add({"--group", "N", "columns that share a scale where weights are quantized: 32, 64, 128",
             std::to_string(r.common.model.group), to_group(r.common.model.group)});
  flags.add({"-ctk, -ctv, --cache-type-k, --cache-type-v", "TYPE",
             "of the KV cache: f16, q8_0, f32", "f16", to_kv_type(r.kv)});
}

/// Each combination of depth with a prompt or a generation.
std::vector<BenchTest> tests_of(const Request& r) {
  std::vector<BenchTest> tests;
  for (const int depth : r.depth) {
    for (const int n : r.n_prompt)
      if (n > 0) tests.push_back({n, 0, depth});
    for (const int n : r.n_gen)
      if (n > 0) tests.push_back({0, n, depth});
    for (const BenchTest& pair : r.combined) tests.push_back({pair.n_prompt, pair.n_gen, depth});
  }
  return tests;
}

Model load(const Request& r, const std::string& isa, int threads) {
  CommonOptions options = r.common;
  options.model.isa = isa;
  options.model.threads = threads;
  if (r.shape.empty()) return load_model(r.model_path, options);
  for (const NamedShape& shape : named_shapes())
    if (r.shape == shape.name) return synthetic_model(shape.config, options.model);
  throw UsageError("--shape: \"" + r.shape + "\" is unknown; --shape list shows the names");
}

int list_shapes() {
  std::string text;
  for (const NamedShape& shape : named_shapes()) {
    const Config& c = shape.config;
    std::string name = shape.name;
    name.resize(std::max<size_t>(name.size(), 20), ' ');
    text += name + " " + std::to_string(c.n_layers) + " layers, " + std::to_string(c.dim) +
            " wide, FFN " + std::to_string(c.ffn_dim) + ", " + std::to_string(c.n_heads) + "/" +
            std::to_string(c.n_kv_heads) + " heads of " + std::to_string(c.head_dim) + ", " +
            std::to_string(c.vocab_size) + " tokens\n";
  }
  write_stdout(text);
  return 0;
}

std::vector<Token> random_tokens(const Model& model, int n) {
  std::mt19937 random(1);
  std::uniform_int_distribution<Token> token(0, model.config().vocab_size - 1);
  std::vector<Token> tokens(static_cast<size_t>(n));
  for (Token& t : tokens) t = token(random);
  return tokens;
}

/// "llama-7b q4 g32": the name and the format that most bytes have.
std::string model_text(const Model& model, const Request& r) {
  std::string name = r.shape;
  if (name.empty()) name = model.config().name;
  if (name.empty()) name = std::filesystem::path(r.model_path).stem().string();
  std::map<std::string, uint64_t> bytes;
  for (const ModelInfo::Tensor& tensor : model.info().tensors) bytes[tensor.type] += tensor.bytes;
  const auto most = std::max_element(bytes.begin(), bytes.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  if (most == bytes.end()) return name;
  return name + " " + most->first.substr(0, most->first.find(" ("));  // without what it was made of
}

/// Bytes of the KV cache that a token reads, on average over a test that generates.
double kv_bytes_per_token(const Config& c, KvType type, const BenchTest& test) {
  const double element = type == KvType::f16   ? 2.0
                         : type == KvType::f32 ? 4.0
                                               : 1.0 + 4.0 / c.head_dim;
  double positions = test.depth + (test.n_gen + 1) / 2.0;
  if (c.sliding_window > 0) positions = std::min(positions, 1.0 * c.sliding_window);
  return 2.0 * c.n_layers * c.n_kv_heads * c.head_dim * element * positions;
}

/// Where a long run stands, on standard error if that is a terminal.
void show_status(const std::string& text) {
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r%s\033[K", text.c_str());
}

double run_once(Session& session, const BenchTest& test, std::span<const Token> tokens) {
  session.truncate(test.depth);
  const auto start = std::chrono::steady_clock::now();
  if (test.n_prompt > 0)
    session.eval(tokens.first(static_cast<size_t>(test.n_prompt)), Logits::last);
  for (int i = 0; i < test.n_gen; ++i)
    session.eval(tokens.subspan(static_cast<size_t>(test.n_prompt + i), 1), Logits::last);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<double> run_test(const Model& model, const BenchTest& test, const Request& r) {
  SessionOptions options;
  options.context = test.depth + test.n_prompt + test.n_gen;
  options.batch = r.batch;
  options.k_type = options.v_type = r.kv;
  Session session(model, options);
  const std::vector<Token> tokens = random_tokens(model, options.context);
  const auto rest = std::span(tokens).subspan(static_cast<size_t>(test.depth));
  session.eval(std::span(tokens).first(static_cast<size_t>(test.depth)), Logits::none);
  if (!r.no_warmup) {  // a generation is warm after one token
    show_status(test.name() + ": warm-up");
    run_once(session, {test.n_prompt, std::min(test.n_gen, 1), test.depth}, rest);
  }
  std::vector<double> seconds;
  for (int i = 0; i < r.repetitions; ++i) {
    show_status(test.name() + ": run " + std::to_string(i + 1) + " of " +
                std::to_string(r.repetitions));
    seconds.push_back(run_once(session, test, rest));
  }
  show_status("");
  return seconds;
}

/// Logits of a short prompt, all positions.
std::vector<float> check_logits(const Model& model) {
  SessionOptions options;
  options.context = kCheckTokens;
  Session session(model, options);
  const auto logits = session.eval(random_tokens(model, kCheckTokens), Logits::all);
  return {logits.begin(), logits.end()};
}

/// Compares a model with the scalar kernels, whose logits are computed once.
class Guard {
 public:
  explicit Guard(const Request& request) : request_(request) {}

  void check(const Model& model, BenchRow& row) {
    if (!request_.check && model.info().n_params > kSmallParams) return;
    if (reference_.empty()) {
      show_status("check: scalar kernels");
      reference_ = check_logits(load(request_, "scalar", 0));
      show_status("");
    }
    const std::vector<float> found = check_logits(model);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < reference_.size(); ++i) {
      const double expected = reference_[i];
      difference += (found[i] - expected) * (found[i] - expected);
      norm += expected * expected;
    }
    row.check_error = difference == 0 ? 0 : std::sqrt(difference / norm);
    // Written so that NaN is wrong.
    row.check = row.check_error < kCheckTolerance ? BenchCheck::ok : BenchCheck::wrong;
  }

 private:
  const Request& request_;
  std::vector<float> reference_;  // [kCheckTokens, vocab]
};

/// All tests with one set of kernels and one number of threads, bandwidth measured on both sides
/// while no model takes memory.
std::vector<BenchRow> run_group(const Request& r, const std::string& isa, int wanted_threads,
                                Guard& guard) {
  const int threads = wanted_threads > 0 ? wanted_threads : default_thread_count();
  const double before = r.no_bandwidth ? 0 : measure_read_bandwidth(threads);
  std::vector<BenchRow> rows;
  {
    const Model model = load(r, isa, threads);
    const ModelInfo& info = model.info();
    BenchRow common;
    common.path = r.shape.empty() ? r.model_path : "shape:" + r.shape;
    common.model = printable(model_text(model, r));
    common.kernels = info.kernels;
    common.weight_bytes = info.weight_bytes;
    common.n_params = info.n_params;
    common.threads = info.threads;
    common.batch = r.batch;
    common.kv_type = r.kv == KvType::f16 ? "f16" : r.kv == KvType::f32 ? "f32" : "q8_0";
    guard.check(model, common);
    for (const BenchTest& test : tests_of(r)) {
      BenchRow row = common;
      row.test = test;
      row.seconds = run_test(model, test, r);
      if (test.n_prompt == 0) {
        row.bytes_per_token =
            static_cast<double>(info.decode_bytes) + kv_bytes_per_token(model.config(), r.kv, test);
        row.in_cache = row.bytes_per_token < static_cast<double>(last_cache_bytes());
      }
      rows.push_back(std::move(row));
    }
  }
  if (r.no_bandwidth) return rows;
  const double after = measure_read_bandwidth(threads);
  for (BenchRow& row : rows) {
    row.bandwidth_before = before;
    row.bandwidth_after = after;
  }
  std::fprintf(stderr, "%s, %d threads: memory reads %.1f GB/s before, %.1f after\n",
               rows[0].kernels.c_str(), threads, before, after);
  return rows;
}

}  // namespace

int run_bench(std::span<const std::string> args) {
  Request request;
  Flags flags("bench [MODEL]",
              "Measures tokens/s of prompts (pp) and generation (tg) on random tokens, without "
              "tokenizing or sampling. GB/s is what generation reads of weights and KV cache, \"of "
              "limit\" its share of what a plain sum reads in the same run; GOP/s counts 2 "
              "operations for each parameter and prompt token; check compares a short prompt's "
              "logits with those of the scalar kernels.");
  add_test_flags(flags, request);
  add_load_flags(flags, request);
  auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (request.shape == "list") return list_shapes();
  if (request.shape.empty()) request.model_path = resolve_model_path(request.common, *arguments);
  if (!arguments->empty()) throw UsageError("unexpected argument \"" + arguments->front() + "\"");
  if (tests_of(request).empty()) throw UsageError("-p, -n and -pg leave nothing to measure");

  const std::string cpu = cpu_name();
  std::fprintf(stderr, "CPU: %s\n", cpu.c_str());
  BenchReport report(request.format, cpu);
  Guard guard(request);
  std::string wrong;
  for (const std::string& isa : request.isas) {
    for (const int threads : request.threads) {
      for (const BenchRow& row : run_group(request, isa, threads, guard)) {
        report.add(row);
        if (row.check == BenchCheck::wrong && wrong.empty())
          wrong = "the logits of the " + row.kernels + " kernels differ from the scalar ones' by " +
                  format("%.2g", row.check_error) + " (relative norm), expected less than " +
                  format("%.2g", kCheckTolerance);
      }
    }
  }
  report.finish();
  if (!wrong.empty()) throw Error("check", wrong);
  return 0;
}

}  // namespace nibble::tools
