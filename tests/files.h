// Whole files and raw bytes for tests.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

namespace nibble::test {

/// The bytes of a value as they lie in memory (little-endian).
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// Writes a new file: one that is truncated and written again is flushed to disk by some systems.
void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

}  // namespace nibble::test
