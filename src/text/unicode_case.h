// Upper, lower and title case, as Python's str methods have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble {

enum class LetterCase : uint8_t { upper, lower, title };

/// Appends one code point in that case; up to three code points ("ß" gives "SS").
void append_in_case(std::string& out, uint32_t code_point, LetterCase to);
/// Whether the code point changes in one of the cases.
bool is_cased(uint32_t code_point);

/// Rows of the generated tables: code points first, first + stride, ... last move by `difference`.
struct CaseRun {
  uint32_t first, last, stride;
  int32_t difference;
};
struct FullCase {
  uint32_t code_point;
  uint32_t mapped[3];  // 0: none
};

}  // namespace nibble
