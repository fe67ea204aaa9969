// From rows to the order of panels: column after column, the values of 16 rows side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/checked.h"
#include "load_kernels.h"

namespace nibble {

/// Columns that are brought to order together: a multiple of every block and group.
inline constexpr size_t kRun = 256;
/// Elements of a run; buffers of that many take any number of its columns.
inline constexpr size_t kRunSize = kRun * kPanelRows;

/// The first n <= kRun values of n_rows <= 16 rows to out [kRun][16], by a function of LoadKernels.
/// What is not there, up to a multiple of 128 columns, becomes zero. `ahead` bytes behind what is
/// read is fetched.
template <class T>
void transpose_run(void (*transpose)(const void* const*, size_t, size_t, T*),
                   const std::byte* const* rows, size_t n_rows, size_t n, size_t ahead, T* out) {
  constexpr size_t kUnit = kLineBytes / sizeof(T);  // columns
  constexpr size_t kMost = 128;                     // columns of a group
  static constexpr T kZeros[kRun] = {};
  const size_t whole = n / kUnit * kUnit;
  const void* from[kPanelRows];
  for (size_t r = 0; r < n_rows; ++r) from[r] = rows[r];
  for (size_t r = n_rows; r < kPanelRows; ++r) from[r] = kZeros;
  transpose(from, whole, ahead, out);
  if (whole < n) {
    T rest[kPanelRows][kUnit] = {};
    for (size_t r = 0; r < n_rows; ++r)
      std::memcpy(rest[r], rows[r] + whole * sizeof(T), (n - whole) * sizeof(T));
    for (size_t r = 0; r < kPanelRows; ++r) from[r] = rest[r];
    transpose(from, kUnit, 0, out + whole * kPanelRows);
  }
  const size_t done = round_up(n, kUnit);
  std::fill(out + done * kPanelRows, out + round_up(done, kMost) * kPanelRows, T{0});
}

}  // namespace nibble
