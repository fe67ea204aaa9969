// Matrix products of the ARM kernel sets, for every (codes, scheme), 16 columns at a time: the
// bytes of 4 rows in 4 quads of columns meet the 16 int8 activations of a row of x.
#pragma once

#include <type_traits>

#include "neon_common.h"

namespace nibble {
namespace {

/// One group of a panel: w = s * (q - z) or w = s * q + m for its 16 rows.
struct Affine {
  Block s;
  Block m;  // schemes with a minimum
  Quads z;  // the others
};

inline Block multiply(const Block& a, const Block& b) {
  Block y;
  for (size_t i = 0; i < 4; ++i) y.v[i] = vmulq_f32(a.v[i], b.v[i]);
  return y;
}

inline Quads splat_int(int32_t value) {
  const int32x4_t v = vdupq_n_s32(value);
  return {{v, v, v, v}};
}

/// (bytes >> shift) & mask.
inline uint8x16_t bits_of(const uint8_t* bytes, int shift, uint8_t mask) {
  const int8x16_t right = vdupq_n_s8(static_cast<int8_t>(-shift));
  return vandq_u8(vshlq_u8(vld1q_u8(bytes), right), vdupq_n_u8(mask));
}

// How each scheme is read. `scales` is where the panel's begin, g the group.
template <Scheme kScheme>
struct Scales {};

template <>
struct Scales<Scheme::f16> {
  static constexpr bool kHasMin = false;
  static Affine load(const PackedShape& shape, const uint8_t* scales, size_t g) {
    return {.s = load_halves(scales + g * sizeof(ScaleF16)), .m = {}, .z = splat_int(shape.zero)};
  }
};

template <>
struct Scales<Scheme::f16_zero> {
  static constexpr bool kHasMin = false;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g * sizeof(ScaleF16Zero);
    return {.s = load_halves(block + offsetof(ScaleF16Zero, s)),
            .m = {},
            .z = widen(vld1q_u8(block + offsetof(ScaleF16Zero, z)))};
  }
};

template <>
struct Scales<Scheme::f32_zero> {
  static constexpr bool kHasMin = false;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g * sizeof(ScaleF32Zero);
    return {.s = ElementF32::load(block + offsetof(ScaleF32Zero, s)),
            .m = {},
            .z = widen(vld1q_u8(block + offsetof(ScaleF32Zero, z)))};
  }
};

template <>
struct Scales<Scheme::f16_min> {
  static constexpr bool kHasMin = true;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g * sizeof(ScaleF16Min);
    return {.s = load_halves(block + offsetof(ScaleF16Min, s)),
            .m = load_halves(block + offsetof(ScaleF16Min, m)),
            .z = {}};
  }
};

/// s = d * sc and m = -dmin * mn, both exact in f32 (11 by at most 8 bits).
inline Affine two_level(const uint8_t* d, const uint8_t* dmin, uint8x16_t sc, uint8x16_t mn) {
  Block m = multiply(load_halves(dmin), to_float(widen(mn)));
  for (size_t i = 0; i < 4; ++i) m.v[i] = vnegq_f32(m.v[i]);
  return {.s = multiply(load_halves(d), to_float(widen(sc))), .m = m, .z = {}};
}

template <>
struct Scales<Scheme::k6> {
  static constexpr bool kHasMin = true;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g / 8 * sizeof(ScaleK6);
    const size_t row = g % 8 / 2 * kPanelRows;
    const int odd = static_cast<int>(g % 2);
    const uint8_t* hi = block + offsetof(ScaleK6, hi) + row;
    const uint8x16_t sc_low = bits_of(block + offsetof(ScaleK6, sc) + row, 4 * odd, 15);
    const uint8x16_t mn_low = bits_of(block + offsetof(ScaleK6, mn) + row, 4 * odd, 15);
    const uint8x16_t sc = vorrq_u8(sc_low, vshlq_n_u8(bits_of(hi, 2 * odd, 3), 4));
    const uint8x16_t mn = vorrq_u8(mn_low, vshlq_n_u8(bits_of(hi, 2 * odd + 4, 3), 4));
    return two_level(block + offsetof(ScaleK6, d), block + offsetof(ScaleK6, dmin), sc, mn);
  }
};

template <>
struct Scales<Scheme::k8> {
  static constexpr bool kHasMin = false;
  static Affine load(const PackedShape& shape, const uint8_t* scales, size_t g) {
    const size_t n_groups = kSuperCols / shape.group;
    const size_t bytes = shape.group == 16 ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32);
    static_assert(offsetof(ScaleK8x16, sc) == offsetof(ScaleK8x32, sc));
    const uint8_t* block = scales + g / n_groups * bytes;
    const uint8_t* sc = block + offsetof(ScaleK8x16, sc) + g % n_groups * kPanelRows;
    const Block d =
        multiply(load_halves(block + offsetof(ScaleK8x16, d)), splat(code_table(shape.codes).unit));
    return {.s = multiply(d, ElementI8::load(sc)), .m = {}, .z = splat_int(shape.zero)};
  }
};

template <>
struct Scales<Scheme::k8_min> {
  static constexpr bool kHasMin = true;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g / 16 * sizeof(ScaleK8Min);
    const size_t row = g % 16 * kPanelRows;
    return two_level(block + offsetof(ScaleK8Min, d), block + offsetof(ScaleK8Min, dmin),
                     vld1q_u8(block + offsetof(ScaleK8Min, sc) + row),
                     vld1q_u8(block + offsetof(ScaleK8Min, mn) + row));
  }
};

template <>
struct Scales<Scheme::k4_min> {
  static constexpr bool kHasMin = true;
  static Affine load(const PackedShape&, const uint8_t* scales, size_t g) {
    const uint8_t* block = scales + g / 16 * sizeof(ScaleK4Min);
    const uint8_t* both = block + offsetof(ScaleK4Min, sc_mn) + g % 16 * kPanelRows;
    return two_level(block + offsetof(ScaleK4Min, d), block + offsetof(ScaleK4Min, dmin),
                     bits_of(both, 0, 15), bits_of(both, 4, 15));
  }
};

/// Rows 4i..4i+3 of the upper bits of a unit, where upper_shift() says.
template <Codes C>
uint8x16_t upper_bits(const uint8_t* unit, size_t i) {
  const uint8_t* at = unit + kUpperOffset<C>;
  if constexpr (!kHalfUpper<C>) return vld1q_u8(at + 16 * i);
  const uint32x4_t x = vmovl_u16(vreinterpret_u16_u8(vld1_u8(at + 8 * i)));
  return vreinterpretq_u8_u32(vorrq_u32(x, vshlq_n_u32(x, 18)));
}

/// Codes of three bits, two parts of a unit at once in the nibbles of their bytes.
inline void load_three_bits(uint8x16_t low, uint8x16_t upper, int8x16_t (&q)[4]) {
  const uint8x16_t low_mask = vdupq_n_u8(0x33), upper_mask = vdupq_n_u8(0x44);
  const uint8x16_t even = vorrq_u8(vandq_u8(low, low_mask), vandq_u8(upper, upper_mask));
  const uint8x16_t odd =
      vorrq_u8(vandq_u8(vshrq_n_u8(low, 2), low_mask), vandq_u8(vshrq_n_u8(upper, 1), upper_mask));
  q[0] = vreinterpretq_s8_u8(vandq_u8(even, vdupq_n_u8(15)));
  q[1] = vreinterpretq_s8_u8(vandq_u8(odd, vdupq_n_u8(15)));
  q[2] = vreinterpretq_s8_u8(vshrq_n_u8(even, 4));
  q[3] = vreinterpretq_s8_u8(vshrq_n_u8(odd, 4));
}

/// How codes are read. kMost is the greatest magnitude that load() gives.
template <Codes C>
struct PlainCodes {
  static constexpr int32_t kBias = 0;
  static constexpr int32_t kMost = ones(code_bits(C));
  /// Rows 4i..4i+3 of the 16 columns from column k on of a panel's codes: q[c] has columns
  /// 4c..4c+3 of each, as signed bytes, less kBias. `table`: of codes that are indices.
  static void load(const uint8_t* codes, const CodeTable&, size_t k, size_t i, int8x16_t (&q)[4]) {
    const uint8_t* unit = codes + k / kUnitCols<C> * kUnitBytes<C>;
    k %= kUnitCols<C>;
    const uint8_t* line = unit + k / kLineCols<C> * kLineBytes + 16 * i;
    const uint8x16_t mask = vdupq_n_u8(ones(kLowBits<C>));
    const uint8x16_t a = vld1q_u8(line);
    if constexpr (kHalfUpper<C>) return load_three_bits(a, upper_bits<C>(unit, i), q);
    q[0] = vreinterpretq_s8_u8(vandq_u8(a, mask));
    if constexpr (kLowBits<C> == 2) {
      q[1] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(a, 2), mask));
      q[2] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(a, 4), mask));
      q[3] = vreinterpretq_s8_u8(vshrq_n_u8(a, 6));
    } else {
      const uint8x16_t b = vld1q_u8(line + kLineBytes);
      q[1] = vreinterpretq_s8_u8(vshrq_n_u8(a, 4));
      q[2] = vreinterpretq_s8_u8(vandq_u8(b, mask));
      q[3] = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
    }
    if constexpr (kUpperBits<C> != 0) {
      const uint8x16_t bits = upper_bits<C>(unit, i);
      const uint8x16_t upper = vdupq_n_u8(ones(kUpperBits<C>) << kLowBits<C>);
      for (size_t c = 0; c < 4; ++c) {
        const auto up = static_cast<int8_t>(kLowBits<C> - (k / 4 + c) * kUpperBits<C>);
        const uint8x16_t moved = vshlq_u8(bits, vdupq_n_s8(up));  // right if `up` is negative
        q[c] = vorrq_s8(q[c], vreinterpretq_s8_u8(vandq_u8(moved, upper)));
      }
    }
  }
};

template <Codes C>
struct TableCodes {
  static constexpr int32_t kBias = kByteCodes<C> ? 128 : 0;
  static constexpr int32_t kMost = kByteCodes<C> ? 128 : 126;
  static void load(const uint8_t* codes, const CodeTable& table, size_t k, size_t i,
                   int8x16_t (&q)[4]) {
    PlainCodes<C>::load(codes, table, k, i, q);
    const int8x16_t all = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(table.codes), vdupq_n_u8(kBias)));
    for (size_t c = 0; c < 4; ++c) q[c] = vqtbl1q_s8(all, vreinterpretq_u8_s8(q[c]));
  }
};

struct ByteCodes {
  static constexpr int32_t kBias = 128;  // codes are unsigned, the products signed
  static constexpr int32_t kMost = 128;
  static void load(const uint8_t* codes, const CodeTable&, size_t k, size_t i, int8x16_t (&q)[4]) {
    for (size_t c = 0; c < 4; ++c) {
      const uint8x16_t code = vld1q_u8(codes + (k / 4 + c) * kLineBytes + 16 * i);
      q[c] = vreinterpretq_s8_u8(veorq_u8(code, vdupq_n_u8(128)));
    }
  }
};

template <Codes C>
using CodeFormat =
    std::conditional_t<C == Codes::q8, ByteCodes,
                       std::conditional_t<kTableCodes<C>, TableCodes<C>, PlainCodes<C>>>;

/// y += w x of one group, from dot = sum of (q - kBias) * x over the group. Exact as integers and
/// as floats: |dot| <= 128 * 127 * 128 columns and |z * xsum| <= 255 * 127 * 128 < 2^23.
template <int32_t kBias, bool kHasMin>
Block add_group(const Block& y, const Quads& dot, const Affine& w, float x_scale, int32_t x_sum) {
  Block out;
  for (size_t i = 0; i < 4; ++i) {
    if constexpr (kHasMin) {
      const int32x4_t sum = vaddq_s32(dot.v[i], vdupq_n_s32(kBias * x_sum));
      const float32x4_t offset = vmulq_n_f32(w.m.v[i], static_cast<float>(x_sum));
      const float32x4_t value = vfmaq_f32(offset, w.s.v[i], vcvtq_f32_s32(sum));
      out.v[i] = vfmaq_f32(y.v[i], value, vdupq_n_f32(x_scale));
    } else {
      const int32x4_t zero = vsubq_s32(w.z.v[i], vdupq_n_s32(kBias));
      const int32x4_t sum = vmlsq_s32(dot.v[i], zero, vdupq_n_s32(x_sum));
      out.v[i] = vfmaq_f32(y.v[i], vmulq_n_f32(w.s.v[i], x_scale), vcvtq_f32_s32(sum));
    }
  }
  return out;
}

/// dot[t] = sums of (q - kBias) * x over the columns of a group, row by row of x.
/// Dot::add<kMost>(acc, q, x) adds to the lanes of acc the products of 16 columns, q as
/// CodeFormat::load gives it.
template <class Dot, class Format, size_t T>
void dot_rows(const uint8_t* codes, const CodeTable& table, size_t group, const int8_t* x,
              size_t x_stride, Quads (&dot)[T]) {
  for (size_t t = 0; t < T; ++t) dot[t] = splat_int(0);
  for (size_t k = 0; k < group; k += 16) {
    int8x16_t xq[T];
    for (size_t t = 0; t < T; ++t) xq[t] = vld1q_s8(x + t * x_stride + k);
    for (size_t i = 0; i < 4; ++i) {
      int8x16_t q[4];
      Format::load(codes, table, k, i, q);
      for (size_t t = 0; t < T; ++t)
        dot[t].v[i] = Dot::template add<Format::kMost>(dot[t].v[i], q, xq[t]);
    }
  }
}

/// Lanes [a0 b0 a1 b1] and [a2 b2 a3 b3] of 32 bits.
struct Zipped {
  int8x16_t low;
  int8x16_t high;
};
inline Zipped zip_lanes(int8x16_t a, int8x16_t b) {
  const int32x4_t p = vreinterpretq_s32_s8(a);
  const int32x4_t q = vreinterpretq_s32_s8(b);
  return {vreinterpretq_s8_s32(vzip1q_s32(p, q)), vreinterpretq_s8_s32(vzip2q_s32(p, q))};
}
/// The first halves of a and b, then the second.
inline Zipped zip_halves(int8x16_t a, int8x16_t b) {
  return {vcombine_s8(vget_low_s8(a), vget_low_s8(b)),
          vcombine_s8(vget_high_s8(a), vget_high_s8(b))};
}

/// The same, rows of x in pairs: Dot::add_pairs(acc, w, x) adds to the lanes [w0x0 w0x1 w1x0 w1x1]
/// the products of 8 columns of two rows of weights (a row in each half of w) and of two rows of x.
template <class Dot, class Format, size_t T>
void dot_pairs(const uint8_t* codes, const CodeTable& table, size_t group, const int8_t* x,
               size_t x_stride, Quads (&dot)[T]) {
  static_assert(T % 2 == 0);
  Quads low[T / 2];   // [i]: rows 4i and 4i + 1 of the panel
  Quads high[T / 2];  // [i]: rows 4i + 2 and 4i + 3
  for (size_t t = 0; t < T / 2; ++t) low[t] = high[t] = splat_int(0);
  for (size_t k = 0; k < group; k += 16) {
    Zipped xq[T / 2];  // columns k..k+7, then k+8..k+15
    for (size_t t = 0; t < T / 2; ++t) {
      const int8_t* first = x + 2 * t * x_stride + k;
      xq[t] = zip_halves(vld1q_s8(first), vld1q_s8(first + x_stride));
    }
    for (size_t i = 0; i < 4; ++i) {
      int8x16_t q[4];
      Format::load(codes, table, k, i, q);
      const Zipped a = zip_lanes(q[0], q[1]);
      const Zipped b = zip_lanes(q[2], q[3]);
      for (size_t t = 0; t < T / 2; ++t) {
        low[t].v[i] =
            Dot::add_pairs(Dot::add_pairs(low[t].v[i], a.low, xq[t].low), b.low, xq[t].high);
        high[t].v[i] =
            Dot::add_pairs(Dot::add_pairs(high[t].v[i], a.high, xq[t].low), b.high, xq[t].high);
      }
    }
  }
  for (size_t t = 0; t < T / 2; ++t)
    for (size_t i = 0; i < 4; ++i) {
      dot[2 * t].v[i] = vuzp1q_s32(low[t].v[i], high[t].v[i]);
      dot[2 * t + 1].v[i] = vuzp2q_s32(low[t].v[i], high[t].v[i]);
    }
}

/// One panel by T rows of x. Integer sums are exact, so that rows in pairs and rows alone agree.
template <class Dot, Codes kCodes, Scheme kScheme, size_t T>
void quantized_tile(const PackedView& w, size_t panel, const QuantizedRows& x, size_t row, float* y,
                    size_t y_stride) {
  using Format = CodeFormat<kCodes>;
  const CodeTable& table = code_table(w.shape.codes);
  const size_t group = w.shape.group;
  const size_t n_groups = w.cols_padded / group;
  const uint8_t* panel_codes = w.codes + panel * w.code_stride;
  const uint8_t* scales = w.scales + panel * w.scale_stride;
  const int8_t* codes = x.codes + row * x.stride;
  Block out[T];
  for (size_t t = 0; t < T; ++t) out[t] = splat(0.0f);
  for (size_t g = 0; g < n_groups; ++g) {
    Quads dot[T];
    if constexpr (Dot::kPairs && T % 2 == 0)
      dot_pairs<Dot, Format>(panel_codes, table, group, codes + g * group, x.stride, dot);
    else
      dot_rows<Dot, Format>(panel_codes, table, group, codes + g * group, x.stride, dot);
    panel_codes += group / kUnitCols<kCodes> * kUnitBytes<kCodes>;
    const Affine affine = Scales<kScheme>::load(w.shape, scales, g);
    for (size_t t = 0; t < T; ++t) {
      const size_t at = (row + t) * x.n_groups + g;
      out[t] = add_group<Format::kBias, Scales<kScheme>::kHasMin>(out[t], dot[t], affine,
                                                                  x.scales[at], x.sums[at]);
    }
  }
  for (size_t t = 0; t < T; ++t) store_block(y + (row + t) * y_stride + panel * kPanelRows, out[t]);
}

constexpr size_t kRowsPerBlock = 32;  // rows of x that stay in the cache while panels pass

/// Calls fn(Rows<n>, panel, row) for all panels and rows.
template <class Fn>
void for_tiles(size_t panel_begin, size_t panel_end, size_t n_rows, const Fn& fn) {
  for (size_t begin = 0; begin < n_rows; begin += kRowsPerBlock) {
    const size_t end = min_of(begin + kRowsPerBlock, n_rows);
    for (size_t panel = panel_begin; panel < panel_end; ++panel)
      for_row_tiles(begin, end, [&](auto rows, size_t row) { fn(rows, panel, row); });
  }
}

template <class Dot, Codes kCodes, Scheme kScheme>
void matmul_q_as(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
                 float* y, size_t y_stride) {
  for_tiles(panel_begin, panel_end, x.n_rows, [&](auto rows, size_t panel, size_t row) {
    quantized_tile<Dot, kCodes, kScheme, decltype(rows)::kCount>(w, panel, x, row, y, y_stride);
  });
}

/// A column of a quantized panel as 16 weights.
template <Codes kCodes, Scheme kScheme>
Block column_of(const uint8_t* codes, const CodeTable& table, const Affine& affine, size_t k) {
  const uint8_t* unit = codes + k / kUnitCols<kCodes> * kUnitBytes<kCodes>;
  k %= kUnitCols<kCodes>;
  const uint8_t* line = unit + k / kLineCols<kCodes> * kLineBytes;
  const auto bits = [](uint8x16_t lanes, unsigned from, unsigned n) {
    const int32x4_t right = vdupq_n_s32(-static_cast<int>(from));
    return vandq_u32(vshlq_u32(vreinterpretq_u32_u8(lanes), right), vdupq_n_u32(ones(n)));
  };
  Block w;
  for (size_t i = 0; i < 4; ++i) {
    uint32x4_t code = bits(vld1q_u8(line + 16 * i), column_shift<kCodes>(k % kLineCols<kCodes>),
                           kLowBits<kCodes>);
    if constexpr (kUpperBits<kCodes> != 0) {
      const uint32x4_t upper =
          bits(upper_bits<kCodes>(unit, i), upper_shift<kCodes>(k), kUpperBits<kCodes>);
      code = vorrq_u32(code, vshlq_n_u32(upper, kLowBits<kCodes>));
    }
    if constexpr (kTableCodes<kCodes>) {
      const uint8x16_t found = vqtbl1q_u8(vld1q_u8(table.codes), vreinterpretq_u8_u32(code));
      code = vandq_u32(vreinterpretq_u32_u8(found), vdupq_n_u32(255));
    }
    const int32x4_t q = vreinterpretq_s32_u32(code);
    if constexpr (Scales<kScheme>::kHasMin)
      w.v[i] = vfmaq_f32(affine.m.v[i], affine.s.v[i], vcvtq_f32_s32(q));
    else
      w.v[i] = vmulq_f32(affine.s.v[i], vcvtq_f32_s32(vsubq_s32(q, affine.z.v[i])));
  }
  return w;
}

/// The activations and result of matmul_f32.
struct FloatRows {
  const float* x;  // [n_rows, x_stride]
  size_t x_stride;
  size_t n_rows;
  float* y;  // [n_rows, y_stride]
  size_t y_stride;
};

/// All panels; tile(panel, x, acc) adds the products of the panel to the Block acc[n].
template <class Tile>
void matmul_rows(size_t panel_begin, size_t panel_end, const FloatRows& rows, const Tile& tile) {
  for_tiles(panel_begin, panel_end, rows.n_rows, [&](auto count, size_t panel, size_t row) {
    constexpr size_t kCount = decltype(count)::kCount;
    Block acc[kCount];
    for (size_t t = 0; t < kCount; ++t) acc[t] = splat(0.0f);
    tile(panel, rows.x + row * rows.x_stride, acc);
    float* y = rows.y + row * rows.y_stride + panel * kPanelRows;
    for (size_t t = 0; t < kCount; ++t) store_block(y + t * rows.y_stride, acc[t]);
  });
}

template <Codes kCodes, Scheme kScheme>
void matmul_f32_as(const PackedView& w, size_t panel_begin, size_t panel_end,
                   const FloatRows& rows) {
  const size_t group = w.shape.group;
  const size_t cols = w.shape.cols;
  const CodeTable& table = code_table(w.shape.codes);
  matmul_rows(panel_begin, panel_end, rows, [&](size_t panel, const float* x, auto& acc) {
    const uint8_t* codes = w.codes + panel * w.code_stride;
    const uint8_t* scales = w.scales + panel * w.scale_stride;
    for (size_t k = 0; k < cols; k += group) {
      const Affine affine = Scales<kScheme>::load(w.shape, scales, k / group);
      const auto column = [&](size_t i) {
        return column_of<kCodes, kScheme>(codes, table, affine, i);
      };
      add_products(acc, column, k, min_of(k + group, cols), x, rows.x_stride);
    }
  });
}

template <class Element>
void matmul_f32_of(const PackedView& w, size_t panel_begin, size_t panel_end,
                   const FloatRows& rows) {
  matmul_rows(panel_begin, panel_end, rows, [&](size_t panel, const float* x, auto& acc) {
    const uint8_t* codes = w.codes + panel * w.code_stride;
    const auto column = [&](size_t k) {
      return Element::load(codes + k * kPanelRows * Element::kBytes);
    };
    add_products(acc, column, 0, w.shape.cols, x, rows.x_stride);
  });
}

template <class Dot>
void matmul_q(const PackedView& w, size_t panel_begin, size_t panel_end, const QuantizedRows& x,
              float* y, size_t y_stride) {
  with_format(w.shape, [&]<Codes kCodes, Scheme kScheme>() {
    matmul_q_as<Dot, kCodes, kScheme>(w, panel_begin, panel_end, x, y, y_stride);
  });
}

inline void matmul_f32(const PackedView& w, size_t panel_begin, size_t panel_end, const float* x,
                       size_t x_stride, size_t n_rows, float* y, size_t y_stride) {
  const FloatRows rows = {x, x_stride, n_rows, y, y_stride};
  switch (w.shape.codes) {
    case Codes::f32:
      return matmul_f32_of<ElementF32>(w, panel_begin, panel_end, rows);
    case Codes::f16:
      return matmul_f32_of<ElementF16>(w, panel_begin, panel_end, rows);
    case Codes::bf16:
      return matmul_f32_of<ElementBf16>(w, panel_begin, panel_end, rows);
    default:
      return with_format(w.shape, [&]<Codes kCodes, Scheme kScheme>() {
        matmul_f32_as<kCodes, kScheme>(w, panel_begin, panel_end, rows);
      });
  }
}

}  // namespace
}  // namespace nibble
