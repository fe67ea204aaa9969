// Values of the template language: immutable but for namespaces, and never cyclic.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "load/json.h"
#include "text/jinja_text.h"

namespace nibble::jinja {

class Context;
struct Dict;
struct Function;
struct List;
struct Loop;
struct Namespace;

/// What a name or member that is not there gives. `name` lies in the template.
struct Undefined {
  std::string_view name;
  bool member = false;
};

class Value {
 public:
  enum class Type : uint8_t {
    undefined,
    none,
    boolean,
    integer,
    number,
    string,
    list,
    dict,
    space,  // a namespace
    function,
    loop
  };

  Value() = default;  // undefined
  explicit Value(Undefined value) : data_(value) {}
  Value(std::nullptr_t) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(Text value) : data_(std::make_shared<const Text>(std::move(value))) {}
  /// A string of the template's.
  explicit Value(std::string_view text) : Value(Text(text, true)) {}
  Value(std::shared_ptr<const List> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Dict> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Function> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Loop> value) : data_(std::move(value)) {}
  Value(Namespace* value) : data_(value) {}

  Type type() const { return static_cast<Type>(data_.index()); }
  bool is(Type type) const { return this->type() == type; }
  bool is_undefined() const { return is(Type::undefined); }
  bool is_none() const { return is(Type::none); }
  bool is_string() const { return is(Type::string); }
  /// Booleans count as 0 and 1, as in Python.
  bool is_integer() const { return is(Type::integer) || is(Type::boolean); }
  bool is_number() const { return is_integer() || is(Type::number); }

  // For the type that it is.
  const Undefined& undefined() const { return std::get<Undefined>(data_); }
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const {
    return is(Type::boolean) ? (boolean() ? 1 : 0) : std::get<int64_t>(data_);
  }
  double number() const {
    return is(Type::number) ? std::get<double>(data_) : static_cast<double>(integer());
  }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  std::string_view view() const { return text().view(); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  const Loop& loop() const { return *std::get<std::shared_ptr<const Loop>>(data_); }
  Namespace& space() const { return *std::get<Namespace*>(data_); }

 private:
  struct None {};
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
               std::shared_ptr<const Function>, std::shared_ptr<const Loop>>
      data_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;  // of lists and the like inside one another: it bounds every recursion over values
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in order of insertion, keys differ
  int depth = 1;
};

/// Owned by the interpreter, so that one may hold itself.
struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
};

/// The state of a for loop, as its body sees it.
struct Loop {
  std::vector<Value> items;
  size_t index = 0;  // from 0
  int level = 1;     // loops around this one, and itself
  int depth = 1;
};

struct Statement;
struct Scope;

/// Something that can be called.
struct Function {
  enum class Kind : uint8_t { macro, global, method };

  Kind kind = Kind::global;
  const Statement* macro = nullptr;  // of a macro, in the template
  Scope* scope = nullptr;            // where it was defined; owned by the interpreter
  Value self;                        // of a method
  std::string name;
  int depth = 1;
};

inline constexpr int kMaxValueDepth = 150;

/// Containers, with the memory that they take charged. Error if they nest too deep.
Value make_list(Context& context, std::vector<Value> items, bool tuple = false);
Value make_dict(Context& context, std::vector<std::pair<Value, Value>> items);
int depth_of(const Value& value);

/// The value of a JSON text. Its strings count as `from_template` says, but what {"role": ...} has
/// always does if it is a role that templates know.
Value from_json(Context& context, const Json& json, bool from_template = false);

const char* type_name(const Value& value);  // "a string", for errors
bool truth(const Value& value);
/// As Python's ==; the work is charged.
bool equal(Context& context, const Value& a, const Value& b);
/// < 0, 0, > 0 as Python orders a and b. Error if they have no order.
int compare(Context& context, const Value& a, const Value& b);
/// The member of a dict, or null.
const Value* find(Context& context, const Dict& dict, const Value& key);
const Value* find(Context& context, const Dict& dict, std::string_view key);

/// str(value): what printing gives.
Text to_text(Context& context, const Value& value);
/// repr(value).
Text repr(Context& context, const Value& value);
std::string repr_of_number(double value);

struct JsonStyle {
  std::string indent;  // of one level
  bool indented = false;
  bool sort_keys = false;
  bool ascii = false;
  std::string_view item_separator = ", ", key_separator = ": ";
};
/// json.dumps(value, ...). Error for what JSON does not have.
Text to_json(Context& context, const Value& value, const JsonStyle& style);

}  // namespace nibble::jinja
