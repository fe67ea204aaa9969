// What a regular expression is compiled to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/regex_syntax.h"

namespace nibble {

/// Every distinction that the sets of a program make between characters: characters of one class
/// are in the same sets.
class CharClassifier {
 public:
  CharClassifier() = default;
  explicit CharClassifier(std::vector<CharSet> sets);

  uint16_t operator()(uint32_t code_point) const {
    return pages_[(size_t{index_[code_point >> 8]} << 8) + (code_point & 255)];
  }
  size_t n_classes() const { return n_classes_; }
  /// [n_classes + 1]: 1 for the classes of the set. The last, of the end of the text, is 0.
  const uint8_t* row(uint32_t set) const { return &members_[set * (n_classes_ + 1)]; }

 private:
  size_t n_classes_ = 0;
  std::vector<uint8_t> members_;  // [n_sets, n_classes + 1]
  std::vector<uint16_t> index_;   // [0x1100], of pages
  std::vector<uint16_t> pages_;   // [n_pages, 256]
};

struct RegexInstruction {
  enum class Op : uint8_t {
    set,     // one character of `set`
    loop,    // min to max characters of `set`
    split,   // `next`, or else `other`
    jump,    // `next`
    look,    // the program at `other` matches here (or does not); for `behind`, `set` does
    atomic,  // the program at `other`, whose first match counts
    anchor,
    accept  // the end of the program, or of that of a look or atomic group
  };
  Op op = Op::accept;
  Greed greed = Greed::greedy;              // loop
  bool negative = false, behind = false;    // look
  bool in_look = false, in_atomic = false;  // what it is part of, at the innermost
  Anchor anchor = Anchor::text_begin;
  uint32_t next = 0, other = 0, set = 0;
  uint32_t min = 0, max = 0;
  int32_t point = -1;  // number among those whose failures are remembered
};

struct RegexProgram {
  std::vector<RegexInstruction> code;
  CharClassifier classify;
  uint32_t n_points = 0;
  uint32_t words = 0;   // the set that \w matches, if it asks for borders of words
  uint32_t breaks = 0;  // the set of the line break, if it asks for borders of lines
  bool has_looks = false;
  /// [n_instructions, n_classes + 1]: 0 if nothing that begins with such a character can match from
  /// there on.
  std::vector<uint8_t> can_start;

  bool starts(uint32_t pc, uint16_t of_class) const {
    return can_start[pc * (classify.n_classes() + 1) + of_class] != 0;
  }
};

/// Throws Error(where, ...) if the program would be too large, or repeats without end what can be
/// empty.
RegexProgram compile_regex(const RegexNode& root, const std::string& where);

}  // namespace nibble
