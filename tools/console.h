// What the commands that make text share: their flags, and how they print.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "args.h"

namespace nibble::tools {

struct TextOptions {
  std::optional<std::string> prompt;
  int predict = -1;
  int max_draft = ChatOptions().max_draft;
  std::vector<std::string> stops;
};
void add_text_flags(Flags& flags, TextOptions& options);  // -p -f -n -r --draft-max

/// A file as a prompt: without the line break that ends its last line.
std::string read_prompt_file(const std::string& path);

/// Writes text of a model to standard output at once. On a terminal without control characters: a
/// model must not drive it. False if it cannot be written.
bool print_answer(std::string_view text);

/// "nibble: TEXT" on standard error, one line without control characters.
void print_error(std::string text);
/// Text on standard error that may be ignored, without control characters but for line breaks and
/// tabs: dim where there are colours.
void print_note(const std::string& text, const CommonOptions& options);

/// What was loaded, and what the user should know of it.
void print_model(const std::string& path, const Model& model, const CommonOptions& options);
/// "prompt 12 tokens, 345.6 t/s; reply 56 tokens, 78.9 t/s (guessed 21, right 9)", without rates
/// where no time is known.
std::string timings(const Reply& reply, bool with_drafts = true);
/// "end", "stop", "length", "context", "cancelled"
const char* stop_name(StopReason reason);

}  // namespace nibble::tools
