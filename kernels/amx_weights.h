// Quantized panels as tiles of bf16 weights.
//
// A tile holds 32 columns of a panel: 16 lines of 64 bytes, line i the columns 2i and 2i + 1, lane
// r the pair of row r: what TDPBF16PS takes as its second factor.
//
// Its cost decides whether one token waits for memory or for the unpacking. The bits of a code go
// into the mantissa of a float whose exponent is that of a power of two, base: the float is base +
// code, and one fma makes s * code + m of it. To round to bf16 takes no instruction: the float is
// cut off, and s and m are widened by the mean of what cutting off loses. A line of q4 (128
// weights) takes 4 shifts, 8 masks, 8 fma and 4 merges of pairs: 96 operations a tile and 8 for the
// scales, 52 cycles on the two 512-bit ports of a core that has tiles. The product of the tile
// itself takes 16 and overlaps. One token reads 288 bytes a tile (4.5 bits per weight): at 13 GB/s
// and 2.9 GHz, 64 cycles.
#pragma once

#include "avx512_vector.h"

namespace nibble {
namespace {

constexpr size_t kTileCols = 32;  // columns of a tile of weights
constexpr size_t kTileBytes = 1024;
constexpr size_t kColumnBytes = kTileBytes / kTileCols;

/// Cutting a float off to bf16 loses up to 2^-7 / m of it for a mantissa m in [1, 2), half of that
/// on average, and 1 / m is 0.7213 on average where all magnitudes are alike. Weights that bf16
/// holds stay what they are; others change by a factor from 1 - 0.005 to 1 + 0.0028.
constexpr float kWiden = 1 + 0.7213f / 256;

/// The bit of a float to which the code of column c of a unit is shifted: with as few shifts as the
/// mantissa allows for q4.
template <Codes C>
constexpr int code_bit(size_t c) {
  constexpr int kQ4Bit[8] = {12, 12, 16, 12, 16, 12, 16, 16};
  return C == Codes::q8 ? 12 : kQ4Bit[c % 8];
}

/// A group's s and m for codes at a bit of a float, lane = row.
struct WideScale {
  __m512 s;
  __m512 low_12, low_16;  // m - s * base, base = 2^(23 - bit)
  __m512 low_0;           // without a base

  template <class Grid>
  [[gnu::always_inline]] static WideScale of(const GroupScale<Avx512>& scale) {
    using V = Avx512;
    const auto s = V::mul(scale.s, V::set1(kWiden));
    const auto low = [&](float base) {
      if constexpr (Grid::kZero == Zero::none)
        return _mm512_fnmadd_ps(s, V::set1(base), V::mul(scale.m, V::set1(kWiden)));
      else  // the sum is exact
        return V::mul(V::sub(V::zero(), s), V::add(V::set1(base), V::to_float(scale.z)));
    };
    return {s, low(0x1p11f), low(0x1p7f), low(0)};
  }
};

/// `base` and n bits of each lane of a line, moved from bit kFrom to bit kTo.
template <int kFrom, int kTo, int n>
[[gnu::always_inline]] inline __m512i with_bits(__m512i bits, __m512i base) {
  if constexpr (kTo > kFrom) bits = _mm512_slli_epi32(bits, kTo - kFrom);
  if constexpr (kTo < kFrom) bits = _mm512_srli_epi32(bits, kFrom - kTo);
  return _mm512_ternarylogic_epi32(bits, _mm512_set1_epi32(((1 << n) - 1) << kTo), base,
                                   Avx512::kAndOr);
}

/// Column c of a unit, times the scale.
template <Codes C, size_t c>
[[gnu::always_inline]] inline __m512i widened_column(const uint8_t* unit, const CodeTable& table,
                                                     const WideScale& scale) {
  constexpr size_t kLine = c / kLineCols<C>;
  constexpr int kTo = code_bit<C>(c);
  constexpr int kFrom = static_cast<int>(column_shift<C>(c % kLineCols<C>));
  if constexpr (kTableCodes<C>) {
    __m512i index = _mm512_srli_epi32(_mm512_loadu_si512(unit), kFrom);  // four bits count
    if constexpr (kUpperBits<C> != 0) {
      index = _mm512_and_si512(index, _mm512_set1_epi32(ones(kLowBits<C>)));
      index = with_bits<static_cast<int>(upper_shift<C>(c)), kLowBits<C>, kUpperBits<C>>(
          Avx512::upper_bits<C>(unit), index);
    }
    const auto all = Avx512::to_float(Avx512::load_u8(table.codes));
    const __m512 code = _mm512_permutexvar_ps(index, all);
    return _mm512_castps_si512(_mm512_fmadd_ps(scale.s, code, scale.low_0));
  }
  __m512i sum = _mm512_set1_epi32((127 + 23 - kTo) << 23);
  constexpr int kLow = kLowBits<C>;
  sum = with_bits<kFrom, kTo, kLow>(_mm512_loadu_si512(unit + kLine * kLineBytes), sum);
  if constexpr (kUpperBits<C> != 0)
    sum = with_bits<static_cast<int>(upper_shift<C>(c)), kTo + kLow, kUpperBits<C>>(
        Avx512::upper_bits<C>(unit), sum);
  return _mm512_castps_si512(
      _mm512_fmadd_ps(scale.s, _mm512_castsi512_ps(sum), kTo == 12 ? scale.low_12 : scale.low_16));
}

/// The columns of a unit: pairs of the upper halves of their floats.
template <Codes C>
[[gnu::always_inline]] inline void widen_unit(const uint8_t* unit, const CodeTable& table,
                                              const WideScale& scale, uint8_t* out) {
  unrolled<kUnitCols<C> / 2>([&]<size_t i>() __attribute__((always_inline)) {
    const __m512i upper_half = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
    constexpr __mmask64 kLowerHalves = 0x3333333333333333;
    const __m512i even = widened_column<C, 2 * i>(unit, table, scale);
    const __m512i odd = widened_column<C, 2 * i + 1>(unit, table, scale);
    _mm512_store_si512(out + i * kLineBytes,
                       _mm512_mask_shuffle_epi8(odd, kLowerHalves, even, upper_half));
  });
}

/// What is fetched while columns are widened: those further on in the row, of the panel or of the
/// next ones, or the same columns of the panels that come after `n_panels`.
enum class Ahead { in_row, next_panels };
struct PanelOrder {
  size_t n_panels;  // that are read in turns
  Ahead ahead;

  size_t distance(size_t offset, size_t bytes, size_t stride) const {
    return ahead == Ahead::next_panels ? n_panels * stride
                                       : fetch_distance(offset, bytes, stride, n_panels);
  }
};

/// Columns k0..k0+n-1 of a panel, whole groups, as tiles; zeros behind them up to a whole tile.
template <Codes C, class Grid>
[[gnu::noinline]] void widen_columns(const PackedView& w, size_t panel, size_t k0, size_t n,
                                     PanelOrder order, uint8_t* out) {
  static_assert(kTileCols % kUnitCols<C> == 0);
  const size_t group = w.shape.group;
  const size_t offset = k0 / kUnitCols<C> * kUnitBytes<C>;
  const uint8_t* unit = w.codes + panel * w.code_stride + offset;
  const size_t fetch = order.distance(offset, kWalk.fetch, w.code_stride);
  const size_t scale_step = w.scale_stride / (w.cols_padded / group);
  const size_t scale_offset = k0 / group * scale_step;
  const uint8_t* scales = w.scales + panel * w.scale_stride + scale_offset +
                          order.distance(scale_offset, kWalk.fetch / 4, w.scale_stride);
  const CodeTable& table = code_table(w.shape.codes);
  Grid grid;
  grid.open(w, panel, k0 / group);
  for (size_t g = k0 / group; g * group < k0 + n; ++g, scales += scale_step) {
    __builtin_prefetch(scales);
    const WideScale scale = WideScale::of<Grid>(grid.at(g));
    for (size_t k = 0; k < group; k += kUnitCols<C>, unit += kUnitBytes<C>) {
      fetch_lines<kUnitBytes<C>>(unit + fetch);
      widen_unit<C>(unit, table, scale, out);
      out += kUnitCols<C> * kColumnBytes;
    }
  }
  for (size_t k = n; k % kTileCols != 0; k += 2, out += kLineBytes)
    _mm512_store_si512(out, _mm512_setzero_si512());
}

using WidenColumns = void (*)(const PackedView&, size_t panel, size_t k0, size_t n, PanelOrder,
                              uint8_t* out);

/// widen_columns() for a quantized shape.
inline WidenColumns widen_columns_of(const PackedShape& shape) {
  WidenColumns widen = nullptr;
  with_grid<Avx512>(shape, [&]<Codes C, class Grid>() { widen = widen_columns<C, Grid>; });
  return widen;
}

/// The upper halves of x rounded to nearest even, in the lower halves of the lanes.
[[gnu::always_inline]] inline __m512i rounded_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  return _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16);
}

/// Rounds x [n_rows, cols] to bf16, to nearest even; zeros behind `cols`.
inline void round_rows(const float* x, size_t x_stride, size_t cols, const QuantizedRows& out) {
  const size_t padded = out.stride / sizeof(uint16_t);
  for (size_t t = 0; t < out.n_rows; ++t) {
    const float* row = x + t * x_stride;
    auto* codes = reinterpret_cast<uint16_t*>(out.codes + t * out.stride);
    for (size_t k = 0; k < padded; k += kLanes)
      _mm512_mask_cvtepi32_storeu_epi16(
          codes + k, Avx512::mask_first(padded - k),
          rounded_bf16(Avx512::load_first(row + min_of(k, cols), cols - min_of(k, cols))));
  }
}

}  // namespace
}  // namespace nibble
