#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble {

inline constexpr uint32_t kReplacementChar = 0xfffd;

struct DecodedChar {
  uint32_t code_point = 0;  // kReplacementChar if invalid
  uint8_t length = 0;       // bytes consumed, >= 1
  bool valid = false;
};

/// The character at text[pos], pos < text.size(). Overlong forms, surrogates and values above
/// U+10FFFF are invalid and consume one byte.
DecodedChar decode_utf8(std::string_view text, size_t pos);

/// U+0000 to U+001F, U+007F to U+009F: what a terminal may take for commands.
constexpr bool is_control(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
}

void append_utf8(std::string& out, uint32_t code_point);

bool is_valid_utf8(std::string_view text);

/// The number of leading bytes that form whole characters or can never become one; the rest is the
/// beginning of a character whose bytes are yet to come (0 to 3 bytes).
size_t complete_utf8_prefix(std::string_view text);

/// `text` with spaces for control characters (of one byte, or U+0080 to U+009F), so that a name
/// from a file is no command when it reaches a terminal.
std::string without_controls(std::string text);

/// `text` as a terminal may show it: repaired as by repair_utf8(), and without control characters
/// but for line breaks and tabs.
std::string terminal_text(std::string_view text);

/// `text` with each invalid byte replaced by U+FFFD.
std::string repair_utf8(std::string_view text);

}  // namespace nibble
