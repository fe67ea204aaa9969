// From rows to the order of panels: column after column, the values of 16 rows side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "packed.h"
#include "quant/ggml_split.h"

namespace nibble {

inline constexpr size_t kSquare = kPanelRows * kPanelRows;

/// x [16][16] to its transpose y. Each pass interleaves the two halves, so that position i becomes
/// 2 i modulo 255: after four of them rows and columns have changed places. Compilers make vectors
/// of such passes.
template <class T>
void transpose_square(T (&x)[kSquare], T (&y)[kSquare]) {
  T z[kSquare];
  const auto interleave = [](const T(&in)[kSquare], T(&out)[kSquare]) {
    for (size_t i = 0; i < kSquare / 2; ++i) {
      out[2 * i] = in[i];
      out[2 * i + 1] = in[kSquare / 2 + i];
    }
  };
  interleave(x, z);
  interleave(z, x);
  interleave(x, z);
  interleave(z, y);
}

/// The first n values (of type In) of n_rows <= 16 rows: convert(value) to out [n, up to a multiple
/// of 16][16]. What is not there counts as zero.
template <class In, class Out, class Convert>
void transpose_rows(const std::byte* const* rows, size_t n_rows, size_t n, Out* out,
                    Convert&& convert) {
  constexpr size_t kAhead = 512;  // bytes that are fetched ahead, as the rows are many
  In x[kSquare], y[kSquare];
  for (size_t c = 0; c < n; c += kPanelRows, out += kSquare) {
    const size_t count = std::min(kPanelRows, n - c);
    if (n_rows == kPanelRows && count == kPanelRows) {
      for (size_t r = 0; r < kPanelRows; ++r) {
        const std::byte* from = rows[r] + c * sizeof(In);
        fetch(from, kAhead);
        std::memcpy(x + r * kPanelRows, from, kPanelRows * sizeof(In));
      }
    } else {
      std::fill_n(x, kSquare, In{});
      for (size_t r = 0; r < n_rows; ++r)
        std::memcpy(x + r * kPanelRows, rows[r] + c * sizeof(In), count * sizeof(In));
    }
    transpose_square(x, y);
    for (size_t i = 0; i < kSquare; ++i) out[i] = convert(y[i]);
  }
}

}  // namespace nibble
