// The command `nibble`: finds the subcommand, and turns what it throws into one line and a status.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "args.h"
#include "console.h"
#include "kernels.h"
#include "signals.h"

namespace nibble::tools {
namespace {

constexpr Command kCommands[] = {
    {"chat", "talk with a model in the terminal", run_chat},
    {"complete", "continue a text", run_complete},
    {"bench", "measure tokens per second", run_bench},
    {"quantize", "make a 4-bit file of a model", run_quantize},
    {"perplexity", "measure how well a model predicts a text", run_perplexity},
    {"info", "show what is in a model file", run_info},
    {"tokenize", "text to token ids and back", run_tokenize},
    {"logits", "write the logits of given tokens", run_logits},
};

void print_usage(FILE* out) {
  std::fputs("usage: nibble SUBCOMMAND [ARGUMENTS]\n\n4-bit language models on this CPU.\n\n", out);
  for (const Command& command : kCommands)
    std::fprintf(out, "  %-12s%s\n", command.name, command.summary);
  std::fputs(
      "\n`nibble SUBCOMMAND --help` shows its flags, `nibble --version` the version and kernels.\n",
      out);
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown compiler";
#endif
}

std::string usable_kernels() {
  std::string names;
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  for (size_t i = 0; i < count; ++i)
    if (sets[i].supported())
      names += (names.empty() ? "" : ", ") + std::string(sets[i].kernels->name);
  return names;
}

int print_version() {
  const char* isa = std::getenv("NIBBLE_ISA");
  const Kernels* kernels = find_kernels(isa);
  if (!kernels) {
    throw Error("NIBBLE_ISA", "\"" + std::string(isa) + "\" is not supported by this CPU and build",
                "supported: " + usable_kernels());
  }
  std::printf("nibble %s\ncompiler: %s\nkernels: %s (usable here: %s)\n", version(),
              compiler().c_str(), kernels->name, usable_kernels().c_str());
  return 0;
}

int run(std::span<const std::string> args) {
  if (args.empty()) {
    print_usage(stdout);
    return 0;
  }
  const std::string& name = args[0];
  if (name == "help" && args.size() > 1) {
    const std::string of_one[] = {args[1], "--help"};
    return run(of_one);
  }
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return 0;
  }
  if (name == "--version") return print_version();
  std::vector<std::string_view> known = {"--help", "--version"};
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run(args.subspan(1));
    known.emplace_back(command.name);
  }
  const std::string similar = nearest(name, known);
  throw UsageError(
      "unknown subcommand \"" + name + "\" (" +
      (similar.empty() ? "`nibble --help` lists them" : "did you mean " + similar + "?") + ")");
}

int run_guarded(std::span<const std::string> args) {
  try {
    const int status = run(args);
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return status;
    throw Error("standard output", "cannot be written", "is the disk full?");
  } catch (const UsageError& e) {
    const bool known = !args.empty() && std::ranges::any_of(kCommands, [&](const Command& command) {
      return args[0] == command.name;
    });
    print_error((known ? args[0] + ": " : "") + e.what());
    return 2;
  } catch (const Error& e) {
    print_error(e.what());
  } catch (const std::bad_alloc&) {
    print_error("memory: there is not enough (use a smaller model or context, see `nibble info`)");
  } catch (const std::exception& e) {
    print_error(std::string("internal error: ") + e.what() + " (please report it)");
  }
  return 1;
}

}  // namespace
}  // namespace nibble::tools

int main(int argc, char** argv) {
  nibble::tools::end_on_signals();
  const std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  return nibble::tools::run_guarded(args);
}
