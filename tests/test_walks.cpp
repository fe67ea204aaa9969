// Both ways to walk through weights (kernels/walk.h), of which a CPU uses one.
#include "walk.h"

#include <string_view>

#include "kernel_matrix.h"

namespace {

nibble::Walk walk_under_test;
size_t times_asked = 0;

}  // namespace

nibble::Walk nibble::best_walk() {
  ++times_asked;
  return walk_under_test;
}

namespace {

using namespace nibble;
using namespace nibble::test;

std::vector<float> product(const Kernels& kernels, const Matrix& m, const QuantizedRows& x,
                           Walk walk) {
  const size_t stride = m.panels() * 16;
  // What neither walk writes differs.
  std::vector<float> y(x.n_rows * stride, walk.one_panel ? -1.0f : -2.0f);
  walk_under_test = walk;
  kernels.matmul_q(m.view, 0, m.panels(), x, y.data(), stride);
  return y;
}

void same_bits() {
  Random random(1);
  size_t found = 0;
  for (const Kernels* kernels : sets_under_test()) {
    const std::string name = kernels->name;
    if (!name.starts_with("avx")) continue;
    ++found;
    for (const Format& f : quantized_formats()) {
      const Matrix m = random_matrix(random, f, 16 * 7 - 3, 300);  // four panels, and three
      for (const size_t n_rows : {1u, 2u, 3u, 4u, 5u, 8u, 11u}) {
        const Activations a = random_activations(random, m.view, n_rows, false);
        check_same(name + ", " + f.name() + ", " + std::to_string(n_rows) + " rows",
                   product(*kernels, m, a.rows, kWalkOnZen5), product(*kernels, m, a.rows, kWalk));
      }
    }
  }
  if (found == 0) skip("this CPU has no AVX2");
  check(times_asked > 0, "the kernels ask this file for their walk");
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv, {{"both walks give the same bits", same_bits}});
}
