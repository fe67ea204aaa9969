// How expressions are evaluated.
#include <algorithm>

#include "text/jinja_builtins.h"

namespace nibble::jinja {

using ExprKind = Expr::Kind;
using Type = Value::Type;

namespace {

/// The members of `loop`.
Value loop_member(const Loop& loop, std::string_view name) {
  const size_t n = loop.items.size(), i = loop.index;
  const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  if (name == "index") return number(i + 1);
  if (name == "index0") return number(i);
  if (name == "first") return Value(i == 0);
  if (name == "last") return Value(i + 1 == n);
  if (name == "length") return number(n);
  if (name == "revindex") return number(n - i);
  if (name == "revindex0") return number(n - i - 1);
  if (name == "previtem") return i > 0 ? loop.items[i - 1] : Value(Undefined{"previtem", true});
  if (name == "nextitem") return i + 1 < n ? loop.items[i + 1] : Value(Undefined{"nextitem", true});
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  return Value();
}

}  // namespace

void Interpreter::require_defined(const Value& value) const {
  if (!value.is_undefined()) return;
  const Undefined& undefined = value.undefined();
  if (undefined.name.empty()) fail("it uses an element that is not there");
  fail(std::string(undefined.member ? "there is no member" : "there is no variable") + " \"" +
       std::string(undefined.name) + "\"");
}

// Long: one case for each kind of expression, and what is more than a few lines is a function.
Value Interpreter::evaluate(const Expr& expr) {
  const Context::Level level(context_);
  context_.step();
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::name:
      return evaluate_name(expr);
    case ExprKind::attribute: {
      const Value base = evaluate(*expr.items[0]);
      context_.line = expr.line;
      return member(base, expr.text);
    }
    case ExprKind::subscript: {
      const Value base = evaluate(*expr.items[0]);
      const Value key = evaluate(*expr.items[1]);
      context_.line = expr.line;
      Value out = subscript(base, key);
      // The name of what is missing, for an error: it lies in the template if it is a constant.
      if (out.is_undefined() && key.is_string() && expr.items[1]->kind == ExprKind::constant)
        return Value(Undefined{expr.items[1]->value.view(), true});
      return out;
    }
    case ExprKind::slice:
      return evaluate_slice(expr);
    case ExprKind::call:
      return evaluate_call(expr);
    case ExprKind::filter: {
      const Value input = expr.items[0] ? evaluate(*expr.items[0]) : *block_text_;
      const Arguments arguments = evaluate_arguments(expr.arguments);
      context_.line = expr.line;
      return apply_filter(expr.text, input, arguments);
    }
    case ExprKind::test:
      return Value(evaluate_test(expr));
    case ExprKind::unary: {
      const Value value = evaluate(*expr.items[0]);
      require_defined(value);
      return apply_unary(context_, expr.ops[0], value);
    }
    case ExprKind::binary: {
      const Value a = evaluate(*expr.items[0]);
      const Value b = evaluate(*expr.items[1]);
      context_.line = expr.line;
      require_defined(a);
      require_defined(b);
      return apply_binary(context_, expr.ops[0], a, b);
    }
    case ExprKind::compare:
      return evaluate_compare(expr);
    case ExprKind::concat:
      return evaluate_concat(expr);
    case ExprKind::logical_and:
    case ExprKind::logical_or: {
      Value value;
      for (const ExprPtr& item : expr.items) {
        value = evaluate(*item);
        if (truth(value) == (expr.kind == ExprKind::logical_or)) break;
      }
      return value;
    }
    case ExprKind::logical_not:
      return Value(!truth(evaluate(*expr.items[0])));
    case ExprKind::conditional:
      if (truth(evaluate(*expr.items[0]))) return evaluate(*expr.items[1]);
      return expr.items[2] ? evaluate(*expr.items[2]) : Value();
    case ExprKind::list:
    case ExprKind::tuple:
      return make_list(context_, evaluate_all(expr.items), expr.kind == ExprKind::tuple);
    case ExprKind::dict:
      break;
  }
  return evaluate_dict(expr);
}

std::vector<Value> Interpreter::evaluate_all(const std::vector<ExprPtr>& items) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (const ExprPtr& item : items) out.push_back(evaluate(*item));
  return out;
}

Value Interpreter::evaluate_name(const Expr& expr) {
  if (const Value* found = find_variable(expr.id)) return *found;
  if (!is_global(expr.text)) return Value(Undefined{expr.text});
  context_.allocate(sizeof(Function));
  auto function = std::make_shared<Function>();
  function->name = expr.text;
  return Value(std::shared_ptr<const Function>(std::move(function)));
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value base = evaluate(*expr.items[0]);
  const auto part = [&](size_t i) {
    return expr.items[i] ? evaluate(*expr.items[i]) : Value(nullptr);
  };
  const Value start = part(1), stop = part(2), step = part(3);
  context_.line = expr.line;
  require_defined(base);
  return slice(context_, base, start, stop, step);
}

Value Interpreter::evaluate_call(const Expr& expr) {
  const Expr& callee = *expr.items[0];
  if (callee.kind != ExprKind::attribute) {
    const Value function = evaluate(callee);
    const Arguments arguments = evaluate_arguments(expr.arguments);
    context_.line = expr.line;
    return call(function, arguments);
  }
  const Value base = evaluate(*callee.items[0]);
  const Arguments arguments = evaluate_arguments(expr.arguments);
  context_.line = expr.line;
  if (has_method(base, callee.text)) return call_method(*this, base, callee.text, arguments);
  if (base.is(Type::loop) && callee.text == "cycle") {
    if (arguments.positional.empty()) fail("loop.cycle: nothing to cycle through");
    return arguments.positional[base.loop().index % arguments.positional.size()];
  }
  return call(member(base, callee.text), arguments);
}

Value Interpreter::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.items[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = evaluate(*expr.items[i + 1]);
    context_.line = expr.line;
    const Op op = expr.ops[i];
    if (op != Op::equal && op != Op::not_equal && op != Op::in && op != Op::not_in) {
      require_defined(left);
      require_defined(right);
    }
    if (!apply_compare(context_, op, left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  return Value(joined(context_, evaluate_all(expr.items), Text()));
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    Value key = evaluate(*expr.items[i]);
    Value value = evaluate(*expr.items[i + 1]);
    if (key.is(Type::dict) || (key.is(Type::list) && !key.list().tuple))
      fail(std::string("a key of a dict is ") + type_name(key));
    const auto same = [&](const auto& item) { return equal(context_, item.first, key); };
    const auto found = std::ranges::find_if(items, same);
    if (found != items.end())
      found->second = std::move(value);
    else
      items.emplace_back(std::move(key), std::move(value));
  }
  return make_dict(context_, std::move(items));
}

bool Interpreter::evaluate_test(const Expr& expr) {
  const Value value = evaluate(*expr.items[0]);
  const Arguments arguments = evaluate_arguments(expr.arguments);
  context_.line = expr.line;
  return apply_test(expr.text, value, arguments);
}

Arguments Interpreter::evaluate_arguments(const std::vector<Argument>& arguments) {
  Arguments out;
  for (const Argument& argument : arguments) {
    Value value = evaluate(*argument.value);
    switch (argument.kind) {
      case Argument::Kind::positional:
        out.positional.push_back(std::move(value));
        break;
      case Argument::Kind::keyword:
        out.named.emplace_back(argument.name, std::move(value));
        break;
      case Argument::Kind::list:
        for (Value& item : iterate(value)) out.positional.push_back(std::move(item));
        break;
      case Argument::Kind::dict:
        if (!value.is(Type::dict)) fail(std::string("\"**\" stands before ") + type_name(value));
        for (const auto& [key, item] : value.dict().items) {
          const std::string_view name =
              string_argument(context_, &key, "the name of an argument").view();
          context_.allocate(name.size() + sizeof(out.named[0]));
          out.named.emplace_back(name, item);
        }
        break;
    }
  }
  return out;
}

Value Interpreter::member(const Value& value, std::string_view name) {
  require_defined(value);
  if (has_method(value, name)) {
    context_.allocate(sizeof(Function));
    auto method = std::make_shared<Function>();
    method->kind = Function::Kind::method;
    method->self = value;
    method->name = name;
    method->depth = depth_of(value) + 1;
    if (method->depth > kMaxValueDepth) fail("it puts values inside one another too deep");
    return Value(std::shared_ptr<const Function>(std::move(method)));
  }
  if (value.is(Type::dict)) {
    if (const Value* found = find(context_, value.dict(), name)) return *found;
  } else if (value.is(Type::space)) {
    context_.step(value.space().members.size() / 8);
    for (const auto& [key, item] : value.space().members)
      if (key == name) return item;
  } else if (value.is(Type::loop)) {
    Value found = loop_member(value.loop(), name);
    if (!found.is_undefined()) return found;
  } else if (value.is(Type::function) && name == "name") {
    return Value(Text(value.function().name, true));
  }
  return Value(Undefined{name, true});
}

Value Interpreter::subscript(const Value& value, const Value& key) {
  require_defined(value);
  switch (value.type()) {
    case Type::dict: {
      const Value* found = find(context_, value.dict(), key);
      if (found) return *found;
      break;
    }
    case Type::list:
    case Type::string:
      if (key.is_integer()) return element(context_, value, key.integer());
      break;
    default:
      break;
  }
  if (!key.is_string()) return Value();
  Value out = member(value, key.view());
  return out.is_undefined() ? Value() : out;  // the key may live shorter than the value
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  std::vector<Value> items;
  switch (value.type()) {
    case Type::undefined:
      return items;
    case Type::list:
      context_.allocate(value.list().items.size() * sizeof(Value));
      context_.step(value.list().items.size() / 8);
      return value.list().items;
    case Type::dict:
      context_.allocate(value.dict().items.size() * sizeof(Value));
      for (const auto& [key, item] : value.dict().items) items.push_back(key);
      return items;
    case Type::string: {
      const Text& text = value.text();
      for (size_t pos = 0; pos < text.size();) {
        const size_t length = decode_utf8(text.view(), pos).length;
        context_.allocate(sizeof(Value) + sizeof(Text) + 32);
        items.emplace_back(text.slice(pos, length));
        pos += length;
      }
      return items;
    }
    default:
      fail(std::string("it loops over ") + type_name(value));
  }
}

}  // namespace nibble::jinja
