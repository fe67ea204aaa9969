// "%s" % value, "{}".format(value), and dates.
#include <array>
#include <charconv>
#include <cmath>

#include "base/ascii.h"
#include "text/jinja_builtins.h"

namespace nibble::jinja {
namespace {

/// How a value is to be written: [[fill]align][sign][#][0][width][,][.precision][type].
struct Style {
  std::string fill = " ";
  char align = '\0';  // '<', '>', '^' or '=' (after the sign); 0: as the type has it
  bool sign = false, space = false, commas = false;
  int64_t width = 0, precision = -1;
  char type = '\0';
};

int64_t read_number(const Context& context, std::string_view text, size_t& pos) {
  int64_t value = 0;
  for (; pos < text.size() && is_digit(text[pos]); ++pos) {
    value = value * 10 + (text[pos] - '0');
    if (value > 1'000'000) context.fail("a format asks for too many characters");
  }
  return value;
}

/// Without the locale of the program that the library is part of.
std::string write_number(double value, std::chars_format format, int64_t precision) {
  std::array<char, 512> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format,
                                 static_cast<int>(std::min<int64_t>(precision, 100)));
  return {buffer.data(), end.ptr};
}

std::string write_integer(int64_t value, int base) {
  std::array<char, 72> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, base);
  return {buffer.data(), end.ptr};
}

std::string with_commas(std::string digits) {
  const size_t begin = digits.starts_with('-') ? 1 : 0;
  const size_t end = std::min(digits.find('.'), digits.size());
  for (size_t at = end; at > begin + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string formatted_number(const Context& context, const Value& value, const Style& style) {
  if (!value.is_number())
    context.fail(std::string("a format wants a number and gets ") + type_name(value));
  std::string text;
  switch (style.type) {
    case 'd':
    case 'i':
    case 'u': {
      const double number = value.number();
      if (!value.is_integer() && !(std::abs(number) < 9e18)) context.fail("a number is too large");
      text = write_integer(value.is_integer() ? value.integer() : static_cast<int64_t>(number), 10);
      break;
    }
    case 'x':
    case 'X':
    case 'o':
    case 'b':
      if (!value.is_integer()) context.fail("a format wants an integer");
      text = write_integer(value.integer(), style.type == 'o' ? 8 : style.type == 'b' ? 2 : 16);
      break;
    case 'e':
      text = write_number(value.number(), std::chars_format::scientific,
                          style.precision < 0 ? 6 : style.precision);
      break;
    case 'g':
      text = write_number(value.number(), std::chars_format::general,
                          style.precision < 0 ? 6 : style.precision);
      break;
    case '%':
      text = write_number(value.number() * 100, std::chars_format::fixed,
                          style.precision < 0 ? 6 : style.precision) +
             "%";
      break;
    default:
      text = write_number(value.number(), std::chars_format::fixed,
                          style.precision < 0 ? 6 : style.precision);
  }
  if (style.type == 'X')
    for (char& c : text) c = c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
  if (style.commas) text = with_commas(std::move(text));
  if (!text.starts_with('-') && (style.sign || style.space)) text.insert(0, style.sign ? "+" : " ");
  return text;
}

/// `text` at the width that the style asks for.
Text aligned(Context& context, const Text& text, const Style& style, char usual) {
  const char align = style.align ? style.align : usual;
  if (align != '=') return padded(context, text, style.width, align, style.fill);
  const bool has_sign =
      !text.empty() && (text.view()[0] == '-' || text.view()[0] == '+' || text.view()[0] == ' ');
  Builder out(context);
  out.add(text, 0, has_sign ? 1 : 0);
  out.add(padded(context, text.slice(has_sign ? 1 : 0), style.width - (has_sign ? 1 : 0), '>',
                 style.fill));
  return out.take();
}

Text cut(Context& context, const Text& text, int64_t precision) {
  if (precision < 0) return text;
  return slice(context, Value(text), Value(nullptr), Value(precision), Value(nullptr)).text();
}

/// What stands after "%": flags, width, precision, type.
Style percent_style(const Context& context, std::string_view format, size_t& pos) {
  Style style;
  bool zero = false;
  for (; pos < format.size(); ++pos) {
    const char c = format[pos];
    if (c == '-')
      style.align = '<';
    else if (c == '+')
      style.sign = true;
    else if (c == ' ')
      style.space = true;
    else if (c == '0')
      zero = true;
    else if (c != '#')
      break;
  }
  style.width = read_number(context, format, pos);
  if (pos < format.size() && format[pos] == '.')
    style.precision = read_number(context, format, ++pos);
  if (pos >= format.size()) context.fail("a format is cut short");
  style.type = format[pos++];
  if (zero && !style.align && style.type != 's' && style.type != 'r') {
    style.fill = "0";
    style.align = '=';
  }
  return style;
}

Text percent_value(Context& context, const Value& value, const Style& style) {
  switch (style.type) {
    case 's':
      return aligned(context, cut(context, to_text(context, value), style.precision), style, '>');
    case 'r':
      return aligned(context, cut(context, repr(context, value), style.precision), style, '>');
    case 'd':
    case 'i':
    case 'u':
    case 'f':
    case 'F':
    case 'e':
    case 'g':
    case 'x':
    case 'X':
    case 'o':
      return aligned(context, Text(formatted_number(context, value, style), true), style, '>');
    default:
      context.fail(std::string("the format \"%") + style.type + "\" is not supported");
  }
}

/// What stands after ":" in "{:...}".
Style brace_style(const Context& context, std::string_view spec) {
  constexpr std::string_view kAlign = "<>^=";
  Style style;
  size_t pos = 0;
  const size_t fill = spec.empty() ? 0 : decode_utf8(spec, 0).length;
  if (fill < spec.size() && fill > 0 && kAlign.find(spec[fill]) != kAlign.npos) {
    style.fill = spec.substr(0, fill);
    style.align = spec[fill];
    pos = fill + 1;
  } else if (!spec.empty() && kAlign.find(spec[0]) != kAlign.npos) {
    style.align = spec[pos++];
  }
  const auto at = [&](char c) { return pos < spec.size() && spec[pos] == c; };
  if (at('+') || at('-') || at(' ')) {
    style.sign = at('+');
    style.space = at(' ');
    ++pos;
  }
  if (at('0')) {
    ++pos;
    if (!style.align) {
      style.fill = "0";
      style.align = '=';
    }
  }
  style.width = read_number(context, spec, pos);
  if (at(',')) {
    style.commas = true;
    ++pos;
  }
  if (at('.')) style.precision = read_number(context, spec, ++pos);
  if (pos < spec.size()) style.type = spec[pos++];
  if (pos != spec.size() ||
      std::string_view("\0sdbofFegxX%", 12).find(style.type) == std::string_view::npos)
    context.fail("the format \"" + std::string(spec) + "\" is not supported");
  return style;
}

Text brace_value(Context& context, const Value& value, std::string_view spec) {
  if (spec.empty()) return to_text(context, value);
  Style style = brace_style(context, spec);
  const bool number = value.is_number() && !value.is(Value::Type::boolean);
  if (number && style.type == '\0' && value.is_integer()) style.type = 'd';
  if (number && style.type == '\0' && style.precision >= 0) style.type = 'g';
  if (number && style.type == '\0') return aligned(context, to_text(context, value), style, '>');
  if (style.type != '\0' && style.type != 's')
    return aligned(context, Text(formatted_number(context, value, style), true), style, '>');
  if (number) context.fail("the format \"s\" gets a number");
  return aligned(context, cut(context, to_text(context, value), style.precision), style, '<');
}

/// The argument that "{field}" names: a number, a name, or the next one.
const Value& brace_argument(Context& context, const Arguments& arguments, std::string_view field,
                            size_t& next) {
  size_t index = next;
  if (field.empty()) {
    ++next;
  } else if (is_digit(field[0])) {
    size_t pos = 0;
    index = static_cast<size_t>(read_number(context, field, pos));
    if (pos != field.size())
      context.fail("format: the field \"" + std::string(field) + "\" is not supported");
  } else {
    context.step(arguments.named.size() / 8);
    for (const auto& [name, value] : arguments.named)
      if (name == field) return value;
    context.fail("format: there is no argument \"" + std::string(field) + "\"");
  }
  if (index >= arguments.positional.size()) context.fail("format: there are too few arguments");
  return arguments.positional[index];
}

constexpr std::array<const char*, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday"};
constexpr std::array<const char*, 12> kMonths = {"January",   "February", "March",    "April",
                                                 "May",       "June",     "July",     "August",
                                                 "September", "October",  "November", "December"};

std::string digits(int value, size_t width, char fill = '0') {
  std::string text = std::to_string(value);
  return std::string(width - std::min(width, text.size()), fill) + text;
}

std::string time_part(const Context& context, char c, bool bare, const std::tm& t) {
  const size_t two = bare ? 0 : 2;
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  const char* day = kDays[static_cast<size_t>(t.tm_wday) % 7];
  const char* month = kMonths[static_cast<size_t>(t.tm_mon) % 12];
  switch (c) {
    case 'a':
      return std::string(day, 3);
    case 'A':
      return day;
    case 'b':
    case 'h':
      return std::string(month, 3);
    case 'B':
      return month;
    case 'd':
      return digits(t.tm_mday, two);
    case 'e':
      return digits(t.tm_mday, two, ' ');
    case 'H':
      return digits(t.tm_hour, two);
    case 'I':
      return digits(hour12, two);
    case 'j':
      return digits(t.tm_yday + 1, bare ? 0 : 3);
    case 'm':
      return digits(t.tm_mon + 1, two);
    case 'M':
      return digits(t.tm_min, two);
    case 'S':
      return digits(t.tm_sec, two);
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case 'w':
      return std::to_string(t.tm_wday);
    case 'y':
      return digits(t.tm_year % 100, two);
    case 'Y':
      return std::to_string(t.tm_year + 1900);
    case '%':
      return "%";
    default:
      context.fail(std::string("strftime_now: \"%") + c + "\" is not supported");
  }
}

}  // namespace

Text format_percent(Context& context, const Text& format, const Value& values) {
  const bool several = values.is(Value::Type::list) && values.list().tuple;
  size_t next = 0, pos = 0;
  const auto take = [&]() -> const Value& {
    const size_t index = next++;
    if (several ? index >= values.list().items.size() : index > 0)
      context.fail("a format has too few arguments");
    return several ? values.list().items[index] : values;
  };
  Builder out(context);
  const std::string_view text = format.view();
  while (pos < text.size()) {
    const size_t mark = std::min(text.find('%', pos), text.size());
    out.add(format, pos, mark - pos);
    pos = mark + 1;
    if (mark == text.size()) break;
    context.step();
    if (text.substr(pos).starts_with('%')) {
      out.add(format, pos++, 1);
      continue;
    }
    const Value* named = nullptr;
    if (text.substr(pos).starts_with('(') && values.is(Value::Type::dict)) {
      const size_t end = text.find(')', pos);
      if (end == std::string_view::npos) context.fail("a format is cut short");
      named = find(context, values.dict(), text.substr(pos + 1, end - pos - 1));
      if (!named) context.fail("a format names what is not there");
      pos = end + 1;
    }
    const Style style = percent_style(context, text, pos);
    out.add(percent_value(context, named ? *named : take(), style));
  }
  if (several ? next < values.list().items.size() : next == 0 && !values.is(Value::Type::dict))
    context.fail("a format has too many arguments");
  return out.take();
}

Text format_braces(Context& context, const Text& format, const Arguments& arguments) {
  Builder out(context);
  const std::string_view text = format.view();
  size_t next = 0, pos = 0;
  while (pos < text.size()) {
    const size_t mark = std::min(text.find_first_of("{}", pos), text.size());
    out.add(format, pos, mark - pos);
    if (mark == text.size()) break;
    context.step();
    if (mark + 1 < text.size() && text[mark + 1] == text[mark]) {
      out.add(format, mark, 1);
      pos = mark + 2;
      continue;
    }
    const size_t end = text.find('}', mark);
    if (text[mark] == '}' || end == std::string_view::npos)
      context.fail("format: a brace has no partner");
    const std::string_view field = text.substr(mark + 1, end - mark - 1);
    const size_t colon = std::min(field.find(':'), field.size());
    const Value& value = brace_argument(context, arguments, field.substr(0, colon), next);
    out.add(brace_value(context, value,
                        colon < field.size() ? field.substr(colon + 1) : std::string_view()));
    pos = end + 1;
  }
  return out.take();
}

std::string format_time(Context& context, std::string_view format, const std::tm& time) {
  context.allocate(format.size() * 8);
  std::string out;
  for (size_t pos = 0; pos < format.size(); ++pos) {
    if (format[pos] != '%') {
      out += format[pos];
      continue;
    }
    const bool bare = pos + 1 < format.size() && format[pos + 1] == '-';
    pos += bare ? 2 : 1;
    if (pos >= format.size()) context.fail("strftime_now: the format is cut short");
    out += time_part(context, format[pos], bare, time);
  }
  return out;
}

}  // namespace nibble::jinja
