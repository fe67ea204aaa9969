// The calibration text as windows of tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nibble/tokenizer.h"

namespace nibble {

struct CalibrationOptions {
  std::string path;    // the `where` of errors; ".jsonl": lines of JSON
  size_t samples = 0;  // windows at most, taken at even distances
  size_t window = 0;   // tokens of a window at most
};

/// Windows of a text: consecutive pieces of it, each with BOS in front if the model's texts have
/// one. Of JSON lines, {"messages": [...]} is rendered by the model's chat template, of which the
/// first `window` tokens are taken, and {"text": "..."} is a text; no window crosses a line. Throws
/// Error if there is nothing to use.
std::vector<std::vector<Token>> calibration_windows(std::string_view text,
                                                    const Tokenizer& tokenizer,
                                                    const CalibrationOptions& options);

}  // namespace nibble
