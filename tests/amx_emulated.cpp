// The kernels of amx.cpp with tiles in plain C++, in the place of those of the library: programs
// that are linked with this file have an instruction set "amx" on every CPU that has AVX-512.
//
// The class below is what Intel's manual says of the instructions (Software Developer's Manual,
// volume 2: LDTILECFG, TILEZERO, TILELOADD, TILESTORED, TDPBF16PS), and it stops the program where
// the CPU would raise an exception. Compiled with flags of an instruction set: no standard
// templates here.
#include "amx_emulated.h"

#include "amx_check.h"

namespace nibble {
namespace {

class EmulatedTiles {
 public:
  void configure(const TileConfig& config) {
    unsigned char bytes[64];
    __builtin_memcpy(bytes, &config, sizeof bytes);
    require(bytes[0] == 1 && bytes[1] == 0);  // palette; no interrupted load to be restarted
    for (int i = 2; i < 16; ++i) require(bytes[i] == 0);
    for (int i = 0; i < 16; ++i) {
      const int row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8;
      const int rows = bytes[48 + i];
      require(i < 8 || (row_bytes == 0 && rows == 0));
      require((row_bytes == 0) == (rows == 0) && row_bytes <= 64 && rows <= 16);
      if (i < 8) tiles_[i] = {.rows = rows, .row_bytes = row_bytes};
    }
    configured_ = true;
  }
  void release() { *this = EmulatedTiles(); }
  ~EmulatedTiles() { require(!configured_); }

  template <int kTile>
  void zero() {
    Tile& tile = used(kTile);
    __builtin_memset(tile.bytes, 0, sizeof tile.bytes);
  }

  template <int kTile>
  void load(const void* rows, size_t stride) {
    Tile& tile = used(kTile);
    __builtin_memset(tile.bytes, 0, sizeof tile.bytes);
    for (int row = 0; row < tile.rows; ++row)
      __builtin_memcpy(tile.bytes[row],
                       static_cast<const char*>(rows) + static_cast<size_t>(row) * stride,
                       static_cast<size_t>(tile.row_bytes));
  }

  template <int kTile>
  void store(void* rows, size_t stride) {
    const Tile& tile = used(kTile);
    for (int row = 0; row < tile.rows; ++row)
      __builtin_memcpy(static_cast<char*>(rows) + static_cast<size_t>(row) * stride,
                       tile.bytes[row], static_cast<size_t>(tile.row_bytes));
  }

  template <int kSum, int kLeft, int kRight>
  void multiply_add() {
    static_assert(kSum != kLeft && kSum != kRight && kLeft != kRight);
    Tile& sum = used(kSum);
    const Tile& left = used(kLeft);
    const Tile& right = used(kRight);
    require(sum.row_bytes % 4 == 0 && left.row_bytes % 4 == 0 && right.row_bytes % 4 == 0);
    require(sum.rows == left.rows && sum.row_bytes == right.row_bytes);
    require(left.row_bytes / 4 == right.rows);
    for (int m = 0; m < sum.rows; ++m) {
      float even[16] = {}, odd[16] = {}, out[16];
      for (int k = 0; k < left.row_bytes / 4; ++k) {
        uint32_t pair, pairs[16];
        __builtin_memcpy(&pair, left.bytes[m] + 4 * k, sizeof pair);
        __builtin_memcpy(pairs, right.bytes[k], sizeof pairs);
        for (int n = 0; n < 16; ++n) {
          even[n] = multiply_add(low(pair), low(pairs[n]), even[n]);
          odd[n] = multiply_add(high(pair), high(pairs[n]), odd[n]);
        }
      }
      __builtin_memcpy(out, sum.bytes[m], sizeof out);
      for (int n = 0; n < sum.row_bytes / 4; ++n)
        out[n] = normal(normal(out[n]) + normal(even[n] + odd[n]));
      __builtin_memcpy(sum.bytes[m], out, static_cast<size_t>(sum.row_bytes));
    }
  }

 protected:
  template <int kTile>
  void swap_pairs() {
    for (auto& row : used(kTile).bytes)
      for (int n = 0; n < 16; ++n) {
        uint32_t pair;
        __builtin_memcpy(&pair, row + 4 * n, sizeof pair);
        pair = pair << 16 | pair >> 16;
        __builtin_memcpy(row + 4 * n, &pair, sizeof pair);
      }
  }

 private:
  struct Tile {
    int rows = 0, row_bytes = 0;
    alignas(64) char bytes[16][64] = {};
  };

  static void require(bool held) {
    if (!held) __builtin_trap();
  }
  Tile& used(int i) {
    require(configured_ && tiles_[i].rows > 0);
    return tiles_[i];
  }

  /// Denormals count as zeros of their sign, as inputs and as results.
  static float normal(float x) { return __builtin_fabsf(x) < 0x1p-126f ? x * 0.0f : x; }
  static float of_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
  static float low(uint32_t pair) { return normal(of_bits(pair << 16)); }
  static float high(uint32_t pair) { return normal(of_bits(pair & 0xffff0000u)); }
  static float multiply_add(float a, float b, float sum) {
    return normal(__builtin_fmaf(a, b, sum));
  }

  bool configured_ = false;
  Tile tiles_[8];
};

// Three ways to misread the manual.

struct OverwrittenSums : EmulatedTiles {
  template <int kSum, int kLeft, int kRight>
  void multiply_add() {
    zero<kSum>();
    EmulatedTiles::multiply_add<kSum, kLeft, kRight>();
  }
};

struct SwappedPairs : EmulatedTiles {
  template <int kTile>
  void load(const void* rows, size_t stride) {
    EmulatedTiles::load<kTile>(rows, stride);
    if (kTile == 6 || kTile == 7) swap_pairs<kTile>();
  }
};

struct IgnoredStrides : EmulatedTiles {
  template <int kTile>
  void load(const void* rows, size_t) {
    EmulatedTiles::load<kTile>(rows, 64);
  }
};

}  // namespace

namespace test {

bool tile_check_accepts_the_manual() { return tiles_agree_with_scalar(kAmxKernels); }
bool tile_check_accepts_overwritten_sums() {
  return tiles_agree_with_scalar(amx_kernels<OverwrittenSums>());
}
bool tile_check_accepts_swapped_pairs() {
  return tiles_agree_with_scalar(amx_kernels<SwappedPairs>());
}
bool tile_check_accepts_ignored_strides() {
  return tiles_agree_with_scalar(amx_kernels<IgnoredStrides>());
}

float tile_dot(const uint16_t (&a)[32], const uint16_t (&b)[32], float c) {
  uint16_t lines[16][32] = {};  // b in lane 0
  for (int i = 0; i < 32; ++i) lines[i / 2][i % 2] = b[i];
  float sums[16] = {c};
  EmulatedTiles tiles;
  tiles.configure(tile_config(1, 1));
  tiles.load<0>(sums, sizeof sums);
  tiles.load<4>(a, sizeof a);
  tiles.load<6>(lines, sizeof lines[0]);
  tiles.multiply_add<0, 4, 6>();
  tiles.store<0>(sums, sizeof sums);
  tiles.release();
  return sums[0];
}

}  // namespace test

const Kernels kAmxKernels = amx_kernels<EmulatedTiles>();

bool amx_usable() {
  static const bool usable = tiles_agree_with_scalar(kAmxKernels);
  return usable;
}

}  // namespace nibble
