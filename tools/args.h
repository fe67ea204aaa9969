// Command-line flags as data: what they are called, what they say, where their value goes.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "nibble/nibble.h"

namespace nibble::tools {

/// Wrong usage: exit status 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Flag {
  std::string names;          // "-t, --threads"
  std::string value;          // "N"; empty: a switch; "[on|off]": one of these, or none
  std::string help;           // "threads for decode"
  std::string shown_default;  // "0"; empty: none shown
  std::function<void(const std::string& value)> set;  // throws UsageError for a bad value
  const char* variable = nullptr;                     // of the environment, for want of the flag
};

/// The flags of one subcommand, in the order its help shows them.
class Flags {
 public:
  /// `synopsis`: "chat [MODEL]"; `about`: one or two sentences.
  Flags(std::string synopsis, std::string about);
  /// A flag with a name that is taken replaces the earlier one.
  void add(Flag flag);
  /// A heading above the flags that follow.
  void section(std::string title);

  /// Accepts "--flag value", "--flag=value", "-t 4" and "--" (the rest are arguments). Returns the
  /// arguments that are no flags; none if help was asked for and printed. Throws UsageError that
  /// names the flag, and the nearest known one for a misspelt flag.
  std::optional<std::vector<std::string>> parse(std::span<const std::string> args);
  std::string help() const;

 private:
  const Flag& find(std::string_view name) const;

  struct Row {
    std::string title;  // of a section, if not empty
    Flag flag;
  };
  std::string synopsis_, about_;
  std::vector<Row> rows_;
};

/// The word of `known` that `word` was probably meant to be, or "".
std::string nearest(std::string_view word, std::span<const std::string_view> known);

// Setters for Flag::set. Numbers must be whole texts within [low, high].
std::function<void(const std::string&)> to_int(int& target, int low, int high);
std::function<void(const std::string&)> to_float(float& target, float low, float high);
std::function<void(const std::string&)> to_string(std::string& target);
std::function<void(const std::string&)> to_path(std::string& target);  // not an empty one
std::function<void(const std::string&)> to_switch(bool& target, bool value = true);
std::function<void(const std::string&)> to_group(int& target);
std::function<void(const std::string&)> to_weight_type(WeightType& target);
std::function<void(const std::string&)> to_kv_type(KvType& target);

/// What --chat-template says: a name of chat_template_names(), or the text of a file.
struct TemplateOption {
  std::string text, file;
};
std::function<void(const std::string&)> to_chat_template(TemplateOption& target);
/// The error; one of a chat template says which file it came from.
Error naming_template(const Error& error, const TemplateOption& option);

/// A setter that looks the value up in a table of words.
template <class Value>
std::function<void(const std::string&)> to_choice(
    Value& target, std::vector<std::pair<const char*, Value>> choices) {
  return [&target, choices = std::move(choices)](const std::string& value) {
    std::string known;
    for (const auto& [word, meaning] : choices) {
      if (value == word) {
        target = meaning;
        return;
      }
      known.append(known.empty() ? "" : ", ").append(word);
    }
    throw UsageError("\"" + value + "\" is none of " + known);
  };
}

/// What most subcommands share.
struct CommonOptions {
  std::string model_path;  // -m, or the first argument; empty: the bundled model
  ModelOptions model;
  SessionOptions session;
  bool k_type_given = false, v_type_given = false;  // by a flag: the other follows
  SamplerOptions sampling;                          // the defaults, changed by the flags
  std::vector<std::function<void(SamplerOptions&)>> sampling_changes;
  bool verbose = false;
  bool no_color = false;
  bool json = false;
};
void add_model_flags(Flags& flags, CommonOptions& options);     // -m -t -tb --isa --weights ...
void add_session_flags(Flags& flags, CommonOptions& options);   // -c -b -ctk -ctv
void add_kv_flags(Flags& flags, CommonOptions& options);        // of these -ctk -ctv
void add_sampling_flags(Flags& flags, CommonOptions& options);  // --temp --top-k ... -s

/// The model's recommended sampling, changed by the flags that were given.
SamplerOptions merged_sampling(const Model& model, const CommonOptions& options);

/// Takes the model's path from the flags, else the only argument, else NIBBLE_MODEL, else the
/// bundled model (beside the executable's install prefix, or in the source tree of a build tree).
/// Throws Error if there is none, and UsageError, which ends with `hint`, for any other argument.
std::string resolve_model_path(const CommonOptions& options, std::span<const std::string> arguments,
                               const std::string& hint = {});

/// The path of a file that comes with Nibble, in models/: found as the bundled model is. Throws
/// Error if it is not there.
std::string bundled_file(const std::string& name);

/// A bar on standard error, from the second second on, until the function is destroyed; empty if
/// that is no terminal.
Progress progress_bar(const std::string& title);

/// Wipes the line of a bar that may be shown: a text takes it, the bar may come again below.
void wipe_progress_bar();

/// Loads with a progress bar on standard error (a terminal only, from the second second on).
Model load_model(const std::string& path, const CommonOptions& options);

/// A subcommand. `run` returns the exit status; it may throw Error (1) and UsageError (2).
struct Command {
  const char* name;
  const char* summary;
  int (*run)(std::span<const std::string> args);
};
int run_chat(std::span<const std::string> args);
int run_complete(std::span<const std::string> args);
int run_bench(std::span<const std::string> args);
int run_quantize(std::span<const std::string> args);
int run_perplexity(std::span<const std::string> args);
int run_info(std::span<const std::string> args);
int run_tokenize(std::span<const std::string> args);
int run_logits(std::span<const std::string> args);

}  // namespace nibble::tools
