#include "load/json.h"

#include <charconv>
#include <cmath>
#include <locale>
#include <optional>
#include <sstream>

#include "base/ascii.h"
#include "base/number.h"
#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

const char* type_name(Json::Type type) {
  switch (type) {
    case Json::Type::null:
      return "null";
    case Json::Type::boolean:
      return "a boolean";
    case Json::Type::integer:
      return "an integer";
    case Json::Type::number:
      return "a number";
    case Json::Type::string:
      return "a string";
    case Json::Type::array:
      return "an array";
    case Json::Type::object:
      return "an object";
  }
  return "unknown";
}

[[noreturn]] void wrong_type(const std::string& where, const char* expected, const Json& found) {
  throw Error(where, std::string("expected ") + expected + ", found " + type_name(found.type()));
}

// The shortest text that parses back to `value`, or one that at least does so.
std::string format_double(double value) {
#ifdef __cpp_lib_to_chars
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
#else
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(17);
  out << value;
  std::string text = out.str();
#endif
  if (text.find_first_of(".e") == std::string::npos) text += ".0";  // stays a number, no integer
  return text;
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Json parse() {
    check_utf8();
    Json result = value(0);
    skip_space();
    if (pos_ < text_.size()) fail("expected the end of the text");
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    size_t line = 1, column = 1;
    for (const char c : text_.substr(0, pos_)) {
      column = c == '\n' ? 1 : column + 1;
      if (c == '\n') ++line;
    }
    throw Error(where_, "invalid JSON at line " + std::to_string(line) + ", column " +
                            std::to_string(column) + ": " + why);
  }

  void check_utf8() {
    while (pos_ < text_.size()) {
      if (static_cast<unsigned char>(text_[pos_]) < 0x80) {
        ++pos_;
        continue;
      }
      const DecodedChar c = decode_utf8(text_, pos_);
      if (!c.valid) fail("a byte that is not UTF-8");
      pos_ += c.length;
    }
    pos_ = 0;
  }

  // The character at the cursor; 0, which no rule of the grammar takes, at the end.
  char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }

  bool accept(char c) {
    if (peek() != c) return false;
    ++pos_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("expected '") + c + "'");
  }

  void skip_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++pos_;
  }

  Json value(int depth) {
    if (++n_values_ > kMaxJsonValues)
      fail("more than " + std::to_string(kMaxJsonValues) + " values");
    skip_space();
    switch (peek()) {
      case '{':
        return object(depth + 1);
      case '[':
        return array(depth + 1);
      case '"':
        return string();
      case 't':
        return literal("true", true);
      case 'f':
        return literal("false", false);
      case 'n':
        return literal("null", {});
      default:
        return number();
    }
  }

  Json literal(std::string_view word, Json result) {
    if (text_.substr(pos_, word.size()) != word) fail("expected a value");
    pos_ += word.size();
    return result;
  }

  void enter(int depth) {
    if (depth > kMaxJsonDepth) fail("nested deeper than " + std::to_string(kMaxJsonDepth));
    ++pos_;
    skip_space();
  }

  Json array(int depth) {
    enter(depth);
    Json::Array elements;
    if (accept(']')) return elements;
    do {
      elements.push_back(value(depth));
      skip_space();
    } while (accept(','));
    expect(']');
    return elements;
  }

  Json object(int depth) {
    enter(depth);
    Json::Object members;
    if (accept('}')) return members;
    do {
      skip_space();
      std::string key = string();
      skip_space();
      expect(':');
      members.emplace_back(std::move(key), value(depth));
      skip_space();
    } while (accept(','));
    expect('}');
    check_unique(members);
    return members;
  }

  void check_unique(const Json::Object& members) const {
    if (members.size() < 2) return;
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& [key, unused] : members) keys.push_back(key);
    if (const auto twice = find_duplicate(std::move(keys)))
      fail("the key " + printable(*twice) + " occurs twice in the object that ends here");
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      const size_t begin = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<unsigned char>(text_[pos_]) >= 0x20)
        ++pos_;
      out.append(text_, begin, pos_ - begin);
      if (accept('"')) return out;
      if (pos_ >= text_.size()) fail("the text ends inside a string");
      if (!accept('\\')) fail("a control character inside a string");
      escape(out);
    }
  }

  void escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (accept('u')) return append_utf8(out, unicode_escape());
    const size_t i = kLetters.find(peek());
    if (i == std::string_view::npos) fail("an unknown escape inside a string");
    ++pos_;
    out.push_back(kMeanings[i]);
  }

  // After \u: one code point, of two escapes if they are a surrogate pair.
  uint32_t unicode_escape() {
    const uint32_t high = hex4();
    if (high < 0xd800 || high >= 0xe000) return high;
    if (high >= 0xdc00 || text_.substr(pos_, 2) != "\\u") return kReplacementChar;
    const size_t second = pos_;
    pos_ += 2;
    const uint32_t low = hex4();
    if (low >= 0xdc00 && low < 0xe000) return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    pos_ = second;  // the first one stands alone; what follows is read on its own
    return kReplacementChar;
  }

  uint32_t hex4() {
    uint32_t code = 0;
    const std::string_view digits = text_.substr(pos_, 4);
    const char* const end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, code, 16);
    if (digits.size() < 4 || result.ec != std::errc() || result.ptr != end)
      fail("expected four hexadecimal digits");
    pos_ += 4;
    return code;
  }

  void digits() {
    if (!is_digit(peek())) fail("expected a digit");
    while (is_digit(peek())) ++pos_;
  }

  Json number() {
    const size_t begin = pos_;
    if (peek() != '-' && !is_digit(peek())) fail("expected a value");
    accept('-');
    if (!accept('0')) digits();
    bool whole = true;
    if (accept('.')) {
      whole = false;
      digits();
    }
    if (accept('e') || accept('E')) {
      whole = false;
      if (!accept('+')) accept('-');
      digits();
    }
    const std::string_view text = text_.substr(begin, pos_ - begin);
    int64_t integer = 0;
    if (whole && std::from_chars(text.data(), text.data() + text.size(), integer).ec == std::errc())
      return integer;
    const std::optional<double> real = parse_double(text);
    if (!real) fail("the number " + printable(text) + " does not fit a double");
    return *real;
  }

  std::string_view text_;
  const std::string& where_;
  size_t pos_ = 0;
  size_t n_values_ = 0;
};

class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  std::string take() { return std::move(out_); }

  void value(const Json& json, int depth) {
    switch (json.type()) {
      case Json::Type::null:
        out_ += "null";
        break;
      case Json::Type::boolean:
        out_ += json.as_bool({}) ? "true" : "false";
        break;
      case Json::Type::integer:
        out_ += std::to_string(json.as_int({}));
        break;
      case Json::Type::number: {
        const double number = json.as_number({});
        out_ += std::isfinite(number) ? format_double(number) : "null";
        break;
      }
      case Json::Type::string:
        string(json.as_string({}));
        break;
      case Json::Type::array:
        list('[', ']', json.as_array({}), depth,
             [&](const Json& element) { value(element, depth + 1); });
        break;
      case Json::Type::object:
        list('{', '}', json.as_object({}), depth, [&](const Json::Member& member) {
          string(member.first);
          out_ += indent_ < 0 ? ":" : ": ";
          value(member.second, depth + 1);
        });
        break;
    }
  }

 private:
  template <class Items, class Write>
  void list(char open, char close, const Items& items, int depth, Write write) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += ',';
      first = false;
      new_line(depth + 1);
      write(item);
    }
    if (!first) new_line(depth);
    out_ += close;
  }

  void new_line(int depth) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_) * static_cast<size_t>(depth), ' ');
  }

  void string(std::string_view text) {
    static constexpr std::string_view kHex = "0123456789abcdef";
    out_ += '"';
    for (size_t pos = 0; pos < text.size();) {
      const DecodedChar c = decode_utf8(text, pos);
      pos += c.length;
      if (c.code_point == '\n') {
        out_ += "\\n";
      } else if (c.code_point < 0x20) {
        out_ += "\\u00";
        out_ += kHex[c.code_point >> 4];
        out_ += kHex[c.code_point & 15];
      } else {
        if (c.code_point == '"' || c.code_point == '\\') out_ += '\\';
        append_utf8(out_, c.code_point);
      }
    }
    out_ += '"';
  }

  int indent_;
  std::string out_;
};

}  // namespace

// Out of line: they are large, and GCC 12 warns of uninitialized alternatives where it inlines
// them.
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) { return *this = Json(other); }  // may be a part of this
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;

bool Json::as_bool(const std::string& where) const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  wrong_type(where, "a boolean", *this);
}

int64_t Json::as_int(const std::string& where) const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  const double* real = std::get_if<double>(&value_);
  if (!real) wrong_type(where, "an integer", *this);
  if (!(*real >= -0x1p63 && *real < 0x1p63) || *real != std::trunc(*real))
    throw Error(where, "expected an integer, found " +
                           (std::isfinite(*real) ? format_double(*real) : "no finite number"));
  return static_cast<int64_t>(*real);
}

double Json::as_number(const std::string& where) const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  wrong_type(where, "a number", *this);
}

const std::string& Json::as_string(const std::string& where) const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  wrong_type(where, "a string", *this);
}

const Json::Array& Json::as_array(const std::string& where) const {
  if (const Array* value = std::get_if<Array>(&value_)) return *value;
  wrong_type(where, "an array", *this);
}

const Json::Object& Json::as_object(const std::string& where) const {
  if (const Object* value = std::get_if<Object>(&value_)) return *value;
  wrong_type(where, "an object", *this);
}

const Json* Json::find(std::string_view key) const {
  const Object* members = std::get_if<Object>(&value_);
  if (!members) return nullptr;
  for (const auto& [name, value] : *members)
    if (name == key) return &value;
  return nullptr;
}

Json parse_json(std::string_view text, const std::string& where) {
  return Parser(text, where).parse();
}

std::string write_json(const Json& value, int indent) {
  Writer writer(indent);
  writer.value(value, 0);
  return writer.take();
}

}  // namespace nibble
