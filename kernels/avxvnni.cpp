// AVX2 and AVX-VNNI: products by vpdpbusd on registers of 8 rows.
#include "avx2_vector.h"
#include "sets.h"

namespace nibble {
namespace {

struct AvxVnni : Avx2 {
  static constexpr int32_t kQ8Offset = 0;  // vpdpbusd multiplies unsigned codes as they are
  static constexpr size_t kTileRows = 6;
  static constexpr size_t kManyRows = 24;

  /// dot + four products of each lane; at most 4 * 255 * 127 a step, 128 columns stay far below
  /// 2^31.
  static I add_products(I dot, I codes, __m256i four) {
    return {_mm256_dpbusd_avx_epi32(dot.lo, codes.lo, four),
            _mm256_dpbusd_avx_epi32(dot.hi, codes.hi, four)};
  }

  /// dot[p][t] = sum over `n` lines of the codes of P panels times row t of x. The line `fetch`
  /// bytes after each is fetched.
  template <Codes C, size_t P, size_t T>
  [[gnu::always_inline]] static void dot_lines(const uint8_t* lines, size_t panel_stride, size_t n,
                                               const int8_t* x, size_t x_stride, size_t fetch,
                                               I (&dot)[P][T]) {
    constexpr size_t kParts = C == Codes::q4 ? 2 : 1;  // of a line, four columns each
    const __m256i low_bits = _mm256_set1_epi8(15);
    const uint8_t* const end = lines + n * kLineBytes;
    do {  // a group is an even number of lines
      for (size_t i = 0; i < 2; ++i)
        for (size_t p = 0; p < P; ++p) {
          const uint8_t* at = lines + p * panel_stride + i * kLineBytes;
          __builtin_prefetch(at + fetch);
          const I line = load_int(at);
          const I low = {_mm256_and_si256(line.lo, low_bits), _mm256_and_si256(line.hi, low_bits)};
          const I high = {_mm256_and_si256(_mm256_srli_epi16(line.lo, 4), low_bits),
                          _mm256_and_si256(_mm256_srli_epi16(line.hi, 4), low_bits)};
          for (size_t t = 0; t < T; ++t) {
            const int8_t* four = x + t * x_stride + 4 * kParts * i;
            dot[p][t] = add_products(dot[p][t], C == Codes::q4 ? low : line, load_x(four));
            if constexpr (C == Codes::q4)
              dot[p][t] = add_products(dot[p][t], high, load_x(four + 4));
            // GCC would move these sums to other registers and to memory.
            __asm__("" : "+x"(dot[p][t].lo), "+x"(dot[p][t].hi));
          }
        }
      lines += 2 * kLineBytes;
      x += 8 * kParts;
    } while (lines != end);
  }

  /// The codes of a line, a byte each, in lines of four columns.
  template <Codes C>
  static void unpack_line(const uint8_t* line, uint8_t* out) {
    if constexpr (C == Codes::q4)
      Avx2::unpack_line<C>(line, out);
    else
      __builtin_memcpy(out, line, kLineBytes);
  }

  /// dot[p][t] += the same over `n` unpacked lines, a multiple of 4 (16 columns, the least group);
  /// then done(t).
  template <Codes, size_t P, size_t T, class Done>
  [[gnu::always_inline]] static void dot_block(const uint8_t* lines, size_t panel_stride, size_t n,
                                               const int8_t* const (&x)[T], I (&dot)[P][T],
                                               const Done& done) {
    size_t k = 0;
    do {
      for (size_t i = 0; i < 4; ++i, k += 4, lines += kLineBytes)
        for (size_t p = 0; p < P; ++p) {
          const I codes = load_int(lines + p * panel_stride);
          for (size_t t = 0; t < T; ++t)
            dot[p][t] = add_products(dot[p][t], codes, load_x(x[t] + k));
        }
    } while (k != 4 * n);
    for (size_t t = 0; t < T; ++t) done(t);
  }

  // For vector_peak.h.
  static constexpr size_t kPeakSums = 6;
  static void multiply_add(I& sum, const I& codes, const I& x) {
    sum.lo = _mm256_dpbusd_avx_epi32(sum.lo, codes.lo, x.lo);
    sum.hi = _mm256_dpbusd_avx_epi32(sum.hi, codes.hi, x.hi);
    __asm__ volatile("" : "+x"(sum.lo), "+x"(sum.hi));
  }
};

}  // namespace

const Kernels kAvxVnniKernels = vector_kernels<AvxVnni>("avxvnni");

}  // namespace nibble
