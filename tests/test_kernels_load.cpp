// The kernels of loading: every set writes, byte for byte, what packed.h and load_kernels.h say.
// See kernel_check.h.
#include <numeric>

#include "kernel_check.h"
#include "quant/packed_matrix.h"
#include "rtn.h"

namespace {

using namespace nibble;
using namespace nibble::test;

constexpr uint8_t kUntouched = 0xff;  // what Buffer holds
constexpr size_t kGuard = 64;

template <class T>
void transposes(void (*LoadKernels::*transpose)(const void* const*, size_t, size_t, T*),
                size_t unit) {
  Random random(31);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : {size_t{0}, unit, 3 * unit, size_t{256}}) {
      const std::string what = std::string(kernels->name) + ", " + std::to_string(n) + " columns";
      // Rows begin anywhere: every byte of the source is an element's first.
      std::vector<uint8_t> bytes(kPanelRows * (n * sizeof(T) + 3));
      for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
      const void* rows[kPanelRows];
      for (size_t r = 0; r < kPanelRows; ++r)
        rows[r] = bytes.data() + (r * 7 % kPanelRows) * (n * sizeof(T) + 3);
      const size_t size = n * kPanelRows * sizeof(T);
      Buffer out(size + kGuard);
      (kernels->load.*transpose)(rows, n, 64, out.at<T>());
      for (size_t c = 0; c < n; ++c)
        for (size_t r = 0; r < kPanelRows; ++r) {
          T expected;
          std::memcpy(&expected, static_cast<const uint8_t*>(rows[r]) + c * sizeof(T), sizeof(T));
          check_eq(out.at<T>()[c * kPanelRows + r], expected, what);
        }
      for (size_t i = 0; i < kGuard; ++i)
        check_eq(int{*out.at(size + i)}, int{kUntouched}, what + ": wrote too far");
    }
}

void transposes_halves() { transposes<uint16_t>(&LoadKernels::transpose_halves, 32); }
void transposes_words() { transposes<uint32_t>(&LoadKernels::transpose_words, 16); }

// Rounding.

struct Element {
  Codes type;
  const char* name;
  size_t bytes;
};
constexpr Element kElements[] = {
    {Codes::f32, "f32", 4}, {Codes::f16, "f16", 2}, {Codes::bf16, "bf16", 2}};

/// Weights [n][16], a kind in each lane.
std::vector<float> columns_to_round(size_t n) {
  Random random(32);
  std::normal_distribution<float> normal(0.1f, 0.5f);
  std::vector<float> w(n * kPanelRows);
  const float inf = std::numeric_limits<float>::infinity();
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kPanelRows; ++r) {
      float& x = w[c * kPanelRows + r];
      x = normal(random);
      if (r == 1) x = c % 2 == 0 ? 0.0f : -0.0f;
      if (r == 2) x = std::abs(x);
      if (r == 3) x = -std::abs(x);
      if (r == 4) x *= 1e-6f;   // subnormal as fp16
      if (r == 5) x *= 3e-8f;   // about the smallest fp16
      if (r == 6) x *= 1e-42f;  // subnormal as f32
      if (r == 7) x = std::min(std::max(x * 6e4f, -65504.0f), 65504.0f);
      if (r == 8 && c % 9 == 0) x = c % 2 == 0 ? kNan : -kNan;
      if (r == 9 && c % 11 == 0) x = inf;
      if (r == 10 && c % 13 == 0) x = -inf;
      if (r == 11 && c % 5 == 0) x = c % 10 == 0 ? inf : -inf;
      if (r == 12) x = static_cast<float>(c % 31) * 0.5f - 7.0f;  // ties
      if (r == 13) x = kNan;
      if (r == 14 && n - c <= 3) x *= 40;
      if (r == 15) x = c % 16 == 3 ? 15 * 65504.0f : static_cast<float>(c);
    }
  return w;
}

/// Weights [n][16] of which groups of 32 have a scale that is a whole number whose inverse is not
/// exact, and quotients halfway between codes of q4 with zeros, q4 and q8 in turn.
std::vector<float> columns_of_ties(size_t n) {
  std::vector<float> w(n * kPanelRows);
  for (size_t c = 0; c < n; ++c)
    for (size_t r = 0; r < kPanelRows; ++r) {
      const auto i = static_cast<float>(c % 32);
      const size_t kind = c / 32 % 3;
      const auto scale = static_cast<float>(2 * (kind == 2 ? r % 4 : r + 8 * (c / 96)) + 1);
      const float tie = kind == 2 ? 4 * i + 0.5f : std::min(i, kind == 0 ? 30.0f : 28.0f) / 2 - 7;
      w[c * kPanelRows + r] = scale * (kind == 2 && c % 32 == 0 ? 127 : tie);
    }
  return w;
}

/// w as elements of a type, and what these are worth.
std::vector<uint8_t> stored(std::vector<float>& w, const Element& element) {
  std::vector<uint8_t> bytes(w.size() * element.bytes);
  for (size_t i = 0; i < w.size(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, &w[i], sizeof bits);
    if (element.type == Codes::bf16) bits &= 0xffff0000u;
    std::memcpy(&w[i], &bits, sizeof bits);
    if (element.type == Codes::bf16) bits >>= 16;
    if (element.type == Codes::f16) {
      // Of each exponent of fp16, its subnormals included, with any sign and mantissa.
      const bool finite = std::isfinite(w[i]);
      const uint32_t sign = bits >> 31 << 15;
      const double size = std::min(std::abs(static_cast<double>(w[i])), 65504.0);
      const int exponent = finite && size >= 0x1p-14 ? std::ilogb(size) : -14;
      const auto units = static_cast<uint32_t>(finite ? std::ldexp(size, 10 - exponent) : 0);
      bits = finite ? static_cast<uint32_t>(exponent + 14) * 1024 + units : 0x7c00u;
      if (std::isnan(w[i])) bits = 0x7d01;  // a signalling one
      const bool number = !std::isnan(w[i]);
      if (finite) w[i] = static_cast<float>(half_value(static_cast<uint16_t>(bits | sign)));
      bits |= number ? sign : 0;
    }
    std::memcpy(bytes.data() + i * element.bytes, &bits, element.bytes);
  }
  return bytes;
}

/// The bytes of a panel, row by row.
struct Expected {
  std::vector<uint8_t> codes, scales;
};
Expected rounded(const std::vector<float>& w, const PackedShape& shape) {
  const bool q8 = shape.codes == Codes::q8, symmetric = shape.scheme == Scheme::f16;
  const size_t n = w.size() / kPanelRows, size = symmetric ? 32 : 48;
  Expected out{std::vector<uint8_t>(n * (q8 ? 16 : 8)),
               std::vector<uint8_t>(n / shape.group * size)};
  for (size_t c = 0; c < n; c += shape.group)
    for (size_t r = 0; r < kPanelRows; ++r) {
      float row[128];
      uint8_t q[128];
      for (size_t i = 0; i < shape.group; ++i) row[i] = w[(c + i) * kPanelRows + r];
      const RtnGroup grid =
          q8 ? rtn8_group(row, shape.group, q) : rtn4_group(row, shape.group, symmetric, q);
      for (size_t i = 0; i < shape.group; ++i) {
        const size_t k = c + i;
        uint8_t& byte = out.codes[q8 ? k / 4 * 64 + 4 * r + k % 4 : k / 8 * 64 + 4 * r + k % 4];
        byte = static_cast<uint8_t>(byte | (!q8 && k % 8 >= 4 ? q[i] << 4 : q[i]));
      }
      uint8_t* scale = out.scales.data() + c / shape.group * size;
      std::memcpy(scale + 2 * r, &grid.scale, 2);
      if (!symmetric) scale[32 + r] = grid.zero;
    }
  return out;
}

void rounds(std::vector<float> columns(size_t n)) {
  for (const Element& element : kElements) {
    std::vector<float> w = columns(256);
    const std::vector<uint8_t> bytes = stored(w, element);
    for (const uint16_t group : {uint16_t{16}, uint16_t{32}, uint16_t{64}, uint16_t{128}})
      for (const PackedShape& shape : {PackedShape{16, 256, Codes::q4, Scheme::f16_zero, group, 0},
                                       PackedShape{16, 256, Codes::q4, Scheme::f16, group, 8},
                                       PackedShape{16, 256, Codes::q8, Scheme::f16, group, 128}}) {
        const Expected expected = rounded(w, shape);
        for (const Kernels* kernels : sets_under_test()) {
          const std::string what =
              std::string(kernels->name) + ", " + element.name + " to " + format_name(shape);
          Buffer in(bytes.size()), codes(expected.codes.size() + kGuard),
              scales(expected.scales.size() + kGuard);
          std::memcpy(in.at(), bytes.data(), bytes.size());
          kernels->load.round_columns(shape, element.type, in.at(), 256, codes.at(), scales.at());
          for (size_t i = 0; i < expected.scales.size(); ++i)
            check_eq(int{*scales.at(i)}, int{expected.scales[i]},
                     what + ", byte of scales " + std::to_string(i));
          for (size_t i = 0; i < expected.codes.size(); ++i)
            check_eq(int{*codes.at(i)}, int{expected.codes[i]},
                     what + ", byte of codes " + std::to_string(i));
          for (size_t i = 0; i < kGuard; ++i)
            check(*codes.at(expected.codes.size() + i) == kUntouched &&
                      *scales.at(expected.scales.size() + i) == kUntouched,
                  what + ": wrote too far");
        }
      }
  }
}

void rounds_columns() { rounds(columns_to_round); }
void rounds_ties() { rounds(columns_of_ties); }

// Codes that are moved.

/// The code of row r, column k of lines of q4.
int nibble_at(const uint8_t* lines, size_t k, size_t r) {
  const int byte = lines[k / 8 * 64 + 4 * r + k % 4];
  return k % 8 < 4 ? byte & 15 : byte >> 4;
}

std::vector<uint8_t> random_bytes(size_t n) {
  Random random(33);
  std::vector<uint8_t> bytes(n);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

uint32_t word_at(const uint8_t* p) {
  return p[0] | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

void makes_lines_of_words() {
  for (const Kernels* kernels : sets_under_test())
    for (const size_t stride : {size_t{64}, size_t{100}})
      for (const size_t n : {size_t{0}, size_t{1}, size_t{13}}) {
        const std::vector<uint8_t> words = random_bytes(n * stride + 1);
        Buffer out(n * 64 + kGuard);
        kernels->load.lines_of_words(words.data() + 1, stride, n, 64, out.at());
        for (size_t k = 0; k < 8 * n; ++k)
          for (size_t r = 0; r < kPanelRows; ++r) {
            const uint32_t word = word_at(words.data() + 1 + k / 8 * stride + 4 * r);
            check_eq(nibble_at(out.at(), k, r), static_cast<int>(word >> (4 * (k % 8)) & 15),
                     kernels->name);
          }
        check_eq(int{*out.at(n * 64)}, int{kUntouched}, "wrote too far");
      }
}

void makes_lines_of_awq() {
  constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // the row of each nibble of a word
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : {size_t{8}, size_t{64}}) {
      constexpr size_t kStride = 72;
      const std::vector<uint8_t> words = random_bytes(n * kStride);
      Buffer out(kAwqPanels * (n * 8 + kGuard));
      uint8_t* panels[kAwqPanels];
      for (size_t p = 0; p < kAwqPanels; ++p) panels[p] = out.at(p * (n * 8 + kGuard));
      kernels->load.lines_of_awq(words.data(), kStride, n, 64, panels);
      for (size_t k = 0; k < n; ++k)
        for (size_t i = 0; i < 16 * 8; ++i) {
          const uint32_t word = word_at(words.data() + k * kStride + i / 8 * 4);
          const size_t row = i / 8 * 8 + static_cast<size_t>(kOrder[i % 8]);
          check_eq(nibble_at(panels[row / 16], k, row % 16),
                   static_cast<int>(word >> (4 * (i % 8)) & 15), kernels->name);
        }
      for (const uint8_t* panel : panels)
        check_eq(int{panel[n * 8]}, int{kUntouched}, "wrote too far");
    }
}

void permutes_columns() {
  Random random(34);
  std::vector<uint32_t> order(96);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random);
  for (const Kernels* kernels : sets_under_test()) {
    const std::vector<uint8_t> in = random_bytes(96 * 16);
    Buffer q4(96 * 8 + kGuard), q8(96 * 16 + kGuard);
    kernels->load.permute_columns(Codes::q4, in.data(), order.data(), 12, q4.at());
    kernels->load.permute_columns(Codes::q8, in.data(), order.data(), 24, q8.at());
    for (size_t k = 0; k < 96; ++k)
      for (size_t r = 0; r < kPanelRows; ++r) {
        check_eq(nibble_at(q4.at(), k, r), nibble_at(in.data(), order[k], r), kernels->name);
        check_eq(int{*q8.at(k / 4 * 64 + 4 * r + k % 4)},
                 int{in[order[k] / 4 * 64 + 4 * r + order[k] % 4]}, kernels->name);
      }
    check(*q4.at(96 * 8) == kUntouched && *q8.at(96 * 16) == kUntouched, "wrote too far");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"halves are transposed", transposes_halves},
              {"words are transposed", transposes_words},
              {"columns are rounded as row by row", rounds_columns},
              {"halfway between codes", rounds_ties},
              {"lines of words in order", makes_lines_of_words},
              {"lines of AWQ gemm", makes_lines_of_awq},
              {"columns are permuted", permutes_columns}});
}
