// Regular expressions as trees.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/char_set.h"

namespace nibble {

enum class Greed : uint8_t { greedy, lazy, possessive };

/// What matches a place and no character.
enum class Anchor : uint8_t {
  text_begin,
  text_end,
  text_end_or_break,  // before a line break that ends the text, too
  line_begin,
  line_end,
  word_border,
  no_word_border
};

struct RegexNode {
  enum class Type : uint8_t { empty, set, sequence, choice, repeat, atomic, look, anchor };
  static constexpr uint32_t kEndless = UINT32_MAX;

  Type type = Type::empty;
  CharSet set;                            // set: one character of it
  std::vector<RegexNode> children;        // sequence, choice; one for repeat, atomic, look
  uint32_t min = 0, max = 0;              // repeat
  Greed greed = Greed::greedy;            // repeat
  bool negative = false, behind = false;  // look; behind: its child is a set
  Anchor anchor = Anchor::text_begin;
};

/// Parses a pattern in the syntax of Oniguruma (Ruby's), which tokenizer.json patterns are written
/// in: alternatives, groups (captures are plain groups), classes with ranges, negation, nesting and
/// &&, \p{...} for general categories and the scripts Han, Hiragana, Katakana and Hangul, \s \d \w
/// \h, quantifiers greedy, lazy and possessive, (?i:...), look-ahead, look-behind of one character,
/// atomic groups, ^ $ \A \z \Z \b. Throws Error(where, ...) that says what is wrong, or not
/// supported, and where in the pattern. Nesting is bounded.
RegexNode parse_regex(std::string_view pattern, const std::string& where);

}  // namespace nibble
