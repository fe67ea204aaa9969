// What loading does to every weight, once per instruction set: how fast, that differs, but not a
// byte of what is written. See packed.h for panels and lines.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"

namespace nibble {

/// Panels of AWQ gemm whose codes share 64 bytes of the source.
inline constexpr size_t kAwqPanels = 8;

/// `ahead`: so many bytes behind what is read is fetched; it need not be there.
struct LoadKernels {
  /// The first n values of 16 rows, column after column: out [n, 16]. n is a multiple of 32 (16).
  void (*transpose_halves)(const void* const* rows, size_t n, size_t ahead, uint16_t* out);
  void (*transpose_words)(const void* const* rows, size_t n, size_t ahead, uint32_t* out);

  /// Rounds columns of a panel to nearest: w [n, 16], n a multiple of the group, are f32, f16 or
  /// bf16 as `from` says; `codes` and `scales` are where those of the first column go in a panel of
  /// `shape`, of q4 or q8 with Scheme::f16 (symmetric) or, q4 alone, f16_zero. What a code is,
  /// rtn4_group() and rtn8_group() of tests/rtn.h say.
  void (*round_columns)(const PackedShape& shape, Codes from, const void* w, size_t n,
                        uint8_t* codes, uint8_t* scales);

  /// n lines of q4 from the words of 16 rows, `stride` bytes from one line to the next, that hold
  /// eight columns each, the first one in the lowest bits.
  void (*lines_of_words)(const void* words, size_t stride, size_t n, size_t ahead, uint8_t* out);

  /// n columns, a multiple of 8, of kAwqPanels panels from AWQ gemm: 16 words for each column,
  /// `stride` bytes from one column to the next, of eight rows each at kAwqShifts. `panels` are
  /// where the first line of each goes.
  void (*lines_of_awq)(const void* words, size_t stride, size_t n, size_t ahead,
                       uint8_t* const* panels);

  /// n lines of q4 or q8 whose column c is column order[c] of the lines `in`.
  void (*permute_columns)(Codes codes, const uint8_t* in, const uint32_t* order, size_t n,
                          uint8_t* out);
};

}  // namespace nibble
