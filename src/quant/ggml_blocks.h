// The blocks of the quantized GGUF tensor types: their bytes, and the packed form that keeps them.
//
// All members are bytes, so that a block may lie at any address; two-byte fields are little-endian.
// A row of a tensor is a sequence of blocks. Each struct names the codes, scheme, group and zero of
// packed.h that hold the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed.h"

namespace nibble {

/// Columns of a block of the types without and with two levels of scales.
inline constexpr size_t kSmallBlock = 32;
inline constexpr size_t kSuperBlock = 256;
static_assert(kSuperBlock == kSuperCols);

/// The packed form of a block type.
struct PackedForm {
  Codes codes;
  Scheme scheme;
  uint16_t group;
  uint8_t zero;
};

// Types of 32 columns. The nibbles of `qs` are columns 0..15 (low) and 16..31 (high); bit c of `qh`
// is the fifth bit of column c.

struct BlockQ4_0 {  // w = d * (q - 8)
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::q4, Scheme::f16, 32, 8};
  uint8_t d[2];    // fp16
  uint8_t qs[16];  // [32] x 4 bits
};

struct BlockQ4_1 {  // w = d * q + m
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::q4, Scheme::f16_min, 32, 0};
  uint8_t d[2];    // fp16
  uint8_t m[2];    // fp16
  uint8_t qs[16];  // [32] x 4 bits
};

struct BlockQ5_0 {  // w = d * (q - 16)
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::q5, Scheme::f16, 32, 16};
  uint8_t d[2];    // fp16
  uint8_t qh[4];   // [32] x 1 bit
  uint8_t qs[16];  // [32] x 4 bits
};

struct BlockQ5_1 {  // w = d * q + m
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::q5, Scheme::f16_min, 32, 0};
  uint8_t d[2];    // fp16
  uint8_t m[2];    // fp16
  uint8_t qh[4];   // [32] x 1 bit
  uint8_t qs[16];  // [32] x 4 bits
};

struct BlockQ8_0 {  // w = d * q, q signed: code = q + 128
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::q8, Scheme::f16, 32, 128};
  uint8_t d[2];    // fp16
  uint8_t qs[32];  // [32] x int8
};

struct BlockIQ4_NL {  // w = d * (table[q] - 128), see code_table()
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::iq4, Scheme::f16, 32, 128};
  uint8_t d[2];    // fp16
  uint8_t qs[16];  // [32] x 4 bits
};

struct BlockMXFP4 {  // w = 2^(e - 128) * (table[q] - 32)
  static constexpr size_t kCols = kSmallBlock;
  static constexpr PackedForm kForm{Codes::fp4, Scheme::f16, 32, kIq3Zero};
  uint8_t e;
  uint8_t qs[16];  // [32] x 4 bits
};

// Types of 256 columns. Two-bit fields: byte b of half h (128 columns) holds the columns
// 128h + b + {0, 32, 64, 96}, lowest bits first.

struct BlockQ2_K {  // w = d * sc * q - dmin * mn, per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::q2, Scheme::k4_min, 16, 0};
  uint8_t scales[16];  // [16]: sc in the low, mn in the high nibble
  uint8_t qs[64];      // [2 halves][32] x 4 x 2 bits
  uint8_t d[2];        // fp16
  uint8_t dmin[2];     // fp16
};

struct BlockQ3_K {  // w = d * (sc - 32) * (q - 4), per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::q3, Scheme::k8, 16, 4};
  uint8_t hmask[32];   // bit i of byte b: bit 2 of the code of column 32i + b
  uint8_t qs[64];      // [2 halves][32] x 4 x 2 bits: bits 1:0 of the codes
  uint8_t scales[12];  // [16] x 6 bits: nibbles of 0..7 (low) and 8..15 (high), then bits 5:4
  uint8_t d[2];        // fp16
};

struct BlockQ4_K {  // w = d * sc * q - dmin * mn, per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::q4, Scheme::k6, 32, 0};
  uint8_t d[2];        // fp16
  uint8_t dmin[2];     // fp16
  uint8_t scales[12];  // [8] sc and [8] mn x 6 bits, see split_k6()
  uint8_t qs[128];     // [4][32]: columns 64i + b in the low, 64i + 32 + b in the high nibble
};

struct BlockQ5_K {  // as Q4_K with five bits
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::q5, Scheme::k6, 32, 0};
  uint8_t d[2];        // fp16
  uint8_t dmin[2];     // fp16
  uint8_t scales[12];  // as in Q4_K
  uint8_t qh[32];      // bit i of byte b: bit 4 of the code of column 32i + b
  uint8_t qs[128];     // as in Q4_K
};

struct BlockQ6_K {  // w = d * sc * (q - 32), per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::q6, Scheme::k8, 16, 32};
  uint8_t ql[128];     // [2 halves][64]: columns b in the low, 64 + b in the high nibble of a half
  uint8_t qh[64];      // [2 halves][32] x 4 x 2 bits: bits 5:4 of the codes
  uint8_t scales[16];  // [16] x int8
  uint8_t d[2];        // fp16
};

struct BlockIQ4_XS {  // w = d * (sc - 32) * (table[q] - 128), per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq4, Scheme::k8, 32, 128};
  uint8_t d[2];         // fp16
  uint8_t scales_h[2];  // [8] x 2 bits: bits 5:4 of sc
  uint8_t scales_l[4];  // [8] x 4 bits: bits 3:0 of sc
  uint8_t qs[128];      // [8][16]: columns 32i + b in the low, 32i + 16 + b in the high nibble
};

// The IQ types: w = d * unit * sc * (table[code] - zero), see code_table(). Points of iq_grids.h
// give the magnitudes of 8 or 4 columns, other bits their signs, bit i that of column i. Seven
// signs are followed by an eighth that makes their number even. Integers are little-endian.

struct BlockIQ1_S {  // sc per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq1, Scheme::k8, 16, 64};
  uint8_t d[2];    // fp16
  uint8_t qs[32];  // [32] points, bits 7:0
  uint8_t qh[16];  // [8] x 16 bits: bits 10:8 of four points, (sc - 1) / 2, and one sign for all
};

struct BlockIQ1_M {  // sc per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq1, Scheme::k8, 16, 64};
  uint8_t qs[32];     // [32] points, bits 7:0
  uint8_t qh[16];     // [32] x 4 bits: bits 10:8 of a point, and its sign
  uint8_t scales[8];  // [4] x 16 bits: four (sc - 1) / 2, and four bits of d (fp16)
};

struct BlockIQ2_XXS {  // sc per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq2, Scheme::k8, 16, 64};
  uint8_t d[2];    // fp16
  uint8_t qs[64];  // [8] x four points, and 32 bits: four times seven signs, (sc - 1) / 2
};

struct BlockIQ2_XS {  // sc per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq2, Scheme::k8, 16, 64};
  uint8_t d[2];       // fp16
  uint8_t qs[64];     // [32] x 16 bits: a point (9), seven signs
  uint8_t scales[8];  // [16] x 4 bits: (sc - 1) / 2
};

struct BlockIQ2_S {  // sc per 16 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq2, Scheme::k8, 16, 64};
  uint8_t d[2];       // fp16
  uint8_t qs[32];     // [32] points, bits 7:0
  uint8_t signs[32];  // [32] x 8 bits
  uint8_t qh[8];      // [32] x 2 bits: bits 9:8 of the points
  uint8_t scales[8];  // [16] x 4 bits: (sc - 1) / 2
};

struct BlockIQ3_XXS {  // sc per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq3_xxs, Scheme::k8, 32, kIq3Zero};
  uint8_t d[2];       // fp16
  uint8_t qs[64];     // [64] points
  uint8_t signs[32];  // [8] x 32 bits: four times seven signs, (sc - 1) / 2
};

struct BlockIQ3_S {  // sc per 32 columns
  static constexpr size_t kCols = kSuperBlock;
  static constexpr PackedForm kForm{Codes::iq3_s, Scheme::k8, 32, kIq3Zero};
  uint8_t d[2];       // fp16
  uint8_t qs[64];     // [64] points, bits 7:0
  uint8_t qh[8];      // [64] x 1 bit: bit 8 of the points
  uint8_t signs[32];  // [32] x 8 bits
  uint8_t scales[4];  // [8] x 4 bits: (sc - 1) / 2
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockIQ1_S) == 50 && sizeof(BlockIQ1_M) == 56 && sizeof(BlockIQ2_XXS) == 66);
static_assert(sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82 && sizeof(BlockIQ3_XXS) == 98);
static_assert(sizeof(BlockIQ3_S) == 110 && sizeof(BlockMXFP4) == 17);
static_assert(alignof(BlockQ4_0) == 1 && alignof(BlockQ4_K) == 1);

}  // namespace nibble
