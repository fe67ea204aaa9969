// Both ways to walk through weights (kernels/vector_matmul.h), of which a CPU uses one.
#include "kernel_matrix.h"
#include "walks.h"

namespace {

using namespace nibble;
using namespace nibble::test;

void same_bits(const char* name, const BothWalks& walks) {
  if (find_kernels(name) == nullptr) test::skip(std::string("this CPU has no ") + name);
  Random random(1);
  for (const Format& f : quantized_formats()) {
    const Matrix m = random_matrix(random, f, 16 * 7 - 3, 300);  // four panels, and three
    const size_t stride = m.panels() * 16;
    for (const size_t n_rows : {1u, 2u, 3u, 4u, 5u, 8u, 11u}) {
      const Activations a = random_activations(random, m.view, n_rows, false);
      std::vector<float> first(n_rows * stride, -1.0f), second(n_rows * stride, -2.0f);
      walks.one_panel(m.view, 0, m.panels(), a.rows, first.data(), stride);
      walks.side_by_side(m.view, 0, m.panels(), a.rows, second.data(), stride);
      check_same(std::string(name) + ", " + f.name() + ", " + std::to_string(n_rows) + " rows",
                 first, second);
    }
  }
}

void avx2() { same_bits("avx2", kAvx2Walks); }
void avx512() { same_bits("avx512", kAvx512Walks); }

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv, {{"avx2", avx2}, {"avx512", avx512}});
}
