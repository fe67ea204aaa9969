// Packs matrices that come as codes, scales and zeros in tensors of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "load_kernels.h"
#include "packed.h"
#include "quant/grid_source.h"

namespace nibble {

/// One panel to fill: the source rows of its lanes, and where its codes and scales go.
struct GridPanel {
  uint32_t rows[kPanelRows] = {};
  size_t n_rows = 0;  // 1..16
  uint8_t* codes = nullptr;
  uint8_t* scales = nullptr;
};

/// Panels packed together share the lines and pages that they read.
inline constexpr size_t kGridPanels = 32;

/// Fills up to kGridPanels panels of a matrix of `shape`. Throws nothing but std::bad_alloc.
void pack_grid(const GridSource& grid, const PackedShape& shape, std::span<const GridPanel> panels,
               const LoadKernels& kernels);

}  // namespace nibble
