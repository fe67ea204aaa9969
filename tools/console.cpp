#include "console.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/utf8.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

bool use_color(const CommonOptions& options) {
  const char* no_color = std::getenv("NO_COLOR");
  return !options.no_color && !(no_color && *no_color) && ::isatty(STDERR_FILENO);
}

}  // namespace

void add_text_flags(Flags& flags, TextOptions& options) {
  flags.section("text");
  flags.add({"-p, --prompt", "TEXT", "the prompt", "",
             [&options](const std::string& text) { options.prompt = text; }});
  flags.add({"-f, --file", "FILE", "a file with the prompt, its last line break dropped; -: stdin",
             "", [&options](const std::string& path) { options.prompt = read_prompt_file(path); }});
  flags.add({"-n, --predict, --n-predict", "N", "tokens at most; -1: until the end", "-1",
             to_int(options.predict, -1, std::numeric_limits<int>::max())});
  flags.add({"-r, --reverse-prompt", "TEXT", "stop before this text; may be given many times", "",
             [&options](const std::string& text) {
               if (text.empty()) throw UsageError("the text is empty");
               options.stops.push_back(text);
             }});
  flags.add({"--draft, --draft-max", "N",
             "tokens guessed from earlier text where that saves time (same answer); 0: none",
             std::to_string(options.max_draft),
             to_int(options.max_draft, 0, std::numeric_limits<int>::max())});
}

std::string read_prompt_file(const std::string& path) {
  std::string text = read_text_file(path);
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

bool print_answer(std::string_view text) {
  const std::string printed = ::isatty(STDOUT_FILENO) ? terminal_text(text) : std::string(text);
  return std::fwrite(printed.data(), 1, printed.size(), stdout) == printed.size() &&
         std::fflush(stdout) == 0;
}

void print_error(std::string text) {
  std::fprintf(stderr, "nibble: %s\n", without_controls(std::move(text)).c_str());
}

void print_note(const std::string& text, const CommonOptions& options) {
  const bool color = use_color(options);
  std::fprintf(stderr, "%s%s%s\n", color ? "\x1b[2m" : "", terminal_text(text).c_str(),
               color ? "\x1b[0m" : "");
}

void print_model(const std::string& path, const Model& model, const CommonOptions& options) {
  const ModelInfo& info = model.info();
  const bool billions = info.n_params >= 1'000'000'000;
  char text[160];
  std::snprintf(text, sizeof text, ": %.1f %s parameters, %.2f bits each; kernels %s, %d threads",
                static_cast<double>(info.n_params) * (billions ? 1e-9 : 1e-6),
                billions ? "billion" : "million", info.bits_per_weight, info.kernels.c_str(),
                info.threads);
  std::string line = path + text;
  const bool mapped = info.format.starts_with("nib");
  if (info.load_seconds > 0 && !mapped) {
    std::snprintf(text, sizeof text, "; loaded in %.2f s (%.1f GB/s of file)", info.load_seconds,
                  static_cast<double>(info.file_bytes) * 1e-9 / info.load_seconds);
    line += text;
  }
  print_note(line, options);
  for (const std::string& note : info.notes) print_note(note, options);
}

std::string timings(const Reply& reply, bool with_drafts) {
  const auto tokens = [](int n, double seconds) {
    char rate[40] = "";
    if (seconds > 0) std::snprintf(rate, sizeof rate, ", %.1f t/s", n / seconds);
    return std::to_string(n) + " tokens" + rate;
  };
  std::string line = "prompt " + tokens(reply.n_prompt, reply.prefill_s) + "; reply " +
                     tokens(reply.n_new, reply.decode_s);
  if (with_drafts && reply.n_drafted > 0)
    line += " (guessed " + std::to_string(reply.n_drafted) + ", right " +
            std::to_string(reply.n_accepted) + ")";
  return line;
}

const char* stop_name(StopReason reason) {
  switch (reason) {
    case StopReason::end:
      return "end";
    case StopReason::stop_text:
      return "stop";
    case StopReason::length:
      return "length";
    case StopReason::context:
      return "context";
    case StopReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace nibble::tools
