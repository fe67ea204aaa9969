// The text of an input line and its cursor: pure editing, no terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::tools {

/// Valid UTF-8, perhaps of many lines. The cursor stands between characters; marks that combine
/// with the character before them move with it.
class EditBuffer {
 public:
  const std::string& text() const { return text_; }
  size_t cursor() const { return cursor_; }  // in bytes

  void set(std::string text);  // cursor at the end
  void insert(std::string_view text);
  void left() { cursor_ = before(cursor_); }
  void right() { cursor_ = after(cursor_); }
  void word_left() { cursor_ = word_before(cursor_); }
  void word_right();
  void home() { cursor_ = line_start(); }  // of its line
  void end() { cursor_ = line_end(); }
  void erase_left() { erase(before(cursor_), cursor_); }
  void erase_right() { erase(cursor_, after(cursor_)); }
  void kill_word() { erase(word_before(cursor_), cursor_); }
  void kill_to_start() { erase(line_start(), cursor_); }
  void kill_to_end() { erase(cursor_, line_end()); }

 private:
  size_t before(size_t pos) const;
  size_t after(size_t pos) const;
  size_t word_before(size_t pos) const;
  size_t line_start() const;
  size_t line_end() const;
  void erase(size_t from, size_t to);

  std::string text_;
  size_t cursor_ = 0;
};

/// Columns that a character takes on a terminal: 0, 1 or 2.
int char_width(uint32_t code_point);
size_t text_width(std::string_view text);

/// A text laid out on a screen.
struct Layout {
  std::vector<std::string> rows;
  size_t cursor_row = 0, cursor_col = 0;
};
/// Breaks the buffer into rows of at most `columns`; the first line follows `prompt` (ASCII), the
/// others are indented as far.
Layout lay_out(const EditBuffer& buffer, const std::string& prompt, size_t columns);

/// Whether a text that begins with """ has not met its closing """ yet.
bool is_open_block(std::string_view text);
/// Whether it begins with """ and has met them again.
bool is_block(std::string_view text);
/// The text between """ and """, or all of it if it is no such block.
std::string block_content(std::string_view text);

}  // namespace nibble::tools
