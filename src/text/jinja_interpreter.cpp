#include "text/jinja_interpreter.h"

#include <algorithm>

#include "text/jinja_builtins.h"

namespace nibble::jinja {

/// A scope of its own while it lives.
class Interpreter::InScope {
 public:
  explicit InScope(Interpreter& interpreter) : InScope(interpreter, interpreter.scope_) {}
  InScope(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), before_(interpreter.scope_) {
    interpreter.enter(parent);
  }
  ~InScope() { interpreter_.leave(before_); }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

 private:
  Interpreter& interpreter_;
  Scope* before_;
};

/// Output goes to a text of its own while it lives.
class Interpreter::IntoText {
 public:
  explicit IntoText(Interpreter& interpreter)
      : interpreter_(interpreter), builder_(interpreter.context_), before_(interpreter.out_) {
    interpreter.out_ = &builder_;
  }
  ~IntoText() { interpreter_.out_ = before_; }
  IntoText(const IntoText&) = delete;
  IntoText& operator=(const IntoText&) = delete;
  Text take() { return builder_.take(); }

 private:
  Interpreter& interpreter_;
  Builder builder_;
  Builder* before_;
};

Interpreter::Interpreter(const Program& program, Context& context)
    : program_(program), context_(context) {
  for (size_t i = 0; i < program.names.size(); ++i)
    ids_.emplace(program.names[i], static_cast<NameId>(i));
  enter(nullptr);
}

void Interpreter::set_variable(std::string_view name, Value value) {
  const auto found = ids_.find(name);
  if (found != ids_.end()) set(found->second, std::move(value));
}

Text Interpreter::run() {
  IntoText output(*this);
  const InScope own(*this);
  run_body(program_.body);
  return output.take();
}

// ---- scopes

void Interpreter::enter(Scope* parent) {
  Scope* scope = nullptr;
  if (free_scopes_.empty()) {
    context_.allocate(sizeof(Scope));
    scope = &scopes_.emplace_back();
  } else {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  }
  scope->parent = parent;
  scope_ = scope;
}

void Interpreter::leave(Scope* before) {
  if (!scope_->captured) {
    scope_->variables.clear();
    free_scopes_.push_back(scope_);
  }
  scope_ = before;
}

void Interpreter::set(NameId id, Value value) {
  context_.step(scope_->variables.size() / 8);
  for (auto& [name, old] : scope_->variables) {
    if (name != id) continue;
    old = std::move(value);
    return;
  }
  context_.allocate(sizeof(scope_->variables[0]));
  scope_->variables.emplace_back(id, std::move(value));
}

const Value* Interpreter::find_variable(NameId id) const {
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    context_.step(scope->variables.size() / 8);
    for (const auto& [name, value] : scope->variables)
      if (name == id) return &value;
  }
  return nullptr;
}

Namespace* Interpreter::new_namespace() {
  context_.allocate(sizeof(Namespace));
  return &namespaces_.emplace_back();
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> values = iterate(value);
    if (values.size() != target.parts.size())
      fail("it assigns " + std::to_string(values.size()) + " values to " +
           std::to_string(target.parts.size()) + " names");
    for (size_t i = 0; i < values.size(); ++i) assign(target.parts[i], values[i]);
    return;
  }
  if (target.member.empty()) return set(target.id, value);
  const Value* base = find_variable(target.id);
  if (!base || !base->is(Value::Type::space))
    fail("it assigns to a member of \"" + target.name + "\", which is no namespace");
  auto& members = base->space().members;
  context_.step(members.size() / 8);
  const auto found = std::ranges::find(members, target.member,
                                       [](const auto& m) -> const std::string& { return m.first; });
  if (found != members.end()) {
    found->second = value;
  } else {
    context_.allocate(sizeof(members[0]) + target.member.size());
    members.emplace_back(target.member, value);
  }
}

// ---- statements

Interpreter::Flow Interpreter::run_body(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = run_statement(*statement);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement) {
  const Context::Level level(context_);
  context_.line = statement.line;
  context_.step();
  switch (statement.kind) {
    case Statement::Kind::data:
      out_->add(statement.data);
      return Flow::next;
    case Statement::Kind::print: {
      const Value value = evaluate(*statement.value);
      if (value.is_string())
        out_->add(value.text());
      else
        out_->add(to_text(context_, value));
      return Flow::next;
    }
    case Statement::Kind::evaluate:
      evaluate(*statement.value);
      return Flow::next;
    case Statement::Kind::loop:
      return run_loop(statement);
    case Statement::Kind::branch:
      return run_branch(statement);
    case Statement::Kind::assign:
      assign(statement.target, evaluate(*statement.value));
      return Flow::next;
    case Statement::Kind::assign_block:
      run_assign_block(statement);
      return Flow::next;
    case Statement::Kind::macro:
      set(statement.id, define_macro(statement));
      return Flow::next;
    case Statement::Kind::call_block:
      run_call_block(statement);
      return Flow::next;
    case Statement::Kind::filter_block:
      out_->add(to_text(context_, filtered(statement, body_text(statement.body))));
      return Flow::next;
    case Statement::Kind::with:
      return run_with(statement);
    case Statement::Kind::scope: {
      const InScope own(*this);
      return run_body(statement.body);
    }
    case Statement::Kind::break_loop:
      return Flow::break_loop;
    case Statement::Kind::continue_loop:
      break;
  }
  return Flow::continue_loop;
}

std::vector<Value> Interpreter::loop_items(const Statement& statement) {
  const Value iterable = evaluate(*statement.value);
  std::vector<Value> items = iterate(iterable);
  if (!statement.condition) return items;
  const InScope own(*this);
  std::vector<Value> kept;
  for (Value& item : items) {
    assign(statement.target, item);
    if (truth(evaluate(*statement.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::run_loop(const Statement& statement) {
  std::vector<Value> items = loop_items(statement);
  if (items.empty()) {
    const InScope own(*this);
    return run_body(statement.otherwise);
  }
  context_.allocate(sizeof(Loop));
  const auto loop = std::make_shared<Loop>();
  for (const Value& item : items) loop->depth = std::max(loop->depth, depth_of(item) + 1);
  if (loop->depth > kMaxValueDepth) fail("it puts values inside one another too deep");
  loop->items = std::move(items);
  loop->level = ++loop_level_;
  const auto id = ids_.find("loop");
  Flow flow = Flow::next;
  for (; loop->index < loop->items.size(); ++loop->index) {
    const InScope own(*this);
    context_.step();
    if (id != ids_.end()) set(id->second, Value(std::shared_ptr<const Loop>(loop)));
    assign(statement.target, loop->items[loop->index]);
    flow = run_body(statement.body);
    if (flow == Flow::break_loop) break;
  }
  --loop_level_;
  return Flow::next;
}

Interpreter::Flow Interpreter::run_branch(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition) context_.line = branch.condition->line;
    if (!branch.condition || truth(evaluate(*branch.condition))) return run_body(branch.body);
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::run_with(const Statement& statement) {
  std::vector<Value> values;
  for (const Parameter& parameter : statement.parameters)
    values.push_back(evaluate(*parameter.value));
  const InScope own(*this);
  for (size_t i = 0; i < values.size(); ++i) set(statement.parameters[i].id, std::move(values[i]));
  return run_body(statement.body);
}

Text Interpreter::body_text(const Body& body) {
  IntoText output(*this);
  const InScope own(*this);
  run_body(body);
  return output.take();
}

Value Interpreter::filtered(const Statement& statement, Text text) {
  Value value(std::move(text));
  if (!statement.value) return value;
  const Value* before = std::exchange(block_text_, &value);
  Value out = evaluate(*statement.value);
  block_text_ = before;
  return out;
}

void Interpreter::run_assign_block(const Statement& statement) {
  assign(statement.target, filtered(statement, body_text(statement.body)));
}

// ---- macros and calls

Value Interpreter::define_macro(const Statement& statement) {
  context_.allocate(sizeof(Function) + statement.name.size());
  for (Scope* scope = scope_; scope && !scope->captured; scope = scope->parent)
    scope->captured = true;
  auto macro = std::make_shared<Function>();
  macro->kind = Function::Kind::macro;
  macro->macro = &statement;
  macro->scope = scope_;
  macro->name = statement.name;
  return Value(std::shared_ptr<const Function>(std::move(macro)));
}

void Interpreter::run_call_block(const Statement& statement) {
  const Expr& call_expr = *statement.value;
  const Value callee = evaluate(*call_expr.items[0]);
  Arguments arguments = evaluate_arguments(call_expr.arguments);
  arguments.named.emplace_back("caller", define_macro(statement));
  out_->add(to_text(context_, call(callee, arguments)));
}

Value Interpreter::call_macro(const Function& macro, const Arguments& arguments) {
  const Context::Level level(context_);
  const Statement& statement = *macro.macro;
  const int line = context_.line;
  IntoText output(*this);
  const InScope own(*this, macro.scope);
  const std::vector<Parameter>& parameters = statement.parameters;
  context_.step(parameters.size() * arguments.named.size() / 8);
  if (arguments.positional.size() > parameters.size())
    fail("the macro \"" + macro.name + "\" takes " + std::to_string(parameters.size()) +
         " arguments");
  // Its own, not that of a macro around it; a parameter may have that name, too.
  if (const auto id = ids_.find("caller"); id != ids_.end())
    set(id->second, Value(Undefined{"caller"}));
  for (const auto& [name, value] : arguments.named) {
    const auto is_it = [&, &key = name](const Parameter& p) { return p.name == key; };
    const auto found = std::ranges::find_if(parameters, is_it);
    if (found == parameters.end() && name != "caller")
      fail("the macro \"" + macro.name + "\" has no parameter \"" + name + "\"");
    if (found != parameters.end() &&
        static_cast<size_t>(found - parameters.begin()) < arguments.positional.size())
      fail("the macro \"" + macro.name + "\" gets \"" + name + "\" twice");
    const auto id = ids_.find(name);
    if (id != ids_.end()) set(id->second, value);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto given = [&](const auto& named) { return named.first == parameters[i].name; };
    if (i < arguments.positional.size())
      set(parameters[i].id, arguments.positional[i]);
    else if (std::ranges::none_of(arguments.named, given))
      set(parameters[i].id, parameters[i].value ? evaluate(*parameters[i].value)
                                                : Value(Undefined{parameters[i].name}));
  }
  run_body(statement.body);
  context_.line = line;
  return Value(output.take());
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  require_defined(callee);
  if (!callee.is(Value::Type::function)) fail(std::string("it calls ") + type_name(callee));
  const Function& function = callee.function();
  switch (function.kind) {
    case Function::Kind::macro:
      return call_macro(function, arguments);
    case Function::Kind::global:
      return call_global(*this, function.name, arguments);
    case Function::Kind::method:
      break;
  }
  return call_method(*this, function.self, function.name, arguments);
}

Value Interpreter::apply_filter(std::string_view name, const Value& input,
                                const Arguments& arguments) {
  const FilterFunction filter = find_filter(name);
  if (!filter) fail("there is no filter \"" + std::string(name) + "\"");
  context_.step();
  return filter(*this, input, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& value,
                             const Arguments& arguments) {
  const TestFunction test = find_test(name);
  if (!test) fail("there is no test \"" + std::string(name) + "\"");
  context_.step();
  return test(*this, value, arguments);
}

std::vector<const Value*> Arguments::bind(
    const Context& context, std::string_view function,
    std::initializer_list<std::string_view> parameters) const {
  std::vector<const Value*> out(parameters.size(), nullptr);
  if (positional.size() > out.size()) context.fail(std::string(function) + ": too many arguments");
  for (size_t i = 0; i < positional.size(); ++i) out[i] = &positional[i];
  for (const auto& [name, value] : named) {
    const auto found = std::ranges::find(parameters, std::string_view(name));
    if (found == parameters.end())
      context.fail(std::string(function) + ": there is no argument \"" + name + "\"");
    out[static_cast<size_t>(found - parameters.begin())] = &value;
  }
  return out;
}

}  // namespace nibble::jinja
