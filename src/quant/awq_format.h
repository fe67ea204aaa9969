// The tensors of a linear layer in a checkpoint of AutoAWQ, version "gemm": the form that
// transformers and vLLM load.
//
//   P.qweight  int32 [cols, rows / 8]          output o in word o / 8
//   P.qzeros   int32 [cols / group, rows / 8]  packed likewise; the zeros as they are
//   P.scales   fp16  [cols / group, rows]
//
// The eight outputs of a word lie in the order of kAwqShifts, not one after the other.
// Source: AutoAWQ, awq/utils/packing_utils.py and awq/modules/linear/gemm.py.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble {

/// The bit at which output o % 8 starts in its word.
inline constexpr std::array<uint8_t, 8> kAwqShifts = {0, 16, 4, 20, 8, 24, 12, 28};

/// A quantized matrix, w = scale * (code - zero); rows are outputs.
struct GridView {
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t group = 0;                // columns that share a scale and a zero
  std::span<const uint8_t> codes;    // [rows, cols], 0..15
  std::span<const uint16_t> scales;  // [rows, cols / group], fp16
  std::span<const uint8_t> zeros;    // [rows, cols / group], 0..15
};

struct AwqTensors {
  std::vector<uint32_t> qweight;  // [cols, rows / 8]
  std::vector<uint32_t> qzeros;   // [cols / group, rows / 8]
  std::vector<uint16_t> scales;   // [cols / group, rows]
};

/// Packs a grid. Error naming `where` if the rows are no multiple of 8, the columns none of the
/// group, a span has not the size that follows, or a code or zero exceeds 15. Any thread.
AwqTensors pack_awq(const GridView& grid, const std::string& where);

}  // namespace nibble
