#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "nibble/error.h"

namespace nibble {

/// Reads little-endian values from the front of a range of bytes; Error(where, ...) at its end.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string where)
      : bytes_(bytes), where_(std::move(where)) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }
  const std::string& where() const { return where_; }

  /// The next n bytes.
  std::span<const std::byte> take(uint64_t n) {
    if (n > remaining())
      throw Error(where_, "the file is cut short or damaged: " + std::to_string(n) +
                              " bytes expected at byte " + std::to_string(position_) + ", found " +
                              std::to_string(remaining()));
    const auto taken = bytes_.subspan(position_, static_cast<size_t>(n));
    position_ += taken.size();
    return taken;
  }

  std::string_view take_text(uint64_t n) {
    const auto taken = take(n);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  template <class T>
  T read() {
    static_assert(std::is_arithmetic_v<T> && std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  size_t position_ = 0;
};

}  // namespace nibble
