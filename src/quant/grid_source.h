// The grid of a matrix that Hugging Face checkpoints store as several tensors: codes, scales and
// zeros, w = scale * (code - zero) or scale * code + minimum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "load/checkpoint.h"
#include "quant/awq_format.h"
#include "quant/ggml_blocks.h"
#include "quant/ggml_split.h"

namespace nibble {

/// Where the codes lie. Words are 32 bits, little-endian, and hold 32 / bits codes.
enum class CodeLayout : uint8_t {
  row_words,     // [rows, cols / per word]: consecutive columns in a word, lowest bits first
  column_words,  // [cols / per word, rows]: likewise, the words of all rows side by side
  awq_gemm,      // [cols, rows / 8]: eight rows in a word, at the bits of kAwqShifts
  awq_fast,      // 16 bits [rows / 4, cols]; element c of line R: with u = c % 16, nibble j is row
                 // 4 R + c % 64 / 16, column c / 64 * 64 + u / 8 * 32 + 8 j + u % 8
};

struct GridSource {
  int bits = 4;  // 4 or 8
  CodeLayout layout = CodeLayout::row_words;
  const std::byte* codes = nullptr;
  size_t line = 0;  // words (awq_fast: elements) from one line of `layout` to the next

  /// Scales, f16, bf16, f32 or, 2^(e - 128), bytes e: that of (row, group) is element row *
  /// row_stride + group * group_stride.
  struct Scales {
    DType type = DType::f16;
    const std::byte* data = nullptr;
    size_t row_stride = 0, group_stride = 0;
  };
  Scales scales;
  const std::byte* minima = nullptr;  // fp16 at the places of the scales; else null

  /// Zeros in words along the rows or along the groups; with no data a constant.
  struct Zeros {
    std::span<const std::byte> data;
    bool along_rows = true;
    bool awq_order = false;  // of the eight in a word
    size_t row_stride = 0, group_stride = 0;
    uint32_t added = 0;  // to each word as it is stored
    int constant = 0;
  };
  Zeros zeros;

  uint32_t group = 0;  // columns of a scale; the last group may have fewer
  uint32_t n_groups = 0;
  PackedForm form{};  // what it packs into, exactly: form.group divides `group`, or n_groups is 1

  /// Packed column c is source column column_order[c]; empty if it is c. The input of the matrix
  /// must be permuted likewise.
  std::vector<uint32_t> column_order;

  int zero_at(size_t row, size_t g) const;
};

inline int GridSource::zero_at(size_t row, size_t g) const {
  if (zeros.data.empty()) return zeros.constant;
  const size_t per_word = static_cast<size_t>(32 / bits);
  size_t word = row * zeros.row_stride, i = g % per_word;
  if (zeros.along_rows) {
    word = row / per_word * zeros.row_stride + g * zeros.group_stride;
    i = row % per_word;
  } else {
    word += g / per_word * zeros.group_stride;
  }
  const size_t shift = zeros.awq_order ? kAwqShifts[i] : i * static_cast<size_t>(bits);
  const uint32_t stored = load_as<uint32_t>(zeros.data.data() + word * sizeof(uint32_t));
  return static_cast<int>((stored + zeros.added) >> shift & ((1u << bits) - 1));
}

}  // namespace nibble
