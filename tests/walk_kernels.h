// The products of walks.h, for the vector set V of a file with its flags.
#pragma once

#include "vector_matmul.h"
#include "walks.h"

namespace nibble::test {
namespace {

template <class V, const Walk& kOnly>
struct Walking : V {
  static Walk walk() { return kOnly; }
};

template <class V>
void few_rows(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
              float* y, size_t y_stride) {
  with_grid<V>(w.shape, [&]<Codes C, class Grid>() {
    matmul_few_rows<V, C, Grid>(w, panel_begin, panel_end, x, y, y_stride);
  });
}

template <class V>
constexpr BothWalks both_walks() {
  return {few_rows<Walking<V, kWalkOnAmd>>, few_rows<Walking<V, kWalk>>};
}

}  // namespace
}  // namespace nibble::test
