#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/ascii.h"
#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/jinja_text.h"

namespace nibble::jinja {
namespace {

using Kind = Token::Kind;

constexpr std::array<std::string_view, 25> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};  // longer ones first

// Names are compared and copied at no charge.
constexpr size_t kMaxNameBytes = 256;

bool begins_name(char c) {
  return is_letter(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// Line breaks as "\n", and without the one at the end.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) text_and_tag();
    add(Kind::end);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(pos_); }
  bool at(std::string_view text) const { return rest().starts_with(text); }
  [[noreturn]] void fail(const std::string& why) const { fail_at(line_, why); }
  void add(Kind kind, std::string text = {}) { tokens_.push_back({kind, line_, std::move(text)}); }

  void advance(size_t n) {
    line_ += static_cast<int>(std::ranges::count(rest().substr(0, n), '\n'));
    pos_ += n;
  }

  void skip_space() {
    const ByteRange left = strip_range(rest(), nullptr, true, false);
    advance(left.begin);
  }

  /// Text up to the next tag, and that tag.
  void text_and_tag() {
    size_t tag = pos_;
    do {
      tag = source_.find('{', tag);
    } while (tag != std::string::npos && !begins_tag(tag) && ++tag);
    if (tag == std::string::npos) {
      add(Kind::data, std::string(rest()));
      return advance(source_.size() - pos_);
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    add_data(tag, kind, sign);
    advance(tag - pos_ + (sign == '-' || sign == '+' ? 3 : 2));
    if (kind == '#') return skip_comment();
    if (kind == '%' && skip_raw_begin()) return raw();
    add(kind == '%' ? Kind::block_begin : Kind::print_begin);
    inside_tag(kind == '%' ? "%}" : "}}");
  }

  bool begins_tag(size_t pos) const {
    const char next = pos + 1 < source_.size() ? source_[pos + 1] : '\0';
    return next == '{' || next == '%' || next == '#';
  }

  /// The text before a tag, without what the tag strips.
  void add_data(size_t end, char tag, char sign) {
    std::string_view text = rest().substr(0, end - pos_);
    if (sign == '-') {
      text = text.substr(0, strip_range(text, nullptr, false, true).end);
    } else if (sign != '+' && tag != '{') {
      const size_t line_start = text.rfind('\n') + 1;  // 0 if there is none
      const bool starts_line = line_start > 0 || pos_ == 0 || source_[pos_ - 1] == '\n';
      const std::string_view indent = text.substr(line_start);
      if (starts_line && strip_range(indent, nullptr, true, false).begin == indent.size())
        text = text.substr(0, line_start);
    }
    if (!text.empty()) add(Kind::data, std::string(text));
  }

  /// What ends a block or a comment: "%}", "-%}" with the space after it, "+%}".
  bool skip_end(std::string_view mark) {
    const char sign = pos_ < source_.size() ? source_[pos_] : '\0';
    const bool signed_end = (sign == '-' || sign == '+') && rest().substr(1).starts_with(mark);
    if (signed_end) {
      advance(1 + mark.size());
      if (sign == '-') skip_space();
      return true;
    }
    if (!at(mark)) return false;
    advance(mark.size());
    if (at("\n")) advance(1);  // trim_blocks
    return true;
  }

  void skip_comment() {
    const size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) fail("a comment has no end");
    const bool has_sign = end > pos_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    advance(end - pos_ - (has_sign ? 1 : 0));
    skip_end("#}");
  }

  size_t after_space(size_t pos) const {
    return pos + strip_range(std::string_view(source_).substr(pos), nullptr, true, false).begin;
  }

  /// Where a tag ends that holds only `word`, if it does: "{%" has been read up to `pos`.
  std::optional<size_t> after_word(size_t pos, std::string_view word, bool trim) const {
    const std::string_view source = source_;
    pos = after_space(pos);
    if (!source.substr(pos).starts_with(word)) return std::nullopt;
    pos = after_space(pos + word.size());
    if (source.substr(pos).starts_with("-%}")) return after_space(pos + 3);
    if (source.substr(pos).starts_with("+%}")) return pos + 3;
    if (!source.substr(pos).starts_with("%}")) return std::nullopt;
    return pos + (trim && source.substr(pos + 2).starts_with('\n') ? 3 : 2);
  }

  bool skip_raw_begin() {
    const std::optional<size_t> end = after_word(pos_, "raw", false);
    if (end) advance(*end - pos_);
    return end.has_value();
  }

  void raw() {
    for (size_t tag = source_.find("{%", pos_); tag != std::string::npos;
         tag = source_.find("{%", tag + 2)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      const std::optional<size_t> end =
          after_word(tag + (sign == '-' || sign == '+' ? 3 : 2), "endraw", true);
      if (!end) continue;
      add_data(tag, '%', sign);
      return advance(*end - pos_);
    }
    fail("a raw block has no end");
  }

  void inside_tag(std::string_view end) {
    const int begin = line_;
    while (pos_ < source_.size()) {
      if (open_.empty() && tag_ends(end)) return;
      const char c = source_[pos_];
      if (is_space(decode_utf8(source_, pos_).code_point))
        advance(decode_utf8(source_, pos_).length);
      else if (is_digit(c))
        number();
      else if (begins_name(c))
        name();
      else if (c == '\'' || c == '"')
        string();
      else
        op();
    }
    fail_at(begin, "a tag has no end");
  }

  bool tag_ends(std::string_view end) {
    const int line = line_;
    if (end == "%}") {
      if (!skip_end(end)) return false;
    } else if (at("-}}")) {
      advance(3);
      skip_space();
    } else if (at("}}")) {
      advance(2);
    } else {
      return false;
    }
    tokens_.push_back({end == "%}" ? Kind::block_end : Kind::print_end, line, {}});
    return true;
  }

  size_t digits(size_t pos) const {
    while (pos < source_.size() &&
           (is_digit(source_[pos]) ||
            (source_[pos] == '_' && pos + 1 < source_.size() && is_digit(source_[pos + 1]))))
      ++pos;
    return pos;
  }

  void number() {
    size_t end = digits(pos_);
    bool whole = true;
    const auto digit_at = [&](size_t pos) {
      return pos < source_.size() && is_digit(source_[pos]);
    };
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      end = digits(end + 1);
      whole = false;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const bool has_sign =
          end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      if (digit_at(end + 1 + has_sign)) {
        end = digits(end + 1 + has_sign);
        whole = false;
      }
    }
    std::string text = source_.substr(pos_, end - pos_);
    std::erase(text, '_');
    add(whole ? Kind::integer : Kind::number, std::move(text));
    advance(end - pos_);
  }

  void name() {
    size_t end = pos_;
    while (end < source_.size() && (begins_name(source_[end]) || is_digit(source_[end]))) ++end;
    if (end - pos_ > kMaxNameBytes) fail("a name is too long");
    add(Kind::name, source_.substr(pos_, end - pos_));
    advance(end - pos_);
  }

  void op() {
    for (const std::string_view text : kOperators) {
      if (!at(text)) continue;
      balance(text[0]);
      add(Kind::op, std::string(text));
      return advance(text.size());
    }
    fail("a tag holds " + printable(rest().substr(0, decode_utf8(source_, pos_).length)));
  }

  void balance(char c) {
    if (c == '(') open_ += ')';
    if (c == '[') open_ += ']';
    if (c == '{') open_ += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open_.empty() || open_.back() != c) fail(std::string("a \"") + c + "\" closes nothing");
    open_.pop_back();
  }

  void string() {
    const char quote = source_[pos_];
    const int line = line_;
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string has no end");
    std::string value;
    for (size_t pos = pos_ + 1; pos < end;) {
      if (source_[pos] == '\\')
        escape(pos, end, value);
      else
        value += source_[pos++];
    }
    tokens_.push_back({Kind::string, line, std::move(value)});
    advance(end + 1 - pos_);
  }

  /// A sequence that begins at source_[pos], as Python has them.
  void escape(size_t& pos, size_t end, std::string& value) {
    static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[pos + 1];
    pos += 2;
    if (const size_t found = kFrom.find(c); found != std::string_view::npos) {
      value += kTo[found];
    } else if (c >= '0' && c <= '7') {
      append_code(pos - 1, std::min(end, pos + 2), 8, pos, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const size_t begin = pos;
      append_code(begin, std::min(end, begin + n), 16, pos, value);
      if (pos != begin + n) fail(std::string("an escape \"\\") + c + "\" is cut short");
    } else if (c == '\n') {
      // A line goes on.
    } else {
      (value += '\\') += c;
    }
  }

  void append_code(size_t begin, size_t end, int base, size_t& pos, std::string& value) const {
    uint32_t code = 0;
    for (pos = begin; pos < end; ++pos) {
      const int digit = hex_value(source_[pos]);
      if (digit < 0 || digit >= base) break;
      code = code * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    }
    const bool valid = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    append_utf8(value, valid ? code : kReplacementChar);
  }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  std::string open_;  // what closes the brackets that are open
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(int line, std::string_view why) {
  const std::string at = line > 0 ? "line " + std::to_string(line) + ": " : "";
  throw Error("chat template", at + repair_utf8(why));
}

std::vector<Token> tokenize(std::string_view source) {
  if (source.size() > kMaxTemplateBytes)
    throw Error("chat template", "has " + std::to_string(source.size()) + " bytes, expected " +
                                     std::to_string(kMaxTemplateBytes) + " at most");
  return Lexer(normalized(source)).run();
}

}  // namespace nibble::jinja
