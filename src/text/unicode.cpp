#include "text/unicode.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "text/unicode_tables.h"

namespace nibble {
namespace {

struct Run {
  uint32_t first = 0;
  uint8_t value = 0;
};

// Runs from U+0000 on: length << bits | value.
std::vector<Run> decode_runs(std::string_view table, unsigned bits) {
  std::vector<Run> runs;
  uint32_t first = 0;
  for (TableReader reader(table); !reader.done();) {
    const uint32_t number = reader.number();
    runs.push_back({first, static_cast<uint8_t>(number & ((1u << bits) - 1))});
    first += number >> bits;
  }
  return runs;
}

const std::vector<Run>& category_runs() {
  static const std::vector<Run> runs = decode_runs(kCategoryRuns, 5);
  return runs;
}
const std::vector<Run>& script_runs() {
  static const std::vector<Run> runs = decode_runs(kScriptRuns, 3);
  return runs;
}

// The runs whose value is accepted, neighbours joined.
template <class Accept>
std::vector<CodeRange> ranges(const std::vector<Run>& runs, const Accept& accept) {
  std::vector<CodeRange> out;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!accept(runs[i].value)) continue;
    const uint32_t last = i + 1 < runs.size() ? runs[i + 1].first - 1 : kMaxCodePoint;
    if (!out.empty() && out.back().last + 1 == runs[i].first)
      out.back().last = last;
    else
      out.push_back({runs[i].first, last});
  }
  return out;
}

// Code points first, first + step, ... that map to others at one distance.
struct Mapping {
  uint32_t first = 0, count = 0, step = 1;
  int32_t distance = 0;
};

std::vector<Mapping> decode_mappings(std::string_view table) {
  std::vector<Mapping> out;
  uint32_t end = 0;
  for (TableReader reader(table); !reader.done();) {
    Mapping m;
    m.first = end + reader.number();
    const uint32_t count = reader.number();
    m.count = count / 2;
    m.step = count % 2 + 1;
    m.distance = reader.signed_number();
    end = m.first + (m.count - 1) * m.step;
    out.push_back(m);
  }
  return out;
}

// White_Space; and of Alphabetic what is no letter, mark or letter number.
constexpr std::array kSpaces = {CodeRange{0x9, 0xd},       CodeRange{0x20, 0x20},
                                CodeRange{0x85, 0x85},     CodeRange{0xa0, 0xa0},
                                CodeRange{0x1680, 0x1680}, CodeRange{0x2000, 0x200a},
                                CodeRange{0x2028, 0x2029}, CodeRange{0x202f, 0x202f},
                                CodeRange{0x205f, 0x205f}, CodeRange{0x3000, 0x3000}};
constexpr std::array kAlphabeticSymbols = {CodeRange{0x24b6, 0x24e9}, CodeRange{0x1f130, 0x1f149},
                                           CodeRange{0x1f150, 0x1f169},
                                           CodeRange{0x1f170, 0x1f189}};

bool is_word_category(Category c) {
  return c <= Category::me || c == Category::nd || c == Category::nl || c == Category::pc;
}

template <class Ranges>
bool contains(const Ranges& ranges, uint32_t code_point) {
  return std::ranges::any_of(ranges, [&](const CodeRange& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

bool is_python_space(uint32_t code_point) {
  return is_space(code_point) || (code_point >= 0x1c && code_point <= 0x1f);
}

}  // namespace

uint32_t TableReader::number() {
  uint32_t value = 0;
  for (unsigned shift = 0; !rest_.empty(); shift += 5) {
    const auto c = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    const uint32_t digit = c < 0x5c ? c - 0x23u : c - 0x24u;
    value |= (digit & 31) << shift;
    if (digit < 32) break;
  }
  return value;
}

int32_t TableReader::signed_number() {
  const uint32_t value = number();
  const auto half = static_cast<int32_t>(value / 2);
  return value % 2 ? -half - 1 : half;
}

Category category(uint32_t code_point) {
  if (code_point > kMaxCodePoint) return Category::cn;
  const auto after = std::ranges::upper_bound(category_runs(), code_point, {}, &Run::first);
  return static_cast<Category>(std::prev(after)->value);
}

CharClass char_class(uint32_t code_point) {
  if (is_space(code_point)) return CharClass::space;
  const Category c = category(code_point);
  if (c <= Category::lo) return CharClass::letter;
  if (c >= Category::nd && c <= Category::no) return CharClass::number;
  if (c >= Category::pc && c <= Category::po) return CharClass::punctuation;
  return CharClass::other;
}

bool is_space(uint32_t code_point) {
  if (code_point < 0x80) return code_point == ' ' || (code_point >= 0x9 && code_point <= 0xd);
  return contains(kSpaces, code_point);
}

bool is_word(uint32_t code_point) {
  return is_word_category(category(code_point)) || contains(kAlphabeticSymbols, code_point);
}

std::vector<std::pair<uint32_t, uint32_t>> fold_pairs() {
  std::vector<std::pair<uint32_t, uint32_t>> out;
  for (const Mapping& m : decode_mappings(kFoldMappings))
    for (uint32_t i = 0; i < m.count; ++i) {
      const uint32_t source = m.first + i * m.step;
      out.emplace_back(source, static_cast<uint32_t>(static_cast<int32_t>(source) + m.distance));
    }
  return out;
}

std::vector<CodeRange> ranges_of(Category category) {
  return ranges(category_runs(),
                [&](uint8_t value) { return value == static_cast<uint8_t>(category); });
}

std::vector<CodeRange> ranges_of(Script script) {
  return ranges(script_runs(),
                [&](uint8_t value) { return value == static_cast<uint8_t>(script); });
}

std::vector<CodeRange> space_ranges() { return {kSpaces.begin(), kSpaces.end()}; }

std::vector<CodeRange> word_ranges() {
  std::vector<CodeRange> out = ranges(category_runs(), [](uint8_t value) {
    return is_word_category(static_cast<Category>(value));
  });
  out.insert(out.end(), kAlphabeticSymbols.begin(), kAlphabeticSymbols.end());
  std::ranges::sort(out, {}, &CodeRange::first);
  return out;
}

size_t last_char_length(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(4, text.size()); ++n) {
    const DecodedChar c = decode_utf8(text, text.size() - n);
    if (c.valid && c.length == n) return n;
  }
  return std::min<size_t>(1, text.size());
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const DecodedChar c = decode_utf8(text, 0);
    if (!is_space(c.code_point)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const size_t length = last_char_length(text);
    if (!is_space(decode_utf8(text, text.size() - length).code_point)) break;
    text.remove_suffix(length);
  }
  return text;
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const DecodedChar c = decode_utf8(text, 0);
    if (!c.valid || !is_python_space(c.code_point)) break;
    text.remove_prefix(c.length);
  }
  while (!text.empty()) {
    const size_t length = last_char_length(text);
    const DecodedChar c = decode_utf8(text, text.size() - length);
    if (!c.valid || !is_python_space(c.code_point)) break;
    text.remove_suffix(length);
  }
  return text;
}

}  // namespace nibble
