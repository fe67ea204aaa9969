// The operators, methods, filters, tests and functions of the template language.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_interpreter.h"

namespace nibble::jinja {

// ---- jinja_operators.cpp
Value apply_binary(Context& context, Op op, const Value& a, const Value& b);
Value apply_unary(Context& context, Op op, const Value& a);
bool apply_compare(Context& context, Op op, const Value& a, const Value& b);
/// Python's `item in container`.
bool contains(Context& context, const Value& container, const Value& item);
/// value[start:stop:step]; each may be none.
Value slice(Context& context, const Value& value, const Value& start, const Value& stop,
            const Value& step);
/// value[index], or undefined outside of it.
Value element(Context& context, const Value& value, int64_t index);
Value reversed(Interpreter& interpreter, const Value& value);

// ---- jinja_strings.cpp: text as Python treats it
size_t find_text(Context& context, std::string_view text, std::string_view part, size_t from);
Text to_case(Context& context, const Text& text, bool upper);
Text capitalized(Context& context, const Text& text);
Text title_case(Context& context, const Text& text);
Text stripped(Context& context, const Text& text, const Value* chars, bool left, bool right);
Text replaced(Context& context, const Text& text, const Text& from, const Text& to, int64_t count);
Text padded(Context& context, const Text& text, int64_t width, char align, std::string_view fill);
/// Concatenation with `separator` between the parts.
Text joined(Context& context, const std::vector<Value>& parts, const Text& separator);

// ---- jinja_methods.cpp
/// Whether values of this type have a method of that name.
bool has_method(const Value& value, std::string_view name);
Value call_method(Interpreter& interpreter, const Value& self, std::string_view name,
                  const Arguments& arguments);

// ---- jinja_format.cpp
Text format_percent(Context& context, const Text& format, const Value& values);
Text format_braces(Context& context, const Text& format, const Arguments& arguments);
std::string format_time(Context& context, std::string_view format, const std::tm& time);

// ---- jinja_filters.cpp, jinja_list_filters.cpp, jinja_predicates.cpp
using FilterFunction = Value (*)(Interpreter& interpreter, const Value& input,
                                 const Arguments& arguments);
struct Filter {
  std::string_view name;
  FilterFunction function;
};
FilterFunction find_filter(std::string_view name);       // null: none
FilterFunction find_list_filter(std::string_view name);  // those of lists
using TestFunction = bool (*)(Interpreter& interpreter, const Value& value,
                              const Arguments& arguments);
TestFunction find_test(std::string_view name);

// ---- jinja_functions.cpp
bool is_global(std::string_view name);
Value call_global(Interpreter& interpreter, std::string_view name, const Arguments& arguments);

// ---- arguments
int64_t to_integer(const Context& context, const Value* value, int64_t otherwise,
                   std::string_view what);
bool to_flag(const Value* value, bool otherwise);
/// The text of a string argument; Error if it is none.
const Text& string_argument(const Context& context, const Value* value, std::string_view what);
const Value& required(const Context& context, const Value* value, std::string_view what);

}  // namespace nibble::jinja
