// What `is` tests, and the functions that a template can call.
#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"

namespace nibble::jinja {
namespace {

using Type = Value::Type;

struct NamedTest {
  std::string_view name;
  TestFunction function;
};

/// A test without arguments.
template <bool (*Is)(const Value&)>
bool plain_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "a test", {});
  return Is(value);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is(Type::boolean); }
bool is_true(const Value& value) { return value.is(Type::boolean) && value.boolean(); }
bool is_false(const Value& value) { return value.is(Type::boolean) && !value.boolean(); }
bool is_integer(const Value& value) { return value.is(Type::integer); }
bool is_float(const Value& value) { return value.is(Type::number); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is(Type::dict); }
bool is_callable(const Value& value) { return value.is(Type::function); }
bool is_sequence(const Value& value) {
  return value.is(Type::list) || value.is(Type::dict) || value.is_string() || value.is_undefined();
}
bool is_iterable(const Value& value) { return is_sequence(value) || value.is(Type::loop); }
bool is_escaped(const Value&) { return false; }

template <bool Upper>
bool case_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "a test", {});
  const Value text(to_text(in.context(), value));
  return truth(call_method(in, text, Upper ? "isupper" : "islower", {}));
}

int64_t integer_of(Interpreter& in, const Value& value) {
  return to_integer(in.context(), &value, 0, "what is tested");
}

bool test_even(Interpreter& in, const Value& value, const Arguments& arguments) {
  arguments.bind(in.context(), "even", {});
  return integer_of(in, value) % 2 == 0;
}
bool test_odd(Interpreter& in, const Value& value, const Arguments& arguments) {
  return !test_even(in, value, arguments);
}

bool test_divisible(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "divisibleby", {"num"});
  const Value rest =
      apply_binary(in.context(), Op::modulo, value, required(in.context(), given[0], "a divisor"));
  return rest.is_number() && rest.number() == 0;
}

template <Op Operator>
bool compare_test(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "a comparison", {"other"});
  return apply_compare(in.context(), Operator, value,
                       required(in.context(), given[0], "what it is compared with"));
}

/// Python's `is`: for what templates ask, the same type and value.
bool test_same(Interpreter& in, const Value& value, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "sameas", {"other"});
  const Value& other = required(in.context(), given[0], "what it is compared with");
  return value.type() == other.type() && equal(in.context(), value, other);
}

bool test_filter(Interpreter&, const Value& value, const Arguments&) {
  return value.is_string() && find_filter(value.view());
}
bool test_test(Interpreter&, const Value& value, const Arguments&) {
  return value.is_string() && find_test(value.view());
}

constexpr NamedTest kTests[] = {{"defined", plain_test<is_defined>},
                                {"undefined", plain_test<is_undefined>},
                                {"none", plain_test<is_none>},
                                {"string", plain_test<is_string>},
                                {"mapping", plain_test<is_mapping>},
                                {"sequence", plain_test<is_sequence>},
                                {"iterable", plain_test<is_iterable>},
                                {"boolean", plain_test<is_boolean>},
                                {"true", plain_test<is_true>},
                                {"false", plain_test<is_false>},
                                {"integer", plain_test<is_integer>},
                                {"float", plain_test<is_float>},
                                {"number", plain_test<is_number>},
                                {"callable", plain_test<is_callable>},
                                {"escaped", plain_test<is_escaped>},
                                {"lower", case_test<false>},
                                {"upper", case_test<true>},
                                {"even", test_even},
                                {"odd", test_odd},
                                {"divisibleby", test_divisible},
                                {"sameas", test_same},
                                {"filter", test_filter},
                                {"test", test_test},
                                {"in", compare_test<Op::in>},
                                {"eq", compare_test<Op::equal>},
                                {"equalto", compare_test<Op::equal>},
                                {"ne", compare_test<Op::not_equal>},
                                {"lt", compare_test<Op::less>},
                                {"lessthan", compare_test<Op::less>},
                                {"le", compare_test<Op::less_equal>},
                                {"gt", compare_test<Op::greater>},
                                {"greaterthan", compare_test<Op::greater>},
                                {"ge", compare_test<Op::greater_equal>}};

// ---- functions

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox has it

Value call_range(Interpreter& in, const Arguments& arguments) {
  Context& context = in.context();
  const auto given = arguments.bind(context, "range", {"start", "stop", "step"});
  const bool one = given[0] && !given[1];
  const int64_t start = one ? 0 : to_integer(context, given[0], 0, "range: start");
  const int64_t stop = to_integer(
      context, &required(context, one ? given[0] : given[1], "range: stop"), 0, "range: stop");
  const int64_t step = to_integer(context, given[2], 1, "range: step");
  const auto is_far = [](int64_t n) {
    constexpr int64_t kFar = int64_t{1} << 50;
    return n < -kFar || n > kFar;
  };
  if (step == 0 || is_far(start) || is_far(stop) || is_far(step))
    in.fail("range: a number is out of range");
  const int64_t n = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
  if (n > kMaxRange) in.fail("range: more than " + std::to_string(kMaxRange) + " numbers");
  context.step(static_cast<uint64_t>(std::max<int64_t>(n, 0)) / 8);
  std::vector<Value> items;
  for (int64_t i = 0; i < n; ++i) items.emplace_back(start + i * step);
  return make_list(context, std::move(items));
}

/// What dict(...) and namespace(...) are made of: a dict or a list of pairs, and names.
std::vector<std::pair<Value, Value>> members_of(Interpreter& in, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  if (arguments.positional.size() > 1) in.fail("dict: too many arguments");
  const auto put = [&](const Value& key, const Value& value) {
    const auto same = [&](const auto& item) { return equal(in.context(), item.first, key); };
    const auto found = std::ranges::find_if(items, same);
    if (found != items.end())
      found->second = value;
    else
      items.emplace_back(key, value);
  };
  for (const Value& base : arguments.positional) {
    if (base.is(Type::dict)) {
      for (const auto& [key, value] : base.dict().items) put(key, value);
      continue;
    }
    for (const Value& pair : in.iterate(base)) {
      const std::vector<Value> parts = in.iterate(pair);
      if (parts.size() != 2) in.fail("dict: a pair has " + std::to_string(parts.size()) + " parts");
      if (parts[0].is(Type::dict) || (parts[0].is(Type::list) && !parts[0].list().tuple))
        in.fail(std::string("a key of a dict is ") + type_name(parts[0]));
      put(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    in.context().allocate(sizeof(Text) + name.size());
    put(Value(std::string_view(name)), value);
  }
  return items;
}

Value call_dict(Interpreter& in, const Arguments& arguments) {
  return make_dict(in.context(), members_of(in, arguments));
}

Value call_namespace(Interpreter& in, const Arguments& arguments) {
  Namespace* space = in.new_namespace();
  for (const auto& [key, value] : members_of(in, arguments)) {
    in.context().allocate(sizeof(space->members[0]));
    space->members.emplace_back(
        string_argument(in.context(), &key, "a member of a namespace").view(), value);
  }
  return Value(space);
}

Value call_raise(Interpreter& in, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "raise_exception", {"message"});
  constexpr size_t kShown = 500;
  const Text text = given[0] ? to_text(in.context(), *given[0]) : Text();
  in.fail("it refuses the conversation: " +
          std::string(text.view().substr(0, char_offset(text.view(), kShown))));
}

Value call_time(Interpreter& in, const Arguments& arguments) {
  const auto given = arguments.bind(in.context(), "strftime_now", {"format"});
  const Text& format = string_argument(in.context(), given[0], "strftime_now: the format");
  return Value(
      Text(format_time(in.context(), format.view(), in.context().now), format.all_from_template()));
}

struct Global {
  std::string_view name;
  Value (*function)(Interpreter& interpreter, const Arguments& arguments);
};

constexpr Global kGlobals[] = {{"range", call_range},
                               {"dict", call_dict},
                               {"namespace", call_namespace},
                               {"raise_exception", call_raise},
                               {"strftime_now", call_time}};

}  // namespace

TestFunction find_test(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kSymbols[] = {
      {"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"<=", "le"}, {">", "gt"}, {">=", "ge"}};
  for (const auto& [symbol, word] : kSymbols)
    if (name == symbol) name = word;
  const auto* found = std::ranges::find(kTests, name, &NamedTest::name);
  return found != std::end(kTests) ? found->function : nullptr;
}

bool is_global(std::string_view name) {
  return std::ranges::find(kGlobals, name, &Global::name) != std::end(kGlobals);
}

Value call_global(Interpreter& interpreter, std::string_view name, const Arguments& arguments) {
  const auto* found = std::ranges::find(kGlobals, name, &Global::name);
  if (found == std::end(kGlobals))
    interpreter.fail("there is no function \"" + std::string(name) + "\"");
  return found->function(interpreter, arguments);
}

}  // namespace nibble::jinja
