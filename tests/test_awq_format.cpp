// The AutoAWQ gemm form: words written out by hand, and random grids taken apart by the table of
// the format, stated here anew.
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"
#include "quant/awq_format.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// The nibbles of a word, lowest first, hold these outputs (AutoAWQ's AWQ_ORDER).
constexpr int kOutputOfNibble[8] = {0, 2, 4, 6, 1, 3, 5, 7};

int output_in_word(uint32_t word, size_t output) {
  for (int n = 0; n < 8; ++n)
    if (kOutputOfNibble[n] == static_cast<int>(output)) return static_cast<int>(word >> 4 * n) & 15;
  return -1;
}

struct Grid {
  std::vector<uint8_t> codes, zeros;
  std::vector<uint16_t> scales;
  GridView view;
};

Grid random_grid(uint32_t rows, uint32_t cols, uint32_t group, unsigned seed) {
  std::mt19937 random(seed);
  Grid grid;
  for (size_t i = 0; i < size_t{rows} * cols; ++i)
    grid.codes.push_back(static_cast<uint8_t>(random() % 16));
  for (size_t i = 0; i < size_t{rows} * (cols / group); ++i) {
    grid.zeros.push_back(static_cast<uint8_t>(random() % 16));
    grid.scales.push_back(static_cast<uint16_t>(random()));
  }
  grid.view = {rows, cols, group, grid.codes, grid.scales, grid.zeros};
  return grid;
}

void test_vectors() {
  Grid grid = random_grid(8, 2, 1, 1);
  grid.codes = {0, 1, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 15};  // [8 outputs, 2 inputs]
  grid.zeros = {0, 15, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0};
  grid.view.codes = grid.codes;
  grid.view.zeros = grid.zeros;
  const AwqTensors t = pack_awq(grid.view, "p");
  check_eq(t.qweight.size(), size_t{2});
  check_eq(t.qweight[0], 0x75316420u, "output j holds j");
  check_eq(t.qweight[1], 0xf0000001u, "the first and the last output");
  check_eq(t.qzeros[0], 0x75316420u, "zeros in the order of codes, nothing subtracted");
  check_eq(t.qzeros[1], 0x0000000fu);
}

void test_random_grids() {
  struct Case {
    uint32_t rows, cols, group;
  };
  for (const Case c : {Case{8, 32, 32}, Case{32, 128, 64}, Case{264, 256, 128}, Case{24, 70, 10}}) {
    const Grid grid = random_grid(c.rows, c.cols, c.group, c.rows + c.cols);
    const AwqTensors t = pack_awq(grid.view, "p");
    const size_t words = c.rows / 8, groups = c.cols / c.group;
    check_eq(t.qweight.size(), c.cols * words);
    check_eq(t.qzeros.size(), groups * words);
    check_eq(t.scales.size(), groups * c.rows);
    size_t wrong = 0;
    for (size_t o = 0; o < c.rows; ++o) {
      for (size_t i = 0; i < c.cols; ++i)
        wrong += output_in_word(t.qweight[i * words + o / 8], o % 8) != grid.codes[o * c.cols + i];
      for (size_t g = 0; g < groups; ++g) {
        wrong += output_in_word(t.qzeros[g * words + o / 8], o % 8) != grid.zeros[o * groups + g];
        wrong += t.scales[g * c.rows + o] != grid.scales[o * groups + g];
      }
    }
    check_eq(wrong, size_t{0}, "codes, zeros and scales out of place");
  }
}

void test_refusals() {
  const Grid good = random_grid(16, 64, 32, 3);
  const auto refuse = [&](auto change, const char* part) {
    GridView view = good.view;
    change(view);
    check_error([&] { pack_awq(view, "layer.7"); }, part);
    check_error([&] { pack_awq(view, "layer.7"); }, "layer.7");
  };
  refuse([](GridView& g) { g.rows = 12; }, "multiple of 8");
  refuse([](GridView& g) { g.rows = 0; }, "multiple of 8");
  refuse([](GridView& g) { g.group = 48; }, "multiple of the group of 48");
  refuse([](GridView& g) { g.group = 0; }, "group of 0");
  refuse([](GridView& g) { g.rows = 24; }, "number of codes");
  refuse([](GridView& g) { g.scales = g.scales.first(31); }, "number of scales");
  refuse([](GridView& g) { g.zeros = {}; }, "number of zeros");
  const std::vector<uint8_t> large(16 * 64, 16);
  refuse([&](GridView& g) { g.codes = large; }, "codes above 15");
  refuse([&](GridView& g) { g.zeros = std::span(large).first(32); }, "zeros above 15");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"words of the gemm form", test_vectors},
              {"random grids", test_random_grids},
              {"grids that do not fit", test_refusals}});
}
