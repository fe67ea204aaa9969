// Round to nearest against a reference in double, and the packed form of every tensor of the shared
// GGUF files against the source and the f32 original.
#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/mapped_file.h"
#include "check.h"
#include "quant/packed_matrix.h"
#include "rtn.h"

using namespace nibble;
using namespace nibble::test;

namespace {

using Kind = PackTarget::Kind;

double value_of_half(uint16_t bits) {  // of a positive finite fp16
  const int exponent = bits >> 10, fraction = bits & 1023;
  return exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
}

/// The scale must be the positive finite fp16 nearest to `exact`. (1e-6: it is computed in f32.)
void check_scale(uint16_t scale, double exact, const std::string& what) {
  check(scale >= 1 && scale <= 0x7bff, what + ": the scale is not positive and finite");
  const double distance = std::abs(value_of_half(scale) - exact);
  for (const int step : {-1, 1}) {
    const int other = scale + step;
    if (other < 1 || other > 0x7bff) continue;
    check(distance <= std::abs(value_of_half(static_cast<uint16_t>(other)) - exact) + 1e-6 * exact,
          what + ": another fp16 is nearer to the scale");
  }
}

/// code must be x rounded to nearest even, clamped to lo..hi; either neighbour if x is within a
/// float's rounding of a tie without being one.
void check_rounded(int code, double x, int lo, int hi, const std::string& what) {
  const double clamped = std::min<double>(std::max<double>(x, lo), hi);
  const double to_tie = std::abs(clamped - std::floor(clamped) - 0.5);
  if (to_tie != 0 && to_tie < 1e-5) {
    check(std::abs(code - clamped) < 0.51, what);
  } else {
    check_eq(code, static_cast<int>(std::nearbyint(clamped)), what);  // ties to even
  }
}

enum class Rtn { asym4, sym4, sym8 };

void check_group(const std::vector<float>& w, const std::string& name) {
  double min = 0, max = 0;
  for (const float x : w) {
    min = std::min<double>(min, x);
    max = std::max<double>(max, x);
  }
  const double absmax = std::max(max, -min);
  for (const Rtn kind : {Rtn::asym4, Rtn::sym4, Rtn::sym8}) {
    const std::string what = name + ", kind " + std::to_string(static_cast<int>(kind));
    std::vector<uint8_t> q(w.size() + 1, 0xee);
    const RtnGroup found = kind == Rtn::sym8
                               ? rtn8_group(w.data(), w.size(), q.data())
                               : rtn4_group(w.data(), w.size(), kind == Rtn::sym4, q.data());
    check_eq(int{q.back()}, 0xee, what + ": wrote beyond n");
    const double s = value_of_half(found.scale);
    const int most = kind == Rtn::sym8 ? 127 : 7;
    if (kind == Rtn::asym4) {
      check_scale(found.scale, (max - min) / 15, what);
      check_rounded(found.zero, -min / s, 0, 15, what + ": zero");
    } else {
      check_scale(found.scale, absmax / most, what);
      check_eq(int{found.zero}, kind == Rtn::sym8 ? 128 : 8, what + ": zero");
    }
    const int z = found.zero;
    const int lo = kind == Rtn::asym4 ? -z : -most, hi = kind == Rtn::asym4 ? 15 - z : most;
    for (size_t i = 0; i < w.size(); ++i)
      check_rounded(q[i] - z, w[i] / s, lo, hi, what + ", weight " + std::to_string(i));
  }
}

void test_rtn_random() {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const size_t n : {1u, 5u, 8u, 16u, 31u, 32u, 64u, 127u, 128u})
    for (const float scale : {1e-9f, 1e-7f, 1e-5f, 0.02f, 1.0f, 3e4f, 1e6f, 1e30f})
      for (const float shift : {-3.0f, -0.5f, 0.0f, 0.5f, 3.0f})
        for (int round = 0; round < 10; ++round) {
          std::vector<float> w(n);
          for (float& x : w) x = scale * (normal(random) + shift);
          check_group(w, "n " + std::to_string(n) + ", scale " + std::to_string(scale));
        }
}

void test_rtn_corners() {
  check_group(std::vector<float>(32), "zeros");
  check_group(std::vector<float>(32, -0.0f), "negative zeros");
  check_group({1, 2, 3, 4}, "positive");
  check_group({-1, -2, -3, -4}, "negative");
  check_group(std::vector<float>(16, 0.3f), "constant");
  check_group({1e-30f, -1e-30f}, "far below fp16");
  check_group({5e-7f, -1e-7f}, "about the smallest scale");
  check_group({3e38f, -3e38f}, "a range beyond f32");
  check_group({1e6f, 1, -1}, "a scale beyond fp16");
  check_group({982800, 491400, 1, 0}, "the largest scale");  // 982800 / 15 rounds to infinity
}

/// Values worked by hand.
void test_rtn_hand_worked() {
  uint8_t q[8];
  // Asymmetric: range -1..14 -> s = 1, z = 1; ties 0.5 -> 0, 1.5 -> 2, 2.5 -> 2.
  const float a[7] = {-1, 14, 0.5f, 1.5f, 2.5f, -0.5f, 13.4f};
  RtnGroup g = rtn4_group(a, 7, false, q);
  check_eq(g.scale, 0x3c00);
  check_eq(int{g.zero}, 1);
  const int qa[7] = {0, 15, 1, 3, 3, 1, 14};
  for (size_t i = 0; i < 7; ++i) check_eq(int{q[i]}, qa[i], "asymmetric " + std::to_string(i));
  // One sign: 15..30 -> the range includes zero: s = 2, z = 0.
  const float b[3] = {15, 30, 17};  // 7.5 -> 8, 15, 8.5 -> 8
  g = rtn4_group(b, 3, false, q);
  check_eq(g.scale, 0x4000);
  check_eq(int{g.zero}, 0);
  check(q[0] == 8 && q[1] == 15 && q[2] == 8, "one sign");
  // Symmetric: absmax 7 -> s = 1, z = 8.
  const float c[4] = {-7, 6.5f, 5.5f, 0};
  g = rtn4_group(c, 4, true, q);
  check_eq(g.scale, 0x3c00);
  check_eq(int{g.zero}, 8);
  check(q[0] == 1 && q[1] == 14 && q[2] == 14 && q[3] == 8, "symmetric");
  // 8 bits: absmax 127 -> s = 1.
  const float d[4] = {-127, 126.5f, 125.5f, 0};
  g = rtn8_group(d, 4, q);
  check_eq(g.scale, 0x3c00);
  check(q[0] == 1 && q[1] == 254 && q[2] == 254 && q[3] == 128, "8 bits");
  // Zeros: the smallest scale, the code of zero.
  const float zeros[2] = {};
  for (const bool symmetric : {false, true}) {
    g = rtn4_group(zeros, 2, symmetric, q);
    check_eq(g.scale, 1);
    check(q[0] == g.zero && q[1] == g.zero, "zeros");
  }
}

/// Weights that are no numbers must not leave the range of codes.
void test_rtn_not_finite() {
  const float inf = INFINITY;
  const float w[4] = {NAN, inf, -inf, 1};
  uint8_t q[4];
  for (const bool symmetric : {false, true}) {
    const RtnGroup g = rtn4_group(w, 4, symmetric, q);
    check(g.scale == 0x7bff && g.zero <= 15, "scale and zero");
    for (const uint8_t code : q) check(code <= 15, "code");
  }
  check_eq(rtn8_group(w, 4, q).scale, 0x7bff);
}

struct Packed {
  PackedShape shape;
  PackedLayout layout;
  AnonymousMemory memory;
  PackedView view;
};

Packed pack(const TensorView& tensor, const PackTarget& target) {
  Packed out;
  out.shape = packed_shape_of(matrix_of(tensor), target);
  out.layout = packed_layout(out.shape, tensor.name);
  out.memory = AnonymousMemory(out.layout.total_bytes());
  pack_panels(matrix_of(tensor), out.shape, {}, 0, out.layout.n_panels, out.memory.data(),
              *find_kernels(nullptr));
  out.view = packed_view(out.shape, {out.memory.data(), out.layout.total_bytes()}, tensor.name);
  return out;
}

/// What packing with `target` must make of one row: group by group, the last one short.
std::vector<float> rounded_row(const std::vector<float>& w, const PackTarget& target) {
  std::vector<float> out(w.size());
  for (size_t c = 0; c < w.size(); c += target.group) {
    const size_t n = std::min<size_t>(target.group, w.size() - c);
    uint8_t q[128];
    const RtnGroup g = target.kind == Kind::q8 ? rtn8_group(w.data() + c, n, q)
                                               : rtn4_group(w.data() + c, n, target.symmetric, q);
    for (size_t i = 0; i < n; ++i)
      out[c + i] = half_to_float(g.scale) * static_cast<float>(q[i] - g.zero);
  }
  return out;
}

void check_padding_codes(const Packed& p, const std::string& what) {
  if (p.shape.codes != Codes::q8) return;  // one byte a code: easy to find
  for (size_t row = 0; row < p.shape.rows; ++row)
    for (size_t c = p.shape.cols; c < p.layout.cols_padded; ++c)
      check_eq(
          int{p.view.codes[row / 16 * p.layout.code_stride + c / 4 * 64 + row % 16 * 4 + c % 4]},
          128, what + ": the code of a padded column");
}

/// Rows as models have them, and such as test every corner.
std::vector<float> rows_to_round(size_t rows, size_t cols) {
  std::mt19937 random(17);
  std::normal_distribution<float> normal(0.1f, 0.5f);
  std::vector<float> w(rows * cols);
  for (float& x : w) x = normal(random);
  const auto change = [&](size_t row, auto&& fn) {
    for (size_t c = 0; c < cols; ++c) w[row * cols + c] = fn(w[row * cols + c], c);
  };
  change(1, [](float, size_t) { return 0.0f; });
  change(2, [](float x, size_t) { return std::abs(x); });
  change(3, [](float x, size_t) { return -std::abs(x); });
  change(4, [](float x, size_t) { return x * 1e-6f; });  // scales below fp16's normal ones
  change(5, [](float x, size_t) { return x * 6e4f; });
  change(6, [](float x, size_t c) { return c % 9 == 0 ? NAN : x; });
  change(7, [](float x, size_t c) { return c % 40 == 0 ? INFINITY : x; });
  change(8, [](float, size_t c) { return static_cast<float>(c % 31) * 0.5f - 7.0f; });  // ties
  change(rows - 1, [](float x, size_t c) { return c > 290 ? 40 * x : x; });
  return w;
}

/// Nothing is written of the rows that the last panel does not have.
void check_absent_rows(const Packed& p, const std::string& what) {
  const auto* codes = p.view.codes + p.shape.rows / 16 * p.layout.code_stride;
  for (size_t i = 0; i < p.layout.code_stride; ++i)
    if (i % 64 / 4 >= p.shape.rows % 16) check_eq(int{codes[i]}, 0, what + ": code of no row");
  const auto* scales = p.view.scales + p.shape.rows / 16 * p.layout.scale_stride;
  const size_t size = p.shape.scheme == Scheme::f16 ? 32 : 48;
  for (size_t i = 0; i < p.layout.cols_padded / p.shape.group * size; ++i)
    if ((i % size < 32 ? i % size / 2 : i % size - 32) >= p.shape.rows % 16)
      check_eq(int{scales[i]}, 0, what + ": scale of no row");
}

/// Panels are rounded side by side; every row must be what its groups are one by one.
void test_packed_rtn() {
  const size_t rows = 19, cols = 300;
  std::vector<float> w = rows_to_round(rows, cols);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<uint16_t> bits(w.size());
    for (size_t i = 0; i < w.size() && type != DType::f32; ++i) {
      bits[i] = type == DType::f16 ? float_to_half(w[i])
                                   : static_cast<uint16_t>(std::bit_cast<uint32_t>(w[i]) >> 16);
      w[i] = type == DType::f16 ? half_to_float(bits[i]) : bf16_to_float(bits[i]);
    }
    const TensorView tensor{
        "w",
        type,
        {rows, cols},
        type == DType::f32 ? std::as_bytes(std::span(w)) : std::as_bytes(std::span(bits))};
    for (const Kind kind : {Kind::q4, Kind::q8})
      for (const uint16_t group : std::initializer_list<uint16_t>{16, 32, 64, 128})
        for (const bool symmetric : {false, true}) {
          const PackTarget target{kind, group, symmetric};
          const Packed p = pack(tensor, target);
          const std::string what =
              std::string(dtype_info(type).name) + " to " + format_name(p.shape);
          std::vector<float> found(cols);
          for (size_t r = 0; r < rows; ++r) {
            unpack_row(p.view, r, found.data());
            const std::vector<float> row(&w[r * cols], &w[r * cols] + cols);
            check(found == rounded_row(row, target), what + " row " + std::to_string(r));
          }
          check_padding_codes(p, what);
          check_absent_rows(p, what);
        }
  }
}

// The shared files.

struct Norms {
  double error = 0, original = 0;
};

/// Packs a tensor and compares it with its source, bit for bit, and with the original.
void compare(const TensorView& source, const TensorView& original, Norms& norms) {
  check(source.shape == original.shape, source.name + ": " + source.shape_text());
  const size_t rows = source.shape[0], cols = source.shape[1];
  const Packed p = pack(source, {});
  std::vector<float> packed(cols), direct(cols), exact(cols);
  for (size_t r = 0; r < rows; ++r) {
    unpack_row(p.view, r, packed.data());
    dequantize(source.type, source.data.data() + r * (source.data.size() / rows), cols,
               direct.data());
    check(std::memcmp(packed.data(), direct.data(), cols * sizeof(float)) == 0,
          source.name + ": the packed row differs from the source, row " + std::to_string(r));
    dequantize(original.type, original.data.data() + 4 * r * cols, cols, exact.data());
    for (size_t c = 0; c < cols; ++c) {
      norms.error += std::pow(double{direct[c]} - exact[c], 2);
      norms.original += std::pow(double{exact[c]}, 2);
    }
  }
}

void test_shared_files() {
  // Relative error of each type on random weights: a 4-bit grid over +-2.5 sigma has about 9%, and
  // each bit halves it; fp16 has 2^-11 / sqrt(3) or less.
  const std::map<DType, std::pair<double, double>> expected = {
      {DType::f32, {0, 0}},          {DType::f16, {1e-5, 3e-4}},  {DType::bf16, {5e-4, 2.5e-3}},
      {DType::q8_0, {0.003, 0.01}},  {DType::q6_k, {0.01, 0.03}}, {DType::q5_0, {0.03, 0.06}},
      {DType::q5_1, {0.03, 0.05}},   {DType::q5_k, {0.03, 0.05}}, {DType::q4_0, {0.07, 0.11}},
      {DType::q4_1, {0.06, 0.10}},   {DType::q4_k, {0.05, 0.09}}, {DType::iq4_nl, {0.05, 0.09}},
      {DType::iq4_xs, {0.05, 0.09}}, {DType::q3_k, {0.11, 0.21}}, {DType::q2_k, {0.20, 0.40}},
  };
  const Checkpoint original = open_gguf(shared("data/quant/nano-f32.gguf"));
  std::map<DType, Norms> found;
  for (const char* name : {"f32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M",
                           "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K"}) {
    const Checkpoint file = open_gguf(shared(std::string("data/quant/nano-") + name + ".gguf"));
    for (const TensorView& tensor : file.tensors)
      if (tensor.shape.size() == 2) compare(tensor, original.get(tensor.name), found[tensor.type]);
  }
  for (const auto& [type, range] : expected) {
    const Norms& norms = found[type];
    const double error = std::sqrt(norms.error / norms.original);
    check(error >= range.first && error <= range.second,
          std::string(dtype_info(type).name) + ": relative error " + std::to_string(error));
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"RTN of random groups", test_rtn_random},
              {"RTN of unusual groups", test_rtn_corners},
              {"RTN worked by hand", test_rtn_hand_worked},
              {"RTN of what is not finite", test_rtn_not_finite},
              {"RTN into panels, padded", test_packed_rtn},
              {"the shared GGUF files", test_shared_files}});
}
