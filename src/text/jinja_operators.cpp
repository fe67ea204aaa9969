#include <cmath>

#include "text/jinja_builtins.h"

namespace nibble::jinja {
namespace {

using Type = Value::Type;

const char* symbol(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::subtract:
      return "-";
    case Op::multiply:
      return "*";
    case Op::divide:
      return "/";
    case Op::floor_divide:
      return "//";
    case Op::modulo:
      return "%";
    default:
      return "**";
  }
}

[[noreturn]] void fail_types(const Context& context, Op op, const Value& a, const Value& b) {
  context.fail(std::string("\"") + symbol(op) + "\" does not work for " + type_name(a) + " and " +
               type_name(b));
}

void check_divisor(const Context& context, bool zero) {
  if (zero) context.fail("it divides by zero");
}

int64_t integer_power(const Context& context, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (true) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
      context.fail("a number is too large");
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) context.fail("a number is too large");
  }
}

Value on_integers(const Context& context, Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Op::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Op::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Op::multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Op::divide:
      check_divisor(context, b == 0);
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case Op::floor_divide:
    case Op::modulo: {
      check_divisor(context, b == 0);
      if (b == -1)
        return on_integers(context, op == Op::modulo ? Op::multiply : Op::subtract, 0, a);
      // C++ rounds to zero, Python down.
      const int64_t down = a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0;
      return Value(op == Op::modulo ? a % b + down * b : a / b - down);
    }
    default:
      if (b < 0) {
        check_divisor(context, a == 0);
        return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
      }
      return Value(integer_power(context, a, b));
  }
  if (overflow) context.fail("a number is too large");
  return Value(result);
}

Value on_numbers(const Context& context, Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return Value(a + b);
    case Op::subtract:
      return Value(a - b);
    case Op::multiply:
      return Value(a * b);
    case Op::divide:
      check_divisor(context, b == 0);
      return Value(a / b);
    case Op::floor_divide:
      check_divisor(context, b == 0);
      return Value(std::floor(a / b));
    case Op::modulo: {
      check_divisor(context, b == 0);
      const double rest = std::fmod(a, b);
      return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    default:
      check_divisor(context, a == 0 && b < 0);
      return Value(std::pow(a, b));
  }
}

Value concatenated(Context& context, const List& a, const List& b) {
  context.allocate((a.items.size() + b.items.size()) * sizeof(Value));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_list(context, std::move(items), a.tuple);
}

Value repeated(Context& context, const Value& value, int64_t n) {
  const auto times = static_cast<uint64_t>(std::max<int64_t>(n, 0));
  context.step(times);
  if (value.is_string()) {
    Builder out(context);
    for (uint64_t i = 0; i < times && !value.text().empty(); ++i) out.add(value.text());
    return Value(out.take());
  }
  const List& list = value.list();
  std::vector<Value> items;
  for (uint64_t i = 0; i < times && !list.items.empty(); ++i) {
    context.allocate(list.items.size() * sizeof(Value));
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return make_list(context, std::move(items), list.tuple);
}

/// The elements that start:stop:step chooses of n.
struct Range {
  int64_t start, stop, step;
  size_t size() const {
    if (step > 0) return start < stop ? static_cast<size_t>((stop - start - 1) / step + 1) : 0;
    return start > stop ? static_cast<size_t>((start - stop - 1) / -step + 1) : 0;
  }
};

Range resolve(const Context& context, int64_t n, const Value& start, const Value& stop,
              const Value& step) {
  const auto bound = [&](const Value& value, int64_t otherwise, int64_t low, int64_t high) {
    if (value.is_none()) return otherwise;
    int64_t at = to_integer(context, &value, 0, "a bound of a slice");
    if (at < 0) at = at < -n ? low - 1 : at + n;
    return std::clamp(at, low, high);
  };
  // No slice of what fits memory needs a larger step.
  constexpr int64_t kLargest = int64_t{1} << 40;
  const int64_t by =
      step.is_none()
          ? 1
          : std::clamp(to_integer(context, &step, 1, "the step of a slice"), -kLargest, kLargest);
  if (by == 0) context.fail("the step of a slice is zero");
  if (by > 0) return {bound(start, 0, 0, n), bound(stop, n, 0, n), by};
  return {bound(start, n - 1, -1, n - 1), bound(stop, -1, -1, n - 1), by};
}

Value slice_text(Context& context, const Text& text, const Value& start, const Value& stop,
                 const Value& step) {
  context.scan(3 * text.size());
  const auto n = static_cast<int64_t>(count_chars(text.view()));
  const Range range = resolve(context, n, start, stop, step);
  const size_t size = range.size();
  if (size == 0) return Value(Text());
  Builder out(context);
  if (range.step == 1) {
    const size_t begin = char_offset(text.view(), static_cast<size_t>(range.start));
    const size_t length = char_offset(text.view().substr(begin), size);
    out.add(text, begin, length);
    return Value(out.take());
  }
  context.allocate(text.size() * sizeof(size_t));
  std::vector<size_t> offsets;  // [n + 1]
  for (size_t pos = 0; pos < text.size(); pos += decode_utf8(text.view(), pos).length)
    offsets.push_back(pos);
  offsets.push_back(text.size());
  context.step(size);
  int64_t at = range.start;
  for (size_t i = 0; i < size; ++i, at += range.step) {
    const auto c = static_cast<size_t>(at);
    out.add(text, offsets[c], offsets[c + 1] - offsets[c]);
  }
  return Value(out.take());
}

}  // namespace

Value apply_binary(Context& context, Op op, const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return on_integers(context, op, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return on_numbers(context, op, a.number(), b.number());
  if (op == Op::add && a.is_string() && b.is_string()) {
    Builder out(context);
    out.add(a.text());
    out.add(b.text());
    return Value(out.take());
  }
  if (op == Op::add && a.is(Type::list) && b.is(Type::list) && a.list().tuple == b.list().tuple)
    return concatenated(context, a.list(), b.list());
  const auto repeats = [](const Value& value) { return value.is_string() || value.is(Type::list); };
  if (op == Op::multiply && repeats(a) && b.is_integer()) return repeated(context, a, b.integer());
  if (op == Op::multiply && repeats(b) && a.is_integer()) return repeated(context, b, a.integer());
  if (op == Op::modulo && a.is_string()) return Value(format_percent(context, a.text(), b));
  fail_types(context, op, a, b);
}

Value apply_unary(Context& context, Op op, const Value& a) {
  if (!a.is_number()) context.fail(std::string("a sign stands before ") + type_name(a));
  if (op == Op::plus) return a.is_integer() ? Value(a.integer()) : a;
  if (a.is_integer()) return on_integers(context, Op::subtract, 0, a.integer());
  return Value(-a.number());
}

bool apply_compare(Context& context, Op op, const Value& a, const Value& b) {
  switch (op) {
    case Op::equal:
      return equal(context, a, b);
    case Op::not_equal:
      return !equal(context, a, b);
    case Op::less:
      return compare(context, a, b) < 0;
    case Op::less_equal:
      return compare(context, a, b) <= 0;
    case Op::greater:
      return compare(context, a, b) > 0;
    case Op::greater_equal:
      return compare(context, a, b) >= 0;
    case Op::in:
      return contains(context, b, a);
    default:
      return !contains(context, b, a);
  }
}

bool contains(Context& context, const Value& container, const Value& item) {
  switch (container.type()) {
    case Value::Type::undefined:
      return false;
    case Value::Type::string:
      if (!item.is_string())
        context.fail(std::string("\"in\" looks for ") + type_name(item) + " in a string");
      context.scan(4 * container.text().size() + item.text().size());
      return find_text(context, container.view(), item.view(), 0) != std::string_view::npos;
    case Value::Type::list:
      for (const Value& value : container.list().items)
        if (equal(context, value, item)) return true;
      return false;
    case Value::Type::dict:
      return find(context, container.dict(), item) != nullptr;
    default:
      context.fail(std::string("\"in\" looks into ") + type_name(container));
  }
}

Value slice(Context& context, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  if (value.is_string()) return slice_text(context, value.text(), start, stop, step);
  if (!value.is(Value::Type::list)) return Value();
  const List& list = value.list();
  const Range range = resolve(context, static_cast<int64_t>(list.items.size()), start, stop, step);
  std::vector<Value> items;
  int64_t at = range.start;
  for (size_t i = 0; i < range.size(); ++i, at += range.step)
    items.push_back(list.items[static_cast<size_t>(at)]);
  return make_list(context, std::move(items), list.tuple);
}

Value element(Context& context, const Value& value, int64_t index) {
  if (value.is(Value::Type::list)) {
    const std::vector<Value>& items = value.list().items;
    const auto n = static_cast<int64_t>(items.size());
    if (index < 0) index += n;
    return index >= 0 && index < n ? items[static_cast<size_t>(index)] : Value();
  }
  const Text& text = value.text();
  context.scan(2 * text.size());
  if (index < 0) {
    index += static_cast<int64_t>(count_chars(text.view()));
    if (index < 0) return Value();
  }
  const size_t begin = char_offset(text.view(), static_cast<size_t>(index));
  if (begin >= text.size()) return Value();
  return Value(text.slice(begin, decode_utf8(text.view(), begin).length));
}

Value reversed(Interpreter& interpreter, const Value& value) {
  if (value.is_string())
    return slice(interpreter.context(), value, Value(nullptr), Value(nullptr), Value(int64_t{-1}));
  std::vector<Value> items = interpreter.iterate(value);
  std::ranges::reverse(items);
  return make_list(interpreter.context(), std::move(items));
}

}  // namespace nibble::jinja
