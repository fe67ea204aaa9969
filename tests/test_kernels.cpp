// Every kernel set that this CPU can run, scalar included, against double-precision references that
// follow the formulas of packed.h and kernels.h. With NIBBLE_ISA set, that set and scalar only.
// Tolerances are the rounding errors of a float sum: terms * 2^-24 * the sum of magnitudes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "kernels.h"

namespace {

using namespace nibble;
using test::check;
using test::check_eq;

constexpr double kEps = 0x1p-24;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Random = std::mt19937;

std::vector<const Kernels*> sets_under_test() {
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

float uniform(Random& random, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(random);
}

std::vector<float> random_floats(Random& random, size_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

double half_at(const uint8_t* p) { return half_value(static_cast<uint16_t>(p[0] | p[1] << 8)); }

double bf16_at(const uint8_t* p) {
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

// ---- packed matrices -------------------------------------------------------------------------

struct Format {
  Codes codes;
  Scheme scheme;
  uint16_t group;
  uint8_t zero;
  std::string name() const {
    static constexpr const char* kCodes[] = {"f32", "f16", "bf16", "q4", "q8"};
    static constexpr const char* kSchemes[] = {"none", "f16", "f16_zero", "f16_min",
                                               "k6",   "k8",  "k8_min"};
    return std::string(kCodes[static_cast<int>(codes)]) + " " + kSchemes[static_cast<int>(scheme)] +
           " g" + std::to_string(group);
  }
};

std::vector<Format> quantized_formats() {
  std::vector<Format> all;
  for (const Codes codes : {Codes::q4, Codes::q8}) {
    const bool q4 = codes == Codes::q4;
    for (const uint16_t group : {uint16_t{32}, uint16_t{64}, uint16_t{128}}) {
      all.push_back({codes, Scheme::f16, group, q4 ? uint8_t{8} : uint8_t{128}});
      all.push_back({codes, Scheme::f16_zero, group, 0});
      all.push_back({codes, Scheme::f16_min, group, 0});
    }
    all.push_back({codes, Scheme::f16, 32, q4 ? uint8_t{0} : uint8_t{16}});
    all.push_back({codes, Scheme::k6, 32, 0});
    all.push_back({codes, Scheme::k8, 16, q4 ? uint8_t{4} : uint8_t{32}});
    all.push_back({codes, Scheme::k8, 32, q4 ? uint8_t{8} : uint8_t{127}});
    all.push_back({codes, Scheme::k8_min, 16, 0});
  }
  return all;
}

std::vector<Format> all_formats() {
  std::vector<Format> all = quantized_formats();
  for (const Codes codes : {Codes::f32, Codes::f16, Codes::bf16})
    all.push_back({codes, Scheme::none, 0, 0});
  return all;
}

size_t scale_bytes(const Format& f, size_t cols_padded) {
  switch (f.scheme) {
    case Scheme::none:
      return 0;
    case Scheme::f16:
      return cols_padded / f.group * 32;
    case Scheme::f16_zero:
      return cols_padded / f.group * 48;
    case Scheme::f16_min:
      return cols_padded / f.group * 64;
    case Scheme::k6:
      return cols_padded / 256 * 256;
    case Scheme::k8:
      return cols_padded / 256 * (f.group == 16 ? 288 : 160);
    case Scheme::k8_min:
      return cols_padded / 256 * 576;
  }
  return 0;
}

/// A random matrix; strides leave room between the panels, filled with 0xff.
struct Matrix {
  Format format;
  PackedView view;
  Buffer codes{0}, scales{0};
  size_t panels() const { return (view.shape.rows + 15) / 16; }
};

uint16_t random_half(Random& random) {  // +-2^-8 .. 2^-3
  return static_cast<uint16_t>((random() & 0x83ffu) | (7 + random() % 5) << 10);
}

/// Fills the fp16 fields of one panel's scales, at 16 values each, 0 for rows that do not exist.
void fill_halves(Random& random, uint8_t* scales, size_t bytes, size_t per, size_t fields,
                 size_t rows) {
  for (size_t at = 0; at < bytes; at += per)
    for (size_t i = 0; i < 16 * fields; ++i) {
      const uint16_t bits = i % 16 < rows ? random_half(random) : uint16_t{0};
      std::memcpy(scales + at + 2 * i, &bits, 2);
    }
}

void fill_panel(Random& random, const Format& f, size_t rows, size_t cols_padded, size_t code_bytes,
                uint8_t* codes, uint8_t* scales) {
  for (size_t i = 0; i < code_bytes; ++i) codes[i] = static_cast<uint8_t>(random());
  const size_t bytes = scale_bytes(f, cols_padded);
  for (size_t i = 0; i < bytes; ++i) scales[i] = static_cast<uint8_t>(random());
  switch (f.scheme) {
    case Scheme::none:
      for (size_t i = 0; i < cols_padded * 16; ++i) {
        const float w = i % 16 < rows ? uniform(random, -1, 1) : 0.0f;
        const uint16_t bits = i % 16 >= rows ? uint16_t{0}
                              : f.codes == Codes::f16
                                  ? random_half(random)
                                  : static_cast<uint16_t>(0x3e00u | (random() & 0x80ffu));
        if (f.codes == Codes::f32)
          std::memcpy(codes + 4 * i, &w, 4);
        else
          std::memcpy(codes + 2 * i, &bits, 2);
      }
      return;
    case Scheme::f16:
      return fill_halves(random, scales, bytes, 32, 1, rows);
    case Scheme::f16_zero:
      return fill_halves(random, scales, bytes, 48, 1, rows);
    case Scheme::f16_min:
      return fill_halves(random, scales, bytes, 64, 2, rows);
    case Scheme::k6:
      return fill_halves(random, scales, bytes, 256, 2, rows);
    case Scheme::k8:
      return fill_halves(random, scales, bytes, f.group == 16 ? 288 : 160, 1, rows);
    case Scheme::k8_min:
      return fill_halves(random, scales, bytes, 576, 2, rows);
  }
}

Matrix random_matrix(Random& random, const Format& f, uint32_t rows, uint32_t cols) {
  const bool super = f.scheme == Scheme::k6 || f.scheme == Scheme::k8 || f.scheme == Scheme::k8_min;
  const uint32_t unit = super ? 256 : f.group == 0 ? 1 : f.group;
  Matrix m{.format = f, .view = {}};
  m.view.shape = {rows, cols, f.codes, f.scheme, f.group, f.zero};
  m.view.cols_padded = (cols + unit - 1) / unit * unit;
  const size_t half_bytes = f.codes == Codes::q4    ? 1
                            : f.codes == Codes::q8  ? 2
                            : f.codes == Codes::f32 ? 8
                                                    : 4;
  const size_t code_bytes = m.view.cols_padded * 8 * half_bytes;
  m.view.code_stride = code_bytes / 64 * 64 + 128;
  m.view.scale_stride = scale_bytes(f, m.view.cols_padded) / 64 * 64 + 128;
  m.codes = Buffer(m.panels() * m.view.code_stride);
  m.scales = Buffer(m.panels() * m.view.scale_stride);
  m.view.codes = m.codes.at();
  m.view.scales = m.scales.at();
  for (size_t p = 0; p < m.panels(); ++p)
    fill_panel(random, f, std::min<size_t>(16, rows - 16 * p), m.view.cols_padded, code_bytes,
               m.codes.at(p * m.view.code_stride), m.scales.at(p * m.view.scale_stride));
  return m;
}

/// w = s * q + m (m = -s * z where the scheme has zeros), read from the bytes by packed.h's words.
struct Weight {
  double s = 0, q = 0, m = 0;
  int64_t z = 0;
};

void read_scheme(const PackedShape& shape, const uint8_t* panel, size_t k, size_t r, Weight& w) {
  const size_t g = k / shape.group;   // group of the row
  const size_t in = k % 256;          // column of the 256
  const size_t j = in / shape.group;  // group of the 256
  switch (shape.scheme) {
    case Scheme::none:
      return;
    case Scheme::f16:
      w.s = half_at(panel + g * 32 + 2 * r);
      w.z = shape.zero;
      break;
    case Scheme::f16_zero:
      w.s = half_at(panel + g * 48 + 2 * r);
      w.z = panel[g * 48 + 32 + r];
      break;
    case Scheme::f16_min:
      w.s = half_at(panel + g * 64 + 2 * r);
      w.m = half_at(panel + g * 64 + 32 + 2 * r);
      return;
    case Scheme::k6: {
      const uint8_t* super = panel + k / 256 * 256;
      const size_t pair = in / 64;
      const bool second = in % 64 >= 32;
      const int sc = super[64 + 16 * pair + r];
      const int mn = super[128 + 16 * pair + r];
      const int hi = super[192 + 16 * pair + r];
      const int scale = second ? sc / 16 + (hi / 4 % 4) * 16 : sc % 16 + hi % 4 * 16;
      const int min = second ? mn / 16 + hi / 64 * 16 : mn % 16 + (hi / 16 % 4) * 16;
      w.s = half_at(super + 2 * r) * scale;
      w.m = -half_at(super + 32 + 2 * r) * min;
      return;
    }
    case Scheme::k8: {
      const uint8_t* super = panel + k / 256 * (shape.group == 16 ? 288 : 160);
      w.s = half_at(super + 2 * r) * static_cast<int8_t>(super[32 + 16 * j + r]);
      w.z = shape.zero;
      break;
    }
    case Scheme::k8_min: {
      const uint8_t* super = panel + k / 256 * 576;
      w.s = half_at(super + 2 * r) * super[64 + 16 * j + r];
      w.m = -half_at(super + 32 + 2 * r) * super[64 + 256 + 16 * j + r];
      return;
    }
  }
  w.m = -w.s * static_cast<double>(w.z);
}

Weight weight_at(const PackedView& view, size_t n, size_t k) {
  const uint8_t* codes = view.codes + n / 16 * view.code_stride;
  const size_t r = n % 16;
  Weight w;
  float f;
  switch (view.shape.codes) {
    case Codes::f32:
      std::memcpy(&f, codes + 4 * (k * 16 + r), 4);
      return {.s = 1, .q = static_cast<double>(f)};
    case Codes::f16:
      return {.s = 1, .q = half_at(codes + 2 * (k * 16 + r))};
    case Codes::bf16:
      return {.s = 1, .q = bf16_at(codes + 2 * (k * 16 + r))};
    case Codes::q4: {
      const uint8_t byte = codes[64 * (k / 8) + 4 * r + k % 4];
      w.q = k / 4 % 2 == 0 ? byte % 16 : byte / 16;
      break;
    }
    case Codes::q8:
      w.q = codes[64 * (k / 4) + 4 * r + k % 4];
      break;
  }
  read_scheme(view.shape, view.scales + n / 16 * view.scale_stride, k, r, w);
  return w;
}

// ---- activations -----------------------------------------------------------------------------

struct Activations {
  QuantizedRows rows;
  Buffer codes{0};
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

Activations empty_activations(size_t n_rows, size_t n_groups, size_t group) {
  Activations a;
  const size_t stride = (n_groups * group + 63) / 64 * 64 + 64;
  a.codes = Buffer(n_rows * stride);
  a.scales.assign(n_rows * n_groups, kNan);
  a.sums.assign(n_rows * n_groups, -12345);
  a.rows = {a.codes.at<int8_t>(), a.scales.data(), a.sums.data(), n_rows, stride, n_groups, group};
  return a;
}

/// Random codes that fit a matrix, zero beyond its columns.
Activations random_activations(Random& random, const PackedView& w, size_t n_rows, bool extreme) {
  const size_t group = w.shape.group;
  Activations a = empty_activations(n_rows, w.cols_padded / group + 1, group);
  for (size_t t = 0; t < n_rows; ++t) {
    int8_t* codes = a.rows.codes + t * a.rows.stride;
    std::memset(codes, 0, a.rows.stride);
    const bool negative = random() & 1;
    for (size_t k = 0; k < w.shape.cols; ++k)
      codes[k] = static_cast<int8_t>(extreme ? (negative ? -127 : 127)
                                             : static_cast<int>(random() % 255) - 127);
    for (size_t g = 0; g < a.rows.n_groups; ++g) {
      const size_t i = t * a.rows.n_groups + g;
      a.scales[i] = uniform(random, 0.001f, 0.02f);
      a.sums[i] = 0;
      for (size_t k = g * group; k < (g + 1) * group; ++k) a.sums[i] += codes[k];
    }
  }
  return a;
}

// ---- matrix products -------------------------------------------------------------------------

struct Expected {
  double value = 0, tolerance = 0;
};

/// y[t][n] by integers within the groups and doubles across them.
Expected expected_q(const Matrix& m, const Activations& a, size_t t, size_t n) {
  const size_t group = m.format.group;
  Expected y;
  for (size_t g = 0; g < m.view.cols_padded / group; ++g) {
    int64_t dot = 0, sum = 0;
    Weight w;
    for (size_t k = g * group; k < (g + 1) * group; ++k) {
      w = weight_at(m.view, n, k);
      dot += static_cast<int64_t>(w.q) * a.rows.codes[t * a.rows.stride + k];
      sum += a.rows.codes[t * a.rows.stride + k];
    }
    if (w.z != 0) w.m = 0;
    const double xs = static_cast<double>(a.scales[t * a.rows.n_groups + g]);
    const double high = xs * w.s * static_cast<double>(dot - w.z * sum);
    const double low = xs * w.m * static_cast<double>(sum);
    y.value += high + low;
    y.tolerance += std::abs(high) + std::abs(low);
  }
  y.tolerance *= kEps * static_cast<double>(m.view.cols_padded / group + 4);
  return y;
}

Expected expected_f32(const Matrix& m, const float* x, size_t n) {
  Expected y;
  for (size_t k = 0; k < m.view.shape.cols; ++k) {
    const Weight w = weight_at(m.view, n, k);
    const double v = static_cast<double>(x[k]);
    y.value += (w.s * w.q + w.m) * v;
    y.tolerance += (std::abs(w.s * w.q) + std::abs(w.m)) * std::abs(v);
  }
  y.tolerance *= kEps * static_cast<double>(m.view.shape.cols + 4);
  return y;
}

/// Compares y [n_rows, 16 * panels] with expect(t, n); rows that are padding must be exactly 0.
template <class Expect>
void check_product(const std::string& what, const Matrix& m, size_t n_rows,
                   const std::vector<float>& y, const Expect& expect) {
  const size_t stride = m.panels() * 16;
  for (size_t t = 0; t < n_rows; ++t)
    for (size_t n = 0; n < stride; ++n) {
      Expected e;
      if (n < m.view.shape.rows) e = expect(t, n);
      test::check_near(static_cast<double>(y[t * stride + n]), e.value, e.tolerance,
                       what + " at " + std::to_string(t) + "," + std::to_string(n));
    }
}

std::string shape_name(const Kernels& k, const Format& f, uint32_t rows, uint32_t cols, size_t n) {
  return std::string(k.name) + " " + f.name() + " " + std::to_string(rows) + "x" +
         std::to_string(cols) + " rows " + std::to_string(n);
}

constexpr struct {
  uint32_t rows, cols;
  size_t n_rows;
} kShapes[] = {{1, 1, 1},    {16, 32, 2}, {33, 172, 3}, {50, 300, 9},
               {17, 515, 5}, {8, 64, 33}, {31, 257, 8}, {64, 288, 17}};

void matmul_q_shapes() {
  Random random(1);
  for (const Format& f : quantized_formats())
    for (const auto& [rows, cols, n_rows] : kShapes) {
      const Matrix m = random_matrix(random, f, rows, cols);
      const Activations a = random_activations(random, m.view, n_rows, false);
      for (const Kernels* kernels : sets_under_test()) {
        std::vector<float> y(n_rows * m.panels() * 16, kNan);
        kernels->matmul_q(m.view, 0, m.panels(), a.rows, y.data(), m.panels() * 16);
        check_product(shape_name(*kernels, f, rows, cols, n_rows), m, n_rows, y,
                      [&](size_t t, size_t n) { return expected_q(m, a, t, n); });
      }
    }
}

/// All codes 0 or all at their maximum against activations of +-127: sums that overflow 16 bits or
/// saturate show here.
void matmul_q_extremes() {
  Random random(2);
  for (const Format& f : quantized_formats())
    for (const int fill : {0x00, 0xff}) {
      Matrix m = random_matrix(random, f, 32, 512);
      std::memset(m.codes.at(), fill, m.panels() * m.view.code_stride);
      const Activations a = random_activations(random, m.view, 6, true);
      for (const Kernels* kernels : sets_under_test()) {
        std::vector<float> y(6 * m.panels() * 16, kNan);
        kernels->matmul_q(m.view, 0, m.panels(), a.rows, y.data(), m.panels() * 16);
        check_product(shape_name(*kernels, f, 32, 512, 6) + " codes " + std::to_string(fill), m, 6,
                      y, [&](size_t t, size_t n) { return expected_q(m, a, t, n); });
      }
    }
}

/// Every value of an 8-bit code, against both signs.
void matmul_q_every_code() {
  Random random(3);
  Matrix m = random_matrix(random, {Codes::q8, Scheme::f16, 32, 128}, 16, 1024);
  for (size_t i = 0; i < m.view.code_stride; ++i)
    m.codes.at()[i] = static_cast<uint8_t>(i / 4 % 16 * 16 + i / 64 % 16);
  const Activations a = random_activations(random, m.view, 4, true);
  for (const Kernels* kernels : sets_under_test()) {
    std::vector<float> y(4 * 16, kNan);
    kernels->matmul_q(m.view, 0, 1, a.rows, y.data(), 16);
    check_product(kernels->name, m, 4, y,
                  [&](size_t t, size_t n) { return expected_q(m, a, t, n); });
  }
}

void matmul_f32_shapes() {
  Random random(4);
  for (const Format& f : all_formats())
    for (const auto& [rows, cols, n_rows] : kShapes) {
      const Matrix m = random_matrix(random, f, rows, cols);
      const size_t stride = cols + 3;  // what lies between the rows must not be read
      std::vector<float> x = random_floats(random, n_rows * stride);
      for (size_t i = 0; i < x.size(); ++i)
        if (i % stride >= cols) x[i] = kNan;
      for (const Kernels* kernels : sets_under_test()) {
        std::vector<float> y(n_rows * m.panels() * 16, kNan);
        kernels->matmul_f32(m.view, 0, m.panels(), x.data(), stride, n_rows, y.data(),
                            m.panels() * 16);
        check_product(shape_name(*kernels, f, rows, cols, n_rows), m, n_rows, y,
                      [&](size_t t, size_t n) { return expected_f32(m, &x[t * stride], n); });
      }
    }
}

/// Rows first..last-1 of activations as a batch of their own.
QuantizedRows some_rows(const QuantizedRows& x, size_t first, size_t last) {
  QuantizedRows part = x;
  part.codes += first * x.stride;
  part.scales += first * x.n_groups;
  part.sums += first * x.n_groups;
  part.n_rows = last - first;
  return part;
}

void check_same(const std::string& what, const std::vector<float>& a, const std::vector<float>& b) {
  check(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0, what);
}

/// Row by row and panel by panel: the same bits as all at once, and nothing else is written.
void matmul_is_reproducible() {
  Random random(5);
  constexpr size_t kRows = 23;
  for (const Format& f : all_formats()) {
    const Matrix m = random_matrix(random, f, 77, 300);
    const size_t stride = m.panels() * 16 + 5;
    const std::vector<float> x = random_floats(random, kRows * 300);
    for (const Kernels* kernels : sets_under_test()) {
      const std::vector<float> blank(kRows * stride, -1.0f);
      std::vector<float> all = blank, rows = blank, panels = blank;
      const auto run = [&](auto&& matmul) {
        matmul(0, kRows, 0, m.panels(), all.data());
        for (size_t t = 0; t < kRows; ++t) matmul(t, t + 1, 0, m.panels(), rows.data());
        matmul(0, 13, 0, 1, panels.data());
        matmul(13, kRows, 0, 1, panels.data());
        matmul(0, kRows, 1, 4, panels.data());
        matmul(0, kRows, 4, m.panels(), panels.data());
        const std::string what = shape_name(*kernels, f, 77, 300, kRows);
        check_same(what + ": row by row differs", all, rows);
        check_same(what + ": panel by panel differs", all, panels);
        for (size_t i = 0; i < all.size(); ++i)
          if (i % stride >= m.panels() * 16) check_eq(all[i], -1.0f, what + ": wrote too far");
      };
      run([&](size_t t0, size_t t1, size_t p0, size_t p1, float* y) {
        kernels->matmul_f32(m.view, p0, p1, x.data() + t0 * 300, 300, t1 - t0, y + t0 * stride,
                            stride);
      });
      if (f.scheme == Scheme::none) continue;
      all = rows = panels = blank;
      const Activations a = random_activations(random, m.view, kRows, false);
      run([&](size_t t0, size_t t1, size_t p0, size_t p1, float* y) {
        kernels->matmul_q(m.view, p0, p1, some_rows(a.rows, t0, t1), y + t0 * stride, stride);
      });
    }
  }
}

// ---- rows ------------------------------------------------------------------------------------

/// Codes, scales and sums are defined exactly: no tolerance.
void quantizes_rows() {
  Random random(6);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t group : {size_t{16}, size_t{32}, size_t{64}, size_t{128}})
      for (const size_t cols : {size_t{1}, size_t{16}, size_t{172}, size_t{300}, size_t{512}}) {
        constexpr size_t kRows = 3;
        const size_t x_stride = cols + 2;
        std::vector<float> x = random_floats(random, kRows * x_stride);
        for (size_t k = 0; k < std::min(cols, group); ++k) x[k] = 0;                   // no scale
        for (size_t k = 0; k < std::min(cols, group); ++k) x[x_stride + k] *= 1e-38f;  // too small
        const size_t n_groups = (cols + group - 1) / group + 2;
        Activations a = empty_activations(kRows, n_groups, group);
        kernels->quantize_rows(x.data(), x_stride, cols, a.rows);
        const std::string what = std::string(kernels->name) + " group " + std::to_string(group) +
                                 " cols " + std::to_string(cols);
        for (size_t t = 0; t < kRows; ++t)
          for (size_t k = 0, sum = 0; k < a.rows.stride; ++k) {
            float absmax = 0;
            for (size_t i = k / group * group; i < std::min(k / group * group + group, cols); ++i)
              absmax = std::max(absmax, std::abs(x[t * x_stride + i]));
            float scale = absmax / 127;
            if (scale < 0x1p-126f) scale = 0;
            const bool coded = k < cols && scale != 0;
            const int code =
                coded ? static_cast<int>(std::nearbyint(x[t * x_stride + k] / scale)) : 0;
            check_eq(static_cast<int>(a.rows.codes[t * a.rows.stride + k]), code, what + " code");
            if (k / group >= n_groups) continue;
            check_eq(a.scales[t * n_groups + k / group], scale, what + " scale");
            sum = k % group == 0 ? static_cast<size_t>(code) : sum + static_cast<size_t>(code);
            if (k % group == group - 1)
              check_eq(a.sums[t * n_groups + k / group], static_cast<int32_t>(sum), what + " sum");
          }
      }
}

void rounds_ties_to_even() {
  const std::vector<float> x = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127, 3.5f, 126.5f};
  const std::vector<int> codes = {127, 0, 2, 2, 0, -2, -2, -127, 4, 126};
  for (const Kernels* kernels : sets_under_test()) {
    Activations a = empty_activations(1, 1, 16);
    kernels->quantize_rows(x.data(), x.size(), x.size(), a.rows);
    for (size_t i = 0; i < x.size(); ++i)
      check_eq(static_cast<int>(a.rows.codes[i]), codes[i], kernels->name);
  }
}

constexpr size_t kLengths[] = {1, 7, 8, 15, 16, 17, 31, 48, 63, 172, 300, 4096};

void rms_norms() {
  Random random(7);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> x = random_floats(random, n + 1);
      const std::vector<float> weight = random_floats(random, n);
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += std::pow(static_cast<double>(x[i]), 2);
      const double norm = std::sqrt(sum / static_cast<double>(n) + 1e-5);
      std::vector<float> y(n + 1, -1.0f);
      kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, y.data());
      check_eq(y[n], -1.0f, std::string(kernels->name) + " wrote too far");
      const std::vector<float> input = x;
      kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, x.data());
      for (size_t i = 0; i < n; ++i) {
        const double e = static_cast<double>(input[i]) / norm * static_cast<double>(weight[i]);
        test::check_near(static_cast<double>(y[i]), e,
                         std::abs(e) * kEps * static_cast<double>(n + 8), kernels->name);
        check_eq(x[i], y[i], "in place");
      }
    }
}

void adds() {
  Random random(8);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> x = random_floats(random, n + 1);
      const std::vector<float> before = x, y = random_floats(random, n);
      kernels->add(x.data(), y.data(), n);
      for (size_t i = 0; i < n; ++i) check_eq(x[i], before[i] + y[i], kernels->name);
      check_eq(x[n], before[n], "wrote too far");
    }
}

/// Over the range where exp() of floats is finite; this bounds the error of the kernels' exp, too.
void silu() {
  Random random(9);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> gate(n + 1);
      for (float& g : gate) g = uniform(random, -87, 87);
      if (n > 20) gate[3] = 0, gate[4] = -200, gate[5] = 200, gate[6] = -0.0f, gate[7] = 1e-20f;
      const std::vector<float> before = gate, up = random_floats(random, n);
      kernels->silu_mul(gate.data(), up.data(), n);
      check_eq(gate[n], before[n], "wrote too far");
      for (size_t i = 0; i < n; ++i) {
        const double a = static_cast<double>(before[i]);
        const double e = a / (1 + std::exp(-a)) * static_cast<double>(up[i]);
        test::check_near(static_cast<double>(gate[i]), e, 8 * kEps * std::abs(e) + 1e-34,
                         std::string(kernels->name) + " silu of " + std::to_string(a));
      }
    }
}

void ropes() {
  Random random(10);
  constexpr size_t kHeads = 3;
  for (const Kernels* kernels : sets_under_test())
    for (const auto& [dim, half] :
         {std::pair<size_t, size_t>{8, 4}, {64, 32}, {80, 40}, {80, 16}, {128, 64}, {6, 1}}) {
      std::vector<float> x = random_floats(random, kHeads * dim), cos(half), sin(half);
      for (size_t i = 0; i < half; ++i) {
        const float angle = uniform(random, -3, 3);
        cos[i] = std::cos(angle);
        sin[i] = std::sin(angle);
      }
      const std::vector<float> before = x;
      kernels->rope(x.data(), kHeads, dim, half, cos.data(), sin.data());
      for (size_t h = 0; h < kHeads; ++h)
        for (size_t d = 0; d < dim; ++d) {
          const size_t at = h * dim + d;
          if (d >= 2 * half) {
            check_eq(x[at], before[at], "beyond the rotated columns");
            continue;
          }
          const size_t i = d % half;
          const double a = static_cast<double>(before[h * dim + i]);
          const double b = static_cast<double>(before[h * dim + i + half]);
          const double c = static_cast<double>(cos[i]), s = static_cast<double>(sin[i]);
          const double e = d < half ? a * c - b * s : a * s + b * c;
          test::check_near(static_cast<double>(x[at]), e, 4 * kEps * (std::abs(a) + std::abs(b)),
                           kernels->name);
        }
    }
}

// ---- attention -------------------------------------------------------------------------------

/// One chunk of a cache, NaN where nothing has been stored.
struct Cache {
  size_t head_dim, stride;
  KvCode code;
  Buffer k, v;
  std::vector<float> k_scale, v_scale;
  Cache(size_t dim, KvCode kv_code)
      : head_dim(dim),
        stride((dim + 15) / 16 * 16),
        code(kv_code),
        k(256 * dim * 4),
        v(256 * stride * 4),
        k_scale(256, kNan),
        v_scale(256, kNan) {}
  KvChunk view() { return {k.at(), v.at(), k_scale.data(), v_scale.data(), code}; }
  void store(const Kernels& kernels, const float* key, const float* value, size_t pos) {
    kernels.store_key(key, head_dim, pos, code, k.at(), k_scale.data());
    kernels.store_value(value, head_dim, pos, code, v.at(), v_scale.data());
  }
  double element(Buffer& buffer, size_t i, float scale) {
    if (code == KvCode::f32) return static_cast<double>(buffer.at<float>()[i]);
    if (code == KvCode::f16) return half_value(buffer.at<uint16_t>()[i]);
    return static_cast<double>(scale) * buffer.at<int8_t>()[i];
  }
  double key(size_t pos, size_t d) {
    return element(k, pos / 16 * head_dim * 16 + d * 16 + pos % 16, k_scale[pos]);
  }
  double value(size_t pos, size_t d) { return element(v, pos * stride + d, v_scale[pos]); }
};

constexpr size_t kHeadDims[] = {8, 64, 80, 128, 36};
constexpr KvCode kKvCodes[] = {KvCode::f32, KvCode::f16, KvCode::q8};

void stores_keys_and_values() {
  Random random(11);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t dim : kHeadDims)
      for (const KvCode code : kKvCodes)
        for (const size_t pos : {size_t{0}, size_t{5}, size_t{16}, size_t{255}}) {
          Cache cache(dim, code);
          const std::vector<float> k = random_floats(random, dim), v = random_floats(random, dim);
          cache.store(*kernels, k.data(), v.data(), pos);
          const auto largest = [](const std::vector<float>& x) {
            double max = 0;
            for (const float e : x) max = std::max(max, std::abs(static_cast<double>(e)));
            return max;
          };
          const auto tolerance = [&](const std::vector<float>& x, size_t d) {
            if (code == KvCode::f32) return 0.0;
            if (code == KvCode::q8) return largest(x) / 254 * (1 + 4 * kEps);
            return std::abs(static_cast<double>(x[d])) * 0x1p-11 + 0x1p-25;
          };
          const std::string what = std::string(kernels->name) + " dim " + std::to_string(dim);
          for (size_t d = 0; d < dim; ++d) {
            test::check_near(cache.key(pos, d), static_cast<double>(k[d]), tolerance(k, d), what);
            test::check_near(cache.value(pos, d), static_cast<double>(v[d]), tolerance(v, d), what);
          }
          for (size_t d = dim; d < cache.stride; ++d)
            check_eq(cache.value(pos, d), 0.0, what + " padding");
          if (code != KvCode::q8) continue;
          const auto scale = [&](const std::vector<float>& x) {
            return static_cast<float>(largest(x)) / 127.0f;
          };
          check_eq(cache.k_scale[pos], scale(k), what + " key scale");
          check_eq(cache.v_scale[pos], scale(v), what + " value scale");
        }
}

struct Range {
  int32_t begin, end;
};

struct State {
  std::vector<float> acc, max, sum;
  State(size_t n_rows, size_t stride)
      : acc(n_rows * stride, kNan), max(n_rows, kNan), sum(n_rows, kNan) {}
  SoftmaxState view(size_t row = 0, size_t stride = 0) {
    return {acc.data() + row * stride, max.data() + row, sum.data() + row};
  }
};

/// Rows of queries with what each of them sees; the cache holds exactly the positions seen.
struct Queries {
  std::vector<int32_t> begin, end;
  std::vector<float> q;  // [n_rows, stride]
  size_t stride;
  size_t n_rows() const { return begin.size(); }
};

Queries make_queries(Random& random, Cache& cache, const Kernels& kernels,
                     const std::vector<Range>& ranges) {
  Queries queries{{}, {}, {}, cache.head_dim + 3};
  for (const Range& r : ranges) {
    queries.begin.push_back(r.begin);
    queries.end.push_back(r.end);
  }
  queries.q = random_floats(random, ranges.size() * queries.stride);
  for (int32_t p = 0; p < 256; ++p) {
    const std::vector<float> k = random_floats(random, cache.head_dim);
    const std::vector<float> v = random_floats(random, cache.head_dim);
    const bool seen = std::any_of(ranges.begin(), ranges.end(),
                                  [&](const Range& r) { return r.begin <= p && p < r.end; });
    if (seen) cache.store(kernels, k.data(), v.data(), static_cast<size_t>(p));
  }
  return queries;
}

void run_chunk(const Kernels& kernels, Cache& cache, const Queries& queries, size_t first,
               size_t last, State& out) {
  std::vector<float> scores((last - first) * 256, kNan);
  kernels.attention_chunk(cache.view(), cache.head_dim, queries.q.data() + first * queries.stride,
                          queries.stride, last - first, queries.begin.data() + first,
                          queries.end.data() + first, 0.3f, scores.data(),
                          out.view(first, cache.stride));
}

/// One row in doubles: the output, the largest score and the sum, and their relative tolerance.
struct Softmax {
  std::vector<double> y, magnitude;
  double max = -std::numeric_limits<double>::infinity(), sum = 0, score_error = 0, tolerance = 0;
};

Softmax expected_attention(Cache& cache, const Queries& queries, size_t row, int32_t begin,
                           int32_t end) {
  Softmax e{std::vector<double>(cache.head_dim), std::vector<double>(cache.head_dim)};
  std::vector<double> score(256);
  for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
    double magnitude = 0;
    for (size_t d = 0; d < cache.head_dim; ++d) {
      const double product =
          static_cast<double>(queries.q[row * queries.stride + d]) * cache.key(p, d);
      score[p] += product * static_cast<double>(0.3f);
      magnitude += std::abs(product) * 0.3;
    }
    e.max = std::max(e.max, score[p]);
    e.score_error =
        std::max(e.score_error, kEps * static_cast<double>(cache.head_dim + 4) * magnitude);
  }
  for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
    const double weight = std::exp(score[p] - e.max);
    e.sum += weight;
    for (size_t d = 0; d < cache.head_dim; ++d) {
      e.y[d] += weight * cache.value(p, d);
      e.magnitude[d] += weight * std::abs(cache.value(p, d));
    }
  }
  for (double& y : e.y) y /= e.sum;
  for (double& m : e.magnitude) m /= e.sum;
  e.tolerance = 2 * e.score_error + kEps * static_cast<double>(end - begin + 16) + kEps * 20;
  return e;
}

const std::vector<std::vector<Range>>& range_sets() {
  static const std::vector<std::vector<Range>> sets = {
      {{0, 1}},
      {{0, 256}},
      {{17, 203}},
      {{0, 100}, {0, 101}, {0, 102}, {0, 103}, {0, 104}, {0, 105}, {0, 106}, {0, 107}, {0, 108}},
      {{3, 60}, {6, 63}, {9, 66}, {12, 69}, {15, 72}, {18, 75}},
      {{0, 10}, {200, 256}, {5, 5}, {31, 33}, {60, 50}, {0, 256}},
      {{0, 0}, {256, 256}, {0, 0}, {7, 0}, {0, 16}},
  };
  return sets;
}

/// fn(kernels, cache, queries, description) for all of them.
template <class Fn>
void for_each_attention(const Fn& fn) {
  Random random(12);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t dim : kHeadDims)
      for (const KvCode code : kKvCodes)
        for (const std::vector<Range>& ranges : range_sets()) {
          Cache cache(dim, code);
          const Queries queries = make_queries(random, cache, *kernels, ranges);
          fn(*kernels, cache, queries,
             std::string(kernels->name) + " dim " + std::to_string(dim) + " code " +
                 std::to_string(static_cast<int>(code)) + " rows " + std::to_string(ranges.size()));
        }
}

void check_row(const std::string& what, Cache& cache, const Queries& queries, size_t row,
               State& state, const float* y) {
  const int32_t begin = queries.begin[row], end = queries.end[row];
  if (end <= begin) {
    check_eq(state.max[row], -kInf, what + " max of no position");
    check_eq(state.sum[row], 0.0f, what + " sum of no position");
    for (size_t d = 0; d < cache.stride; ++d)
      check_eq(state.acc[row * cache.stride + d], 0.0f, what);
    for (size_t d = 0; d < cache.head_dim; ++d) check_eq(y[d], 0.0f, what);
    return;
  }
  const Softmax e = expected_attention(cache, queries, row, begin, end);
  test::check_near(static_cast<double>(state.max[row]), e.max, e.score_error + 1e-30,
                   what + " max");
  test::check_near(static_cast<double>(state.sum[row]), e.sum, e.sum * e.tolerance, what + " sum");
  for (size_t d = 0; d < cache.head_dim; ++d)
    test::check_near(static_cast<double>(y[d]), e.y[d], e.tolerance * e.magnitude[d] + 1e-30, what);
}

void attends() {
  for_each_attention([](const Kernels& kernels, Cache& cache, const Queries& queries,
                        const std::string& what) {
    State state(queries.n_rows(), cache.stride);
    run_chunk(kernels, cache, queries, 0, queries.n_rows(), state);
    const size_t y_stride = cache.head_dim + 1;
    std::vector<float> y(queries.n_rows() * y_stride, -1.0f);
    kernels.attention_finish(state.view(), queries.n_rows(), cache.head_dim, y.data(), y_stride);
    for (size_t row = 0; row < queries.n_rows(); ++row) {
      check_row(what, cache, queries, row, state, &y[row * y_stride]);
      check_eq(y[row * y_stride + cache.head_dim], -1.0f, what + " wrote too far");
    }
  });
}

/// A row alone gives the same bits as among others, though those see other positions.
void attention_is_reproducible() {
  for_each_attention(
      [](const Kernels& kernels, Cache& cache, const Queries& queries, const std::string& what) {
        State all(queries.n_rows(), cache.stride), alone(queries.n_rows(), cache.stride);
        run_chunk(kernels, cache, queries, 0, queries.n_rows(), all);
        for (size_t row = 0; row < queries.n_rows(); ++row)
          run_chunk(kernels, cache, queries, row, row + 1, alone);
        check_same(what + " acc", all.acc, alone.acc);
        check_same(what + " max", all.max, alone.max);
        check_same(what + " sum", all.sum, alone.sum);
      });
}

/// The positions of a chunk in two parts, merged, are the softmax over all of them.
void merges() {
  for_each_attention(
      [](const Kernels& kernels, Cache& cache, const Queries& queries, const std::string& what) {
        const size_t n_rows = queries.n_rows();
        Queries first = queries, second = queries;
        for (size_t row = 0; row < n_rows; ++row) {
          const int32_t cut = std::clamp(47 * static_cast<int32_t>(row), queries.begin[row],
                                         std::max(queries.begin[row], queries.end[row]));
          first.end[row] = second.begin[row] = cut;
        }
        State into(n_rows, cache.stride), from(n_rows, cache.stride);
        run_chunk(kernels, cache, first, 0, n_rows, into);
        run_chunk(kernels, cache, second, 0, n_rows, from);
        const State left = into, right = from;
        kernels.attention_merge(into.view(), from.view(), n_rows, cache.stride);
        std::vector<float> y(n_rows * cache.head_dim);
        kernels.attention_finish(into.view(), n_rows, cache.head_dim, y.data(), cache.head_dim);
        for (size_t row = 0; row < n_rows; ++row) {
          check_row(what, cache, queries, row, into, &y[row * cache.head_dim]);
          if (left.sum[row] != 0 && right.sum[row] != 0) continue;
          const State& whole = left.sum[row] == 0 ? right : left;
          check_eq(into.max[row], whole.max[row], what + " copied max");
          check_eq(into.sum[row], whole.sum[row], what + " copied sum");
          check(std::memcmp(&into.acc[row * cache.stride], &whole.acc[row * cache.stride],
                            cache.stride * sizeof(float)) == 0,
                what + " copied acc");
        }
      });
}

// ---- dispatch --------------------------------------------------------------------------------

void dispatches() {
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  check(count > 0, "no kernel set");
  check_eq(std::string(sets[count - 1].kernels->name), std::string("scalar"), "the last set");
  check(sets[count - 1].supported(), "scalar is not supported");
  const Kernels* best = nullptr;
  for (size_t i = 0; i < count; ++i) {
    const Kernels* kernels = sets[i].kernels;
    const bool supported = sets[i].supported();
    if (supported && !best) best = kernels;
    check(find_kernels(kernels->name) == (supported ? kernels : nullptr), kernels->name);
  }
  check(find_kernels(nullptr) == best && find_kernels("") == best, "the best set");
  check(find_kernels("no-such-set") == nullptr, "an unknown name");
}

/// NIBBLE_ISA must name a set that the tests of this process did run.
void tests_the_forced_set() {
  const char* forced = std::getenv("NIBBLE_ISA");
  if (!forced || !*forced) test::skip("NIBBLE_ISA is not set");
  check_eq(std::string(sets_under_test().front()->name), std::string(forced), "NIBBLE_ISA");
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv,
                           {
                               {"dispatches", dispatches},
                               {"tests the forced set", tests_the_forced_set},
                               {"matmul_q on ragged shapes", matmul_q_shapes},
                               {"matmul_q at the extremes", matmul_q_extremes},
                               {"matmul_q for every code", matmul_q_every_code},
                               {"matmul_f32 on ragged shapes", matmul_f32_shapes},
                               {"matmul is reproducible", matmul_is_reproducible},
                               {"quantizes rows", quantizes_rows},
                               {"rounds ties to even", rounds_ties_to_even},
                               {"rms_norm", rms_norms},
                               {"add", adds},
                               {"silu_mul", silu},
                               {"rope", ropes},
                               {"stores keys and values", stores_keys_and_values},
                               {"attends", attends},
                               {"attention is reproducible", attention_is_reproducible},
                               {"merges", merges},
                           });
}
