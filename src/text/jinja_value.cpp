#include "text/jinja_value.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja_context.h"
#include "text/jinja_lexer.h"

namespace nibble::jinja {
namespace {

constexpr std::array<std::string_view, 10> kRoles = {
    "system", "user",     "assistant",   "tool",    "developer",
    "model",  "function", "environment", "ipython", "observation"};

int checked_depth(Context& context, int depth) {
  if (depth > kMaxValueDepth) context.fail("it puts values inside one another too deep");
  return depth;
}

int compare_numbers(const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (a.is_integer() && b.is_integer()) return order(a.integer(), b.integer());
  return order(a.number(), b.number());
}

bool equal_lists(Context& context, const List& a, const List& b) {
  if (a.tuple != b.tuple || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i)
    if (!equal(context, a.items[i], b.items[i])) return false;
  return true;
}

bool equal_dicts(Context& context, const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = find(context, b, key);
    if (!other || !equal(context, value, *other)) return false;
  }
  return true;
}

}  // namespace

void Context::fail(const std::string& why) const { fail_at(line, why); }

void Builder::fill(std::string_view bytes, uint64_t n, bool from_template) {
  if (bytes.empty() || n == 0) return;
  if (n > UINT32_MAX) context_.fail("it makes too much text");
  context_.allocate(bytes.size() * n);
  for (uint64_t i = 0; i < n; ++i) text_.append(bytes, from_template);
}

int depth_of(const Value& value) {
  switch (value.type()) {
    case Value::Type::list:
      return value.list().depth;
    case Value::Type::dict:
      return value.dict().depth;
    case Value::Type::function:
      return value.function().depth;
    case Value::Type::loop:
      return value.loop().depth;
    default:
      return 0;
  }
}

Value make_list(Context& context, std::vector<Value> items, bool tuple) {
  context.allocate(sizeof(List) + items.size() * sizeof(Value));
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = std::max(list->depth, depth_of(item) + 1);
  checked_depth(context, list->depth);
  list->items = std::move(items);
  list->tuple = tuple;
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value make_dict(Context& context, std::vector<std::pair<Value, Value>> items) {
  context.allocate(sizeof(Dict) + items.size() * 2 * sizeof(Value));
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, value] : items)
    dict->depth = std::max({dict->depth, depth_of(key) + 1, depth_of(value) + 1});
  checked_depth(context, dict->depth);
  dict->items = std::move(items);
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

Value from_json(Context& context, const Json& json, bool from_template) {
  const char* where = "chat template";
  context.step();
  switch (json.type()) {
    case Json::Type::null:
      return Value(nullptr);
    case Json::Type::boolean:
      return Value(json.as_bool(where));
    case Json::Type::integer:
      return Value(json.as_int(where));
    case Json::Type::number:
      return Value(json.as_number(where));
    case Json::Type::string: {
      const std::string& text = json.as_string(where);
      context.allocate(text.size());
      return Value(Text(text, from_template));
    }
    case Json::Type::array: {
      std::vector<Value> items;
      for (const Json& item : json.as_array(where))
        items.push_back(from_json(context, item, from_template));
      return make_list(context, std::move(items));
    }
    case Json::Type::object:
      break;
  }
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [key, member] : json.as_object(where)) {
    // Templates write special tokens as '<|' + role + '|>'.
    const bool role = key == "role" && member.is_string() &&
                      std::ranges::find(kRoles, member.as_string(where)) != kRoles.end();
    items.emplace_back(Value(Text(key, from_template)),
                       role ? Value(Text(member.as_string(where), true))
                            : from_json(context, member, from_template));
  }
  return make_dict(context, std::move(items));
}

const char* type_name(const Value& value) {
  switch (value.type()) {
    case Value::Type::undefined:
      return "undefined";
    case Value::Type::none:
      return "none";
    case Value::Type::boolean:
      return "a boolean";
    case Value::Type::integer:
      return "an integer";
    case Value::Type::number:
      return "a number";
    case Value::Type::string:
      return "a string";
    case Value::Type::list:
      return value.list().tuple ? "a tuple" : "a list";
    case Value::Type::dict:
      return "a dict";
    case Value::Type::space:
      return "a namespace";
    case Value::Type::function:
      return "a function";
    case Value::Type::loop:
      break;
  }
  return "a loop";
}

bool truth(const Value& value) {
  switch (value.type()) {
    case Value::Type::undefined:
    case Value::Type::none:
      return false;
    case Value::Type::boolean:
    case Value::Type::integer:
      return value.integer() != 0;
    case Value::Type::number:
      return value.number() != 0;
    case Value::Type::string:
      return !value.text().empty();
    case Value::Type::list:
      return !value.list().items.empty();
    case Value::Type::dict:
      return !value.dict().items.empty();
    case Value::Type::space:
    case Value::Type::function:
    case Value::Type::loop:
      break;
  }
  return true;
}

bool equal(Context& context, const Value& a, const Value& b) {
  context.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Value::Type::string:
      context.scan(std::min(a.text().size(), b.text().size()));
      return a.view() == b.view();
    case Value::Type::list:
      return equal_lists(context, a.list(), b.list());
    case Value::Type::dict:
      return equal_dicts(context, a.dict(), b.dict());
    case Value::Type::space:
      return &a.space() == &b.space();
    case Value::Type::function:
      return &a.function() == &b.function();
    case Value::Type::loop:
      return &a.loop() == &b.loop();
    default:
      return true;  // undefined, none
  }
}

int compare(Context& context, const Value& a, const Value& b) {
  context.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    context.scan(std::min(a.text().size(), b.text().size()));
    return a.view().compare(b.view());  // the order of UTF-8 is that of code points
  }
  if (a.is(Value::Type::list) && b.is(Value::Type::list) && a.list().tuple == b.list().tuple) {
    const std::vector<Value>&x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(context, x[i], y[i])) return compare(context, x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  context.fail(std::string("it compares ") + type_name(a) + " with " + type_name(b));
}

const Value* find(Context& context, const Dict& dict, const Value& key) {
  if (key.is_string()) return find(context, dict, key.view());
  context.step(dict.items.size() / 8);
  for (const auto& [name, value] : dict.items)
    if (!name.is_string() && equal(context, name, key)) return &value;
  return nullptr;
}

const Value* find(Context& context, const Dict& dict, std::string_view key) {
  context.step(dict.items.size() / 8);
  for (const auto& [name, value] : dict.items) {
    if (!name.is_string() || name.view().size() != key.size()) continue;
    context.scan(key.size());
    if (name.view() == key) return &value;
  }
  return nullptr;
}

}  // namespace nibble::jinja
