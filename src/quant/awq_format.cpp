#include "quant/awq_format.h"

#include <algorithm>

#include "base/checked.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr uint32_t kWordRows = 8;

void check_span(size_t found, uint64_t rows, uint64_t cols, const char* what,
                const std::string& where) {
  const uint64_t expected = checked_mul(rows, cols, where);
  if (found != expected)
    throw Error::mismatch(where, std::string("the number of ") + what, std::to_string(expected),
                          std::to_string(found));
}

void check_four_bits(std::span<const uint8_t> values, const char* what, const std::string& where) {
  uint8_t all = 0;
  for (const uint8_t v : values) all |= v;
  if (all > 15) throw Error(where, std::string(what) + " above 15 do not fit 4 bits");
}

/// in [rows, cols] -> out [cols, rows / 8]. In tiles, so that both sides stay in the cache.
void pack_words(std::span<const uint8_t> in, size_t rows, size_t cols, uint32_t* out) {
  constexpr size_t kTileWords = 16, kTileCols = 64;
  const size_t words = rows / kWordRows;
  for (size_t c0 = 0; c0 < cols; c0 += kTileCols)
    for (size_t w0 = 0; w0 < words; w0 += kTileWords)
      for (size_t w = w0; w < std::min(words, w0 + kTileWords); ++w) {
        const uint8_t* row = in.data() + w * kWordRows * cols;
        for (size_t c = c0; c < std::min(cols, c0 + kTileCols); ++c) {
          uint32_t word = 0;
          for (size_t o = 0; o < kWordRows; ++o)
            word |= uint32_t{row[o * cols + c]} << kAwqShifts[o];
          out[c * words + w] = word;
        }
      }
}

}  // namespace

AwqTensors pack_awq(const GridView& grid, const std::string& where) {
  if (grid.rows == 0 || grid.rows % kWordRows != 0)
    throw Error::mismatch(where, "the number of outputs", "a multiple of 8",
                          std::to_string(grid.rows));
  if (grid.group == 0 || grid.cols == 0 || grid.cols % grid.group != 0)
    throw Error::mismatch(where, "the number of inputs",
                          "a multiple of the group of " + std::to_string(grid.group),
                          std::to_string(grid.cols));
  const size_t rows = grid.rows, cols = grid.cols, groups = grid.cols / grid.group;
  check_span(grid.codes.size(), rows, cols, "codes", where);
  check_span(grid.scales.size(), rows, groups, "scales", where);
  check_span(grid.zeros.size(), rows, groups, "zeros", where);
  check_four_bits(grid.codes, "codes", where);
  check_four_bits(grid.zeros, "zeros", where);

  AwqTensors out;
  out.qweight.resize(cols * (rows / kWordRows));
  out.qzeros.resize(groups * (rows / kWordRows));
  out.scales.resize(groups * rows);
  pack_words(grid.codes, rows, cols, out.qweight.data());
  pack_words(grid.zeros, rows, groups, out.qzeros.data());
  for (size_t r = 0; r < rows; ++r)
    for (size_t g = 0; g < groups; ++g) out.scales[g * rows + r] = grid.scales[r * groups + g];
  return out;
}

}  // namespace nibble
