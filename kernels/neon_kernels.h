// The table of an ARM kernel set, which differs from the others by its dot product alone.
#pragma once

#include "neon_attention.h"
#include "neon_matmul.h"
#include "neon_rows.h"

namespace nibble {
namespace {

template <class Dot>
constexpr Kernels neon_kernels(const char* name) {
  return {.name = name,
          .quantize_rows = quantize_rows,
          .matmul_q = matmul_q<Dot>,
          .matmul_f32 = matmul_f32,
          .rms_norm = rms_norm,
          .layer_norm = layer_norm,
          .add = add,
          .add_scaled = add_scaled,
          .scale = scale,
          .clamp = clamp,
          .soft_cap = soft_cap,
          .silu = silu,
          .gelu = gelu,
          .gelu_tanh = gelu_tanh,
          .relu = relu,
          .rope = rope,
          .store_key = store_key,
          .store_value = store_value,
          .attention_chunk = attention_chunk,
          .attention_merge = attention_merge,
          .attention_finish = attention_finish};
}

}  // namespace
}  // namespace nibble
