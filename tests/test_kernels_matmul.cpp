// Matrix products of every format, see kernel_check.h.
#include "kernel_matrix.h"

namespace {

using namespace nibble;
using namespace nibble::test;

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

/// The same for activations in bf16. Weights are rounded to it by less than 0.005 of themselves,
/// when they have been computed as base + code with a base of at most 2^11.
Expected expected_bf16(const Matrix& m, const Activations& a, size_t t, size_t n) {
  Expected y;
  for (size_t k = 0; k < m.view.shape.cols; ++k) {
    const Weight w = weight_at(m.view, n, k);
    const double x =
        bf16_at(reinterpret_cast<const uint8_t*>(a.rows.codes) + t * a.rows.stride + 2 * k);
    const double value = w.s * w.q + w.m;
    y.value += value * x;
    y.tolerance +=
        std::abs(x) * (0.005 * std::abs(value) + std::abs(w.s) * 0x1p-12 + std::abs(w.m) * 0x1p-22);
  }
  return y;
}

/// Activations in the form that each table reads.
struct BothForms {
  Activations int8, bf16;
  const Activations& of(const Kernels& kernels) const {
    return kernels.activations == ActivationCode::bf16 ? bf16 : int8;
  }
  Expected expect(const Kernels& kernels, const Matrix& m, size_t t, size_t n) const {
    return kernels.activations == ActivationCode::bf16 ? expected_bf16(m, bf16, t, n)
                                                       : expected_q(m, int8, t, n);
  }
};

BothForms both_forms(Activations a) {
  Activations rounded = as_bf16(a);
  return {std::move(a), std::move(rounded)};
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

/// Rows first..last-1 of activations as a batch of their own.
QuantizedRows some_rows(const QuantizedRows& x, size_t first, size_t last) {
  QuantizedRows part = x;
  part.codes += first * x.stride;
  if (x.scales) part.scales += first * x.n_groups;
  if (x.sums) part.sums += first * x.n_groups;
  part.n_rows = last - first;
  return part;
}

constexpr size_t kManyRows = 67;  // more than any set takes as few

constexpr struct {
  uint32_t rows, cols;
  size_t n_rows;
} kShapes[] = {{1, 1, 1},    {16, 32, 2},        {33, 172, 3}, {50, 300, 9},
               {17, 515, 5}, {8, 64, kManyRows}, {31, 257, 8}, {64, 288, 17}};

void matmul_q_shapes() {
  Random random(1);
  for (const Format& f : quantized_formats())
    for (const auto& [rows, cols, n_rows] : kShapes) {
      const Matrix m = random_matrix(random, f, rows, cols);
      const BothForms x = both_forms(random_activations(random, m.view, n_rows, false));
      for (const Kernels* kernels : sets_under_test()) {
        std::vector<float> y(n_rows * m.panels() * 16, kNan);
        kernels->matmul_q(m.view, 0, m.panels(), x.of(*kernels).rows, y.data(), m.panels() * 16);
        check_product(shape_name(*kernels, f, rows, cols, n_rows), m, n_rows, y,
                      [&](size_t t, size_t n) { return x.expect(*kernels, m, t, n); });
      }
    }
}

/// More columns than any kernel takes as a block, the last of them cut; more rows than any tile.
void matmul_q_long_rows() {
  Random random(7);
  constexpr uint32_t kOutputs = 33, kCols = 2090;
  constexpr size_t kRows = kManyRows;
  for (const Format& f :
       {Format{Codes::q4, Scheme::f16, 32, 8}, Format{Codes::q8, Scheme::f16_zero, 16, 0},
        Format{Codes::q5, Scheme::f16, 32, 16}, Format{Codes::q6, Scheme::k8, 16, 32},
        Format{Codes::q2, Scheme::k4_min, 16, 0}, Format{Codes::q3, Scheme::k8, 16, 4}}) {
    const Matrix m = random_matrix(random, f, kOutputs, kCols);
    const BothForms x = both_forms(random_activations(random, m.view, kRows, false));
    for (const Kernels* kernels : sets_under_test()) {
      const size_t stride = m.panels() * 16;
      std::vector<float> y(kRows * stride, kNan), alone(kRows * stride, kNan);
      const QuantizedRows& rows = x.of(*kernels).rows;
      kernels->matmul_q(m.view, 0, m.panels(), rows, y.data(), stride);
      const std::string what = shape_name(*kernels, f, kOutputs, kCols, kRows);
      check_product(what, m, kRows, y,
                    [&](size_t t, size_t n) { return x.expect(*kernels, m, t, n); });
      for (size_t t = 0; t < kRows; ++t)
        kernels->matmul_q(m.view, 0, m.panels(), some_rows(rows, t, t + 1), &alone[t * stride],
                          stride);
      check_same(what + ": row by row differs", y, alone);
    }
  }
}

/// All codes 0 or all at their maximum against activations of +-127, in few rows and among many:
/// sums that overflow 16 bits or saturate show here.
void matmul_q_extremes() {
  Random random(2);
  constexpr size_t kRows = 6;
  for (const Format& f : quantized_formats())
    for (const int fill : {0x00, 0xff}) {
      Matrix m = random_matrix(random, f, 32, 512);
      std::memset(m.codes.at(), fill, m.panels() * m.view.code_stride);
      const BothForms x = both_forms(random_activations(random, m.view, kManyRows, true));
      for (const Kernels* kernels : sets_under_test()) {
        const QuantizedRows& rows = x.of(*kernels).rows;
        const size_t stride = m.panels() * 16;
        std::vector<float> y(kRows * stride, kNan), many(kManyRows * stride, kNan);
        kernels->matmul_q(m.view, 0, m.panels(), some_rows(rows, 0, kRows), y.data(), stride);
        kernels->matmul_q(m.view, 0, m.panels(), rows, many.data(), stride);
        const std::string what =
            shape_name(*kernels, f, 32, 512, kRows) + " codes " + std::to_string(fill);
        check_product(what, m, kRows, y,
                      [&](size_t t, size_t n) { return x.expect(*kernels, m, t, n); });
        many.resize(y.size());
        check_same(what + ": among many rows", many, y);
      }
    }
}

/// Groups of activations from nothing over what has no normal scale to 1e30, side by side in a row:
/// many rows give the bits of each alone.
void matmul_q_scales() {
  Random random(8);
  constexpr size_t kRows = kManyRows, kCols = 256;
  for (const Format& f : quantized_formats()) {
    const Matrix m = random_matrix(random, f, 32, kCols);
    std::vector<float> x = random_floats(random, kRows * kCols);
    for (size_t t = 0; t < kRows; ++t)
      for (size_t k = 0; k < kCols; k += 16) {
        const bool tiny = t < 3;  // the whole row
        const int e =
            std::uniform_int_distribution<int>(tiny ? -150 : -40, tiny ? -100 : 100)(random);
        for (size_t i = 0; i < 16; ++i) {
          float& value = x[t * kCols + k + i];
          value = t == 12 || k % 128 >= 64 ? 0 : std::ldexp(value, e);
        }
      }
    for (const Kernels* kernels : sets_under_test()) {
      if (kernels->activations != ActivationCode::int8) continue;
      Activations a = empty_activations(kRows, m.view.cols_padded / f.group, f.group);
      kernels->quantize_rows(x.data(), kCols, kCols, a.rows);
      std::vector<float> y(kRows * 32, kNan), alone = y;
      kernels->matmul_q(m.view, 0, 2, a.rows, y.data(), 32);
      const std::string what = shape_name(*kernels, f, 32, kCols, kRows) + ", scales";
      check_product(what, m, kRows, y, [&](size_t t, size_t n) {
        Expected e = expected_q(m, a, t, n);
        e.tolerance += 1e-36;  // products that are no normal floats
        return e;
      });
      for (size_t t = 0; t < kRows; ++t)
        kernels->matmul_q(m.view, 0, 2, some_rows(a.rows, t, t + 1), &alone[t * 32], 32);
      check_same(what + ": row by row differs", y, alone);
    }
  }
}

/// What is no number may give any, but not in other rows.
void matmul_q_not_numbers() {
  Random random(9);
  constexpr size_t kRows = kManyRows, kCols = 256;
  for (const Format& f : quantized_formats()) {
    const Matrix m = random_matrix(random, f, 32, kCols);
    const std::vector<float> x = random_floats(random, kRows * kCols);
    std::vector<float> broken = x;
    for (size_t t = 0; t < kRows; t += 2)
      broken[t * kCols + t] = t % 3 == 0 ? kNan : std::numeric_limits<float>::infinity();
    for (const Kernels* kernels : sets_under_test()) {
      if (kernels->activations != ActivationCode::int8) continue;
      const auto product = [&](const std::vector<float>& values) {
        Activations a = empty_activations(kRows, m.view.cols_padded / f.group, f.group);
        kernels->quantize_rows(values.data(), kCols, kCols, a.rows);
        std::vector<float> y(kRows * 32);
        kernels->matmul_q(m.view, 0, 2, a.rows, y.data(), 32);
        return y;
      };
      const std::vector<float> expected = product(x), y = product(broken);
      for (size_t i = 0; i < y.size(); ++i)
        if (i / 32 % 2 == 1)
          check_eq(y[i], expected[i], shape_name(*kernels, f, 32, kCols, kRows) + ", no numbers");
    }
  }
}

/// Every value of an 8-bit code, against both signs.
void matmul_q_every_code() {
  Random random(3);
  Matrix m = random_matrix(random, {Codes::q8, Scheme::f16, 32, 128}, 16, 1024);
  for (size_t i = 0; i < m.view.code_stride; ++i)
    m.codes.at()[i] = static_cast<uint8_t>(i / 4 % 16 * 16 + i / 64 % 16);
  const BothForms x = both_forms(random_activations(random, m.view, 4, true));
  for (const Kernels* kernels : sets_under_test()) {
    std::vector<float> y(4 * 16, kNan);
    kernels->matmul_q(m.view, 0, 1, x.of(*kernels).rows, y.data(), 16);
    check_product(kernels->name, m, 4, y,
                  [&](size_t t, size_t n) { return x.expect(*kernels, m, t, n); });
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

/// Weights of one sign show whether rounding them to bf16 makes them smaller or larger.
void bf16_weights_have_no_bias() {
  Random random(6);
  size_t found = 0;
  for (const Kernels* kernels : sets_under_test()) {
    if (kernels->activations != ActivationCode::bf16) continue;
    ++found;
    for (const Codes codes : {Codes::q4, Codes::iq4, Codes::q5, Codes::q8}) {
      Matrix m = random_matrix(random, {codes, Scheme::f16, 32, 0}, 256, 1024);
      for (size_t i = 1; i < m.panels() * m.view.scale_stride; i += 2)
        m.scales.at()[i] &= 0x7f;  // the sign of an fp16
      Activations ones = random_activations(random, m.view, 1, false);
      std::fill_n(ones.rows.codes, 1024, int8_t{1});
      std::fill(ones.scales.begin(), ones.scales.end(), 1.0f);
      const Activations x = as_bf16(ones);
      std::vector<float> y(256);
      kernels->matmul_q(m.view, 0, m.panels(), x.rows, y.data(), 256);
      double sum = 0, expected = 0;
      for (size_t n = 0; n < 256; ++n) {
        sum += static_cast<double>(y[n]);
        expected += expected_bf16(m, x, 0, n).value;
      }
      check_near(sum / expected, 1, 4e-4, kernels->name);  // cutting off alone would lose 28e-4
    }
  }
  if (found == 0) test::skip("no set multiplies in bf16");
}

/// Row by row and panel by panel: the same bits as all at once, and nothing else is written.
void matmul_is_reproducible() {
  Random random(5);
  constexpr size_t kRows = kManyRows;
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
      const BothForms a = both_forms(random_activations(random, m.view, kRows, false));
      run([&](size_t t0, size_t t1, size_t p0, size_t p1, float* y) {
        kernels->matmul_q(m.view, p0, p1, some_rows(a.of(*kernels).rows, t0, t1), y + t0 * stride,
                          stride);
      });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv,
                           {
                               {"matmul_q on ragged shapes", matmul_q_shapes},
                               {"matmul_q on long rows", matmul_q_long_rows},
                               {"matmul_q of no numbers", matmul_q_not_numbers},
                               {"matmul_q at the extremes", matmul_q_extremes},
                               {"matmul_q at extreme scales", matmul_q_scales},
                               {"matmul_q for every code", matmul_q_every_code},
                               {"bf16 weights have no bias", bf16_weights_have_no_bias},
                               {"matmul_f32 on ragged shapes", matmul_f32_shapes},
                               {"matmul is reproducible", matmul_is_reproducible},
                           });
}
