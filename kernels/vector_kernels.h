// The table of a vector instruction set V: all of vector_*.h.
#pragma once

#include "load_loops.h"
#include "sum_words.h"
#include "vector_attention.h"
#include "vector_matmul.h"
#include "vector_peak.h"
#include "vector_round.h"
#include "vector_rows.h"

namespace nibble {
namespace {

template <class V>
constexpr Kernels vector_kernels(const char* name) {
  return {
      .name = name,
      .row_block = 512,         // shares the unpacking of a panel; rows come from the L3 cache
      .piece_bytes = 32 << 10,  // two panels, so that no thread waits long for the last piece
      .quantize_rows = quantize_rows<V>,
      .matmul_q = matmul_q<V>,
      .matmul_f32 = matmul_f32<V>,
      .rms_norm = rms_norm<V>,
      .layer_norm = layer_norm<V>,
      .add = add<V>,
      .add_scaled = add_scaled<V>,
      .scale = scale<V>,
      .clamp = clamp<V>,
      .soft_cap = soft_cap<V>,
      .silu = silu<V>,
      .gelu = gelu<V>,
      .gelu_tanh = gelu_tanh<V>,
      .relu = relu<V>,
      .swiglu_oai = swiglu_oai<V>,
      .rope = rope<V>,
      .store_key = store_key<V>,
      .store_value = store_value<V>,
      .attention_chunk = attention_chunk<V>,
      .attention_merge = attention_merge<V>,
      .attention_finish = attention_finish<V>,
      .peak_operations = peak_operations<V>,
      .sum_words = sum_words,
      .load = load_kernels(round_columns<V>),
  };
}

}  // namespace
}  // namespace nibble
