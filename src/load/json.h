#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nibble {

/// A JSON value. Also what metadata of other formats is translated to. A value type: copies are
/// deep. Immutable apart from assignment.
class Json {
 public:
  enum class Type : uint8_t { null, boolean, integer, number, string, array, object };
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // in file order

  Json() = default;
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();
  Json(bool value) : value_(value) {}
  Json(int64_t value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(double value) : value_(value) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}

  Type type() const { return static_cast<Type>(value_.index()); }
  bool is_null() const { return type() == Type::null; }
  bool is_bool() const { return type() == Type::boolean; }
  bool is_integer() const { return type() == Type::integer; }
  bool is_number() const { return is_integer() || type() == Type::number; }
  bool is_string() const { return type() == Type::string; }
  bool is_array() const { return type() == Type::array; }
  bool is_object() const { return type() == Type::object; }

  /// The value of that type; Error(where, ...) naming both types if it is another.
  bool as_bool(const std::string& where) const;
  int64_t as_int(const std::string& where) const;  // a whole number; 1e3 and 4.0 count
  double as_number(const std::string& where) const;
  const std::string& as_string(const std::string& where) const;
  const Array& as_array(const std::string& where) const;
  const Object& as_object(const std::string& where) const;

  /// The member `key` of an object, or null if there is none or this is no object. Linear in the
  /// number of members: for small objects; iterate large ones.
  const Json* find(std::string_view key) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

inline constexpr int kMaxJsonDepth = 128;                  // arrays and objects inside one another
inline constexpr size_t kMaxJsonValues = size_t{1} << 23;  // several times the largest tokenizer

/// Parses a whole text (RFC 8259; UTF-8 checked, duplicate keys refused, depth and number of values
/// bounded as above, lone surrogate escapes become U+FFFD). Throws Error(where, ...) with line and
/// column. Integers that do not fit int64 become numbers; numbers that do not fit a double are
/// refused. Time is linear in the text but for the keys of an object, which are sorted.
Json parse_json(std::string_view text, const std::string& where);

/// The text of a value: compact, or indented by `indent` spaces a level. Invalid UTF-8 in strings
/// is replaced by U+FFFD; NaN and infinity by null.
std::string write_json(const Json& value, int indent = -1);

}  // namespace nibble
