#include "text/special_matcher.h"

#include <algorithm>
#include <tuple>

#include "base/utf8.h"
#include "text/unicode.h"

namespace nibble {
namespace {

// Letters of words as Rust's regex takes them: with the joiners.
bool is_word_letter(uint32_t code_point) {
  return is_word(code_point) || code_point == 0x200c || code_point == 0x200d;
}

bool begins_with_word(std::string_view text) {
  if (text.empty()) return false;
  const DecodedChar c = decode_utf8(text, 0);
  return c.valid && is_word_letter(c.code_point);
}

bool ends_with_word(std::string_view text) {
  const size_t length = last_char_length(text);
  return length > 0 && begins_with_word(text.substr(text.size() - length));
}

}  // namespace

BackwardMatcher::BackwardMatcher(const std::vector<ByteTrie::Entry>& entries) {
  std::vector<std::string> reversed;
  reversed.reserve(entries.size());
  std::vector<ByteTrie::Entry> of_trie;
  for (const auto& [text, id] : entries) {
    reversed.emplace_back(text.rbegin(), text.rend());
    of_trie.emplace_back(reversed.back(), id);
  }
  trie_ = ByteTrie(std::move(of_trie));
  for (size_t byte = 0; byte < 256; ++byte)
    root_[byte] = trie_.child(0, static_cast<uint8_t>(byte));
  fail_.assign(trie_.n_nodes(), 0);
  longest_.assign(trie_.n_nodes(), -1);
  for (uint32_t node = 0; node < trie_.n_nodes(); ++node) {
    longest_[node] = trie_.token(node) >= 0 ? trie_.token(node) : longest_[fail_[node]];
    const auto [begin, end] = trie_.children(node);
    for (uint32_t child = begin; child < end; ++child)
      fail_[child] = node == 0 ? 0 : step(fail_[node], trie_.byte(child));
  }
}

SpecialMatcher::SpecialMatcher(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.text.empty(); });
  std::ranges::sort(entries_, [](const Entry& a, const Entry& b) {
    return std::tie(a.text, a.id) < std::tie(b.text, b.id);
  });
  const auto same_text = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same_text), entries_.end());
  std::vector<ByteTrie::Entry> anywhere, in_special;
  for (size_t i = 0; i < entries_.size(); ++i)
    (entries_[i].user_defined ? anywhere : in_special)
        .emplace_back(entries_[i].text, static_cast<Token>(i));
  anywhere_ = BackwardMatcher(anywhere);
  in_special_ = BackwardMatcher(in_special);
}

void SpecialMatcher::find_all(std::string_view text, Spans special,
                              std::vector<Match>& matches) const {
  matches.clear();
  if (entries_.empty() || (special.empty() && anywhere_.empty())) return;
  uint32_t state = 0, special_state = 0;
  size_t span = special.size();  // the stretch at or behind `pos` is before this one
  for (size_t pos = text.size(); pos-- > 0;) {
    const auto byte = static_cast<uint8_t>(text[pos]);
    state = anywhere_.step(state, byte);
    Token best = anywhere_.longest(state);
    while (span > 0 && special[span - 1].first > pos) --span;
    if (span > 0 && pos < special[span - 1].second) {
      const bool is_last = pos + 1 == special[span - 1].second;
      special_state = in_special_.step(is_last ? 0 : special_state, byte);
      const Token other = in_special_.longest(special_state);
      if (other >= 0 && (best < 0 || length(other) > length(best))) best = other;
    }
    if (best >= 0) matches.push_back({pos, pos + length(best), best});
  }
  // Those that an earlier one leaves over. What must stand alone and does not is no token, but
  // nothing else is looked for in it.
  std::ranges::reverse(matches);
  size_t end = 0, kept = 0;
  for (Match match : matches) {
    if (match.begin < end) continue;
    end = match.end;
    const Entry& entry = entries_[static_cast<size_t>(match.id)];
    if (entry.single_word &&
        (ends_with_word(text.substr(0, match.begin)) || begins_with_word(text.substr(match.end))))
      continue;
    match.id = entry.id;
    matches[kept++] = match;
  }
  matches.resize(kept);
}

Token SpecialMatcher::find(std::string_view text) const {
  const auto it = std::ranges::lower_bound(
      entries_, text, {}, [](const Entry& entry) { return std::string_view(entry.text); });
  return it != entries_.end() && it->text == text ? it->id : -1;
}

}  // namespace nibble
