#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// Ends a streamed text at the first stop text, however the text is cut into pieces: what could be
/// the beginning of a stop text is held back until that is decided. Time is linear in the text.
class StopFilter {
 public:
  /// Throws Error for a stop text that is empty or not UTF-8.
  explicit StopFilter(std::span<const std::string> stops);

  /// The text that is now known to precede every stop text; nothing once stopped().
  std::string push(std::string_view text);
  /// What was held back: the text ends here.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  /// A stop text and how much of it the text so far ends with (Knuth, Morris and Pratt).
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // [size]: longest proper prefix that ends text[0..i], too
    size_t matched = 0;

    explicit Pattern(std::string stop);
    void advance(char c);
  };

  std::vector<Pattern> patterns_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace nibble
