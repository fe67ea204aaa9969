#include "chat/stop_filter.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "nibble/error.h"

namespace nibble {

StopFilter::Pattern::Pattern(std::string stop) : text(std::move(stop)), border(text.size(), 0) {
  for (size_t i = 1, n = 0; i < text.size(); ++i) {
    while (n > 0 && text[i] != text[n]) n = border[n - 1];
    if (text[i] == text[n]) ++n;
    border[i] = n;
  }
}

void StopFilter::Pattern::advance(char c) {
  while (matched > 0 && text[matched] != c) matched = border[matched - 1];
  if (text[matched] == c) ++matched;
}

StopFilter::StopFilter(std::span<const std::string> stops) {
  for (const std::string& stop : stops) {
    if (stop.empty()) throw Error("stop text", "is empty");
    if (!is_valid_utf8(stop)) throw Error("stop text", "is not valid UTF-8");
    patterns_.emplace_back(stop);
  }
}

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  for (const char c : text) {
    held_ += c;
    size_t found = 0;  // length of the longest stop text that ends here
    for (Pattern& pattern : patterns_) {
      pattern.advance(c);
      if (pattern.matched == pattern.text.size()) found = std::max(found, pattern.matched);
    }
    if (found == 0) continue;
    stopped_ = true;
    held_.resize(held_.size() - found);
    return std::exchange(held_, {});
  }
  size_t undecided = 0;
  for (const Pattern& pattern : patterns_) undecided = std::max(undecided, pattern.matched);
  std::string known = held_.substr(0, held_.size() - undecided);
  held_.erase(0, known.size());
  return known;
}

std::string StopFilter::flush() {
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  return std::exchange(held_, {});
}

}  // namespace nibble
