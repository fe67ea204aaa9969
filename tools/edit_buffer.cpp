#include "edit_buffer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/utf8.h"

namespace nibble::tools {
namespace {

struct Range {
  uint32_t first, last;
};

// The common blocks, not all of Unicode: an error here only misplaces the cursor.
constexpr Range kCombining[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},     {0x610, 0x61a},    {0x64b, 0x65f},
    {0xe31, 0xe31},   {0xe34, 0xe3a},   {0xe47, 0xe4e},     {0x200b, 0x200f},  {0x20d0, 0x20ff},
    {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0x1f3fb, 0x1f3ff}, {0xe0100, 0xe01ef}};
constexpr Range kWide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x4dbf},  {0x4e00, 0xa4cf}, {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

template <size_t n>
bool contains(const Range (&table)[n], uint32_t code_point) {
  return std::ranges::any_of(
      table, [=](Range r) { return r.first <= code_point && code_point <= r.last; });
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
    if (!contains(kCombining, decode_utf8(text_, pos).code_point)) break;
  }
  return pos;
}

size_t EditBuffer::after(size_t pos) const {
  if (pos < text_.size()) pos += decode_utf8(text_, pos).length;
  while (pos < text_.size()) {
    const DecodedChar next = decode_utf8(text_, pos);
    if (!contains(kCombining, next.code_point)) break;
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
  if (contains(kCombining, code_point)) return 0;
  return contains(kWide, code_point) ? 2 : 1;
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
