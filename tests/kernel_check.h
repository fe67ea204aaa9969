// What the tests of the kernels share. Every kernel set that this CPU can run, scalar included, is
// compared with double-precision references that follow the formulas of packed.h and kernels.h.
// Tolerances are the rounding errors of a float sum: terms * 2^-24 * the sum of magnitudes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kernels.h"

namespace nibble::test {

inline constexpr double kEps = 0x1p-24;
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Random = std::mt19937;

/// With NIBBLE_ISA set, that set and scalar only.
inline std::vector<const Kernels*> sets_under_test() {
  const char* forced = std::getenv("NIBBLE_ISA");
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  std::vector<const Kernels*> found;
  for (size_t i = 0; i < count; ++i) {
    const std::string name = sets[i].kernels->name;
    const bool wanted = !forced || !*forced || name == forced || name == "scalar";
    if (wanted && sets[i].supported()) found.push_back(sets[i].kernels);
  }
  return found;
}

inline float uniform(Random& random, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(random);
}

inline std::vector<float> random_floats(Random& random, size_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

inline double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

inline double half_at(const uint8_t* p) {
  return half_value(static_cast<uint16_t>(p[0] | p[1] << 8));
}

inline double bf16_at(const uint8_t* p) {
  const uint8_t wide[4] = {0, 0, p[0], p[1]};
  float f;
  std::memcpy(&f, wide, sizeof f);
  return static_cast<double>(f);
}

/// Memory of any type that starts at a multiple of 64, 0xff (NaN for floats) in every byte.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_(bytes + 64, 0xff) {}
  template <class T = uint8_t>
  T* at(size_t byte = 0) {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return reinterpret_cast<T*>(bytes_.data() + (64 - address % 64) % 64 + byte);
  }

 private:
  std::vector<uint8_t> bytes_;
};

inline void check_same(const std::string& what, const std::vector<float>& a,
                       const std::vector<float>& b) {
  check(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0, what);
}

}  // namespace nibble::test
