// The scales of blocks in panels (packed.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "packed.h"
#include "quant/ggml_split.h"

namespace nibble {

/// Struct i of the scales of a panel.
template <class T>
T& struct_at(uint8_t* scales, size_t i) {
  return reinterpret_cast<T*>(scales)[i];
}

/// The scales of 256 columns into lane r.
inline void store_k6(const BlockScales& in, size_t r, ScaleK6& out) {
  out.d[r] = in.d;
  out.dmin[r] = in.m;
  for (size_t p = 0; p < 4; ++p) {
    const auto s0 = static_cast<uint8_t>(in.sc[2 * p]);
    const auto s1 = static_cast<uint8_t>(in.sc[2 * p + 1]);
    const uint8_t m0 = in.mn[2 * p], m1 = in.mn[2 * p + 1];
    out.sc[p][r] = static_cast<uint8_t>((s0 & 15) | s1 << 4);
    out.mn[p][r] = static_cast<uint8_t>((m0 & 15) | m1 << 4);
    out.hi[p][r] = static_cast<uint8_t>(s0 >> 4 | (s1 >> 4) << 2 | (m0 >> 4) << 4 | (m1 >> 4) << 6);
  }
}

/// The scales of the block that starts at column `col` into lane r of the panel's.
template <class Block>
void store_scales(const BlockScales& in, size_t col, size_t r, uint8_t* scales) {
  constexpr PackedForm form = Block::kForm;
  const size_t i = col / Block::kCols;
  if constexpr (form.scheme == Scheme::f16) {
    struct_at<ScaleF16>(scales, i).s[r] = in.d;
  } else if constexpr (form.scheme == Scheme::f16_min) {
    auto& out = struct_at<ScaleF16Min>(scales, i);
    out.s[r] = in.d;
    out.m[r] = in.m;
  } else if constexpr (form.scheme == Scheme::k6) {
    store_k6(in, r, struct_at<ScaleK6>(scales, i));
  } else if constexpr (form.scheme == Scheme::k8) {
    using Out = std::conditional_t<form.group == 16, ScaleK8x16, ScaleK8x32>;
    auto& out = struct_at<Out>(scales, i);
    out.d[r] = in.d;
    for (size_t g = 0; g < kSuperCols / form.group; ++g) out.sc[g][r] = in.sc[g];
  } else {
    static_assert(form.scheme == Scheme::k4_min);
    auto& out = struct_at<ScaleK4Min>(scales, i);
    out.d[r] = in.d;
    out.dmin[r] = in.m;
    for (size_t g = 0; g < kSuperCols / form.group; ++g)
      out.sc_mn[g][r] = static_cast<uint8_t>(in.sc[g] | in.mn[g] << 4);
  }
}

}  // namespace nibble
