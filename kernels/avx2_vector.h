// The operations of AVX2 with FMA and F16C: a line of a panel is two registers of 8 rows, a lane is
// a row.
#pragma once

#include <immintrin.h>

#include "vector_kernels.h"

namespace nibble {
namespace {

struct Avx2 {
  struct F {  // 16 floats
    __m256 lo, hi;
  };
  struct I {  // 16 int32
    __m256i lo, hi;
  };

  static constexpr int32_t kByteOffset = 128;  // products take codes of eight bits as q - 128
  static constexpr size_t kTileRows = 4;       // of many rows: activations that share loaded codes
  static constexpr size_t kFewRows = 4;        // of few rows: activations that share unpacked codes
  static constexpr size_t kDotPanels = 1;      // of few rows: whose products stay in registers
  static constexpr size_t kTilePanels = 1;     // more would not fit the registers
  static constexpr size_t kAttentionSums = 4;  // of rows x panels, rows x columns of values
  /// From so many rows on unpacking through memory pays.
  template <Codes C>
  static constexpr size_t kManyRows = kUpperBits<C> == 0 ? 20 : 14;

  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F x) {
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
  }
  /// Ones in the lanes first..last-1, last <= 16.
  static I mask(size_t first, size_t last) {
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
    const __m256i before = _mm256_set1_epi32(static_cast<int>(first) - 1);
    const __m256i end = _mm256_set1_epi32(static_cast<int>(last));
    return {_mm256_and_si256(_mm256_cmpgt_epi32(low, before), _mm256_cmpgt_epi32(end, low)),
            _mm256_and_si256(_mm256_cmpgt_epi32(high, before), _mm256_cmpgt_epi32(end, high))};
  }
  /// The first n lanes (all if n >= 16), zeros behind them.
  static F load_first(const float* p, size_t n) {
    if (n >= kLanes) return load(p);
    const I lanes = mask(0, n);
    return {_mm256_maskload_ps(p, lanes.lo), _mm256_maskload_ps(p + 8, lanes.hi)};
  }
  static void store_first(float* p, F x, size_t n) {
    if (n >= kLanes) return store(p, x);
    const I lanes = mask(0, n);
    _mm256_maskstore_ps(p, lanes.lo, x.lo);
    _mm256_maskstore_ps(p + 8, lanes.hi, x.hi);
  }
  static __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static void store_128(void* p, __m128i x) { _mm_storeu_si128(static_cast<__m128i*>(p), x); }
  static F load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(load_128(p)), _mm256_cvtph_ps(load_128(p + 8))};
  }
  static void store_f16(uint16_t* p, F x) {
    store_128(p, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
    store_128(p + 8, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
  }
  static __m256 load_8_bf16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_128(p)), 16));
  }
  static F load_bf16(const uint16_t* p) { return {load_8_bf16(p), load_8_bf16(p + 8)}; }

  static F add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static F sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static F mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static F div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static F abs(F a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  /// b if either is NaN, as max.
  static F min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static F round(F a) {
    return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  /// a * 2^n for whole n in -126..127.
  static F times_pow2(F a, F n) {
    const auto pow2 = [](__m256 e) {
      const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127));
      return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
    };
    return {_mm256_mul_ps(a.lo, pow2(n.lo)), _mm256_mul_ps(a.hi, pow2(n.hi))};
  }
  static float reduce_add(F a) {
    const __m256 eight = _mm256_add_ps(a.lo, a.hi);
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }
  static float reduce_max(F a) {
    const __m256 eight = _mm256_max_ps(a.lo, a.hi);
    __m128 top = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    top = _mm_max_ps(top, _mm_movehl_ps(top, top));
    return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
  }
  static float first(F a) { return _mm256_cvtss_f32(a.lo); }
  /// Lanes first..last-1 of a, `other` in the rest; last <= 16.
  static F keep(F a, size_t first, size_t last, float other) {
    const I lanes = mask(first, last);
    const __m256 rest = _mm256_set1_ps(other);
    return {_mm256_blendv_ps(rest, a.lo, _mm256_castsi256_ps(lanes.lo)),
            _mm256_blendv_ps(rest, a.hi, _mm256_castsi256_ps(lanes.hi))};
  }

  static I zero_int() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static I set1_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static __m256i load_256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static I load_int(const uint8_t* p) { return {load_256(p), load_256(p + 32)}; }
  static void store_int(uint8_t* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.lo);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), x.hi);
  }
  static I widen_u8(__m128i bytes) {
    return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  }
  static I load_u8(const uint8_t* p) { return widen_u8(load_128(p)); }
  static I load_s8(const int8_t* p) {
    const __m128i bytes = load_128(p);
    return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
  }
  static void store_s8(int8_t* p, I x) {
    const __m256i words = _mm256_packs_epi32(x.lo, x.hi);  // 0..3 8..11 | 4..7 12..15
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    store_128(p, _mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 1, 2, 0)));
  }
  static I add_int(I a, I b) {
    return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
  }
  static I bits(I a, unsigned shift, unsigned mask) {
    const __m128i count = _mm_cvtsi32_si128(static_cast<int>(shift));
    const __m256i wanted = _mm256_set1_epi32(static_cast<int>(mask));
    return {_mm256_and_si256(_mm256_srl_epi32(a.lo, count), wanted),
            _mm256_and_si256(_mm256_srl_epi32(a.hi, count), wanted)};
  }
  template <unsigned kBits>
  static I shift_left(I a) {
    return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
  }
  static int32_t reduce_add_int(I a) {
    const __m256i eight = _mm256_add_epi32(a.lo, a.hi);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    sum = _mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 1)));
  }
  static F to_float(I a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
  /// To nearest even.
  static I to_int(F a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }

  static I as_int(F a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }

  /// offset - z in the low int16 of each lane, 0 in the high one.
  static I zero_term(int32_t offset, I z) {
    const __m256i all = _mm256_set1_epi32(offset);
    return {_mm256_sub_epi16(all, z.lo), _mm256_sub_epi16(all, z.hi)};
  }
  /// dot + zero_term * xsum: the upper int16 of xsum meets 0.
  static I plus_product(I dot, I term, int32_t xsum) {
    const __m256i sum = _mm256_set1_epi32(xsum);
    return {_mm256_add_epi32(dot.lo, _mm256_madd_epi16(term.lo, sum)),
            _mm256_add_epi32(dot.hi, _mm256_madd_epi16(term.hi, sum))};
  }

  /// Four activation codes in every lane.
  static __m256i load_x(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }

  /// The codes of columns 4 * part..4 * part + 3 of a unit, a byte each, less kOffset: 0, or 128
  /// with codes of eight bits. `table`: of codes that are indices.
  template <Codes C, size_t part, int32_t kOffset = 0>
  [[gnu::always_inline]] static I codes_of(const uint8_t* unit, const CodeTable& table) {
    const I index = {half_codes_of<C, part, kOffset, 0>(unit),
                     half_codes_of<C, part, kOffset, 1>(unit)};
    if constexpr (!kTableCodes<C>) return index;
    const __m256i all = _mm256_xor_si256(_mm256_broadcastsi128_si256(load_128(table.codes)),
                                         _mm256_set1_epi8(static_cast<char>(kOffset)));
    return {_mm256_shuffle_epi8(all, index.lo), _mm256_shuffle_epi8(all, index.hi)};
  }
  static constexpr size_t kHalfLine = kLineBytes / 2;
  /// The upper bits of a unit, where upper_shift() says, of rows 8 * kHalf..8 * kHalf + 7.
  template <Codes C, size_t kHalf>
  [[gnu::always_inline]] static __m256i upper_bits(const uint8_t* unit) {
    const uint8_t* at = unit + kUpperOffset<C>;
    if constexpr (!kHalfUpper<C>) return load_256(at + kHalf * kHalfLine);
    const __m256i x = _mm256_cvtepu16_epi32(load_128(at + kHalf * kHalfLine / 2));
    return _mm256_or_si256(x, _mm256_slli_epi32(x, 18));
  }
  /// Two parts of a unit of three bits are made at once, in the nibbles of their bytes.
  template <size_t part, size_t kHalf>
  [[gnu::always_inline]] static __m256i three_bits(const uint8_t* unit) {
    __m256i low = load_256(unit + kHalf * kHalfLine), upper = upper_bits<Codes::q3, kHalf>(unit);
    if constexpr (part % 2 == 1) {
      low = _mm256_srli_epi16(low, 2);
      upper = _mm256_srli_epi16(upper, 1);
    }
    __m256i both = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(0x33)),
                                   _mm256_and_si256(upper, _mm256_set1_epi8(0x44)));
    if constexpr (part / 2 == 1) both = _mm256_srli_epi16(both, 4);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
  }
  /// Of the same rows.
  template <Codes C, size_t part, int32_t kOffset, size_t kHalf>
  [[gnu::always_inline]] static __m256i half_codes_of(const uint8_t* unit) {
    if constexpr (kHalfUpper<C>) return three_bits<part, kHalf>(unit);
    constexpr size_t kLineParts = kLineCols<C> / 4;
    __m256i line = load_256(unit + kHalf * kHalfLine + part / kLineParts * kLineBytes);
    if constexpr (C == Codes::q8)
      return _mm256_xor_si256(line, _mm256_set1_epi8(static_cast<char>(kOffset)));
    // Bits that cross to a neighbouring byte meet no mask.
    constexpr auto kLowMask = static_cast<char>(ones(kLowBits<C>));
    constexpr int kLowFrom = part % kLineParts * kLowBits<C>;
    if constexpr (kLowFrom != 0) line = _mm256_srli_epi16(line, kLowFrom);
    const __m256i low = _mm256_and_si256(line, _mm256_set1_epi8(kLowMask));
    if constexpr (kUpperBits<C> == 0) return low;
    constexpr int kFrom = part * kUpperBits<C>, kTo = kLowBits<C>;
    __m256i upper = upper_bits<C, kHalf>(unit);
    if constexpr (kFrom < kTo) upper = _mm256_slli_epi16(upper, kTo - kFrom);
    if constexpr (kFrom > kTo) upper = _mm256_srli_epi16(upper, kFrom - kTo);
    constexpr auto kMask = static_cast<char>(ones(kUpperBits<C>) << kTo);
    return _mm256_or_si256(low, _mm256_and_si256(upper, _mm256_set1_epi8(kMask)));
  }

  /// dot[p][t] += sum over `n` units of the codes of P panels times row t of x. The line `fetch`
  /// bytes after each is fetched.
  template <Codes C, size_t P, size_t T>
  [[gnu::always_inline]] static void dot_units(const uint8_t* units, size_t panel_stride, size_t n,
                                               const CodeTable& table, const int8_t* x,
                                               size_t x_stride, size_t fetch, I (&dot)[P][T]) {
    const int8_t* row[T];
    for (size_t t = 0; t < T; ++t) row[t] = x + t * x_stride;
    for (size_t p = 0; p < P; ++p) {
      const uint8_t* at = units + p * panel_stride;
      if constexpr (kByteCodes<C>) {
        for (size_t i = 0; i < n; ++i, at += kUnitBytes<C>) {
          __builtin_prefetch(at + fetch);
          unrolled<kUnitCols<C> / 4>([&]<size_t part>() __attribute__((always_inline)) {
            add_byte_codes(codes_of<C, part, kByteOffset>(at, table), row,
                           i * kUnitCols<C> + 4 * part, dot[p]);
          });
        }
      } else if (C == Codes::q4 && n < 4) {  // a group of 16
        add_units<C, 2>(at, table, fetch, row, 0, dot[p]);
      } else {
        constexpr size_t kUnits = C == Codes::q4 ? 4 : 1;
        for (size_t i = 0; i < n; i += kUnits)
          add_units<C, kUnits>(at + i * kUnitBytes<C>, table, fetch, row, i * kUnitCols<C>, dot[p]);
      }
    }
  }

  /// How often two products of a code and x fit into an int16: 8 * 2 * 15 * 127 = 30,480, 4 * 2 *
  /// 31 * 127 = 31,496, 2 * 2 * 63 * 127 = 32,004 (of q6 and the tables of iq3_s), 2 * 107 * 127 =
  /// 27,178 (those of iq2). Codes of q2 and q3 are far below.
  template <Codes C>
  static constexpr size_t kWordSums = C == Codes::iq2                       ? 1
                                      : C == Codes::q5                      ? 4
                                      : C == Codes::q6 || C == Codes::iq3_s ? 2
                                                                            : 8;

  /// Units of less than eight bits.
  template <Codes C, size_t kUnits, size_t T>
  [[gnu::always_inline]] static void add_units(const uint8_t* units, const CodeTable& table,
                                               size_t fetch, const int8_t* const (&x)[T], size_t k,
                                               I (&dot)[T]) {
    constexpr size_t kParts = kUnitCols<C> / 4, kAll = kUnits * kParts;
    I sum[T];
    fetch_lines<kUnits * kUnitBytes<C>>(units + fetch);
    unrolled<kAll>([&]<size_t i>() __attribute__((always_inline)) {
      if (i % kWordSums<C> == 0)
        for (size_t t = 0; t < T; ++t) sum[t] = zero_int();
      add_codes(codes_of<C, i % kParts>(units + i / kParts * kUnitBytes<C>, table), x, k + 4 * i,
                sum);
      if (i % kWordSums<C> == kWordSums<C> - 1 || i == kAll - 1)
        for (size_t t = 0; t < T; ++t) dot[t] = add_pairs(dot[t], sum[t]);
    });
  }

  /// Adds two products each of four columns' codes and x.
  template <size_t T>
  [[gnu::always_inline]] static void add_codes(I codes, const int8_t* const (&x)[T], size_t k,
                                               I (&sum)[T]) {
    for (size_t t = 0; t < T; ++t) {
      const __m256i four = load_x(x[t] + k);
      sum[t].lo = _mm256_add_epi16(sum[t].lo, _mm256_maddubs_epi16(codes.lo, four));
      sum[t].hi = _mm256_add_epi16(sum[t].hi, _mm256_maddubs_epi16(codes.hi, four));
      // GCC would regroup these sums and spill the products meanwhile.
      __asm__("" : "+x"(sum[t].lo), "+x"(sum[t].hi));
    }
  }

  /// Unpacked lines of codes of less than eight bits.
  template <size_t kLines, size_t T>
  [[gnu::always_inline]] static void add_block(const uint8_t* lines, const int8_t* const (&x)[T],
                                               size_t k, I (&dot)[T]) {
    I sum[T];
    for (size_t t = 0; t < T; ++t) sum[t] = zero_int();
    for (size_t i = 0; i < kLines; ++i)
      add_codes(load_int(lines + i * kLineBytes), x, k + 4 * i, sum);
    for (size_t t = 0; t < T; ++t) dot[t] = add_pairs(dot[t], sum[t]);
  }

  /// One line of q - 128: vpmaddubsw of |q - 128| and x with the sign of q - 128. A sum of two
  /// products is at most 2 * 128 * 127 = 32,512, inside int16; it is widened at once.
  template <size_t T>
  [[gnu::always_inline]] static void add_byte_codes(I q, const int8_t* const (&x)[T], size_t k,
                                                    I (&dot)[T]) {
    const I size = {_mm256_abs_epi8(q.lo), _mm256_abs_epi8(q.hi)};
    for (size_t t = 0; t < T; ++t) {
      const __m256i four = load_x(x[t] + k);
      dot[t] = add_pairs(dot[t], {_mm256_maddubs_epi16(size.lo, _mm256_sign_epi8(four, q.lo)),
                                  _mm256_maddubs_epi16(size.hi, _mm256_sign_epi8(four, q.hi))});
    }
  }

  /// dot[p][t] += the sum over `n` unpacked lines of the codes of P panels times x[t]; then
  /// done(t).
  template <Codes C, size_t P, size_t T, class Done>
  [[gnu::always_inline]] static void dot_block(const uint8_t* lines, size_t panel_stride, size_t n,
                                               const int8_t* const (&x)[T], I (&dot)[P][T],
                                               const Done& done) {
    for (size_t p = 0; p < P; ++p, lines += panel_stride) {
      if constexpr (kByteCodes<C>) {
        for (size_t i = 0; i < n; ++i)
          add_byte_codes(load_int(lines + i * kLineBytes), x, 4 * i, dot[p]);
      } else {
        constexpr size_t kLines = kWordSums<C>;
        if (n < kLines) add_block<4>(lines, x, 0, dot[p]);  // a group of 16
        for (size_t i = 0; i + kLines <= n; i += kLines)
          add_block<kLines>(lines + i * kLineBytes, x, 4 * i, dot[p]);
      }
    }
    for (size_t t = 0; t < T; ++t) done(t);
  }

  /// dot + the sums of neighbouring int16.
  static I add_pairs(I dot, I words) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_add_epi32(dot.lo, _mm256_madd_epi16(words.lo, ones)),
            _mm256_add_epi32(dot.hi, _mm256_madd_epi16(words.hi, ones))};
  }

  // For vector_peak.h.
  static constexpr size_t kProducts = 64, kPeakSums = 4;
  static void multiply_add(__m256i& sum, __m256i codes, __m256i x) {
    __m256i products;
    __asm__ volatile(
        "vpmaddubsw %3, %2, %1\n\t"
        "vpaddw %1, %0, %0"
        : "+x"(sum), "=&x"(products)
        : "x"(codes), "x"(x));
  }
  static void multiply_add(I& sum, const I& codes, const I& x) {
    multiply_add(sum.lo, codes.lo, x.lo);
    multiply_add(sum.hi, codes.hi, x.hi);
  }
  static void keep_alive(I sum) { __asm__ volatile("" : : "x"(sum.lo), "x"(sum.hi)); }
};

}  // namespace
}  // namespace nibble
