// Classes of ASCII characters, whatever the locale, for bytes and for code points.
#pragma once

namespace nibble {

template <class Char>
constexpr bool is_digit(Char c) {
  return c >= '0' && c <= '9';
}

template <class Char>
constexpr bool is_letter(Char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// 0 to 15; -1 for what is no hexadecimal digit.
template <class Char>
constexpr int hex_value(Char c) {
  if (is_digit(c)) return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

}  // namespace nibble
