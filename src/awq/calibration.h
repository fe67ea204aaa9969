// The calibration text as windows of tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nibble/chat.h"
#include "nibble/tokenizer.h"

namespace nibble {

struct CalibrationOptions {
  std::string path;    // the `where` of errors; ".jsonl": lines of JSON
  size_t samples = 0;  // windows at most, taken at even distances
  size_t window = 0;   // tokens of a window at most
};

/// Windows of a text: consecutive pieces of it, each with BOS in front if the model's texts have
/// one. Of JSON lines, {"messages": [...]} is rendered by the chat template `style` (as
/// ChatOptions::chat_template; empty: the model's own) and {"text": "..."} is a text; no window
/// crosses a line. Throws Error if there is nothing to use.
std::vector<std::vector<Token>> calibration_windows(std::string_view text,
                                                    const Tokenizer& tokenizer,
                                                    const std::string& style,
                                                    const CalibrationOptions& options);

}  // namespace nibble
