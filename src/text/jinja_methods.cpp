// Methods of strings, lists and dicts. What would change a value is refused, as Jinja's sandbox for
// chat templates does.
#include <algorithm>
#include <span>

#include "text/jinja_builtins.h"
#include "text/unicode.h"

namespace nibble::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

using Method = Value (*)(Interpreter& interpreter, const Value& self, const Arguments& arguments);
struct NamedMethod {
  std::string_view name;
  Method function;
};

std::vector<Value> text_list(const std::vector<Text>& parts) {
  return std::vector<Value>(parts.begin(), parts.end());
}

// ---- strings

/// Whether each character is one of a kind, and there is one.
template <class Is>
Value all_chars(Interpreter& in, const Text& text, Is is) {
  in.context().scan(8 * text.size());
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text.view(), pos);
    if (!is(c.code_point)) return Value(false);
    pos += c.length;
  }
  return Value(!text.empty());
}

bool is_letter(uint32_t c) { return char_class(c) == CharClass::letter; }
bool is_number(uint32_t c) { return char_class(c) == CharClass::number; }
bool is_letter_or_number(uint32_t c) { return is_letter(c) || is_number(c); }

/// Whether changing to the case changes nothing, and to the other one something.
Value is_in_case(Interpreter& in, const Text& text, bool upper) {
  const bool same = to_case(in.context(), text, upper).view() == text.view();
  return Value(same && to_case(in.context(), text, !upper).view() != text.view());
}

template <bool Left, bool Right>
Value strip_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "strip", {"chars"});
  return Value(stripped(in.context(), self.text(), given[0], Left, Right));
}

std::vector<Text> split_at_space(Context& context, const Text& text, int64_t limit,
                                 bool from_right) {
  std::vector<Text> parts;
  const std::string_view all = text.view();
  ByteRange left = strip_range(all, nullptr, true, true);
  const auto space_at = [&](size_t pos) { return is_space(decode_utf8(all, pos).code_point); };
  if (from_right) {
    // The words from the left, then the surplus joined to the first.
    std::vector<ByteRange> words;
    for (size_t pos = left.begin; pos < left.end;) {
      size_t end = pos;
      while (end < left.end && !space_at(end)) end += decode_utf8(all, end).length;
      context.allocate(sizeof(ByteRange) + sizeof(Value) + sizeof(Text));
      words.push_back({pos, end});
      pos = end;
      while (pos < left.end && space_at(pos)) pos += decode_utf8(all, pos).length;
    }
    if (limit >= 0 && words.size() > static_cast<size_t>(limit) + 1) {
      const size_t surplus = words.size() - static_cast<size_t>(limit) - 1;
      words[surplus].begin = words[0].begin;
      words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(surplus));
    }
    for (const ByteRange& word : words)
      parts.push_back(text.slice(word.begin, word.end - word.begin));
    return parts;
  }
  // After the last split the space at the end stays.
  for (size_t pos = left.begin; pos < left.end;) {
    size_t end = pos;
    if (limit == 0)
      end = all.size();
    else
      while (end < left.end && !space_at(end)) end += decode_utf8(all, end).length;
    context.allocate(sizeof(Value) + sizeof(Text));
    parts.push_back(text.slice(pos, end - pos));
    --limit;
    pos = end;
    while (pos < left.end && space_at(pos)) pos += decode_utf8(all, pos).length;
  }
  return parts;
}

std::vector<Text> split_at(Context& context, const Text& text, std::string_view separator,
                           int64_t limit) {
  std::vector<Text> parts;
  size_t pos = 0;
  for (size_t found = 0; limit != 0; --limit) {
    found = find_text(context, text.view(), separator, pos);
    if (found == kNone) break;
    context.allocate(sizeof(Value) + sizeof(Text));
    parts.push_back(text.slice(pos, found - pos));
    pos = found + separator.size();
  }
  parts.push_back(text.slice(pos));
  return parts;
}

/// Where `part` is found last; long parts from the left, as often as needed.
size_t rfind_text(Context& context, std::string_view text, std::string_view part) {
  if (part.size() <= 64) return text.rfind(part);
  size_t last = kNone;
  for (size_t pos = find_text(context, text, part, 0); pos != kNone;
       pos = find_text(context, text, part, pos + 1)) {
    context.scan(part.size());
    last = pos;
  }
  return last;
}

std::vector<Text> rsplit_at(Context& context, const Text& text, std::string_view separator,
                            int64_t limit) {
  std::vector<Text> parts;
  size_t end = text.size();
  for (; limit != 0; --limit) {
    context.allocate(sizeof(Value) + sizeof(Text));
    const size_t found = rfind_text(context, text.view().substr(0, end), separator);
    if (found == kNone) break;
    if (separator.size() > 64) context.scan(end);
    parts.push_back(text.slice(found + separator.size(), end - found - separator.size()));
    end = found;
  }
  parts.push_back(text.slice(0, end));
  std::ranges::reverse(parts);
  return parts;
}

template <bool FromRight>
Value split_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "split", {"sep", "maxsplit"});
  const int64_t limit = std::max<int64_t>(to_integer(context, given[1], -1, "maxsplit"), -1);
  const Text& text = self.text();
  context.scan(8 * text.size());
  context.allocate(2 * text.memory());
  if (!given[0] || given[0]->is_none())
    return make_list(context, text_list(split_at_space(context, text, limit, FromRight)));
  const std::string_view separator = string_argument(context, given[0], "a separator").view();
  if (separator.empty()) in.fail("split: the separator is empty");
  return make_list(context, text_list(FromRight ? rsplit_at(context, text, separator, limit)
                                                : split_at(context, text, separator, limit)));
}

size_t line_break_length(std::string_view text, size_t pos) {
  if (text.substr(pos).starts_with("\r\n")) return 2;
  const DecodedChar c = decode_utf8(text, pos);
  const uint32_t b = c.code_point;
  const bool breaks = (b >= 0x0a && b <= 0x0d) || (b >= 0x1c && b <= 0x1e) || b == 0x85 ||
                      b == 0x2028 || b == 0x2029;
  return breaks ? c.length : 0;
}

Value splitlines_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "splitlines", {"keepends"});
  const bool keep = to_flag(given[0], false);
  const Text& text = self.text();
  context.scan(8 * text.size());
  context.allocate(text.memory());
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t length = line_break_length(text.view(), pos);
    if (length == 0) {
      pos += decode_utf8(text.view(), pos).length;
      continue;
    }
    context.allocate(sizeof(Value) + sizeof(Text));
    lines.emplace_back(text.slice(begin, pos - begin + (keep ? length : 0)));
    begin = pos += length;
  }
  if (begin < text.size()) lines.emplace_back(text.slice(begin));
  return make_list(context, std::move(lines));
}

template <bool End>
Value affix_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), End ? "endswith" : "startswith", {"prefix"});
  const auto matches = [&](const Value& affix) {
    const std::string_view part = string_argument(in.context(), &affix, "a prefix").view();
    in.context().step();
    in.context().scan(std::min(part.size(), self.view().size()));
    return End ? self.view().ends_with(part) : self.view().starts_with(part);
  };
  const Value& affix = required(in.context(), given[0], "a prefix");
  if (affix.is(Value::Type::list)) return Value(std::ranges::any_of(affix.list().items, matches));
  return Value(matches(affix));
}

Value replace_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "replace", {"old", "new", "count"});
  return Value(replaced(in.context(), self.text(), string_argument(in.context(), given[0], "old"),
                        string_argument(in.context(), given[1], "new"),
                        to_integer(in.context(), given[2], -1, "count")));
}

template <bool FromRight, bool Needed>
Value find_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "find", {"sub"});
  const std::string_view part = string_argument(context, given[0], "what is looked for").view();
  context.scan(4 * self.text().size() + part.size());
  const size_t found =
      FromRight ? rfind_text(context, self.view(), part) : find_text(context, self.view(), part, 0);
  if (found == kNone && Needed) in.fail("index: the string does not have that part");
  return Value(found == kNone ? int64_t{-1}
                              : static_cast<int64_t>(count_chars(self.view().substr(0, found))));
}

Value count_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "count", {"sub"});
  int64_t n = 0;
  if (self.is(Value::Type::list)) {
    for (const Value& item : self.list().items)
      n += equal(context, item, required(context, given[0], "what is counted")) ? 1 : 0;
    return Value(n);
  }
  const std::string_view part = string_argument(context, given[0], "what is counted").view();
  context.scan(4 * self.text().size());
  if (part.empty()) return Value(static_cast<int64_t>(count_chars(self.view())) + 1);
  for (size_t pos = find_text(context, self.view(), part, 0); pos != kNone;
       pos = find_text(context, self.view(), part, pos + part.size()))
    ++n;
  return Value(n);
}

Value join_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "join", {"iterable"});
  const std::vector<Value> parts = in.iterate(required(in.context(), given[0], "what is joined"));
  for (const Value& part : parts) string_argument(in.context(), &part, "a part that is joined");
  return Value(joined(in.context(), parts, self.text()));
}

template <char Align>
Value pad_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "center", {"width", "fillchar"});
  const std::string_view fill =
      given[1] ? string_argument(in.context(), given[1], "fillchar").view() : " ";
  return Value(padded(in.context(), self.text(), to_integer(in.context(), given[0], 0, "width"),
                      Align, fill));
}

Value zfill_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "zfill", {"width"});
  const int64_t width = std::max<int64_t>(to_integer(in.context(), given[0], 0, "width"), 0);
  const bool has_sign = self.view().starts_with('-') || self.view().starts_with('+');
  Builder out(in.context());
  out.add(self.text(), 0, has_sign ? 1 : 0);
  out.add(padded(in.context(), self.text().slice(has_sign ? 1 : 0), width - (has_sign ? 1 : 0), '>',
                 "0"));
  return Value(out.take());
}

template <bool End>
Value remove_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "removeprefix", {"prefix"});
  const std::string_view part = string_argument(in.context(), given[0], "a prefix").view();
  const Text& text = self.text();
  in.context().allocate(text.memory());
  if (End && text.view().ends_with(part)) return Value(text.slice(0, text.size() - part.size()));
  if (!End && text.view().starts_with(part)) return Value(text.slice(part.size()));
  return self;
}

template <bool FromRight>
Value partition_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "partition", {"sep"});
  const std::string_view part = string_argument(context, given[0], "a separator").view();
  if (part.empty()) in.fail("partition: the separator is empty");
  const Text& text = self.text();
  context.scan(2 * text.size());
  context.allocate(text.memory());
  const size_t found =
      FromRight ? rfind_text(context, self.view(), part) : find_text(context, self.view(), part, 0);
  if (found == kNone)
    return make_list(context,
                     FromRight ? std::vector<Value>{Value(Text()), Value(Text()), self}
                               : std::vector<Value>{self, Value(Text()), Value(Text())},
                     true);
  return make_list(context,
                   {Value(text.slice(0, found)), Value(text.slice(found, part.size())),
                    Value(text.slice(found + part.size()))},
                   true);
}

Value format_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  return Value(format_braces(in.context(), self.text(), arguments));
}

/// A method without arguments.
template <Text (*Change)(Context&, const Text&)>
Value text_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind(in.context(), "a method of a string", {});
  return Value(Change(in.context(), self.text()));
}
Text upper_text(Context& context, const Text& text) { return to_case(context, text, true); }
Text lower_text(Context& context, const Text& text) { return to_case(context, text, false); }

template <bool (*Is)(uint32_t)>
Value chars_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind(in.context(), "a method of a string", {});
  return all_chars(in, self.text(), Is);
}

template <bool Upper>
Value case_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind(in.context(), "a method of a string", {});
  return is_in_case(in, self.text(), Upper);
}

constexpr NamedMethod kStringMethods[] = {{"strip", strip_method<true, true>},
                                          {"lstrip", strip_method<true, false>},
                                          {"rstrip", strip_method<false, true>},
                                          {"split", split_method<false>},
                                          {"rsplit", split_method<true>},
                                          {"splitlines", splitlines_method},
                                          {"startswith", affix_method<false>},
                                          {"endswith", affix_method<true>},
                                          {"replace", replace_method},
                                          {"upper", text_method<upper_text>},
                                          {"lower", text_method<lower_text>},
                                          {"casefold", text_method<lower_text>},
                                          {"title", text_method<title_case>},
                                          {"capitalize", text_method<capitalized>},
                                          {"find", find_method<false, false>},
                                          {"rfind", find_method<true, false>},
                                          {"index", find_method<false, true>},
                                          {"rindex", find_method<true, true>},
                                          {"count", count_method},
                                          {"join", join_method},
                                          {"format", format_method},
                                          {"isalpha", chars_method<is_letter>},
                                          {"isalnum", chars_method<is_letter_or_number>},
                                          {"isdigit", chars_method<is_number>},
                                          {"isdecimal", chars_method<is_number>},
                                          {"isnumeric", chars_method<is_number>},
                                          {"isspace", chars_method<is_space>},
                                          {"isupper", case_method<true>},
                                          {"islower", case_method<false>},
                                          {"center", pad_method<'c'>},
                                          {"ljust", pad_method<'<'>},
                                          {"rjust", pad_method<'>'>},
                                          {"zfill", zfill_method},
                                          {"removeprefix", remove_method<false>},
                                          {"removesuffix", remove_method<true>},
                                          {"partition", partition_method<false>},
                                          {"rpartition", partition_method<true>}};

// ---- lists

Value list_index(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "index", {"value"});
  const std::vector<Value>& items = self.list().items;
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(in.context(), items[i], required(in.context(), given[0], "a value")))
      return Value(static_cast<int64_t>(i));
  in.fail("index: the list does not have that value");
}

Value copy_method(Interpreter& in, const Value& self, const Arguments& arguments) {
  arguments.bind(in.context(), "copy", {});
  return self;  // nothing can change it
}

Value refuse_change(Interpreter& in, const Value& self, const Arguments&) {
  in.fail(std::string("a chat template may not change ") + type_name(self) +
          "; it can make another one");
}

constexpr NamedMethod kListMethods[] = {
    {"index", list_index},      {"count", count_method},   {"copy", copy_method},
    {"append", refuse_change},  {"extend", refuse_change}, {"insert", refuse_change},
    {"pop", refuse_change},     {"remove", refuse_change}, {"clear", refuse_change},
    {"reverse", refuse_change}, {"sort", refuse_change}};

// ---- dicts

Value dict_get(Interpreter& in, const Value& self, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "get", {"key", "default"});
  const Value* found = find(in.context(), self.dict(), required(in.context(), given[0], "a key"));
  return found ? *found : given[1] ? *given[1] : Value(nullptr);
}

template <bool Keys, bool Values>
Value dict_list(Interpreter& in, const Value& self, const Arguments& arguments) {
  Context& context = in.context();
  arguments.bind(context, "a method of a dict", {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().items) {
    context.step();
    items.push_back(Keys && Values ? make_list(context, {key, value}, true) : Keys ? key : value);
  }
  return make_list(context, std::move(items));
}

constexpr NamedMethod kDictMethods[] = {{"get", dict_get},
                                        {"items", dict_list<true, true>},
                                        {"keys", dict_list<true, false>},
                                        {"values", dict_list<false, true>},
                                        {"copy", copy_method},
                                        {"pop", refuse_change},
                                        {"popitem", refuse_change},
                                        {"update", refuse_change},
                                        {"setdefault", refuse_change},
                                        {"clear", refuse_change}};

Method find_method_of(const Value& value, std::string_view name) {
  std::span<const NamedMethod> methods;
  if (value.is_string()) methods = kStringMethods;
  if (value.is(Value::Type::list)) methods = kListMethods;
  if (value.is(Value::Type::dict)) methods = kDictMethods;
  const auto found = std::ranges::find(methods, name, &NamedMethod::name);
  return found != methods.end() ? found->function : nullptr;
}

}  // namespace

bool has_method(const Value& value, std::string_view name) {
  return find_method_of(value, name) != nullptr;
}

Value call_method(Interpreter& interpreter, const Value& self, std::string_view name,
                  const Arguments& arguments) {
  interpreter.context().step();
  const Method method = find_method_of(self, name);
  if (!method)
    interpreter.fail(std::string(type_name(self)) + " has no method \"" + std::string(name) + "\"");
  return method(interpreter, self, arguments);
}

}  // namespace nibble::jinja
