// Codes of two and three bits, as packed.h draws their panels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::test {

/// The code of row r, column c of a panel of q2 or q3.
inline unsigned small_code(bool q3, const uint8_t* panel, size_t r, size_t c) {
  constexpr int kBit[2][4] = {{2, 3, 6, 7}, {0, 1, 4, 5}};  // columns 0 and 1, 2 and 3 of four
  const uint8_t* unit = panel + c / 16 * (q3 ? 96 : 64);
  const unsigned low = (unit[4 * r + c % 4] >> (c % 16 / 4 * 2)) & 3u;
  if (!q3) return low;
  const unsigned upper = unsigned{unit[64 + 2 * r + c % 2]} >> kBit[c % 4 / 2][c % 16 / 4];
  return low | (upper & 1u) << 2;
}

}  // namespace nibble::test
