#include "text/unicode_case.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/utf8.h"

namespace nibble {

// In unicode_case_tables.cpp, each by code point.
extern const CaseRun kUpperRuns[], kLowerRuns[], kTitleRuns[];
extern const size_t kUpperRunsCount, kLowerRunsCount, kTitleRunsCount;
extern const FullCase kUpperFull[], kLowerFull[], kTitleFull[];
extern const size_t kUpperFullCount, kLowerFullCount, kTitleFullCount;

namespace {

struct Tables {
  std::span<const CaseRun> runs;
  std::span<const FullCase> full;
};

Tables tables(LetterCase to) {
  switch (to) {
    case LetterCase::upper:
      return {{kUpperRuns, kUpperRunsCount}, {kUpperFull, kUpperFullCount}};
    case LetterCase::lower:
      return {{kLowerRuns, kLowerRunsCount}, {kLowerFull, kLowerFullCount}};
    case LetterCase::title:
      break;
  }
  return {{kTitleRuns, kTitleRunsCount}, {kTitleFull, kTitleFullCount}};
}

std::optional<uint32_t> find_simple(std::span<const CaseRun> runs, uint32_t c) {
  // Runs of stride 2 may interleave: two neighbours can cover the code point.
  auto run = std::ranges::upper_bound(runs, c, {}, &CaseRun::first);
  for (int back = 0; back < 2 && run != runs.begin(); ++back) {
    --run;
    if (c <= run->last && (c - run->first) % run->stride == 0)
      return static_cast<uint32_t>(static_cast<int64_t>(c) + run->difference);
  }
  return std::nullopt;
}

const FullCase* find_full(std::span<const FullCase> full, uint32_t c) {
  const auto found = std::ranges::lower_bound(full, c, {}, &FullCase::code_point);
  return found != full.end() && found->code_point == c ? &*found : nullptr;
}

}  // namespace

void append_in_case(std::string& out, uint32_t code_point, LetterCase to) {
  if (code_point < 0x80) {
    const bool small = code_point >= 'a' && code_point <= 'z';
    const bool large = code_point >= 'A' && code_point <= 'Z';
    const uint32_t moved =
        (to == LetterCase::lower ? large : small) ? code_point ^ 0x20 : code_point;
    out.push_back(static_cast<char>(moved));
    return;
  }
  const Tables found = tables(to);
  if (const FullCase* full = find_full(found.full, code_point)) {
    for (const uint32_t c : full->mapped)
      if (c != 0) append_utf8(out, c);
    return;
  }
  if (const std::optional<uint32_t> simple = find_simple(found.runs, code_point))
    return append_utf8(out, *simple);
  // The table of title case holds only what differs from upper case.
  if (to == LetterCase::title) return append_in_case(out, code_point, LetterCase::upper);
  append_utf8(out, code_point);
}

bool is_cased(uint32_t code_point) {
  for (const LetterCase to : {LetterCase::upper, LetterCase::lower}) {
    const Tables found = tables(to);
    if (find_full(found.full, code_point) || find_simple(found.runs, code_point)) return true;
  }
  return false;
}

}  // namespace nibble
