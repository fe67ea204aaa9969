// AVX-512 (F, BW, DQ, VL) with VNNI for vector_*.h: a line of a panel is one register, a lane is a
// row.
#pragma once

// GCC 12 takes the deliberately undefined operands inside its own header for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "vector_kernels.h"

namespace nibble {
namespace {

struct Avx512 {
  using F = __m512;   // 16 floats
  using I = __m512i;  // 16 int32

  static constexpr int32_t kByteOffset = 0;  // vpdpbusd multiplies unsigned codes as they are
  static constexpr size_t kTileRows = 6;     // of many rows: activations that share loaded codes
  static constexpr size_t kFewRows = 8;      // of few rows: activations that share unpacked codes
  static constexpr size_t kTilePanels = 2;   // panels that share a loaded activation
  static constexpr size_t kDotPanels = 4;    // of few rows: whose products stay in registers
  static constexpr size_t kAttentionSums = 16;  // of rows x panels, rows x columns of values
  /// From so many rows on unpacking through memory pays.
  template <Codes C>
  static constexpr size_t kManyRows = kUpperBits<C> == 0 ? 64 : 48;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static __mmask16 mask_first(size_t n) {
    return n >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << n) - 1);
  }
  /// The first n lanes (all if n >= 16), zeros behind them.
  static F load_first(const float* p, size_t n) { return _mm512_maskz_loadu_ps(mask_first(n), p); }
  static void store_first(float* p, F x, size_t n) { _mm512_mask_storeu_ps(p, mask_first(n), x); }
  static F load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F load_bf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  /// b if either is NaN, as max.
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F times_pow2(F a, F n) { return _mm512_scalef_ps(a, n); }
  static float reduce_add(F a) { return _mm512_reduce_add_ps(a); }
  static float reduce_max(F a) { return _mm512_reduce_max_ps(a); }
  static float first(F a) { return _mm512_cvtss_f32(a); }
  /// Lanes first..last-1 of a, `other` in the rest; last <= 16.
  static F keep(F a, size_t first, size_t last, float other) {
    const auto mask = static_cast<__mmask16>(mask_first(last) & ~mask_first(first));
    return _mm512_mask_mov_ps(_mm512_set1_ps(other), mask, a);
  }

  static I zero_int() { return _mm512_setzero_si512(); }
  static I set1_int(int32_t x) { return _mm512_set1_epi32(x); }
  static I load_int(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store_int(uint8_t* p, I x) { _mm512_storeu_si512(p, x); }
  static __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static I widen_u8(__m128i bytes) { return _mm512_cvtepu8_epi32(bytes); }
  static I load_u8(const uint8_t* p) { return widen_u8(load_128(p)); }
  static I load_s8(const int8_t* p) { return _mm512_cvtepi8_epi32(load_128(p)); }
  static void store_s8(int8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x));
  }
  static I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
  static I bits(I a, unsigned shift, unsigned mask) {
    return _mm512_and_si512(_mm512_srl_epi32(a, _mm_cvtsi32_si128(static_cast<int>(shift))),
                            _mm512_set1_epi32(static_cast<int>(mask)));
  }
  template <unsigned kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  static int32_t reduce_add_int(I a) { return _mm512_reduce_add_epi32(a); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  /// To nearest even.
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }

  static I as_int(F a) { return _mm512_castps_si512(a); }

  /// offset - z in the low int16 of each lane, 0 in the high one.
  static I zero_term(int32_t offset, I z) { return _mm512_sub_epi16(_mm512_set1_epi32(offset), z); }
  /// dot + zero_term * xsum by vpdpwssd: the upper int16 of xsum meets 0.
  static I plus_product(I dot, I term, int32_t xsum) {
    return _mm512_dpwssd_epi32(dot, term, _mm512_set1_epi32(xsum));
  }

  /// Four activation codes in every lane.
  static I load_x(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }

  /// The upper bits of a unit, where upper_shift() says.
  template <Codes C>
  [[gnu::always_inline]] static I upper_bits(const uint8_t* unit) {
    const uint8_t* at = unit + kUpperOffset<C>;
    if constexpr (!kHalfUpper<C>) return _mm512_loadu_si512(at);
    const I x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    return _mm512_or_si512(x, _mm512_slli_epi32(x, 18));
  }
  static constexpr int kAndOr = 0xea;  // (a and b) or c, for vpternlogd
  /// Two parts of a unit of three bits are made at once, in the nibbles of their bytes.
  template <size_t part>
  [[gnu::always_inline]] static I three_bits(const uint8_t* unit) {
    I low = _mm512_loadu_si512(unit), upper = upper_bits<Codes::q3>(unit);
    if constexpr (part % 2 == 1) {
      low = _mm512_srli_epi16(low, 2);
      upper = _mm512_srli_epi16(upper, 1);
    }
    low = _mm512_and_si512(low, _mm512_set1_epi8(0x33));
    I both = _mm512_ternarylogic_epi32(upper, _mm512_set1_epi8(0x44), low, kAndOr);
    if constexpr (part / 2 == 1) both = _mm512_srli_epi16(both, 4);
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
  }
  /// The codes of columns 4 * part..4 * part + 3 of a unit, a byte each. `table`: of codes that are
  /// indices.
  template <Codes C, size_t part, int32_t kOffset = 0>
  [[gnu::always_inline]] static I codes_of(const uint8_t* unit, const CodeTable& table) {
    static_assert(kOffset == 0);
    const I index = indices_of<C, part>(unit);
    if constexpr (!kTableCodes<C>) return index;
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.codes));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(all), index);
  }
  template <Codes C, size_t part>
  [[gnu::always_inline]] static I indices_of(const uint8_t* unit) {
    if constexpr (C == Codes::q8) return _mm512_loadu_si512(unit);
    if constexpr (kHalfUpper<C>) return three_bits<part>(unit);
    // Bits that cross to a neighbouring byte meet no mask.
    constexpr size_t kLineParts = kLineCols<C> / 4;
    constexpr auto kLowMask = static_cast<char>(ones(kLowBits<C>));
    constexpr unsigned kLowFrom = part % kLineParts * kLowBits<C>;
    I line = _mm512_loadu_si512(unit + part / kLineParts * kLineBytes);
    if constexpr (kLowFrom != 0) line = _mm512_srli_epi16(line, kLowFrom);
    const I low = _mm512_and_si512(line, _mm512_set1_epi8(kLowMask));
    if constexpr (kUpperBits<C> == 0) return low;
    constexpr unsigned kFrom = part * kUpperBits<C>, kTo = kLowBits<C>;
    I upper = upper_bits<C>(unit);
    if constexpr (kFrom < kTo) upper = _mm512_slli_epi16(upper, kTo - kFrom);
    if constexpr (kFrom > kTo) upper = _mm512_srli_epi16(upper, kFrom - kTo);
    constexpr auto kMask = static_cast<char>(ones(kUpperBits<C>) << kTo);
    return _mm512_ternarylogic_epi32(upper, _mm512_set1_epi8(kMask), low, kAndOr);
  }

  /// dot + four products of each lane; at most 4 * 255 * 127 a step, 128 columns stay far below
  /// 2^31.
  static I add_products(I dot, I codes, I four) { return _mm512_dpbusd_epi32(dot, codes, four); }

  /// dot[p][t] += sum over `n` units of the codes of P panels times row t of x.
  template <Codes C, size_t P, size_t T>
  [[gnu::always_inline]] static void dot_units(const uint8_t* units, size_t panel_stride, size_t n,
                                               const CodeTable& table, const int8_t* x,
                                               size_t x_stride, size_t fetch, I (&dot)[P][T]) {
    dot_units_by_fours<Avx512, C>(units, panel_stride, n, table, x, x_stride, fetch, dot);
  }

  /// dot[p][t] += the codes of an unpacked line of P panels times row t of x; then done(t).
  template <size_t P, size_t T, class Done>
  [[gnu::always_inline]] static void add_line(const uint8_t* lines, size_t panel_stride,
                                              const int8_t* const (&x)[T], size_t k, I (&dot)[P][T],
                                              const Done& done) {
    I codes[P];
    for (size_t p = 0; p < P; ++p) codes[p] = _mm512_load_si512(lines + p * panel_stride);
    for (size_t t = 0; t < T; ++t) {
      const I four = load_x(x[t] + k);
      for (size_t p = 0; p < P; ++p) dot[p][t] = add_products(dot[p][t], codes[p], four);
      done(t);
    }
  }

  /// dot[p][t] += the same over `n` unpacked lines, a multiple of 4 (16 columns, the least group).
  /// done(t) is called as soon as the sums of row t are complete: what it computes then fills the
  /// gaps that the products of the last line leave, 4% of the time of a group of 32.
  template <Codes, size_t P, size_t T, class Done>
  [[gnu::always_inline]] static void dot_block(const uint8_t* lines, size_t panel_stride, size_t n,
                                               const int8_t* const (&x)[T], I (&dot)[P][T],
                                               const Done& done) {
    const auto go_on = [](size_t) {};
    size_t k = 0;
    for (; k != 4 * n - 16; k += 16, lines += 4 * kLineBytes)
      for (size_t i = 0; i < 4; ++i)
        add_line(lines + i * kLineBytes, panel_stride, x, k + 4 * i, dot, go_on);
    for (size_t i = 0; i < 3; ++i)
      add_line(lines + i * kLineBytes, panel_stride, x, k + 4 * i, dot, go_on);
    add_line(lines + 3 * kLineBytes, panel_stride, x, k + 12, dot, done);
  }

  // For vector_peak.h.
  static constexpr size_t kProducts = 64, kPeakSums = 12;
  static void multiply_add(I& sum, I codes, I x) {
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
  }
  static void keep_alive(I sum) { __asm__ volatile("" : : "v"(sum)); }
};

}  // namespace
}  // namespace nibble
