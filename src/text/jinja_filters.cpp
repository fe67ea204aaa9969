// Filters of text and of single values; those of lists are in jinja_list_filters.cpp.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/ascii.h"
#include "base/number.h"
#include "text/jinja_builtins.h"
#include "text/unicode.h"
#include "text/unicode_case.h"

namespace nibble::jinja {
namespace {

using Type = Value::Type;

/// What a filter of text works on: undefined is "", other values are printed.
Text text_of(Interpreter& in, const Value& value) { return to_text(in.context(), value); }

Value filter_upper(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "upper", {});
  return Value(to_case(in.context(), text_of(in, value), true));
}

Value filter_lower(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "lower", {});
  return Value(to_case(in.context(), text_of(in, value), false));
}

Value filter_capitalize(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "capitalize", {});
  return Value(capitalized(in.context(), text_of(in, value)));
}

/// Jinja's words begin after white space, "-" and opening brackets, unlike those of str.title().
Value filter_title(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "title", {});
  Context& context = in.context();
  const Text text = text_of(in, value);
  context.scan(8 * text.size());
  Builder out(context);
  const auto separates = [&](size_t pos) {
    return std::string_view("-({[<").find(text.view()[pos]) != std::string_view::npos ||
           is_space(decode_utf8(text.view(), pos).code_point);
  };
  for (size_t pos = 0; pos < text.size();) {
    size_t end = pos;
    while (end < text.size() && separates(end)) end += decode_utf8(text.view(), end).length;
    out.add(text, pos, end - pos);
    if (end == text.size()) break;
    const size_t first = end + decode_utf8(text.view(), end).length;
    out.add(to_case(context, text.slice(end, first - end), true));
    for (pos = first; pos < text.size() && !separates(pos);)
      pos += decode_utf8(text.view(), pos).length;
    out.add(to_case(context, text.slice(first, pos - first), false));
  }
  return Value(out.take());
}

Value filter_trim(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "trim", {"chars"});
  return Value(stripped(in.context(), text_of(in, value), given[0], true, true));
}

Value filter_replace(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "replace", {"old", "new", "count"});
  const bool all = !given[2] || given[2]->is_none();
  return Value(replaced(in.context(), text_of(in, value),
                        text_of(in, required(in.context(), given[0], "replace: old")),
                        text_of(in, required(in.context(), given[1], "replace: new")),
                        all ? -1 : to_integer(in.context(), given[2], -1, "count")));
}

Value filter_indent(Interpreter& in, const Value& value, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "indent", {"width", "first", "blank"});
  const bool first = to_flag(given[1], false), blank = to_flag(given[2], false);
  std::string indent;
  if (given[0] && given[0]->is_string()) {
    context.scan(given[0]->text().size());
    indent = given[0]->view();
  } else {
    const int64_t width = to_integer(context, given[0], 4, "width");
    if (width > 10'000) in.fail("indent: the width is too large");
    indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const Text text = text_of(in, value);
  Builder out(context);
  for (size_t pos = 0; pos <= text.size();) {
    const size_t end = std::min(text.view().find('\n', pos), text.size());
    const bool indented = pos == 0 ? first : blank || end > pos;
    if (indented) out.add(indent, true);
    out.add(text, pos, end + 1 - pos);
    pos = end + 1;
  }
  return Value(out.take());
}

Value filter_center(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "center", {"width"});
  return Value(padded(in.context(), text_of(in, value),
                      to_integer(in.context(), given[0], 80, "width"), 'c', " "));
}

Value filter_truncate(Interpreter& in, const Value& value, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "truncate", {"length", "killwords", "end", "leeway"});
  const int64_t length = to_integer(context, given[0], 255, "length");
  const int64_t leeway = to_integer(context, given[3], 5, "leeway");
  const Text end = given[2] ? text_of(in, *given[2]) : Text("...", true);
  const Text text = text_of(in, value);
  context.scan(2 * text.size());
  const auto end_length = static_cast<int64_t>(count_chars(end.view()));
  if (length < end_length || leeway < 0 || length > (1 << 30) || leeway > (1 << 30))
    in.fail("truncate: the length does not fit");
  if (static_cast<int64_t>(count_chars(text.view())) <= length + leeway) return Value(text);
  size_t cut = char_offset(text.view(), static_cast<size_t>(length - end_length));
  if (!to_flag(given[1], false)) cut = std::min(cut, text.view().substr(0, cut).rfind(' '));
  Builder out(context);
  out.add(text, 0, cut);
  out.add(end);
  return Value(out.take());
}

Value filter_wordcount(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "wordcount", {});
  const Text text = text_of(in, value);
  in.context().scan(8 * text.size());
  int64_t n = 0;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size(); pos += decode_utf8(text.view(), pos).length) {
    const uint32_t c = decode_utf8(text.view(), pos).code_point;
    const bool word =
        c == '_' || char_class(c) == CharClass::letter || char_class(c) == CharClass::number;
    n += word && !in_word ? 1 : 0;
    in_word = word;
  }
  return Value(n);
}

Value filter_escape(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "escape", {});
  constexpr std::pair<char, std::string_view> kEscapes[] = {
      {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
  const Text text = text_of(in, value);
  Builder out(in.context());
  for (size_t pos = 0; pos < text.size();) {
    const size_t found = std::min(text.view().find_first_of("&<>'\"", pos), text.size());
    out.add(text, pos, found - pos);
    for (const auto& [c, escape] : kEscapes)
      if (found < text.size() && text.view()[found] == c)
        out.add(escape, text.from_template_at(found));
    pos = found + 1;
  }
  return Value(out.take());
}

/// `query`: of a name or a value in a query, where a slash is no separator and a space is +.
void add_urlencoded(Interpreter& in, Builder& out, const Value& value, bool query) {
  constexpr std::string_view kPlain = "_.-~", kHex = "0123456789ABCDEF";
  const Text text = text_of(in, value);
  in.context().allocate(3 * text.size());
  std::string encoded;
  for (const char c : text.view()) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_digit(c) || is_letter(c) || kPlain.find(c) != kPlain.npos || (c == '/' && !query))
      encoded += c;
    else if (c == ' ' && query)
      encoded += '+';
    else
      (((encoded += '%') += kHex[byte >> 4])) += kHex[byte & 15];
  }
  out.add(encoded, text.all_from_template());
}

Value filter_urlencode(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "urlencode", {});
  Builder out(in.context());
  bool first = true;
  const auto add_pair = [&](const Value& name, const Value& item) {
    in.context().step();
    if (!first) out.add("&", true);
    first = false;
    add_urlencoded(in, out, name, true);
    out.add("=", true);
    add_urlencoded(in, out, item, true);
  };
  if (value.is(Type::dict)) {
    for (const auto& [name, item] : value.dict().items) add_pair(name, item);
  } else if (value.is(Type::list)) {
    for (const Value& pair : value.list().items) {
      if (!pair.is(Type::list) || pair.list().items.size() != 2)
        in.fail("urlencode: the list holds what is no pair");
      add_pair(pair.list().items[0], pair.list().items[1]);
    }
  } else {
    add_urlencoded(in, out, value, false);
  }
  return Value(out.take());
}

Value filter_string(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "string", {});
  return value.is_string() ? value : Value(text_of(in, value));
}

Value filter_safe(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "safe", {});
  return filter_string(in, value, {});
}

Value filter_format(Interpreter& in, const Value& value, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty())
    in.fail("format: names and positions at once");
  std::vector<std::pair<Value, Value>> named;
  for (const auto& [name, item] : arguments.named) {
    in.context().allocate(sizeof(Text) + name.size());
    named.emplace_back(Value(std::string_view(name)), item);
  }
  const Value values = arguments.named.empty() ? make_list(in.context(), arguments.positional, true)
                                               : make_dict(in.context(), std::move(named));
  return Value(format_percent(in.context(), text_of(in, value), values));
}

// ---- single values

Value filter_default(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "default", {"default_value", "boolean"});
  const bool replaced = value.is_undefined() || (to_flag(given[1], false) && !truth(value));
  if (!replaced) return value;
  return given[0] ? *given[0] : Value(Text());
}

Value filter_int(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "int", {"default", "base"});
  in.require_defined(value);
  const Value otherwise = given[0] ? *given[0] : Value(int64_t{0});
  const int64_t base = to_integer(in.context(), given[1], 10, "base");
  if (value.is_integer()) return Value(value.integer());
  double number = 0;
  if (value.is(Type::number)) {
    number = value.number();
  } else {
    if (!value.is_string() || base < 2 || base > 36) return otherwise;
    in.context().scan(2 * value.text().size());
    std::string_view text = strip(value.view());
    if (text.starts_with('+')) text.remove_prefix(1);
    int64_t whole = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, whole, static_cast<int>(base));
    if (read.ec == std::errc() && read.ptr == end) return Value(whole);
    const std::optional<double> real = parse_double(text);
    if (!real) return otherwise;
    number = *real;
  }
  if (!(std::abs(number) < 9e18)) return otherwise;
  return Value(static_cast<int64_t>(number));
}

Value filter_float(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "float", {"default"});
  in.require_defined(value);
  if (value.is_number()) return Value(value.number());
  if (value.is_string()) {
    in.context().scan(value.text().size());
    std::string_view text = strip(value.view());
    if (text.starts_with('+')) text.remove_prefix(1);
    if (const std::optional<double> number = parse_double(text)) return Value(*number);
  }
  return given[0] ? *given[0] : Value(0.0);
}

Value filter_abs(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "abs", {});
  if (!value.is_number()) in.fail(std::string("abs: it is ") + type_name(value));
  if (!value.is_integer()) return Value(std::abs(value.number()));
  return value.integer() < 0 ? apply_unary(in.context(), Op::negate, value)
                             : Value(value.integer());
}

Value filter_round(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "round", {"precision", "method"});
  if (!value.is_number()) in.fail(std::string("round: it is ") + type_name(value));
  const int64_t precision = to_integer(in.context(), given[0], 0, "precision");
  if (precision > 300 || precision < -300) in.fail("round: the precision is out of range");
  const std::string_view method =
      given[1] ? string_argument(in.context(), given[1], "method").view() : "common";
  const double number = value.number();
  const double unit = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(number * unit) / unit);
  if (method == "floor") return Value(std::floor(number * unit) / unit);
  if (method != "common") in.fail("round: the method is none of common, ceil and floor");
  if (value.is_integer() && precision >= 0) return Value(value.integer());
  if (precision < 0 || !std::isfinite(number)) return Value(std::nearbyint(number * unit) / unit);
  // The decimal digits of the number itself decide, ties go to even.
  char digits[700];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), number,
                                 std::chars_format::fixed, static_cast<int>(precision))
                       .ptr;
  return Value(parse_double({digits, end}).value_or(number));
}

Value filter_tojson(Interpreter& in, const Value& value, const Arguments& arguments) {
  Context& context = in.context();
  const auto given =
      arguments.bind(context, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  const Value* indent = given[1];
  style.ascii = to_flag(given[0], false);
  style.sort_keys = to_flag(given[3], false);
  if (indent && !indent->is_none()) {
    style.indented = true;
    style.item_separator = ",";
    if (indent->is_string()) {
      context.scan(indent->text().size());
      style.indent = indent->view();
    } else {
      const int64_t width = to_integer(context, indent, 0, "indent");
      if (width > 1000) in.fail("tojson: the indent is too large");
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (given[2] && !given[2]->is_none()) {
    if (!given[2]->is(Type::list) || given[2]->list().items.size() != 2)
      in.fail("tojson: two separators are needed");
    style.item_separator =
        string_argument(context, &given[2]->list().items[0], "a separator").view();
    style.key_separator =
        string_argument(context, &given[2]->list().items[1], "a separator").view();
  }
  return Value(to_json(context, value, style));
}

Value filter_attr(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "attr", {"name"});
  const Value out = in.member(value, string_argument(in.context(), given[0], "a name").view());
  return out.is_undefined() ? Value() : out;
}

constexpr Filter kFilters[] = {
    {"abs", filter_abs},       {"attr", filter_attr},           {"capitalize", filter_capitalize},
    {"center", filter_center}, {"d", filter_default},           {"default", filter_default},
    {"e", filter_escape},      {"escape", filter_escape},       {"float", filter_float},
    {"format", filter_format}, {"indent", filter_indent},       {"int", filter_int},
    {"lower", filter_lower},   {"replace", filter_replace},     {"round", filter_round},
    {"safe", filter_safe},     {"string", filter_string},       {"title", filter_title},
    {"tojson", filter_tojson}, {"trim", filter_trim},           {"truncate", filter_truncate},
    {"upper", filter_upper},   {"urlencode", filter_urlencode}, {"wordcount", filter_wordcount}};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  const auto* found = std::ranges::find(kFilters, name, &Filter::name);
  return found != std::end(kFilters) ? found->function : find_list_filter(name);
}

int64_t to_integer(const Context& context, const Value* value, int64_t otherwise,
                   std::string_view what) {
  if (!value) return otherwise;
  if (!value->is_integer())
    context.fail(std::string(what) + " is " + type_name(*value) + ", expected an integer");
  return value->integer();
}

bool to_flag(const Value* value, bool otherwise) { return value ? truth(*value) : otherwise; }

const Value& required(const Context& context, const Value* value, std::string_view what) {
  if (!value) context.fail(std::string(what) + " is missing");
  return *value;
}

const Text& string_argument(const Context& context, const Value* value, std::string_view what) {
  const Value& given = required(context, value, what);
  if (!given.is_string())
    context.fail(std::string(what) + " is " + type_name(given) + ", expected a string");
  return given.text();
}

}  // namespace nibble::jinja
