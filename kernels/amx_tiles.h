// The tiles of Intel AMX: eight registers of up to 16 rows of 64 bytes.
//
// Tiles are written by instructions that name them by number, so a tile is a template argument. The
// kernels know a class of this form only; tests/amx_emulated.cpp has the other one, in plain C++.
#pragma once

#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>

namespace nibble {
namespace {

/// The operand of LDTILECFG.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};  // of tiles 0 to 7
  uint8_t rows[16] = {};        // of tiles 0 to 7
};
static_assert(sizeof(TileConfig) == 64 && offsetof(TileConfig, row_bytes) == 16 &&
              offsetof(TileConfig, rows) == 48);

class AmxTiles {
 public:
  /// Zeroes all tiles.
  void configure(const TileConfig& config) { __asm__ volatile("ldtilecfg %0" : : "m"(config)); }
  /// Nothing of the tiles remains, so that the system need not save them.
  void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  /// From rows `stride` bytes apart.
  template <int kTile>
  void load(const void* rows, size_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(rows), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  void store(void* rows, size_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(rows), "r"(stride), "i"(kTile)
                     : "memory");
  }
  /// kSum [rows][16] of f32 += kLeft [rows][32] of bf16 times kRight [16][16 pairs] of bf16.
  template <int kSum, int kLeft, int kRight>
  void multiply_add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(kSum), "i"(kLeft), "i"(kRight));
  }

  /// The CPU has tiles of this size and bf16 products, and the system lets this process use them.
  static bool usable() { return cpu_has_tiles() && system_saves_tiles(); }

 private:
  static bool cpu_has_tiles() {
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kTilePalettes = 0x1d;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
    if (__get_cpuid_count(kTilePalettes, 1, &a, &b, &c, &d) == 0) return false;
    const unsigned row_bytes = b & 0xffff, n_tiles = b >> 16, rows = c & 0xffff;
    return row_bytes == 64 && n_tiles == 8 && rows == 16;
  }

  /// Linux gives tiles on request, to all threads of a process.
  static bool system_saves_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr unsigned kTileState = 3u << 17;                // of XCR0: configuration and data
    constexpr long kRequestPermission = 0x1023, kData = 18;  // ARCH_REQ_XCOMP_PERM
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & kTileState) == kTileState &&
           syscall(SYS_arch_prctl, kRequestPermission, kData) == 0;
#else
    return false;
#endif
  }
};

}  // namespace
}  // namespace nibble
