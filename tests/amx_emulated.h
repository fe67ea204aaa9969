// What test_amx asks of amx_emulated.cpp.
#pragma once

#include <cstdint>

namespace nibble::test {

/// Of the check by which amx.cpp decides whether tiles may be used: whether it accepts tiles that
/// follow the manual, and tiles that do not.
bool tile_check_accepts_the_manual();
/// Sums that start anew instead of adding to what is there.
bool tile_check_accepts_overwritten_sums();
/// Pairs of the second factor the wrong way round.
bool tile_check_accepts_swapped_pairs();
/// Rows in memory without a distance between them.
bool tile_check_accepts_ignored_strides();

/// c + sum of a[i] * b[i] over 32 columns as one TDPBF16PS computes it; a, b are bits of bf16.
float tile_dot(const uint16_t (&a)[32], const uint16_t (&b)[32], float c);

}  // namespace nibble::test
