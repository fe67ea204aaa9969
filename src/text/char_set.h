// Sets of code points.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/unicode.h"

namespace nibble {

class CharSet {
 public:
  CharSet() = default;
  explicit CharSet(std::span<const CodeRange> ranges) {
    for (const CodeRange& range : ranges) add(range);
  }
  static CharSet one(uint32_t code_point);

  void add(CodeRange range) {
    ranges_.push_back(range);
    is_normal_ = false;
  }
  void add(const CharSet& other) {
    for (const CodeRange& range : other.ranges_) add(range);
  }
  /// Adds every code point that folds as one of the set does.
  void ignore_case();
  void negate();
  void intersect(const CharSet& other);

  /// Ascending, neither touching nor overlapping.
  const std::vector<CodeRange>& ranges();

 private:
  void normalize();
  bool contains(uint32_t code_point) const;  // of a normalized set
  std::vector<CodeRange> ranges_;
  bool is_normal_ = true;
};

}  // namespace nibble
