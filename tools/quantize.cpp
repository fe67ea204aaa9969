#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>

#include "args.h"
#include "awq/quantize_options.h"
#include "base/utf8.h"
#include "batch.h"
#include "load/checkpoint.h"
#include "signals.h"

namespace nibble::tools {
namespace {

/// "4 min", "35 s": a time left.
std::string time_text(double seconds) {
  return seconds < 90 ? format("%.0f s", seconds) : format("%.0f min", seconds / 60);
}

void print_layer(const QuantizedLayer& layer) {
  wipe_progress_bar();
  std::fprintf(stderr, "layer %d of %d: error %.4f%% -> %.4f%%, %.1f s; about %s left\n",
               layer.layer + 1, layer.n_layers, 100 * layer.error_before, 100 * layer.error_after,
               layer.seconds, time_text(layer.seconds_left).c_str());
}

/// A setter of a flag that no method without calibration looks at: one that was given is recorded.
std::function<void(const std::string&)> calibrating(const char* name, std::string& given,
                                                    std::function<void(const std::string&)> set) {
  return [=, &given](const std::string& value) {
    set(value);
    given = name;
  };
}

/// Whether a run can go on with what is there.
bool keeps_layers(const std::string& folder) {
  std::error_code ignored;
  return std::filesystem::is_directory(folder, ignored) &&
         ::access((folder + "/recipe.txt").c_str(), R_OK | W_OK) == 0;
}

/// Conflicts of flags are wrong usage.
void check_usage(const QuantizeOptions& options) try {
  check_quantize_options(options);
} catch (const Error& e) {
  throw UsageError(e.what());
}

/// Returns the exit status. An interrupt makes quantize() remove what it has written, but for the
/// finished layers that --resume goes on with.
int run_interruptible(const std::string& in, const std::string& out, uint64_t bytes_before,
                      QuantizeOptions options) {
  std::atomic<bool> stopped = false;
  Interrupts interrupts;
  const Interruptible scope(interrupts, [&] { stopped = true; });
  options.progress = progress_bar("quantizing");
  options.cancelled = [&] { return stopped.load(); };
  if (options.needs_calibration()) options.on_layer = print_layer;
  try {
    const QuantizeResult result = quantize(in, out, options);
    wipe_progress_bar();
    for (const std::string& note : result.notes)
      std::fprintf(stderr, "%s\n", without_controls(note).c_str());
    std::fprintf(stderr, "%s: %s -> %s, %.2f bits per weight, %.1f s\n",
                 without_controls(out).c_str(), bytes_text(bytes_before).c_str(),
                 bytes_text(result.info.file_bytes).c_str(), result.info.bits_per_weight,
                 result.seconds);
  } catch (const Error& e) {
    wipe_progress_bar();
    const bool kept = options.works_by_layer() && keeps_layers(out + ".part");
    const std::string how =
        out + ".part keeps the layers finished so far: --resume goes on with them";
    if (!stopped && kept && e.hint().empty()) throw Error(e.where(), e.why(), how);
    if (!stopped) throw;
    if (kept) std::fprintf(stderr, "%s\n", without_controls(how).c_str());
    return interrupted_status(scope.signal());
  }
  return 0;
}

struct Format {
  WeightType weights = WeightType::automatic;
  GroupScales group_scales = GroupScales::automatic;
};

std::function<void(const std::string&)> to_format(Format& target) {
  return to_choice<Format>(target, {{"auto", {}},
                                    {"q4_awq", {WeightType::automatic, GroupScales::own}},
                                    {"q4_k", {WeightType::automatic, GroupScales::shared}},
                                    {"q4_k_m", {WeightType::automatic, GroupScales::shared_mix}},
                                    {"q4", {WeightType::q4}},
                                    {"q8", {WeightType::q8}},
                                    {"f16", {WeightType::f16}},
                                    {"f32", {WeightType::f32}}});
}

struct Method {
  bool scales = false;
  Rounding rounding = Rounding::nearest;
};

std::function<void(const std::string&)> to_method(Method& target) {
  return to_choice<Method>(target, {{"rtn", {}},
                                    {"awq", {true, Rounding::nearest}},
                                    {"awq+clip", {true, Rounding::clip}},
                                    {"awq+importance", {true, Rounding::importance}},
                                    {"awq+gptq", {true, Rounding::compensated}},
                                    {"clip", {false, Rounding::clip}},
                                    {"importance", {false, Rounding::importance}},
                                    {"gptq", {false, Rounding::compensated}}});
}

struct QuantizeRequest {
  QuantizeOptions options;
  Format format;
  Method method;
  std::string calibration_flag;  // a flag of calibration that was given
};

void add_quantize_flags(Flags& flags, QuantizeRequest& request) {
  QuantizeOptions& options = request.options;
  std::string& calibration_flag = request.calibration_flag;
  flags.add({"--method", "NAME",
             "rtn: round to nearest; awq: with activation-aware scales; clip, importance, gptq: "
             "rounding by the error of the outputs; awq+clip, awq+importance, awq+gptq: both",
             "rtn", to_method(request.method)});
  flags.add(
      {"--weights", "TYPE",
       "q4_awq: linear layers of 4 bits, embeddings and head of 8; q4_k: the same with scales "
       "as GGUF's Q4_K has them; q4_k_m: and v and down of some layers as Q6_K; auto: q4_k_m "
       "with calibration and groups of 32, where it can be, else q4_awq; q4, q8, f16, f32: "
       "everything",
       "auto", to_format(request.format)});
  flags.add({"--group", "N", "columns that share a scale: 32, 64, 128",
             std::to_string(options.group), to_group(options.group)});
  flags.add({"--sym", "", "no zero points", "", to_switch(options.symmetric)});
  flags.add({"--format", "NAME",
             "nib: one file for Nibble; awq: a Hugging Face directory for vLLM and transformers",
             "nib",
             to_choice<QuantizeFormat>(
                 options.format, {{"nib", QuantizeFormat::nib}, {"awq", QuantizeFormat::awq}})});
  flags.add({"--resume", "",
             "go on with the finished layers of an interrupted run: of all methods but rtn, and of "
             "--format awq",
             "", to_switch(options.resume)});
  flags.section("Calibration (all methods but rtn)");
  flags.add({"--calibration", "FILE",
             "a text, or a .jsonl of {\"messages\": [...]} and {\"text\": ...}",
             "a text of Nibble's",
             calibrating("--calibration", calibration_flag, to_path(options.calibration))});
  flags.add({"--samples", "N", "windows of the text to use at most",
             std::to_string(options.samples),
             calibrating("--samples", calibration_flag, to_int(options.samples, 1, 1 << 20))});
  flags.add({"--window", "N", "tokens of a window at most", std::to_string(options.window),
             calibrating("--window", calibration_flag, to_int(options.window, 2, 4096))});
  flags.section("machine");
  flags.add({"-t, --threads", "N", "threads; 0: the performance cores; also $NIBBLE_THREADS", "0",
             to_int(options.threads, 0, kMaxThreads), "NIBBLE_THREADS"});
  flags.add({"--isa", "NAME", "kernels: scalar, avx2, avx512, neon, ...; also $NIBBLE_ISA",
             "the best", to_string(options.isa), "NIBBLE_ISA"});
}

}  // namespace

int run_quantize(std::span<const std::string> args) {
  QuantizeRequest request;
  Flags flags("quantize IN OUT",
              "Writes the model IN with 4-bit weights as OUT. With --method rtn --weights auto, "
              "weights that are quantized already keep their own grid.");
  add_quantize_flags(flags, request);
  auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (arguments->size() != 2)
    throw UsageError("two arguments are needed, IN and OUT; found " +
                     std::to_string(arguments->size()));
  outlive_readers();
  QuantizeOptions& options = request.options;
  options.scales = request.method.scales;
  options.rounding = request.method.rounding;
  options.weights = request.format.weights;
  options.group_scales = request.format.group_scales;
  if (!options.needs_calibration() && !request.calibration_flag.empty())
    throw UsageError(request.calibration_flag +
                     ": the method rtn does not calibrate (--method awq does)");
  if (options.resume && !options.works_by_layer())
    throw UsageError("--resume: the method rtn keeps no finished layers (give the same --method)");
  if (options.needs_calibration() && options.calibration.empty())
    options.calibration = bundled_file("calibration.txt");
  check_usage(options);

  for (const std::string& path : *arguments) {
    if (path.empty()) throw UsageError("the path of IN or OUT is empty");
    if (path == "-") throw UsageError("\"-\": IN and OUT are files or folders (./- is one)");
  }
  const std::string& in = (*arguments)[0];
  std::string& out = (*arguments)[1];
  // Of a directory, as shells complete it.
  while (options.format == QuantizeFormat::awq && out.size() > 1 && out.ends_with('/'))
    out.pop_back();
  return run_interruptible(in, out, open_checkpoint(in).file_bytes(), options);
}

}  // namespace nibble::tools
