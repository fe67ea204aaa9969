// Changes a text before it is cut into words, as a list of steps says.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/charsmap.h"
#include "text/regex.h"
#include "text/text_steps.h"

namespace nibble {

/// Memory that calls share. Reuse an object; what a call returns lives until the next.
struct NormalizerScratch {
  RegexScratch regex;
  std::string text, next;
};

class Normalizer {
 public:
  /// A stretch of text, and whether a user-defined token stands before or behind it.
  struct Input {
    std::string_view text;
    bool joins_left = false, joins_right = false;

    bool begins_text() const { return !joins_left && (joins_right || !text.empty()); }
  };

  /// Throws Error(where, ...) for a pattern or map that is wrong or not supported.
  Normalizer(const std::vector<NormalizeStep>& steps, const std::string& where);

  /// Whether there is nothing to do. A text that begins with a user-defined token may get a prefix.
  bool ignores(const Input& input) const {
    return input.text.empty() && !(joins_ && input.begins_text());
  }
  /// The text after all steps. Throws Error if it grows beyond all reason. Bytes that are no UTF-8
  /// are kept.
  std::string_view run(const Input& input, NormalizerScratch& scratch) const;

 private:
  struct Step {
    NormalizeStep step;
    std::optional<Regex> regex;   // of replace_matches
    std::optional<Charsmap> map;  // of charsmap
  };
  static void run_step(const Step& step, const Input& input, size_t limit,
                       NormalizerScratch& scratch);
  static void squeeze(std::string& out, const Input& input, bool joins);

  std::vector<Step> steps_;
  bool joins_ = false;  // one of them does
};

}  // namespace nibble
