// Tiles are used only where they have been seen to multiply as they should: no machine may compute
// wrong text because a manual was misread.
#pragma once

#include "amx_kernels.h"
#include "sets.h"

namespace nibble {
namespace {

/// A product of small integers, which int8, bf16 and f32 hold exactly: every table gives these
/// bits. Three panels, more rows than two tiles and more columns than a block, so that all paths
/// run.
struct TileCheck {
  static constexpr size_t kPanels = 3, kOutputs = kPanels * kPanelRows;
  static constexpr size_t kCols = 288, kGroup = 32, kGroups = kCols / kGroup, kMaxRows = 37;

  alignas(64) uint8_t codes[kPanels][kCols / 8 * kLineBytes];
  alignas(64) ScaleF16 scales[kPanels][kGroups];
  float x[kMaxRows][kCols];

  TileCheck() {
    uint32_t state = 1;
    const auto random = [&state] { return (state = state * 1664525 + 1013904223) >> 24; };
    for (auto& panel : codes)
      for (uint8_t& two : panel) two = static_cast<uint8_t>(random());
    constexpr uint16_t kHalf = 0x3800, kOne = 0x3c00;
    for (auto& panel : scales)
      for (ScaleF16& scale : panel)
        for (uint16_t& s : scale.s) s = random() % 2 == 0 ? kHalf : kOne;
    for (auto& row : x)
      for (size_t k = 0; k < kCols; ++k)  // the largest of a group makes its scale 1
        row[k] = k % kGroup == 5 ? 127.0f : static_cast<float>(random() % 255) - 127.0f;
  }

  /// y [n_rows, kOutputs]; the rest stays as it is.
  void multiply(const Kernels& kernels, size_t n_rows, float* y) const {
    alignas(64) int8_t rows[kMaxRows][kCols * sizeof(uint16_t)];
    float row_scales[kMaxRows][kGroups];
    int32_t row_sums[kMaxRows][kGroups];
    const QuantizedRows quantized = {rows[0],        row_scales[0], row_sums[0], n_rows,
                                     sizeof rows[0], kGroups,       kGroup};
    kernels.quantize_rows(x[0], kCols, kCols, quantized);
    constexpr uint8_t kZero = 16;  // no weight is 0
    const PackedView w = {
        .shape = {kOutputs, kCols, Codes::q4, Scheme::f16, kGroup, kZero},
        .cols_padded = kCols,
        .code_stride = sizeof codes[0],
        .scale_stride = sizeof scales[0],
        .codes = codes[0],
        .scales = reinterpret_cast<const uint8_t*>(scales),
    };
    kernels.matmul_q(w, 0, kPanels, quantized, y, kOutputs);
  }
};

inline bool tiles_agree_with_scalar(const Kernels& kernels) {
  const TileCheck check;
  constexpr size_t kRowCounts[] = {1, 9, 20, TileCheck::kMaxRows};
  for (const size_t n_rows : kRowCounts) {
    float found[TileCheck::kMaxRows * TileCheck::kOutputs] = {};
    float expected[TileCheck::kMaxRows * TileCheck::kOutputs] = {};
    check.multiply(kernels, n_rows, found);
    check.multiply(kScalarKernels, n_rows, expected);
    if (__builtin_memcmp(found, expected, sizeof found) != 0) return false;
  }
  return true;
}

}  // namespace
}  // namespace nibble
