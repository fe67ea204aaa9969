#include "quant/number_range.h"

#include <cstdint>
#include <limits>

#include "quant/ggml_split.h"

namespace nibble {
namespace {

/// What the magnitudes of n numbers, their bits without the sign, have in common.
template <class T>
struct Magnitudes {
  static constexpr T kAll = std::numeric_limits<T>::max();
  T most = 0;
  T least = kAll;  // of those above zero, minus one
  T bits = 0;      // that any of them has

  /// A loop that compilers make vectors of where n is constant.
  void see(const std::byte* data, size_t n) {
    T high = most, low = least, any = bits;
    for (size_t i = 0; i < n; ++i) {
      const T m = load_as<T>(data + i * sizeof(T)) & kAll;
      const T less = static_cast<T>(m - 1) & kAll;
      high = m > high ? m : high;
      low = less < low ? less : low;
      any |= m;
    }
    most = high;
    least = low;
    bits = any;
  }
};

/// T is signed.
template <class T>
NumberRange range_of(std::span<const std::byte> numbers, T infinity, T least, T above,
                     T lost_bits) {
  constexpr size_t kTogether = 256;
  const size_t n = numbers.size() / sizeof(T), rest = n % kTogether;
  Magnitudes<T> found;
  for (size_t i = 0; i < n - rest; i += kTogether)
    found.see(numbers.data() + i * sizeof(T), kTogether);
  found.see(numbers.data() + (n - rest) * sizeof(T), rest);
  return {found.most < infinity,
          found.most < above && found.least >= least - 1 && (found.bits & lost_bits) == 0};
}

}  // namespace

// Whether fp16 holds every scale is decided by their normal range: from 2^-17 up a bf16 number
// still has all its bits as an fp16 one; f32 numbers need 13 zeros at the end and 2^-14.
NumberRange number_range(DType type, std::span<const std::byte> numbers) {
  switch (type) {
    case DType::bf16:
      return range_of<int16_t>(numbers, 0x7f80, 0x3700, 0x4780, 0);
    case DType::f32:
      return range_of<int32_t>(numbers, 0x7f800000, 0x38800000, 0x47800000, 0x1fff);
    default:
      return range_of<int16_t>(numbers, 0x7c00, 0, 0x7c00, 0);
  }
}

}  // namespace nibble
