// The table of an ARM kernel set, which differs from the others by its dot product alone.
#pragma once

#include "load_loops.h"
#include "neon_attention.h"
#include "neon_matmul.h"
#include "neon_vector.h"
#include "sum_words.h"
#include "vector_round.h"
#include "vector_rows.h"

namespace nibble {
namespace {

/// Multiply-adds on registers, 12 sums that do not wait for each other: of 64 products each, or 32
/// by a matrix instruction.
template <class Dot>
uint64_t peak_operations(size_t n_rounds) {
  constexpr size_t kSums = 12;
  int8x16_t q[4] = {vdupq_n_s8(1), vdupq_n_s8(2), vdupq_n_s8(3), vdupq_n_s8(4)};
  const int8x16_t x = vdupq_n_s8(5);
  int32x4_t sums[kSums];
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  for (size_t i = 0; i < n_rounds; ++i) {
    for (int32x4_t& sum : sums) {
      if constexpr (Dot::kPairs)
        sum = Dot::add_pairs(sum, q[0], x);
      else
        sum = Dot::template add<0>(sum, q, x);
    }
    __asm__ volatile("" : "+w"(q[0]), "+w"(q[1]), "+w"(q[2]), "+w"(q[3]));
  }
  for (const int32x4_t sum : sums) __asm__ volatile("" : : "w"(sum));
  return uint64_t{2} * (Dot::kPairs ? 32 : 64) * kSums * n_rounds;
}

template <class Dot>
constexpr Kernels neon_kernels(const char* name) {
  return {.name = name,
          .quantize_rows = quantize_rows<Neon>,
          .matmul_q = matmul_q<Dot>,
          .matmul_f32 = matmul_f32,
          .rms_norm = rms_norm<Neon>,
          .layer_norm = layer_norm<Neon>,
          .add = add<Neon>,
          .add_scaled = add_scaled<Neon>,
          .scale = scale<Neon>,
          .clamp = clamp<Neon>,
          .soft_cap = soft_cap<Neon>,
          .silu = silu<Neon>,
          .gelu = gelu<Neon>,
          .gelu_tanh = gelu_tanh<Neon>,
          .relu = relu<Neon>,
          .swiglu_oai = swiglu_oai<Neon>,
          .rope = rope<Neon>,
          .store_key = store_key<Neon>,
          .store_value = store_value<Neon>,
          .attention_chunk = attention_chunk,
          .attention_merge = attention_merge<Neon>,
          .attention_finish = attention_finish<Neon>,
          .peak_operations = peak_operations<Dot>,
          .sum_words = sum_words,
          .load = load_kernels(round_columns<NeonRound>)};
}

}  // namespace
}  // namespace nibble
