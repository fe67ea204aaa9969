#include "text/unicode.h"

#include <algorithm>
#include <vector>

#include "base/utf8.h"

namespace nibble {

// In unicode_tables.cpp; the encoding is described there.
extern const uint8_t kCharClassRuns[];
extern const size_t kCharClassRunBytes;

namespace {

struct Run {
  uint32_t first = 0;  // code point
  CharClass cls = CharClass::other;
};

std::vector<Run> decode_runs() {
  std::vector<Run> runs;
  uint32_t first = 0, value = 0;
  int shift = 0;
  for (size_t i = 0; i < kCharClassRunBytes; ++i) {
    value |= (kCharClassRuns[i] & 0x7fu) << shift;
    shift += 7;
    if (kCharClassRuns[i] & 0x80u) continue;
    runs.push_back({first, static_cast<CharClass>(value & 7u)});
    first += value >> 3;
    value = 0;
    shift = 0;
  }
  return runs;
}

bool is_python_space(uint32_t code_point) {
  return char_class(code_point) == CharClass::space || (code_point >= 0x1c && code_point <= 0x1f);
}

}  // namespace

CharClass char_class(uint32_t code_point) {
  static const std::vector<Run> runs = decode_runs();  // by `first`, the first is 0
  const auto after = std::upper_bound(runs.begin(), runs.end(), code_point,
                                      [](uint32_t c, const Run& run) { return c < run.first; });
  return std::prev(after)->cls;
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const DecodedChar c = decode_utf8(text, 0);
    if (!c.valid || !is_python_space(c.code_point)) break;
    text.remove_prefix(c.length);
  }
  // The last character begins at most four bytes before the end.
  const auto trailing_space = [&]() -> size_t {
    for (size_t n = 1; n <= std::min<size_t>(4, text.size()); ++n) {
      const DecodedChar c = decode_utf8(text, text.size() - n);
      if (c.valid && c.length == n) return is_python_space(c.code_point) ? n : 0;
    }
    return 0;
  };
  while (const size_t n = trailing_space()) text.remove_suffix(n);
  return text;
}

}  // namespace nibble
