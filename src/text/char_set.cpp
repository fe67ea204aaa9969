#include "text/char_set.h"

#include <algorithm>

namespace nibble {

CharSet CharSet::one(uint32_t code_point) {
  CharSet set;
  set.add({code_point, code_point});
  return set;
}

void CharSet::normalize() {
  if (is_normal_) return;
  is_normal_ = true;
  std::ranges::sort(ranges_, {}, &CodeRange::first);
  size_t n = 0;
  for (const CodeRange& range : ranges_) {
    if (n > 0 && range.first <= ranges_[n - 1].last + 1)
      ranges_[n - 1].last = std::max(ranges_[n - 1].last, range.last);
    else
      ranges_[n++] = range;
  }
  ranges_.resize(n);
}

const std::vector<CodeRange>& CharSet::ranges() {
  normalize();
  return ranges_;
}

void CharSet::ignore_case() {
  const auto pairs = fold_pairs();
  std::vector<CodeRange> more;
  normalize();
  for (const auto& [source, image] : pairs)
    if (contains(source)) more.push_back({image, image});
  for (const CodeRange& range : more) add(range);
  normalize();
  more.clear();
  for (const auto& [source, image] : pairs)
    if (contains(image)) more.push_back({source, source});
  for (const CodeRange& range : more) add(range);
}

bool CharSet::contains(uint32_t code_point) const {
  const auto after = std::ranges::upper_bound(ranges_, code_point, {}, &CodeRange::first);
  return after != ranges_.begin() && std::prev(after)->last >= code_point;
}

void CharSet::negate() {
  normalize();
  std::vector<CodeRange> out;
  uint32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) out.push_back({next, kMaxCodePoint});
  ranges_ = std::move(out);
}

void CharSet::intersect(const CharSet& other) {
  // What is neither outside of this nor outside of the other.
  CharSet outside = other;
  outside.negate();
  negate();
  add(outside);
  negate();
}

}  // namespace nibble
