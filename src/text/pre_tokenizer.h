// Cuts a text into words, each of which is tokenized by itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/text_steps.h"

namespace nibble {

/// Memory that calls share. Reuse an object; what a call returns lives until the next.
struct WordScratch {
  RegexScratch regex;
  std::string text, rewritten, bytes;
  std::vector<size_t> ends, next_ends;  // of the words in the text; where the next one begins
  std::vector<std::string_view> words;
};

class PreTokenizer {
 public:
  /// Throws Error(where, ...) for a pattern that is wrong or not supported.
  PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where);

  /// The words of `text` in order. `first`: the text is the beginning of what is tokenized.
  /// Without steps that rewrite or drop text the words together are the text. Time is linear.
  const std::vector<std::string_view>& words(std::string_view text, bool first,
                                             WordScratch& scratch) const;

 private:
  struct Step {
    SplitStep step;
    std::vector<Regex> regex;  // one for a split, none for others
  };
  static void cut(const Step& step, std::string_view text, size_t begin, WordScratch& scratch);
  static void rewrite(const SplitStep& step, std::string_view text, bool first,
                      WordScratch& scratch);

  std::vector<Step> steps_;
};

}  // namespace nibble
