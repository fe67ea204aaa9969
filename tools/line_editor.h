// A line of input from a terminal, with editing and history.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edit_buffer.h"

namespace nibble::tools {

/// Lines entered before, kept in a file of the user's state folder. Being unable to read or write
/// it is no error: there is no history then.
class History {
 public:
  /// `path` empty: none is kept.
  explicit History(std::string path);
  void add(const std::string& line);
  const std::vector<std::string>& lines() const { return lines_; }  // oldest first

  /// $XDG_STATE_HOME/nibble/history or ~/.local/state/nibble/history.
  static std::string default_path();

 private:
  std::string path_;
  std::vector<std::string> lines_;
};

/// How read() ended.
enum class InputEnd : uint8_t { line, end_of_input, interrupted, woken };

struct Input {
  InputEnd end = InputEnd::line;
  std::string text;       // may hold line breaks; """ that enclosed it are removed
  bool is_block = false;  // there were """: all of it is a message, no command
};

class LineEditor {
 public:
  /// Reads keys from the terminal `in`, draws on the terminal `out`. `words`: what Tab completes at
  /// the beginning of a line.
  LineEditor(int in, int out, History history, std::vector<std::string> words);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The terminal is as before when this returns or throws.
  Input read(const std::string& prompt);
  /// Makes read() return, now or the next time. From any thread or signal handler.
  void wake() noexcept;

 private:
  enum class Key : uint8_t;
  class RawMode;

  Input edit(RawMode& raw);
  Input read_cooked(const std::string& prompt);  // where the terminal knows no escapes
  bool has_more() const;                         // whether a key is waiting
  bool read_byte(char& byte, int timeout_ms);    // false: nothing came, see ended_
  Key read_key();
  Key read_escape();
  std::string read_paste();
  bool apply(Key key);  // these tell whether the input is complete
  bool enter();
  bool leave_or_clear();
  void start_below(const std::string& text);  // the next refresh() draws anew, below this
  void recall(int step);
  void complete_word();
  void refresh();
  size_t n_rows_above(size_t columns) const;
  void write_out(const std::string& text);

  int in_, out_;
  int wake_pipe_[2] = {-1, -1};
  History history_;
  std::vector<std::string> words_;
  std::string prompt_;
  EditBuffer buffer_;
  std::string typed_;         // bytes of the character or paste that read_key() met
  std::string draft_;         // the new line, while an older one is shown
  size_t recalled_ = 0;       // index in the history; its size: the new line
  std::optional<char> next_;  // a byte that was read already
  int n_ahead_ = 0;           // bytes to come that were typed before read()
  // Where the last refresh() left the cursor: below these rows, in this column.
  std::vector<std::string> rows_above_;
  size_t cursor_col_ = 0;
  InputEnd ended_ = InputEnd::line;
};

}  // namespace nibble::tools
