// Regular expressions over UTF-8, for any pattern and any text: in the patterns of a tokenizer.json
// both come from files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/regex_program.h"

namespace nibble {

/// Memory that searches share. Reuse an object.
class RegexScratch {
 public:
  struct Match {
    size_t begin = 0, end = 0;  // bytes
  };
  std::vector<Match> matches;  // of the last search

 private:
  friend class RegexSearch;
  // An entry of the stack. An alternative: go on at `pc` with `pos`. A loop that can give back or
  // take more: its end `pos` was tried, the last one to try is `other`. A mark: all that the point
  // `pc` could do at `pos` lies above it.
  struct Entry {
    enum class Type : uint32_t { alternative, loop, mark };
    Type type = Type::alternative;
    uint32_t pc = 0, pos = 0, other = 0;
  };
  std::vector<uint16_t> classes;  // [n_chars + 1], of the characters; the last is the end's
  std::vector<uint32_t> offsets;  // [n_chars + 1], where they begin
  std::vector<Entry> stack;
  std::vector<uint64_t> failed, matched;        // bits [n_chars + 1, n_points]
  std::unordered_map<uint64_t, uint32_t> ends;  // of atomic groups, by the same index
};

/// Semantics are those of a backtracking matcher (Oniguruma's): of the matches that begin leftmost,
/// the one that comes first in the order of preference. But what was found to fail at a place is
/// remembered as soon as a search takes many steps, so that time is proportional to the length of
/// the text times the size of the program, whatever the pattern. Constant: all methods may be
/// called from many threads.
class Regex {
 public:
  /// Throws Error(where, ...): see parse_regex; or if the pattern is too large.
  Regex(std::string_view pattern, const std::string& where);

  /// All matches from left to right, in scratch.matches; none overlap, an empty one is not next to
  /// the one before. Bytes that are no UTF-8 count as U+FFFD. Throws Error if that takes too much
  /// memory (a hostile pattern on a text of many megabytes).
  void find_all(std::string_view text, RegexScratch& scratch) const;

 private:
  RegexProgram program_;
};

}  // namespace nibble
