// The table of AMX: products and attention on tiles, all else as AVX-512 does it.
#pragma once

#include "amx_attention.h"
#include "amx_matmul.h"

namespace nibble {
namespace {

template <class Tiles>
constexpr Kernels amx_kernels() {
  Kernels kernels = vector_kernels<Avx512>("amx");
  kernels.activations = ActivationCode::bf16;
  kernels.row_unit = 2 * kTileRows;
  // With 256 rows all vector work of a block hides behind its products, and the sums of 56 panels
  // (900 KB) stay in a L2 of 2 MB beside a block's columns of the rows (128 KB).
  kernels.row_block = 256;
  kernels.piece_bytes = 1 << 20;
  kernels.quantize_rows = round_rows;
  kernels.matmul_q = matmul_tiles<Tiles>;
  kernels.attention_chunk = attention_chunk_tiles<Tiles>;
  kernels.peak_operations = peak_tile_operations<Tiles>;
  return kernels;
}

}  // namespace
}  // namespace nibble
