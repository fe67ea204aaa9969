#include "line_editor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/utf8.h"
#include "nibble/error.h"

namespace nibble::tools {
namespace {

constexpr size_t kHistoryLines = 1000;
constexpr char kEscape = '\x1b';
constexpr char kDelete = '\x7f';

std::string escape_line(const std::string& line) {
  std::string text;
  for (const char c : line) {
    if (c == '\\')
      text += "\\\\";
    else if (c == '\n')
      text += "\\n";
    else
      text += c;
  }
  return text;
}

std::string unescape_line(const std::string& text) {
  std::string line;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 1 < text.size();
    if (escaped) ++i;
    line += escaped && text[i] == 'n' ? '\n' : text[i];
  }
  return line;
}

Input complete_input(const std::string& text) {
  return {InputEnd::line, block_content(text), is_block(text)};
}

bool write_all(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) done += static_cast<size_t>(n);
  }
  return true;
}

/// What may stand in a line: without control characters but for line breaks and tabs, each line
/// break one \n.
std::string printable(const std::string& text) {
  std::string lines;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      lines += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      lines += '\n';
  }
  return terminal_text(lines);
}

}  // namespace

History::History(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) lines_.push_back(unescape_line(line));
  if (lines_.size() <= kHistoryLines) return;
  const bool rewrite = lines_.size() > 2 * kHistoryLines;
  lines_.erase(lines_.begin(), lines_.end() - kHistoryLines);
  if (!rewrite) return;
  file.close();
  std::ofstream out(path_, std::ios::trunc);
  for (const std::string& line : lines_) out << escape_line(line) << '\n';
}

void History::add(const std::string& line) {
  if (line.empty() || (!lines_.empty() && lines_.back() == line)) return;
  lines_.push_back(line);
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  // What a user says is for that user alone.
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  write_all(fd, escape_line(line) + "\n");
  ::close(fd);
}

std::string History::default_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state && state[0] == '/') return std::string(state) + "/nibble/history";
  const char* home = std::getenv("HOME");
  return home && home[0] == '/' ? std::string(home) + "/.local/state/nibble/history" : "";
}

/// Keys one by one and bracketed paste, until the end of the scope.
class LineEditor::RawMode {
 public:
  RawMode(int in, int out) : in_(in), out_(out) {
    if (tcgetattr(in_, &saved_) != 0) throw Error("terminal", "its mode cannot be read");
    enter();
  }
  ~RawMode() { leave(); }
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

  /// Ctrl-Z: to the shell, and back when it continues us.
  void suspend() {
    leave();
    ::raise(SIGTSTP);
    enter();
  }

 private:
  void enter() {
    termios raw = saved_;
    raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    // DRAIN, not FLUSH: what was typed ahead is input, too.
    tcsetattr(in_, TCSADRAIN, &raw);
    write_all(out_, "\x1b[?2004h");
  }
  void leave() {
    write_all(out_, "\x1b[?2004l");
    tcsetattr(in_, TCSADRAIN, &saved_);
  }

  int in_, out_;
  termios saved_{};
};

enum class LineEditor::Key : uint8_t {
  none,
  text,
  enter,
  new_line,
  interrupt,
  erase_right_or_end,
  suspend,
  tab,
  redraw,
  left,
  right,
  up,
  down,
  home,
  end,
  word_left,
  word_right,
  erase_left,
  erase_right,
  kill_word,
  kill_to_start,
  kill_to_end,
  ended
};

LineEditor::LineEditor(int in, int out, History history, std::vector<std::string> words)
    : in_(in), out_(out), history_(std::move(history)), words_(std::move(words)) {
  if (::pipe(wake_pipe_) != 0) throw Error("terminal", "no pipe can be made");
  for (const int fd : wake_pipe_) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

LineEditor::~LineEditor() {
  for (const int fd : wake_pipe_) ::close(fd);
}

void LineEditor::wake() noexcept {
  const char byte = 0;
  [[maybe_unused]] const ssize_t n = ::write(wake_pipe_[1], &byte, 1);
}

void LineEditor::write_out(const std::string& text) { write_all(out_, text); }

Input LineEditor::read(const std::string& prompt) {
  ended_ = InputEnd::line;
  const char* term = std::getenv("TERM");
  if (!term || std::string_view(term) == "dumb") return read_cooked(prompt);
  prompt_ = prompt;
  buffer_.set("");
  draft_.clear();
  recalled_ = history_.lines().size();
  RawMode raw(in_, out_);
  if (::ioctl(in_, FIONREAD, &n_ahead_) != 0) n_ahead_ = 0;
  return edit(raw);
}

Input LineEditor::edit(RawMode& raw) {
  start_below("");
  refresh();
  while (true) {
    const Key key = read_key();
    if (key == Key::suspend) {
      raw.suspend();
      start_below("");
    } else if (apply(key)) {
      break;
    }
    if (!has_more()) refresh();  // once for a text that a terminal pastes key by key
  }
  const std::string text = buffer_.text();
  if (ended_ == InputEnd::line) {
    buffer_.set(text);  // leaves the cursor behind all of it
    refresh();
    history_.add(text);
  }
  write_out("\r\n");
  return ended_ == InputEnd::line ? complete_input(text) : Input{ended_, "", false};
}

Input LineEditor::read_cooked(const std::string& prompt) {
  write_out(prompt);
  std::string text;
  for (char c = 0; read_byte(c, -1);) {
    if (c != '\n' || is_open_block(text))
      text += c;
    else
      return complete_input(repair_utf8(text));
  }
  write_out("\n");  // what follows begins a line
  if (ended_ == InputEnd::end_of_input && !text.empty()) return {InputEnd::line, text};
  return {ended_, ""};
}

bool LineEditor::has_more() const {
  pollfd keys = {in_, POLLIN, 0};
  return next_ || ::poll(&keys, 1, 0) > 0;
}

bool LineEditor::read_byte(char& byte, int timeout_ms) {
  if (next_) {
    byte = *std::exchange(next_, std::nullopt);
    return true;
  }
  while (true) {
    pollfd fds[] = {{in_, POLLIN, 0}, {wake_pipe_[0], POLLIN, 0}};
    const int ready = ::poll(fds, 2, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return false;
    if (ready > 0 && fds[1].revents == 0) {
      const ssize_t n = ::read(in_, &byte, 1);
      if (n == 1) {
        // A Ctrl-D that was typed before the keys came one by one is kept as a zero.
        if (n_ahead_ > 0 && n_ahead_-- > 0 && byte == '\0') byte = 'D' - 64;
        return true;
      }
      if (n < 0 && errno == EINTR) continue;
    }
    ended_ = ready > 0 && fds[1].revents != 0 ? InputEnd::woken : InputEnd::end_of_input;
    return false;
  }
}

LineEditor::Key LineEditor::read_key() {
  static constexpr std::pair<char, Key> kControls[] = {{'A', Key::home},
                                                       {'B', Key::left},
                                                       {'C', Key::interrupt},
                                                       {'E', Key::end},
                                                       {'D', Key::erase_right_or_end},
                                                       {'F', Key::right},
                                                       {'H', Key::erase_left},
                                                       {'I', Key::tab},
                                                       {'J', Key::enter},
                                                       {'K', Key::kill_to_end},
                                                       {'L', Key::redraw},
                                                       {'M', Key::enter},
                                                       {'N', Key::down},
                                                       {'P', Key::up},
                                                       {'U', Key::kill_to_start},
                                                       {'W', Key::kill_word},
                                                       {'Z', Key::suspend}};
  char c = 0;
  if (!read_byte(c, -1)) return Key::ended;
  if (c == kEscape) return read_escape();
  if (c == kDelete) return Key::erase_left;
  for (const auto& [letter, key] : kControls)
    if (c == letter - 64) return key;
  if (static_cast<unsigned char>(c) < 0x20) return Key::none;
  typed_ = c;
  while (complete_utf8_prefix(typed_) < typed_.size()) {
    if (!read_byte(c, -1)) return Key::ended;
    if ((c & 0xc0) != 0x80) {  // no UTF-8 came: the next key is no part of it
      next_ = c;
      break;
    }
    typed_ += c;
  }
  typed_ = printable(typed_);
  return Key::text;
}

LineEditor::Key LineEditor::read_escape() {
  static constexpr std::pair<std::string_view, Key> kKeys[] = {
      {"[A", Key::up},           {"[B", Key::down},          {"[C", Key::right},
      {"[D", Key::left},         {"[H", Key::home},          {"[F", Key::end},
      {"OA", Key::up},           {"OB", Key::down},          {"OC", Key::right},
      {"OD", Key::left},         {"OH", Key::home},          {"OF", Key::end},
      {"[1~", Key::home},        {"[7~", Key::home},         {"[4~", Key::end},
      {"[8~", Key::end},         {"[3~", Key::erase_right},  {"[1;5D", Key::word_left},
      {"[1;3D", Key::word_left}, {"[1;5C", Key::word_right}, {"[1;3C", Key::word_right},
      {"b", Key::word_left},     {"f", Key::word_right},     {"\x7f", Key::kill_word},
      {"\r", Key::new_line},     {"\n", Key::new_line}};
  constexpr int kPauseMs = 50;  // the bytes of one key come together
  constexpr size_t kLongest = 16;
  std::string sequence;
  bool whole = false;
  while (!whole && sequence.size() < kLongest) {
    char c = 0;
    if (!read_byte(c, kPauseMs)) return ended_ == InputEnd::line ? Key::none : Key::ended;
    if (c == kEscape) {  // Escape before a key, or Alt with one that has a sequence
      sequence.clear();
      continue;
    }
    if (sequence.empty() && (c & 0x80) != 0) {  // Alt with a letter of many bytes: the letter
      next_ = c;
      return Key::none;
    }
    sequence += c;
    const bool longer = sequence[0] == '[' || sequence[0] == 'O';
    whole = !longer || (sequence.size() > 1 && c >= 0x40 && c <= 0x7e);
  }
  for (const auto& [text, key] : kKeys)
    if (sequence == text) return key;
  if (sequence != "[200~") return Key::none;
  typed_ = read_paste();
  return ended_ == InputEnd::line ? Key::text : Key::ended;
}

std::string LineEditor::read_paste() {
  constexpr std::string_view kEnd = "\x1b[201~";
  constexpr int kSilenceMs = 1000;  // its end mark may be lost: the paste ends without it
  std::string text;
  for (char c = 0; !text.ends_with(kEnd) && read_byte(c, kSilenceMs);) text += c;
  if (text.ends_with(kEnd)) text.resize(text.size() - kEnd.size());
  return printable(text);
}

bool LineEditor::apply(Key key) {
  static constexpr std::pair<Key, void (EditBuffer::*)()> kEdits[] = {
      {Key::left, &EditBuffer::left},
      {Key::right, &EditBuffer::right},
      {Key::home, &EditBuffer::home},
      {Key::end, &EditBuffer::end},
      {Key::word_left, &EditBuffer::word_left},
      {Key::word_right, &EditBuffer::word_right},
      {Key::erase_left, &EditBuffer::erase_left},
      {Key::erase_right, &EditBuffer::erase_right},
      {Key::kill_word, &EditBuffer::kill_word},
      {Key::kill_to_start, &EditBuffer::kill_to_start},
      {Key::kill_to_end, &EditBuffer::kill_to_end},
  };
  for (const auto& [edit_key, edit] : kEdits)
    if (key == edit_key) (buffer_.*edit)();
  if (key == Key::text) buffer_.insert(typed_);
  if (key == Key::new_line) buffer_.insert("\n");
  if (key == Key::tab) complete_word();
  if (key == Key::up) recall(-1);
  if (key == Key::down) recall(1);
  if (key == Key::redraw) start_below("\x1b[H\x1b[2J");
  if (key == Key::enter) return enter();
  if (key == Key::interrupt) return leave_or_clear();
  if (key == Key::erase_right_or_end) {
    if (buffer_.text().empty()) ended_ = InputEnd::end_of_input;
    buffer_.erase_right();
  }
  return ended_ != InputEnd::line;
}

bool LineEditor::enter() {
  if (!is_open_block(buffer_.text())) return true;
  buffer_.insert("\n");
  return false;
}

bool LineEditor::leave_or_clear() {
  if (buffer_.text().empty()) {
    ended_ = InputEnd::interrupted;
    return true;
  }
  start_below("^C\r\n");
  buffer_.set("");
  recalled_ = history_.lines().size();
  return false;
}

void LineEditor::start_below(const std::string& text) {
  write_out(text);
  rows_above_.clear();
  cursor_col_ = 0;
}

void LineEditor::recall(int step) {
  const std::vector<std::string>& lines = history_.lines();
  if (step < 0 ? recalled_ == 0 : recalled_ == lines.size()) return;
  if (recalled_ == lines.size()) draft_ = buffer_.text();
  recalled_ = step < 0 ? recalled_ - 1 : recalled_ + 1;
  buffer_.set(recalled_ == lines.size() ? draft_ : lines[recalled_]);
}

void LineEditor::complete_word() {
  const std::string& text = buffer_.text();
  std::vector<std::string> fitting;
  for (const std::string& word : words_)
    if (!text.empty() && word.starts_with(text)) fitting.push_back(word);
  if (fitting.empty()) buffer_.insert("\t");
  if (fitting.size() == 1) buffer_.set(fitting[0] + " ");
}

/// Rows between the first one drawn and the cursor. Where the window is narrower since, the
/// terminal has broken those that were too long.
size_t LineEditor::n_rows_above(size_t columns) const {
  size_t n = cursor_col_ / columns;
  for (const std::string& row : rows_above_)
    n += std::max<size_t>(1, (text_width(row) + columns - 1) / columns);
  return n;
}

void LineEditor::refresh() {
  winsize size = {};
  const bool known = ::ioctl(out_, TIOCGWINSZ, &size) == 0;
  const size_t columns = known && size.ws_col > 0 ? size.ws_col : 80;
  const size_t height = known && size.ws_row > 1 ? size.ws_row : 24;
  const Layout layout = lay_out(buffer_, prompt_, columns);
  // As many rows as the screen shows, among them the cursor's.
  const size_t n_rows = std::min(layout.rows.size(), height);
  const size_t top = std::min(layout.cursor_row, layout.rows.size() - n_rows);
  std::string out = "\r";
  const auto move = [&out](size_t n, char direction) {
    if (n > 0) out.append("\x1b[").append(std::to_string(n)).push_back(direction);
  };
  move(n_rows_above(columns), 'A');
  out += "\x1b[J";
  for (size_t i = 0; i < n_rows; ++i) out += (i == 0 ? "" : "\r\n") + layout.rows[top + i];
  const size_t cursor_row = layout.cursor_row - top;
  const auto first = layout.rows.begin() + static_cast<std::ptrdiff_t>(top);
  rows_above_.assign(first, first + static_cast<std::ptrdiff_t>(cursor_row));
  cursor_col_ = layout.cursor_col;
  out += "\r";
  move(n_rows - 1 - cursor_row, 'A');
  move(cursor_col_, 'C');
  write_out(out);
}

}  // namespace nibble::tools
