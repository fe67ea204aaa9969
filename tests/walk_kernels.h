// The kernels of walks.h, for the vector set V of a file with its flags.
#pragma once

#include "vector_kernels.h"
#include "walks.h"

namespace nibble::test {
namespace {

template <class V, const Walk& kOnly>
struct Walking : V {
  static Walk walk() { return kOnly; }
};

template <class V>
constexpr BothWalks both_walks() {
  return {vector_kernels<Walking<V, kWalkOnAmd>>("one panel"),
          vector_kernels<Walking<V, kWalk>>("side by side")};
}

}  // namespace
}  // namespace nibble::test
