// AVX2 and AVX-VNNI: products by vpdpbusd on registers of 8 rows.
#include "avx2_vector.h"
#include "sets.h"

namespace nibble {
namespace {

struct AvxVnni : Avx2 {
  static constexpr int32_t kByteOffset = 0;  // vpdpbusd multiplies unsigned codes as they are
  static constexpr size_t kTileRows = 6;
  /// From so many rows on unpacking through memory pays.
  template <Codes C>
  static constexpr size_t kManyRows = kUpperBits<C> == 0 ? 48 : 32;

  /// dot + four products of each lane; at most 4 * 255 * 127 a step, 128 columns stay far below
  /// 2^31.
  static I add_products(I dot, I codes, __m256i four) {
    I sum = {_mm256_dpbusd_avx_epi32(dot.lo, codes.lo, four),
             _mm256_dpbusd_avx_epi32(dot.hi, codes.hi, four)};
    // GCC would move these sums to other registers and to memory.
    __asm__("" : "+x"(sum.lo), "+x"(sum.hi));
    return sum;
  }

  /// dot[p][t] += sum over `n` units of the codes of P panels times row t of x.
  template <Codes C, size_t P, size_t T>
  [[gnu::always_inline]] static void dot_units(const uint8_t* units, size_t panel_stride, size_t n,
                                               const CodeTable& table, const int8_t* x,
                                               size_t x_stride, size_t fetch, I (&dot)[P][T]) {
    dot_units_by_fours<AvxVnni, C>(units, panel_stride, n, table, x, x_stride, fetch, dot);
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
