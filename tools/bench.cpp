#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>

#include "args.h"
#include "bandwidth.h"
#include "base/utf8.h"
#include "batch.h"
#include "bench_guard.h"
#include "bench_report.h"
#include "bench_run.h"
#include "kernels.h"
#include "model/model_loader.h"
#include "model/synthetic.h"

namespace nibble::tools {
namespace {

constexpr int kMaxTokens = 1 << 24;

struct Request {
  CommonOptions common;
  std::string model_path, shape;
  std::vector<int> n_prompt{512}, n_gen{128}, n_verify, depth{0}, threads{0}, groups;
  std::vector<BenchTest> combined;  // -pg
  std::vector<std::string> isas{std::string()};
  BenchRunOptions run;
  bool check = true, ceilings = true;
  BenchFormat format = BenchFormat::md;
};

void set_isas(Request& request, const std::string& value) {
  if (value != "all") {
    request.isas = split_list(value);
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
  request.combined.push_back({pair[0], pair[1], 0, 0});
}

void add_test_flags(Flags& flags, Request& r) {
  flags.section("tests (lists: 1,2,8 and ranges: 1-4, 0-512+128, 1-64*2)");
  flags.add({"--shape", "NAME", "a published model's shapes with random weights; list: names", "",
             to_string(r.shape)});
  flags.add({"-p, --n-prompt", "N,..", "prompt lengths; 0: none", "512",
             to_ranges(r.n_prompt, 0, kMaxTokens)});
  flags.add({"-n, --n-gen", "N,..", "numbers of tokens to generate; 0: none", "128",
             to_ranges(r.n_gen, 0, kMaxTokens)});
  flags.add({"-pg", "P,G", "a prompt and a generation, timed together", "",
             [&r](const std::string& value) { add_combined(r, value); }});
  flags.add({"--verify", "N,..", "N tokens at once, logits for each, as drafts are verified", "",
             to_ranges(r.n_verify, 1, 4096)});
  flags.add({"-d, --n-depth", "N,..", "tokens in the context before", "0",
             to_ranges(r.depth, 0, kMaxTokens)});
  flags.add(
      {"-r, --repetitions", "N", "runs of each test", "5", to_int(r.run.repetitions, 1, 100000)});
  flags.add({"-b, --batch-size", "N", "prompt tokens computed together", "512",
             to_int(r.run.batch, 1, kMaxTokens)});
  flags.add(
      {"--delay", "N", "seconds of rest before each test", "0", to_int(r.run.delay, 0, 3600)});
  flags.add({"-o, --output", "FORMAT", "md, csv, json or jsonl", "md",
             to_choice<BenchFormat>(r.format, {{"md", BenchFormat::md},
                                               {"csv", BenchFormat::csv},
                                               {"json", BenchFormat::json},
                                               {"jsonl", BenchFormat::jsonl}})});
  flags.add(
      {"--no-check", "", "do not compare with the scalar kernels", "", to_switch(r.check, false)});
  flags.add(
      {"--no-warmup", "", "no run before those that count", "", to_switch(r.run.warm_up, false)});
  flags.add({"--no-bandwidth", "", "do not measure what memory and kernels reach at most", "",
             to_switch(r.ceilings, false)});
}

/// The flags of every command, of which some take lists here.
void add_load_flags(Flags& flags, Request& r) {
  add_model_flags(flags, r.common);
  r.groups = {r.common.model.group};
  flags.add({"-t, --threads", "N,..", "threads; 0: all suitable cores; also $NIBBLE_THREADS", "0",
             to_ranges(r.threads, 0, kMaxThreads), "NIBBLE_THREADS"});
  flags.add({"--isa", "NAME,..", "kernels; all: each set that this CPU runs; also $NIBBLE_ISA",
             "the best", [&r](const std::string& value) { set_isas(r, value); }, "NIBBLE_ISA"});
  flags.add({"--group", "N,..",
             "columns that share a scale where weights are quantized: 32, 64, 128",
             std::to_string(r.common.model.group), [&r](const std::string& value) {
               r.groups.clear();
               for (const std::string& part : split_list(value))
                 to_group(r.groups.emplace_back())(part);
               if (r.groups.empty()) throw UsageError("the list is empty");
             }});
  add_kv_flags(flags, r.common);
}

/// Each combination of depth with a prompt, a generation or drafts.
std::vector<BenchTest> tests_of(const Request& r) {
  std::vector<BenchTest> tests;
  for (const int depth : r.depth) {
    for (const int n : r.n_prompt)
      if (n > 0) tests.push_back({n, 0, depth, 0});
    for (const int n : r.n_gen)
      if (n > 0) tests.push_back({0, n, depth, 0});
    for (const BenchTest& pair : r.combined) tests.push_back({pair.n_prompt, pair.n_gen, depth, 0});
    for (const int n : r.n_verify) tests.push_back({0, 0, depth, n});
  }
  return tests;
}

Model load(const Request& r, int group) {
  CommonOptions options = r.common;
  options.model.isa = r.isas.front();
  options.model.group = group;
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

/// What all rows of a model with one set of kernels have in common.
BenchRow common_row(const Model& model, const Request& r) {
  const ModelInfo& info = model.info();
  BenchRow row;
  row.path = r.shape.empty() ? r.model_path : "shape:" + r.shape;
  row.model = without_controls(model_text(model, r));
  row.kernels = info.kernels;
  row.weight_bytes = info.weight_bytes;
  row.n_params = info.n_params;
  row.kv_type = r.run.kv == KvType::f16 ? "f16" : r.run.kv == KvType::f32 ? "f32" : "q8_0";
  return row;
}

/// A generation goes token by token, what computes some together has threads of its own.
int threads_of(const BenchTest& test, const ModelInfo& info) {
  const bool together = test.n_gen == 0 && test.n_prompt + test.n_verify > 1;
  return together ? info.threads_batch : info.threads;
}

void note_ceilings(const std::vector<BenchRow>& rows, const ModelInfo& info) {
  const BenchRow& first = rows.front();
  std::vector<double> bandwidths;
  for (const BenchRow& row : rows)
    bandwidths.insert(bandwidths.end(), row.bandwidths.begin(), row.bandwidths.end());
  std::string text = first.kernels + ", " + std::to_string(info.threads) + " threads";
  if (info.threads_batch != info.threads)
    text += ", " + std::to_string(info.threads_batch) + " for prompts";
  if (!bandwidths.empty()) {
    const auto [least, most] = std::minmax_element(bandwidths.begin(), bandwidths.end());
    text += format("; memory reads %.1f", *least) + format(" to %.1f GB/s", *most);
  }
  if (first.peak_gops > 0)
    text += format("; dot products on registers: %.0f GOP/s", first.peak_gops);
  std::fprintf(stderr, "%s\n", text.c_str());
}

/// All tests with one set of kernels and one number of threads. A wrong set is not measured.
std::vector<BenchRow> run_group(const Model& loaded, const Request& r, const ModelOptions& options,
                                BenchGuard* guard) {
  const Model model = model_with(loaded, options, loaded.config().n_layers);
  BenchRow common = common_row(model, r);
  if (guard != nullptr) {
    show_status("check: " + common.kernels + ", " + std::to_string(guard->n_layers()) + " layers");
    common.check = guard->check(options);
    show_status("");
  }
  const bool wrong = common.check.verdict == BenchCheck::Verdict::wrong;
  const bool ceilings = r.ceilings && !wrong;
  std::optional<MemoryMeter> meter;
  if (ceilings) meter.emplace(*model.impl()->kernels, model.info().threads);
  std::map<int, double> peaks;  // of numbers of threads
  std::vector<BenchRow> rows;
  for (const BenchTest& test : tests_of(r)) {
    BenchRow& row = rows.emplace_back(common);
    row.test = test;
    row.threads = threads_of(test, model.info());
    row.batch = batch_of(test, r.run);
    if (ceilings) {
      const auto [peak, is_new] = peaks.try_emplace(row.threads);
      if (is_new) peak->second = measure_peak(*model.impl()->kernels, row.threads);
      row.peak_gops = peak->second;
    }
    if (!wrong) run_test(model, r.run, meter ? &*meter : nullptr, row);
  }
  if (ceilings) note_ceilings(rows, model.info());
  return rows;
}

/// All groups of one model; what the first wrong set of kernels got wrong, or nothing.
std::string run_model(const Model& model, const Request& r, BenchReport& report) {
  std::optional<BenchGuard> guard;
  if (r.check) guard.emplace(model);
  std::string wrong;
  for (const std::string& isa : r.isas)
    for (const int threads : r.threads) {
      ModelOptions options = r.common.model;
      options.isa = isa;
      options.threads = threads;
      for (const BenchRow& row : run_group(model, r, options, guard ? &*guard : nullptr)) {
        report.add(row);
        if (row.check.verdict == BenchCheck::Verdict::wrong && wrong.empty())
          wrong = "the logits of the " + row.kernels + " kernels differ by " +
                  format("%.2g", row.check.error) + " (relative norm), expected less than " +
                  format("%.2g", row.check.tolerance) + "; their speed is not reported";
      }
    }
  return wrong;
}

/// The formats of all matrices: models that agree in them are the same, whatever group was asked
/// for.
std::string matrices_text(const Model& model) {
  std::string text;
  for (const ModelInfo::Tensor& tensor : model.info().tensors)
    text += tensor.name + " " + tensor.type + "\n";
  return text;
}

/// All groups; as run_model().
std::string run_groups(const Request& r, const std::string& cpu, BenchReport& report) {
  std::string wrong;
  std::map<std::string, int> measured;  // the group of each set of formats
  for (const int group : r.groups) {
    const Model model = load(r, group);
    if (measured.empty())  // now that nothing was refused
      std::fprintf(stderr, "CPU: %s\n", cpu.c_str());
    const auto [same, is_new] = measured.try_emplace(matrices_text(model), group);
    if (!is_new) {
      std::fprintf(stderr, "--group %d: no weight differs from --group %d, not measured again\n",
                   group, same->second);
      continue;
    }
    const std::string found = run_model(model, r, report);
    if (wrong.empty()) wrong = found;
  }
  return wrong;
}

/// Refuses what can be refused before anything is loaded, and finds the model.
void check_request(Request& r, const std::vector<std::string>& arguments) {
  // As a session then has it, whatever was asked for.
  const bool exact = r.common.model.activations == Activations::f32;
  r.run.kv = exact ? KvType::f32 : r.common.session.k_type;
  if (r.shape.empty())
    r.model_path = resolve_model_path(r.common, arguments);
  else if (!arguments.empty())
    throw UsageError("unexpected argument \"" + arguments.front() + "\"");
  else if (!r.common.model_path.empty())
    throw UsageError("-m: --shape is measured without a model");
  if (tests_of(r).empty()) throw UsageError("-p, -n, -pg and --verify leave nothing to measure");
  for (const std::string& isa : r.isas) choose_kernels(isa);
}

}  // namespace

int run_bench(std::span<const std::string> args) {
  Request request;
  Flags flags(
      "bench [MODEL]",
      "Measures tokens/s of prompts (pp), generation (tg) and drafts (vf) on random tokens, "
      "without tokenizing or sampling: mean, standard deviation and median. GB/s is what "
      "generation reads of weights and KV cache, GOP/s what a prompt multiplies and adds, "
      "\"of limit\" the share of what a plain sum reads, or the same kernels multiply on "
      "registers, in the same run. \"x 1 token\": the time of drafts beside that of one "
      "token. check: logits of the model's first layers beside the scalar kernels', and a "
      "hash of them; a set that is wrong is not measured.");
  add_test_flags(flags, request);
  add_load_flags(flags, request);
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (request.shape == "list") return list_shapes();
  check_request(request, *arguments);
  const std::string cpu = cpu_name();
  BenchReport report(request.format, cpu);
  std::string wrong;
  try {
    wrong = run_groups(request, cpu, report);
  } catch (...) {  // what was measured stays readable
    if (report.has_rows()) report.finish();
    throw;
  }
  report.finish();
  if (!wrong.empty()) throw Error("check", wrong);
  return 0;
}

}  // namespace nibble::tools
