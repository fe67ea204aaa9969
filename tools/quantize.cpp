#include <atomic>
#include <cstdio>
#include <filesystem>

#include "args.h"
#include "batch.h"
#include "load/checkpoint.h"
#include "signals.h"

namespace nibble::tools {
namespace {

/// Error if writing `out` would destroy what is being read.
void refuse_overwriting_input(const Checkpoint& in, const std::string& out) {
  std::error_code ignored;
  for (const MappedFile& file : in.files) {
    if (std::filesystem::equivalent(file.path(), out, ignored))
      throw Error(out, "is the input itself", "name another file");
  }
}

/// Returns the exit status. An interrupt makes quantize() remove what it has written.
int run_interruptible(const std::string& in, const std::string& out, uint64_t bytes_before,
                      QuantizeOptions options) {
  std::atomic<bool> stopped = false;
  Interrupts interrupts;
  const Interruptible scope(interrupts, [&] { stopped = true; });
  options.progress = [&, bar = progress_bar("quantizing")](double done) {
    return (!bar || bar(done)) && !stopped;
  };
  try {
    const QuantizeResult result = quantize(in, out, options);
    std::fprintf(stderr, "%s: %s -> %s, %.2f bits per weight, %.1f s\n", out.c_str(),
                 bytes_text(bytes_before).c_str(), bytes_text(result.info.file_bytes).c_str(),
                 result.info.bits_per_weight, result.seconds);
  } catch (const Error&) {
    if (!stopped) throw;
    return interrupted_status(scope.signal());
  }
  return 0;
}

}  // namespace

int run_quantize(std::span<const std::string> args) {
  QuantizeOptions options;
  int method = 0, file_format = 0;
  Flags flags("quantize IN OUT",
              "Writes the model IN as one packed .nib file OUT. Weights that are quantized already "
              "keep their own grid.");
  flags.add(
      {"--method", "NAME", "rtn: round to nearest", "rtn", to_choice<int>(method, {{"rtn", 0}})});
  flags.add({"--weights", "TYPE",
             "auto (linear layers q4, embeddings and head q8), q4, q8, f16, f32", "auto",
             to_weight_type(options.weights)});
  flags.add({"--group", "N", "columns that share a scale: 32, 64, 128",
             std::to_string(options.group), to_group(options.group)});
  flags.add({"--sym", "", "no zero points", "", to_switch(options.symmetric)});
  flags.add({"--format", "NAME", "nib", "nib", to_choice<int>(file_format, {{"nib", 0}})});
  flags.add({"-t, --threads", "N", "threads; 0: the performance cores", "0",
             to_int(options.threads, 0, kMaxThreads)});
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (arguments->size() != 2)
    throw UsageError("quantize takes IN and OUT, found " + std::to_string(arguments->size()) +
                     " arguments");

  const std::string& in = (*arguments)[0];
  const std::string& out = (*arguments)[1];
  uint64_t bytes_before = 0;
  {
    const Checkpoint checkpoint = open_checkpoint(in);
    refuse_overwriting_input(checkpoint, out);
    bytes_before = checkpoint.file_bytes();
  }
  return run_interruptible(in, out, bytes_before, options);
}

}  // namespace nibble::tools
