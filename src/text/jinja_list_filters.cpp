// Filters of lists.
#include <algorithm>

#include "base/ascii.h"
#include "text/jinja_builtins.h"

namespace nibble::jinja {
namespace {

using Type = Value::Type;

/// value.a.b.0, as `attribute=` arguments name it; a whole number is an index.
Value by_path(Interpreter& in, const Value& value, const Value& path) {
  if (path.is_integer()) return in.subscript(value, path);
  std::string_view rest = string_argument(in.context(), &path, "an attribute").view();
  Value out = value;
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool index =
        !part.empty() && part.size() < 10 && std::ranges::all_of(part, is_digit<char>);
    out = in.subscript(
        out, index ? Value(static_cast<int64_t>(std::stoi(std::string(part)))) : Value(part));
    if (dot == std::string_view::npos) return out;
    rest.remove_prefix(dot + 1);
  }
}

/// What a list is ordered by: the value or a part of it, small letters for strings unless case
/// matters.
class SortKey {
 public:
  SortKey(Interpreter& in, const Value* attribute, bool case_sensitive)
      : in_(in),
        attribute_(attribute && !attribute->is_none() ? attribute : nullptr),
        case_sensitive_(case_sensitive) {}

  Value operator()(const Value& value) const {
    Value key = attribute_ ? by_path(in_, value, *attribute_) : value;
    if (key.is_string() && !case_sensitive_)
      return Value(to_case(in_.context(), key.text(), false));
    return key;
  }

 private:
  Interpreter& in_;
  const Value* attribute_;
  bool case_sensitive_;
};

/// The values in order of their keys.
std::vector<Value> sorted(Interpreter& in, const std::vector<Value>& values, const SortKey& key,
                          bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& value : values) keyed.emplace_back(key(value), value);
  in.context().allocate(keyed.size() * sizeof(keyed[0]));
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    const int order = compare(in.context(), a.first, b.first);
    return reverse ? order > 0 : order < 0;
  });
  std::vector<Value> out;
  for (auto& [unused, value] : keyed) out.push_back(std::move(value));
  return out;
}

Value list_of(Interpreter& in, std::vector<Value> items) {
  return make_list(in.context(), std::move(items));
}

Value filter_first(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "first", {});
  const std::vector<Value> items = in.iterate(value);
  return items.empty() ? Value() : items.front();
}

Value filter_last(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "last", {});
  const std::vector<Value> items = in.iterate(value);
  return items.empty() ? Value() : items.back();
}

Value filter_length(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "length", {});
  switch (value.type()) {
    case Type::undefined:
      return Value(int64_t{0});
    case Type::string:
      in.context().scan(value.text().size());
      return Value(static_cast<int64_t>(count_chars(value.view())));
    case Type::list:
      return Value(static_cast<int64_t>(value.list().items.size()));
    case Type::dict:
      return Value(static_cast<int64_t>(value.dict().items.size()));
    case Type::loop:
      return Value(static_cast<int64_t>(value.loop().items.size()));
    default:
      in.fail(std::string("length: it is ") + type_name(value));
  }
}

Value filter_list(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "list", {});
  return list_of(in, in.iterate(value));
}

Value filter_items(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "items", {});
  if (value.is_undefined()) return list_of(in, {});
  if (!value.is(Type::dict))
    in.fail(std::string("items: it is ") + type_name(value) + ", expected a dict");
  return call_method(in, value, "items", {});
}

Value filter_dictsort(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string_view by =
      given[1] ? string_argument(in.context(), given[1], "by").view() : "key";
  if (by != "key" && by != "value") in.fail("dictsort: \"by\" is neither \"key\" nor \"value\"");
  const Value index(static_cast<int64_t>(by == "value"));
  const std::vector<Value> items = in.iterate(filter_items(in, value, {}));
  return list_of(in, sorted(in, items, SortKey(in, &index, to_flag(given[0], false)),
                            to_flag(given[2], false)));
}

Value filter_join(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "join", {"d", "attribute"});
  std::vector<Value> parts = in.iterate(value);
  if (given[1] && !given[1]->is_none())
    for (Value& part : parts) part = by_path(in, part, *given[1]);
  return Value(joined(in.context(), parts, given[0] ? to_text(in.context(), *given[0]) : Text()));
}

Value filter_reverse(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "reverse", {});
  return reversed(in, value);
}

Value filter_sort(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given =
      arguments.bind(in.context(), "sort", {"reverse", "case_sensitive", "attribute"});
  const SortKey key(in, given[2], to_flag(given[1], false));
  return list_of(in, sorted(in, in.iterate(value), key, to_flag(given[0], false)));
}

template <bool Largest>
Value filter_extreme(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given =
      arguments.bind(in.context(), Largest ? "max" : "min", {"case_sensitive", "attribute"});
  const SortKey key(in, given[1], to_flag(given[0], false));
  Value best, best_key;
  bool first = true;
  for (const Value& item : in.iterate(value)) {
    Value item_key = key(item);
    const bool better = first || (Largest ? compare(in.context(), item_key, best_key) > 0
                                          : compare(in.context(), item_key, best_key) < 0);
    if (!better) continue;
    best = item;
    best_key = std::move(item_key);
    first = false;
  }
  return best;
}

Value filter_unique(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "unique", {"case_sensitive", "attribute"});
  const SortKey key(in, given[1], to_flag(given[0], false));
  std::vector<Value> keys, out;
  for (Value& item : in.iterate(value)) {
    Value item_key = key(item);
    const auto same = [&](const Value& other) { return equal(in.context(), other, item_key); };
    if (std::ranges::any_of(keys, same)) continue;
    keys.push_back(std::move(item_key));
    out.push_back(std::move(item));
  }
  return list_of(in, std::move(out));
}

Value filter_sum(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "sum", {"attribute", "start"});
  Value total = given[1] ? *given[1] : Value(int64_t{0});
  for (const Value& item : in.iterate(value)) {
    const Value part = given[0] && !given[0]->is_none() ? by_path(in, item, *given[0]) : item;
    in.require_defined(part);
    total = apply_binary(in.context(), Op::add, total, part);
  }
  return total;
}

Value filter_groupby(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given =
      arguments.bind(in.context(), "groupby", {"attribute", "default", "case_sensitive"});
  const Value& attribute = required(in.context(), given[0], "groupby: attribute");
  const SortKey key(in, &attribute, to_flag(given[2], false));
  std::vector<Value> groups, members;
  Value group_key, group_name;
  const auto close = [&] {
    if (!members.empty())
      groups.push_back(
          make_list(in.context(), {group_name, list_of(in, std::move(members))}, true));
    members.clear();
  };
  for (const Value& item : sorted(in, in.iterate(value), key, false)) {
    Value item_key = key(item);
    if (members.empty() || !equal(in.context(), item_key, group_key)) {
      close();
      group_key = std::move(item_key);
      group_name = by_path(in, item, attribute);
    }
    members.push_back(item);
  }
  close();
  return list_of(in, std::move(groups));
}

/// Lists of n, the last one filled up.
Value filter_batch(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "batch", {"linecount", "fill_with"});
  const int64_t n = to_integer(in.context(), given[0], 0, "linecount");
  if (n < 1) in.fail("batch: the size is less than 1");
  const auto size = static_cast<size_t>(n);
  const std::vector<Value> items = in.iterate(value);
  std::vector<Value> rows;
  for (size_t begin = 0; begin < items.size(); begin += std::min(size, items.size() - begin)) {
    const size_t end = begin + std::min(size, items.size() - begin);
    std::vector<Value> row(items.begin() + static_cast<std::ptrdiff_t>(begin),
                           items.begin() + static_cast<std::ptrdiff_t>(end));
    if (given[1] && !given[1]->is_none()) {
      in.context().allocate((size - row.size()) * sizeof(Value));
      row.resize(size, *given[1]);
    }
    rows.push_back(list_of(in, std::move(row)));
  }
  return list_of(in, std::move(rows));
}

/// n lists of about the same size.
Value filter_slice(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "slice", {"slices", "fill_with"});
  const int64_t asked = to_integer(in.context(), given[0], 0, "slices");
  if (asked < 1 || asked > 100'000) in.fail("slice: the number of slices is out of range");
  const auto n = static_cast<size_t>(asked);
  const std::vector<Value> items = in.iterate(value);
  std::vector<Value> out;
  size_t begin = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool longer = i < items.size() % n;
    const size_t size = items.size() / n + (longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(begin),
                            items.begin() + static_cast<std::ptrdiff_t>(begin + size));
    if (given[1] && !given[1]->is_none() && !longer && items.size() % n != 0)
      part.push_back(*given[1]);
    out.push_back(list_of(in, std::move(part)));
    begin += size;
  }
  return list_of(in, std::move(out));
}

/// Arguments without the first n positional ones.
Arguments without(const Arguments& arguments, size_t n) {
  Arguments out = arguments;
  out.positional.erase(out.positional.begin(),
                       out.positional.begin() + static_cast<std::ptrdiff_t>(n));
  return out;
}

// As in Jinja, this filter and those below give nothing for whatever counts as false, be it none.
Value filter_map(Interpreter& in, const Value& value, const Arguments& arguments) {
  if (!truth(value)) return list_of(in, {});
  std::vector<Value> items = in.iterate(value);
  if (arguments.positional.empty()) {
    const auto given = arguments.bind(in.context(), "map", {"attribute", "default"});
    const Value& path = required(in.context(), given[0], "map: a filter or an attribute");
    for (Value& item : items) {
      item = by_path(in, item, path);
      if (item.is_undefined() && given[1]) item = *given[1];
    }
    return list_of(in, std::move(items));
  }
  const std::string_view name =
      string_argument(in.context(), &arguments.positional[0], "the name of a filter").view();
  const Arguments rest = without(arguments, 1);
  for (Value& item : items) item = in.apply_filter(name, item, rest);
  return list_of(in, std::move(items));
}

/// select, reject, selectattr and rejectattr.
template <bool Wanted, bool OfAttribute>
Value filter_select(Interpreter& in, const Value& value, const Arguments& arguments) {
  if (!truth(value)) return list_of(in, {});
  constexpr size_t kBefore = OfAttribute ? 1 : 0;
  if (arguments.positional.size() < kBefore) in.fail("selectattr: an attribute is missing");
  const bool tested = arguments.positional.size() > kBefore;
  const std::string_view name =
      tested ? string_argument(in.context(), &arguments.positional[kBefore], "the name of a test")
                   .view()
             : "";
  const Arguments rest = tested ? without(arguments, kBefore + 1) : Arguments();
  std::vector<Value> out;
  for (Value& item : in.iterate(value)) {
    in.context().step();
    const Value part = OfAttribute ? by_path(in, item, arguments.positional[0]) : item;
    const bool passed = tested ? in.apply_test(name, part, rest) : truth(part);
    if (passed == Wanted) out.push_back(std::move(item));
  }
  return list_of(in, std::move(out));
}

constexpr Filter kListFilters[] = {{"batch", filter_batch},
                                   {"count", filter_length},
                                   {"dictsort", filter_dictsort},
                                   {"first", filter_first},
                                   {"groupby", filter_groupby},
                                   {"items", filter_items},
                                   {"join", filter_join},
                                   {"last", filter_last},
                                   {"length", filter_length},
                                   {"list", filter_list},
                                   {"map", filter_map},
                                   {"max", filter_extreme<true>},
                                   {"min", filter_extreme<false>},
                                   {"reject", filter_select<false, false>},
                                   {"rejectattr", filter_select<false, true>},
                                   {"reverse", filter_reverse},
                                   {"select", filter_select<true, false>},
                                   {"selectattr", filter_select<true, true>},
                                   {"slice", filter_slice},
                                   {"sort", filter_sort},
                                   {"sum", filter_sum},
                                   {"unique", filter_unique}};

}  // namespace

FilterFunction find_list_filter(std::string_view name) {
  const auto* found = std::ranges::find(kListFilters, name, &Filter::name);
  return found != std::end(kListFilters) ? found->function : nullptr;
}

}  // namespace nibble::jinja
