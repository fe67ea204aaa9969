#include "text/special_matcher.h"

#include <algorithm>
#include <tuple>

#include "load/names.h"
#include "nibble/error.h"

namespace nibble {

SpecialMatcher::SpecialMatcher(const Vocabulary& vocabulary, const std::string& where) {
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const TokenKind kind = vocabulary.kinds[i];
    const std::string& text = vocabulary.tokens[i];
    const bool user_defined = kind == TokenKind::user_defined;
    if (!user_defined && kind != TokenKind::control && kind != TokenKind::unknown) continue;
    if (text.empty()) continue;
    if (text.size() > kMaxSpecialBytes)
      throw Error(where, "the special token " + printable(text) + " has " +
                             std::to_string(text.size()) + " bytes, expected " +
                             std::to_string(kMaxSpecialBytes) + " at most");
    entries_.push_back({text, static_cast<Token>(i), user_defined});
    begins_[static_cast<uint8_t>(text[0])] = true;
  }
  std::ranges::sort(entries_, [](const Entry& a, const Entry& b) {
    return std::tie(a.text, a.id) < std::tie(b.text, b.id);
  });
  const auto same_text = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same_text), entries_.end());
}

SpecialMatcher::Match SpecialMatcher::match(std::string_view text, size_t pos,
                                            size_t special_end) const {
  Match best;
  if (!begins_[static_cast<uint8_t>(text[pos])]) return best;
  auto begin = entries_.begin(), end = entries_.end();  // those that agree with the text so far
  for (size_t depth = 0; pos + depth < text.size() && begin != end; ++depth) {
    const auto byte_at = [&](const Entry& entry) {
      return depth < entry.text.size() ? static_cast<uint8_t>(entry.text[depth]) : -1;
    };
    const int byte = static_cast<uint8_t>(text[pos + depth]);
    begin = std::partition_point(begin, end, [&](const Entry& e) { return byte_at(e) < byte; });
    end = std::partition_point(begin, end, [&](const Entry& e) { return byte_at(e) == byte; });
    if (begin == end || begin->text.size() != depth + 1) continue;
    if (begin->user_defined || pos + depth + 1 <= special_end) best = {begin->id, depth + 1};
  }
  return best;
}

Token SpecialMatcher::find(std::string_view text) const {
  const auto it = std::ranges::lower_bound(entries_, text, {}, &Entry::text);
  return it != entries_.end() && it->text == text ? it->id : -1;
}

}  // namespace nibble
