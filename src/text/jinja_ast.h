// A parsed template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace nibble::jinja {

using NameId = uint32_t;  // of a variable, an index into Program::names

enum class Op : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  negate,
  plus,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  enum class Kind : uint8_t { positional, keyword, list, dict };  // x, name=x, *x, **x
  Kind kind = Kind::positional;
  std::string name;
  ExprPtr value;
};

struct Expr {
  enum class Kind : uint8_t {
    constant,     // value
    name,         // id, text
    attribute,    // items[0].text
    subscript,    // items[0][items[1]]
    slice,        // items[0][items[1] : items[2] : items[3]], those from 1 on may be null
    call,         // items[0](arguments)
    filter,       // items[0] | text(arguments); items[0] is null at the start of a filter block
    test,         // items[0] is text(arguments)
    unary,        // ops[0] items[0]
    binary,       // items[0] ops[0] items[1]
    compare,      // items[0] ops[0] items[1] ops[1] items[2] ...
    concat,       // items, ~ between them
    logical_and,  // items
    logical_or,   // items
    logical_not,  // items[0]
    conditional,  // items[1] if items[0] else items[2]; that may be null
    list,         // items
    tuple,        // items
    dict          // items: key, value, key, value, ...
  };

  Kind kind = Kind::constant;
  int line = 0;
  int depth = 1;
  NameId id = 0;
  std::string text;
  Value value;
  std::vector<Op> ops;
  std::vector<ExprPtr> items;
  std::vector<Argument> arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What an assignment writes to: a name, a member of a namespace, or several of them.
struct Target {
  NameId id = 0;
  std::string name, member;
  std::vector<Target> parts;
};

struct Parameter {
  NameId id = 0;
  std::string name;
  ExprPtr value;  // of a macro: the default, or null
};

struct Branch {
  ExprPtr condition;  // null: else
  Body body;
};

struct Statement {
  enum class Kind : uint8_t {
    data,          // data
    print,         // value
    evaluate,      // value, thrown away
    loop,          // for target in value if condition: body, otherwise
    branch,        // branches
    assign,        // target = value
    assign_block,  // target = body, through the filters of value if there are any
    macro,         // id, name, parameters, body
    call_block,    // value is the call; parameters, body
    filter_block,  // body through the filters of value
    with,          // parameters, body
    scope,         // body
    break_loop,
    continue_loop
  };

  Kind kind = Kind::data;
  int line = 0;
  int depth = 1;
  NameId id = 0;
  std::string name;
  Text data;
  ExprPtr value, condition;
  Target target;
  std::vector<Parameter> parameters;
  std::vector<Branch> branches;
  Body body, otherwise;
};

struct Program {
  std::vector<std::string> names;
  Body body;
};

inline constexpr int kMaxTemplateDepth = 300;  // of nodes inside one another

}  // namespace nibble::jinja
