// The step between a source and a panel: its 16 rows, up to 256 columns, in a buffer that stays in
// the first-level cache, then written in panel order, one stream of lines.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"
#include "quant/ggml_split.h"

namespace nibble {

/// Columns of a step: a multiple of every block and group.
inline constexpr size_t kStep = 256;

template <class T>
struct Stage {
  alignas(64) T rows[kPanelRows][kStep] = {};  // rows beyond the matrix stay zero
};

/// Bytes that one column of 16 codes takes.
constexpr size_t column_bytes(Codes codes) { return codes == Codes::q4 ? 8 : 16; }

/// Writes n columns (a multiple of 8) of one-byte codes in panel order.
inline void write_lines(Codes codes, const Stage<uint8_t>& stage, size_t n, uint8_t* out) {
  for (size_t c = 0; c < n; c += 8)
    for (size_t r = 0; r < kPanelRows; ++r) {
      const uint64_t eight = load_as<uint64_t>(&stage.rows[r][c]);
      if (codes == Codes::q4) {
        store_as(out + 8 * c + 4 * r, static_cast<uint32_t>(eight | eight >> 28));
      } else {
        store_as(out + 16 * c + 4 * r, static_cast<uint32_t>(eight));
        store_as(out + 16 * c + kLineBytes + 4 * r, static_cast<uint32_t>(eight >> 32));
      }
    }
}

/// Struct i of the scales of a panel.
template <class T>
T& scale_at(uint8_t* scales, size_t i) {
  return reinterpret_cast<T*>(scales)[i];
}

}  // namespace nibble
