// GGUF's types whose codes are not evenly spaced, against what ggml 0.5 (llama.cpp, npm
// node-llama-cpp 3.22.1) makes of the same bytes: 1,024 blocks of each, so every point of a grid
// occurs, with d = 1.
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/mapped_file.h"
#include "check.h"
#include "quant/iq_grids.h"
#include "quant/packed_matrix.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Type {
  const char* name;
  DType type;
  size_t cols, bytes;  // of a block
  uint64_t hash;       // FNV-1a of 8 w as 32-bit integers, little-endian
};
constexpr size_t kBlocks = 1024;
constexpr Type kTypes[] = {
    {"IQ1_S", DType::iq1_s, 256, 50, 0x3678a8c7222218c5},
    {"IQ1_M", DType::iq1_m, 256, 56, 0x61d0ecb23a7c9f1d},
    {"IQ2_XXS", DType::iq2_xxs, 256, 66, 0x503d1f4c9f2a4357},
    {"IQ2_XS", DType::iq2_xs, 256, 74, 0xba0b855b0ee53dec},
    {"IQ2_S", DType::iq2_s, 256, 82, 0xf579ceac401fd5b4},
    {"IQ3_XXS", DType::iq3_xxs, 256, 98, 0xa1796abffa5a6130},
    {"IQ3_S", DType::iq3_s, 256, 110, 0xdaeb1dd26a618955},
    {"MXFP4", DType::mxfp4, 32, 17, 0xc2398d11c560e815},
};

/// Blocks of random bytes but for d, which is 1 (of MXFP4: 2^-2 to 2^5).
std::vector<uint8_t> blocks_of(const Type& t) {
  std::vector<uint8_t> all;
  auto random = static_cast<uint32_t>(t.bytes);
  for (size_t b = 0; b < kBlocks; ++b) {
    for (size_t i = 0; i < t.bytes; ++i) {
      random = random * 1664525 + 1013904223;
      all.push_back(static_cast<uint8_t>(random >> 24));
    }
    uint8_t* block = all.data() + b * t.bytes;
    if (t.type == DType::mxfp4) {
      block[0] = static_cast<uint8_t>(126 + block[0] % 8);
    } else if (t.type == DType::iq1_m) {  // its nibbles are the upper ones of four words
      static constexpr uint8_t kOne[4] = {0x00, 0x00, 0xc0, 0x30};
      for (size_t i = 0; i < 4; ++i)
        block[49 + 2 * i] = static_cast<uint8_t>((block[49 + 2 * i] & 15) | kOne[i]);
    } else {
      block[0] = 0;
      block[1] = 0x3c;
    }
  }
  return all;
}

void as_ggml_reads_them() {
  for (const Type& t : kTypes) {
    const std::vector<uint8_t> blocks = blocks_of(t);
    std::vector<float> w(kBlocks * t.cols);
    dequantize(t.type, reinterpret_cast<const std::byte*>(blocks.data()), w.size(), w.data());
    std::vector<int32_t> eightfold;
    for (const float x : w) {
      check_eq(std::rint(8 * x), 8 * x, t.name);
      eightfold.push_back(static_cast<int32_t>(8 * x));
    }
    check_eq(hash_of(std::as_bytes(std::span(eightfold))), t.hash, t.name);
  }
}

template <class Grid>
void check_grid(const Grid& grid, size_t n_cols, uint8_t n_levels, const std::string& name) {
  for (size_t i = 0; i < grid.size(); ++i) {
    for (size_t c = 0; c < 8; ++c)
      check((grid[i] >> (8 * c) & 255) < (c < n_cols ? n_levels : 1), name + ": a level");
    if (i > 0) check(grid[i] > grid[i - 1], name + ": the points do not ascend");
  }
}

void grids() {
  check_grid(kIq1Grid, 8, 3, "IQ1");
  check_grid(kIq2XxsGrid, 8, 3, "IQ2_XXS");
  check_grid(kIq2XsGrid, 8, 3, "IQ2_XS");
  check_grid(kIq2SGrid, 8, 3, "IQ2_S");
  check_grid(kIq3XxsGrid, 4, 8, "IQ3_XXS");
  check_grid(kIq3SGrid, 4, 8, "IQ3_S");
}

/// Scales of MXFP4 are fp16 in panels: what these hold is exact, what is less is 0.
void mxfp4_scales() {
  for (int e = 0; e < 144; ++e) {
    std::byte block[17] = {static_cast<std::byte>(e), std::byte{0x97}};
    float w[32];
    dequantize(DType::mxfp4, block, 32, w);
    const double unit = e < 104 ? 0 : std::ldexp(1.0, e - 128);
    check_eq(double{w[0]}, 12 * unit, "e = " + std::to_string(e));
    check_eq(double{w[16]}, -unit, "e = " + std::to_string(e));
  }
}

/// d of IQ2 and IQ3 is a fraction of what the weights are multiples of: small ones stay exact.
void small_scales() {
  for (const Type& t : kTypes) {
    if (t.type == DType::iq1_m || t.type == DType::mxfp4) continue;
    const std::vector<uint8_t> blocks = blocks_of(t);
    std::vector<uint8_t> small = blocks;
    for (size_t b = 0; b < kBlocks; ++b) {
      small[b * t.bytes] = 1;  // 2^-24
      small[b * t.bytes + 1] = 0;
    }
    const auto source = [&](const std::vector<uint8_t>& bytes) {
      MatrixSource out;
      out.where = t.name;
      out.rows = 16;
      out.cols = static_cast<uint32_t>(kBlocks / 16 * t.cols);
      out.type = t.type;
      out.data = std::as_bytes(std::span(bytes));
      return out;
    };
    const auto packed_row = [&](const std::vector<uint8_t>& bytes) {
      const MatrixSource from = source(bytes);
      const PackedShape shape = packed_shape_of(from, {});
      const size_t n_bytes = packed_layout(shape, t.name).total_bytes();
      AnonymousMemory memory(n_bytes);
      pack_panels(from, shape, {}, 0, 1, memory.data(), *find_kernels("scalar"));
      std::vector<float> row(from.cols);
      unpack_row(packed_view(shape, {memory.data(), n_bytes}, t.name), 5, row.data());
      return row;
    };
    const std::vector<float> one = packed_row(blocks), tiny = packed_row(small);
    for (size_t c = 0; c < one.size(); ++c) check_eq(tiny[c], std::ldexp(one[c], -24), t.name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"as ggml reads them", as_ggml_reads_them},
              {"grids", grids},
              {"scales of MXFP4", mxfp4_scales},
              {"small scales", small_scales}});
}
