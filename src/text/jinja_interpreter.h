// Runs a parsed template. Statements and calls are in jinja_interpreter.cpp, expressions in
// jinja_expressions.cpp.
#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace nibble::jinja {

/// The evaluated arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// Values by parameter, null where none was given. Error, naming `function`, for one that has no
  /// parameter.
  std::vector<const Value*> bind(const Context& context, std::string_view function,
                                 std::initializer_list<std::string_view> parameters) const;
};

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<NameId, Value>> variables;
  bool captured = false;  // a macro was defined in it: it may outlive its statement
};

class Interpreter {
 public:
  /// Both must outlive the interpreter.
  Interpreter(const Program& program, Context& context);

  /// Variables that the template does not name are dropped.
  void set_variable(std::string_view name, Value value);
  Text run();

  // ---- for the built-in functions
  Context& context() { return context_; }
  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool apply_test(std::string_view name, const Value& value, const Arguments& arguments);
  /// value.name and value[key]. Error for a member of what is undefined.
  Value member(const Value& value, std::string_view name);
  Value subscript(const Value& value, const Value& key);
  /// What a loop over the value visits. Error if it cannot be looped over.
  std::vector<Value> iterate(const Value& value);
  Namespace* new_namespace();
  [[noreturn]] void fail(const std::string& why) const { context_.fail(why); }
  /// Error if the value is undefined, naming it.
  void require_defined(const Value& value) const;

 private:
  enum class Flow : uint8_t { next, break_loop, continue_loop };
  class InScope;
  class IntoText;

  Flow run_body(const Body& body);
  Flow run_statement(const Statement& statement);
  Flow run_loop(const Statement& statement);
  Flow run_branch(const Statement& statement);
  Flow run_with(const Statement& statement);
  void run_assign_block(const Statement& statement);
  void run_call_block(const Statement& statement);
  std::vector<Value> loop_items(const Statement& statement);
  Text body_text(const Body& body);
  Value filtered(const Statement& statement, Text text);
  void assign(const Target& target, const Value& value);
  Value define_macro(const Statement& statement);
  Value call_macro(const Function& macro, const Arguments& arguments);

  Value evaluate(const Expr& expr);
  Value evaluate_name(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  bool evaluate_test(const Expr& expr);
  Arguments evaluate_arguments(const std::vector<Argument>& arguments);
  std::vector<Value> evaluate_all(const std::vector<ExprPtr>& items);

  void set(NameId id, Value value);
  const Value* find_variable(NameId id) const;
  void enter(Scope* parent);
  void leave(Scope* before);

  const Program& program_;
  Context& context_;
  std::unordered_map<std::string_view, NameId> ids_;
  std::deque<Scope> scopes_;
  std::vector<Scope*> free_scopes_;
  std::deque<Namespace> namespaces_;
  Scope* scope_ = nullptr;
  Builder* out_ = nullptr;
  const Value* block_text_ = nullptr;  // what the filters of a block begin with
  int loop_level_ = 0;
};

}  // namespace nibble::jinja
