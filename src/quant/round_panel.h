// Rounding to nearest of the 16 rows of a panel side by side.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"

namespace nibble {

/// Rounds each row as rtn4_group() or rtn8_group() does, for a shape of q4 or q8 with Scheme::f16
/// or f16_zero. w [n][16], n a multiple of the group; `codes` and `scales` are where those of the
/// first column go. Of rows beyond the first n_rows everything becomes zero.
void round_panel(const PackedShape& shape, const float* w, size_t n, size_t n_rows, uint8_t* codes,
                 uint8_t* scales);

}  // namespace nibble
