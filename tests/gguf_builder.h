// Writes GGUF files in memory, right ones and, field by field, wrong ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "files.h"

namespace nibble::test {

enum class GgufValue : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

class GgufBuilder {
 public:
  // What stands in the header, if not the truth.
  uint32_t version = 3;
  std::optional<uint64_t> n_tensors, n_keys;
  uint64_t alignment = 32;  // used to lay out the data; the key is the caller's to add

  static std::string text(std::string_view s) { return raw<uint64_t>(s.size()) + std::string(s); }

  /// An array's bytes: elements of `type`, already encoded.
  static std::string array(GgufValue type, const std::vector<std::string>& elements) {
    std::string bytes = raw(type) + raw<uint64_t>(elements.size());
    for (const std::string& element : elements) bytes += element;
    return bytes;
  }

  /// A key with a value of any type number and bytes.
  GgufBuilder& key(std::string_view name, uint32_t type, std::string_view bytes) {
    keys_ += text(name) + raw(type);
    keys_ += bytes;
    ++keys_count_;
    return *this;
  }
  GgufBuilder& key(std::string_view name, GgufValue type, std::string_view bytes) {
    return key(name, static_cast<uint32_t>(type), bytes);
  }
  GgufBuilder& u32(std::string_view name, uint32_t value) {
    return key(name, GgufValue::u32, raw(value));
  }
  GgufBuilder& f32(std::string_view name, float value) {
    return key(name, GgufValue::f32, raw(value));
  }
  GgufBuilder& string(std::string_view name, std::string_view value) {
    return key(name, GgufValue::string, text(value));
  }

  /// A tensor at the next aligned offset, or at `offset`; `dims` as in the file, the contiguous
  /// dimension first.
  GgufBuilder& tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims,
                      std::string_view data, std::optional<uint64_t> offset = {}) {
    data_.append((alignment - data_.size() % alignment) % alignment, '\0');
    infos_ += text(name) + raw(static_cast<uint32_t>(dims.size()));
    for (const uint64_t n : dims) infos_ += raw(n);
    infos_ += raw(type) + raw(offset.value_or(data_.size()));
    data_ += data;
    ++tensors_count_;
    return *this;
  }

  /// Everything before the data.
  std::string header() const {
    return "GGUF" + raw(version) + raw(n_tensors.value_or(tensors_count_)) +
           raw(n_keys.value_or(keys_count_)) + keys_ + infos_;
  }
  std::string build() const {
    std::string bytes = header();
    bytes.append((alignment - bytes.size() % alignment) % alignment, '\0');
    return bytes + data_;
  }

 private:
  std::string keys_, infos_, data_;
  uint64_t keys_count_ = 0, tensors_count_ = 0;
};

/// A file with one more key, and one that fills up what alignment asks for.
inline std::string with_key(const std::string& gguf, const std::string& name, GgufValue type,
                            const std::string& value) {
  constexpr size_t kHeader = 24;  // magic, version, number of tensors, number of keys
  constexpr size_t kAlignment = 32;
  const auto key = [](const std::string& n, GgufValue t, const std::string& v) {
    return GgufBuilder::text(n) + raw(static_cast<uint32_t>(t)) + v;
  };
  std::string added =
      key(name, type, value) + key("fill " + name, GgufValue::string, GgufBuilder::text(""));
  const size_t fill = (kAlignment - added.size() % kAlignment) % kAlignment;
  added = key(name, type, value) +
          key("fill " + name, GgufValue::string, GgufBuilder::text(std::string(fill, '-')));
  uint64_t n_keys = 0;
  std::memcpy(&n_keys, gguf.data() + kHeader - sizeof n_keys, sizeof n_keys);
  return gguf.substr(0, kHeader - sizeof n_keys) + raw(n_keys + 2) + added + gguf.substr(kHeader);
}

/// A file whose key of that name, which it must have, has another of equal length.
inline std::string with_key_renamed(std::string gguf, const std::string& from,
                                    const std::string& to) {
  const size_t at = gguf.find(GgufBuilder::text(from));
  check(at != std::string::npos && from.size() == to.size(), "there is no key " + from);
  return gguf.replace(at, GgufBuilder::text(to).size(), GgufBuilder::text(to));
}

}  // namespace nibble::test
