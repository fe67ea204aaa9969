// The members of a JSON object of settings, and which of them were asked for.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "load/json.h"
#include "nibble/config.h"

namespace nibble {

// Far above any published model, far below what could overflow a product of two.
inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxContext = int64_t{1} << 26;

/// Other names of one setting; the first is the one that errors call it by.
using Names = std::initializer_list<const char*>;

/// A null counts as absent. The `where` of errors is "PATH: KEY".
class Fields {
 public:
  Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string where(std::string_view key) const { return path_ + ": " + std::string(key); }

  const Json* find(const std::string& key) const;
  /// Whether the file says something of it, be it null.
  bool mentions(const std::string& key) const;
  const Json& get(const std::string& key) const;

  /// Counts: whole, positive, bounded. The form with names takes the first that is present.
  int32_t size(const std::string& key, int64_t max = kMaxSize) const;
  int32_t size(Names names, int64_t max = kMaxSize) const;
  int32_t size_or(const std::string& key, int32_t fallback, int64_t max = kMaxSize) const;
  int32_t size_or(Names names, int32_t fallback, int64_t max = kMaxSize) const;
  /// As size_or(), but 0 says that there is none.
  int32_t count_or(const std::string& key, int32_t fallback) const;
  /// A count from `low` on, or a list [n] of equal ones: what some converters write of each layer.
  int32_t uniform(const std::string& key, int32_t n, int32_t low) const;
  float number(const std::string& key) const;
  float number_or(const std::string& key, float fallback) const;
  float number_or(Names names, float fallback) const;
  bool bool_or(const std::string& key, bool fallback) const;
  std::string string_or(const std::string& key, const std::string& fallback) const;
  std::string string_or(Names names, const std::string& fallback) const;
  std::vector<float> numbers(const std::string& key) const;

  /// A setting that is known at one value only: refuses any other.
  void only(const std::string& key, bool known) const;
  void only(const std::string& key, int64_t known) const;
  void only(const std::string& key, const char* known) const;

  /// Refuses settings that change the arithmetic and that nobody asked for: those of published
  /// config.json files, or of GGUF files, whose keys begin with `prefix`.
  void refuse_unread(const std::string& architecture) const;
  void refuse_unread_gguf(const std::string& prefix) const;

  /// Refuses members that nobody asked for and that are not in `harmless`.
  void refuse_others(Names harmless) const;

 private:
  const Json* first_of(Names names, const char*& name) const;
  int32_t bounded(const Json& value, const std::string& key, int64_t low, int64_t high) const;
  void refuse_if_set(const std::string& key, double neutral, std::string_view word,
                     const std::string& architecture) const;
  [[noreturn]] void refuse(const std::string& key, const std::string& value,
                           const std::string& expected) const;

  const Json& object_;
  std::string path_;
  mutable std::unordered_set<std::string> read_;
};

[[noreturn]] void refuse_rope(const std::string& where, const std::string& type);

/// What a .nib file stores as its config, and back. The fields that are missing keep their default.
Json::Object config_to_object(const Config& config);
Config config_from_object(const Fields& fields);

/// Readers of the other formats, see config_reader.h.
struct Checkpoint;
Config config_from_hugging_face(const Checkpoint& checkpoint);
Config config_from_gguf(const Checkpoint& checkpoint);

/// The tensor of RoPE divisors of that name, [rope_dim / 2], in a GGUF or .nib file; empty if there
/// is none.
std::vector<float> rope_divisors(const Checkpoint& checkpoint, const char* name,
                                 const Config& config);

/// The error that an architecture is not known, and which are.
[[noreturn]] void refuse_architecture(const std::string& where, const std::string& name);

}  // namespace nibble
