// How values are written: str(), repr() and JSON, as Python does it.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace nibble::jinja {
namespace {

// U+0000 as "\u0000"; beyond U+FFFF as a surrogate pair.
void append_u_escape(std::string& out, uint32_t code_point) {
  if (code_point > 0xffff) {
    append_u_escape(out, 0xd800 + ((code_point - 0x10000) >> 10));
    code_point = 0xdc00 + ((code_point - 0x10000) & 0x3ff);
  }
  static constexpr char kHex[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kHex[(code_point >> shift) & 15];
}

void append_json_string(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (size_t pos = 0; pos < text.size();) {
    const char c = text[pos];
    const DecodedChar decoded = decode_utf8(text, pos);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\b')
      out += "\\b";
    else if (c == '\f')
      out += "\\f";
    else if (static_cast<unsigned char>(c) < 0x20 || (ascii && decoded.code_point > 0x7e))
      append_u_escape(out, decoded.code_point);
    else
      out += text.substr(pos, decoded.length);
    pos += decoded.length;
  }
  out += '"';
}

bool prints_as_itself(uint32_t c) {
  if (c == ' ') return true;
  return c > ' ' && !(c >= 0x7f && c <= 0xa0) && c != 0xad && !is_space(c);
}

void append_escaped(std::string& out, uint32_t c) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (c < 0x100) {
    out += "\\x";
    out += kHex[c >> 4];
    out += kHex[c & 15];
  } else {
    append_u_escape(out, c);
  }
}

std::string quoted(std::string_view text) {
  const bool doubled =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    if (c.code_point == '\\' || c.code_point == static_cast<unsigned char>(quote))
      (out += '\\') += text[pos];
    else if (c.valid && !prints_as_itself(c.code_point))
      append_escaped(out, c.code_point);
    else
      out += text.substr(pos, c.length);
    pos += c.length;
  }
  return out += quote;
}

/// What is written around the parts of a value is plain text, and so are the parts: a list is no
/// markup.
class ReprWriter {
 public:
  explicit ReprWriter(Context& context) : context_(context), out_(context) {}

  void write(const Value& value) {
    const Context::Level level(context_);
    context_.step();
    switch (value.type()) {
      case Value::Type::string:
        context_.scan(value.text().size());
        return out_.add(quoted(value.view()), false);
      case Value::Type::list:
        return write_list(value.list());
      case Value::Type::dict:
        return write_dict(value.dict());
      default:
        return out_.add(to_text(context_, value));
    }
  }

  Text take() { return out_.take(); }

 private:
  void write_list(const List& list) {
    out_.add(list.tuple ? "(" : "[", false);
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.add(", ", false);
      write(list.items[i]);
    }
    if (list.tuple && list.items.size() == 1) out_.add(",", false);
    out_.add(list.tuple ? ")" : "]", false);
  }

  void write_dict(const Dict& dict) {
    out_.add("{", false);
    for (size_t i = 0; i < dict.items.size(); ++i) {
      if (i > 0) out_.add(", ", false);
      write(dict.items[i].first);
      out_.add(": ", false);
      write(dict.items[i].second);
    }
    out_.add("}", false);
  }

  Context& context_;
  Builder out_;
};

class JsonWriter {
 public:
  JsonWriter(Context& context, const JsonStyle& style)
      : context_(context), style_(style), out_(context) {}

  void write(const Value& value, int depth) {
    const Context::Level level(context_);
    context_.step();
    switch (value.type()) {
      case Value::Type::none:
        return put("null");
      case Value::Type::boolean:
        return put(value.boolean() ? "true" : "false");
      case Value::Type::integer:
        return put(std::to_string(value.integer()));
      case Value::Type::number:
        return put(number(value.number()));
      case Value::Type::string:
        return put_string(value.view());
      case Value::Type::list:
        return write_list(value.list(), depth);
      case Value::Type::dict:
        return write_dict(value.dict(), depth);
      default:
        context_.fail(std::string("tojson: JSON cannot hold ") + type_name(value));
    }
  }

  Text take() { return out_.take(); }

 private:
  void put(std::string_view text) { out_.add(text, false); }

  void put_string(std::string_view text) {
    context_.scan(text.size());
    context_.allocate(text.size());
    std::string out;
    append_json_string(out, text, style_.ascii);
    put(out);
  }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return repr_of_number(value);
  }

  void new_line(int depth) {
    if (!style_.indented) return;
    put("\n");
    out_.fill(style_.indent, static_cast<uint64_t>(depth), false);
  }

  void write_list(const List& list, int depth) {
    put("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line(depth + 1);
      write(list.items[i], depth + 1);
    }
    if (!list.items.empty()) new_line(depth);
    put("]");
  }

  void write_key(const Value& key) {
    if (key.is_string()) return put_string(key.view());
    if (key.is(Value::Type::list)) context_.fail("tojson: a key is a tuple");
    put("\"");
    write(key, 0);
    put("\"");
  }

  void write_dict(const Dict& dict, int depth) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    context_.allocate(items.size() * sizeof(items[0]));
    if (style_.sort_keys)
      std::ranges::stable_sort(items, [&](const auto* a, const auto* b) {
        return compare(context_, a->first, b->first) < 0;
      });
    put("{");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line(depth + 1);
      write_key(items[i]->first);
      put(style_.key_separator);
      write(items[i]->second, depth + 1);
    }
    if (!items.empty()) new_line(depth);
    put("}");
  }

  Context& context_;
  const JsonStyle& style_;
  Builder out_;
};

}  // namespace

std::string repr_of_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // The shortest digits that give the number back; Python writes exponents outside 1e-4 to 1e16.
  char buffer[400];
  const double size = std::abs(value);
  const bool fixed = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(std::begin(buffer), std::end(buffer), value, format).ptr;
  std::string text(std::begin(buffer), end);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

Text to_text(Context& context, const Value& value) {
  switch (value.type()) {
    case Value::Type::undefined:
      return {};
    case Value::Type::none:
      return Text("None", true);
    case Value::Type::boolean:
      return Text(value.boolean() ? "True" : "False", true);
    case Value::Type::integer:
      return Text(std::to_string(value.integer()), true);
    case Value::Type::number:
      return Text(repr_of_number(value.number()), true);
    case Value::Type::string:
      context.allocate(value.text().memory());
      return value.text();
    case Value::Type::list:
    case Value::Type::dict:
      return repr(context, value);
    case Value::Type::space:
      return Text("<Namespace>", false);
    case Value::Type::function:
      return Text("<function " + value.function().name + ">", false);
    case Value::Type::loop:
      break;
  }
  return Text("<loop>", false);
}

Text repr(Context& context, const Value& value) {
  if (value.is_undefined()) return Text("Undefined", false);
  ReprWriter writer(context);
  writer.write(value);
  return writer.take();
}

Text to_json(Context& context, const Value& value, const JsonStyle& style) {
  JsonWriter writer(context, style);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace nibble::jinja
