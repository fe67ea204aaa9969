#include "edit_buffer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/utf8.h"
#include "text/unicode.h"

namespace nibble::tools {
namespace {

// East Asian Width W and F, emoji among them; runs go on over code points not assigned.
constexpr CodeRange kWide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23ec},
    {0x23f0, 0x23f0},   {0x23f3, 0x23f3},   {0x25fd, 0x25fe},   {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},   {0x26ce, 0x26ce},
    {0x26d4, 0x26d4},   {0x26ea, 0x26ea},   {0x26f2, 0x26f3},   {0x26f5, 0x26f5},
    {0x26fa, 0x26fa},   {0x26fd, 0x26fd},   {0x2705, 0x2705},   {0x270a, 0x270b},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x274e, 0x274e},   {0x2753, 0x2755},
    {0x2757, 0x2757},   {0x2795, 0x2797},   {0x27b0, 0x27b0},   {0x27bf, 0x27bf},
    {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},   {0x2b55, 0x2b55},   {0x2e80, 0x303e},
    {0x3041, 0x3247},   {0x3250, 0x4dbf},   {0x4e00, 0xa4c6},   {0xa960, 0xa97c},
    {0xac00, 0xd7a3},   {0xf900, 0xfad9},   {0xfe10, 0xfe6b},   {0xff01, 0xff60},
    {0xffe0, 0xffe6},   {0x16fe0, 0x1b2fb}, {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf},
    {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a}, {0x1f200, 0x1f320}, {0x1f32d, 0x1f335},
    {0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca}, {0x1f3cf, 0x1f3d3},
    {0x1f3e0, 0x1f3f0}, {0x1f3f4, 0x1f3f4}, {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440},
    {0x1f442, 0x1f4fc}, {0x1f4ff, 0x1f53d}, {0x1f54b, 0x1f54e}, {0x1f550, 0x1f567},
    {0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4}, {0x1f5fb, 0x1f64f},
    {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6df},
    {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7f0}, {0x1f90c, 0x1f93a},
    {0x1f93c, 0x1f945}, {0x1f947, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};

bool is_wide(uint32_t code_point) {
  const auto after = std::ranges::upper_bound(kWide, code_point, {}, &CodeRange::first);
  return after != std::begin(kWide) && code_point <= std::prev(after)->last;
}

/// Whether it takes no column of its own: marks, joiners and the like, vowels within a Hangul
/// syllable, colours of skin.
bool combines(uint32_t code_point) {
  constexpr uint32_t kFirstMark = 0x300;
  if (code_point < kFirstMark) return false;
  if (code_point >= 0x1160 && code_point <= 0x11ff) return true;
  if (code_point >= 0x1f3fb && code_point <= 0x1f3ff) return true;
  const Category of = category(code_point);
  return of == Category::mn || of == Category::me || of == Category::cf;
}

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t'; }

constexpr std::string_view kQuotes = "\"\"\"";
constexpr std::string_view kTab = "    ";

}  // namespace

void EditBuffer::set(std::string text) {
  text_ = repair_utf8(text);
  cursor_ = text_.size();
}

void EditBuffer::insert(std::string_view text) {
  const std::string valid = repair_utf8(text);
  text_.insert(cursor_, valid);
  cursor_ += valid.size();
}

size_t EditBuffer::before(size_t pos) const {
  while (pos > 0) {
    do --pos;
    while (pos > 0 && (text_[pos] & 0xc0) == 0x80);
    if (!combines(decode_utf8(text_, pos).code_point)) break;
  }
  return pos;
}

size_t EditBuffer::after(size_t pos) const {
  if (pos < text_.size()) pos += decode_utf8(text_, pos).length;
  while (pos < text_.size()) {
    const DecodedChar next = decode_utf8(text_, pos);
    if (!combines(next.code_point)) break;
    pos += next.length;
  }
  return pos;
}

size_t EditBuffer::word_before(size_t pos) const {
  while (pos > 0 && is_space(text_[pos - 1])) --pos;
  while (pos > 0 && !is_space(text_[pos - 1])) --pos;
  return pos;
}

void EditBuffer::word_right() {
  while (cursor_ < text_.size() && is_space(text_[cursor_])) ++cursor_;
  while (cursor_ < text_.size() && !is_space(text_[cursor_])) ++cursor_;
}

size_t EditBuffer::line_start() const {
  return cursor_ == 0 ? 0 : text_.rfind('\n', cursor_ - 1) + 1;  // npos + 1 is 0
}

size_t EditBuffer::line_end() const { return std::min(text_.find('\n', cursor_), text_.size()); }

void EditBuffer::erase(size_t from, size_t to) {
  text_.erase(from, to - from);
  cursor_ = from;
}

int char_width(uint32_t code_point) {
  if (combines(code_point)) return 0;
  return is_wide(code_point) ? 2 : 1;
}

size_t text_width(std::string_view text) {
  size_t width = 0;
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    width += static_cast<size_t>(char_width(c.code_point));
    pos += c.length;
  }
  return width;
}

Layout lay_out(const EditBuffer& buffer, const std::string& prompt, size_t columns) {
  const std::string& text = buffer.text();
  Layout layout{{prompt}, 0, 0};
  size_t col = prompt.size();
  const auto new_row = [&](const std::string& start) {
    layout.rows.push_back(start);
    col = start.size();
  };
  for (size_t pos = 0;;) {
    const bool at_end = pos == text.size();
    const DecodedChar c = at_end ? DecodedChar{' ', 0, true} : decode_utf8(text, pos);
    const bool tab = c.code_point == '\t';
    const auto width = tab ? kTab.size() : static_cast<size_t>(char_width(c.code_point));
    // The cursor needs a column, too, even behind the last character.
    if (c.code_point != '\n' && col + width > columns && col > 0) new_row("");
    if (pos == buffer.cursor()) {
      layout.cursor_row = layout.rows.size() - 1;
      layout.cursor_col = std::min(col, columns > 0 ? columns - 1 : 0);
    }
    if (at_end) return layout;
    if (c.code_point == '\n') {
      new_row(std::string(prompt.size(), ' '));
    } else {
      layout.rows.back() += tab ? kTab : std::string_view(text).substr(pos, c.length);
      col += width;
    }
    pos += c.length;
  }
}

bool is_open_block(std::string_view text) {
  return text.starts_with(kQuotes) && text.find(kQuotes, kQuotes.size()) == text.npos;
}

bool is_block(std::string_view text) { return text.starts_with(kQuotes) && !is_open_block(text); }

std::string block_content(std::string_view text) {
  if (!is_block(text)) return std::string(text);
  const size_t close = text.find(kQuotes, kQuotes.size());
  std::string content(text.substr(kQuotes.size(), close - kQuotes.size()));
  if (content.starts_with('\n')) content.erase(0, 1);
  if (content.ends_with('\n')) content.pop_back();
  return content + std::string(text.substr(close + kQuotes.size()));
}

}  // namespace nibble::tools
