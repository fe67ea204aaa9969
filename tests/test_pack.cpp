// The packed layout: sizes, where every code and scale lands, row order, and that the packed form
// of each type holds the same weights. Positions are computed here from the words of packed.h.
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/mapped_file.h"
#include "check.h"
#include "quant/packed_matrix.h"
#include "small_codes.h"

using namespace nibble;
using namespace nibble::test;

namespace {

using Kind = PackTarget::Kind;
using Bytes = std::vector<std::byte>;

struct Matrix {
  Bytes bytes;
  TensorView tensor;
};

Matrix matrix(DType type, uint64_t rows, uint64_t cols, Bytes bytes) {
  Matrix m{std::move(bytes), {"w", type, {rows, cols}, {}}};
  m.tensor.data = m.bytes;
  return m;
}

template <class T>
Matrix matrix_of(DType type, uint64_t rows, uint64_t cols, const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return matrix(type, rows, cols, std::move(bytes));
}

struct Packed {
  PackedShape shape;
  PackedLayout layout;
  AnonymousMemory memory;
  PackedView view;
  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(memory.data()); }
};

Packed pack(const TensorView& tensor, const PackTarget& target = {}, const RowMap& rows = {}) {
  Packed out;
  out.shape = packed_shape_of(matrix_of(tensor), target);
  out.layout = packed_layout(out.shape, "w");
  out.memory = AnonymousMemory(out.layout.total_bytes());
  pack_panels(matrix_of(tensor), out.shape, rows, 0, out.layout.n_panels, out.memory.data(),
              *find_kernels(nullptr));
  out.view = packed_view(out.shape, {out.memory.data(), out.layout.total_bytes()}, "w");
  return out;
}

struct BlockType {
  const char* name;
  DType type;
  size_t cols, bytes;
  std::vector<size_t> halves;  // where the fp16 fields are
  const char* format;
  double bits;
  size_t exponent = 0;  // the byte with the upper bits of a scale that is no fp16, and which bit
  uint8_t top = 0;      // makes it huge
};

const std::vector<BlockType>& block_types() {
  static const std::vector<BlockType> all = {
      {"Q4_0", DType::q4_0, 32, 18, {0}, "q4 g32", 4.5},
      {"Q4_1", DType::q4_1, 32, 20, {0, 2}, "q4 g32 min", 5},
      {"Q5_0", DType::q5_0, 32, 22, {0}, "q5 g32", 5.5},
      {"Q5_1", DType::q5_1, 32, 24, {0, 2}, "q5 g32 min", 6},
      {"Q8_0", DType::q8_0, 32, 34, {0}, "q8 g32", 8.5},
      {"Q2_K", DType::q2_k, 256, 84, {80, 82}, "q2 g16 k min", 2.625},
      {"Q3_K", DType::q3_k, 256, 110, {108}, "q3 g16 k", 3.5625},
      {"Q4_K", DType::q4_k, 256, 144, {0, 2}, "q4 g32 k", 4.5},
      {"Q5_K", DType::q5_k, 256, 176, {0, 2}, "q5 g32 k", 5.5},
      {"Q6_K", DType::q6_k, 256, 210, {208}, "q6 g16 k", 6.5625},
      {"IQ4_NL", DType::iq4_nl, 32, 18, {0}, "iq4 g32", 4.5},
      {"IQ4_XS", DType::iq4_xs, 256, 136, {0}, "iq4 g32 k", 4.3125},
      {"IQ1_S", DType::iq1_s, 256, 50, {0}, "iq1 g16 k", 3.5625},
      {"IQ1_M", DType::iq1_m, 256, 56, {}, "iq1 g16 k", 3.5625, 55, 0x40},
      {"IQ2_XXS", DType::iq2_xxs, 256, 66, {0}, "iq2 g16 k", 3.5625},
      {"IQ2_XS", DType::iq2_xs, 256, 74, {0}, "iq2 g16 k", 3.5625},
      {"IQ2_S", DType::iq2_s, 256, 82, {0}, "iq2 g16 k", 3.5625},
      {"IQ3_XXS", DType::iq3_xxs, 256, 98, {0}, "iq3_xxs g32 k", 4.3125},
      {"IQ3_S", DType::iq3_s, 256, 110, {0}, "iq3_s g32 k", 4.3125},
      {"MXFP4", DType::mxfp4, 32, 17, {}, "fp4 g32", 4.5, 0, 0x80},
  };
  return all;
}

Matrix random_blocks(const BlockType& t, uint64_t rows, uint64_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(rows * (cols / t.cols) * t.bytes);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  for (size_t block = 0; block < bytes.size(); block += t.bytes) {
    bytes[block + t.exponent] &= ~std::byte{t.top};
    for (const size_t at : t.halves)  // finite
      if ((bytes[block + at + 1] & std::byte{0x7c}) == std::byte{0x7c})
        bytes[block + at + 1] ^= std::byte{0x40};
  }
  return matrix(t.type, rows, cols, std::move(bytes));
}

std::vector<float> source_row(const Matrix& m, uint64_t row) {
  const uint64_t rows = m.tensor.shape[0], cols = m.tensor.shape[1];
  std::vector<float> out(cols);
  dequantize(m.tensor.type, m.bytes.data() + row * (m.bytes.size() / rows), cols, out.data());
  return out;
}

std::vector<float> packed_row(const Packed& p, size_t row) {
  std::vector<float> out(p.shape.cols);
  unpack_row(p.view, row, out.data());
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Layout.

void check_layout(const PackedShape& shape, uint32_t panels, uint32_t cols, size_t code_stride,
                  size_t scale_stride) {
  const PackedLayout l = packed_layout(shape, "w");
  const std::string name = format_name(shape);
  check_eq(l.n_panels, panels, name);
  check_eq(l.cols_padded, cols, name);
  check_eq(l.code_stride, code_stride, name);
  check_eq(l.scale_stride, scale_stride, name);
  check_eq(l.codes_bytes, panels * code_stride, name);
  check_eq(l.scales_bytes, panels * scale_stride, name);
}

void test_layout_sizes() {
  check_layout({64, 256, Codes::q4, Scheme::f16, 32, 8}, 4, 256, 2048, 8 * 32);
  check_layout({17, 172, Codes::q4, Scheme::f16_zero, 32}, 2, 192, 1536, 320);  // 6 * 48 = 288
  check_layout({1, 1, Codes::q8, Scheme::f16, 128, 128}, 1, 128, 2048, 64);
  check_layout({16, 100, Codes::q8, Scheme::f16_min, 64}, 1, 128, 2048, 128);
  check_layout({32, 512, Codes::q4, Scheme::k6, 32}, 2, 512, 4096, 512);
  check_layout({32, 512, Codes::q8, Scheme::k8, 16, 32}, 2, 512, 8192, 576);
  check_layout({32, 512, Codes::q8, Scheme::k8, 32, 128}, 2, 512, 8192, 320);
  check_layout({32, 300, Codes::q4, Scheme::k8_min, 16}, 2, 512, 4096, 1152);
  check_layout({32, 300, Codes::q2, Scheme::k4_min, 16}, 2, 512, 2048, 640);
  check_layout({32, 512, Codes::q3, Scheme::k8, 16, 4}, 2, 512, 3072, 576);
  check_layout({32, 64, Codes::q5, Scheme::f16, 32, 16}, 2, 64, 640, 64);
  check_layout({32, 512, Codes::q5, Scheme::k6, 32}, 2, 512, 5120, 512);
  check_layout({32, 512, Codes::q6, Scheme::k8, 16, 32}, 2, 512, 6144, 576);
  check_layout({20, 7, Codes::f32}, 2, 7, 448, 0);
  check_layout({20, 7, Codes::f16}, 2, 7, 256, 0);  // 224 bytes, whole lines
}

void test_layout_refuses() {
  const auto refuse = [](const PackedShape& shape, const char* part) {
    check_error([&] { packed_layout(shape, "blk.0.w"); }, part);
    check_error([&] { packed_layout(shape, "blk.0.w"); }, "blk.0.w");
  };
  refuse({0, 32, Codes::f32}, "[0, 32]");
  refuse({32, 0, Codes::f32}, "[32, 0]");
  refuse({32, 32, Codes::q4, Scheme::f16, 48, 8}, "q4 g48");
  refuse({32, 32, Codes::q4, Scheme::f16, 0, 8}, "q4");
  refuse({32, 32, Codes::q4, Scheme::none, 32}, "q4 g32");
  refuse({32, 32, Codes::f32, Scheme::f16, 32}, "f32 g32");
  refuse({32, 32, Codes::f16, Scheme::none, 32}, "f16 g32");
  refuse({32, 256, Codes::q4, Scheme::k6, 16}, "q4 g16 k");
  refuse({32, 256, Codes::q4, Scheme::k8_min, 32}, "q4 g32 k min");
  refuse({32, 256, Codes::q8, Scheme::k8, 64}, "q8 g64 k");
  refuse({32, 256, Codes::iq4, Scheme::f16, 64}, "iq4 g64");
  refuse({32, 256, Codes::iq4, Scheme::f16_min, 32}, "iq4 g32 min");
  refuse({32, 256, Codes::iq1, Scheme::k8, 32}, "iq1 g32 k");
  refuse({32, 256, Codes::iq2, Scheme::f16, 16}, "iq2 g16");
  refuse({32, 256, Codes::iq3_s, Scheme::k8, 16}, "iq3_s g16 k");
  refuse({32, 256, Codes::iq3_xxs, Scheme::f16_min, 32}, "iq3_xxs g32 min");
  refuse({32, 256, Codes::fp4, Scheme::f16, 16}, "fp4 g16");
  refuse({32, 256, Codes::q5, Scheme::f16, 64}, "q5 g64");
  refuse({32, 256, Codes::q5, Scheme::k8, 32}, "q5 g32 k");
  refuse({32, 256, Codes::q6, Scheme::k8, 32}, "q6 g32 k");
  refuse({32, 256, Codes::q6, Scheme::f16, 16}, "q6 g16");
  refuse({32, 256, Codes::q2, Scheme::k8_min, 16}, "q2 g16 k min");
  refuse({32, 256, Codes::q2, Scheme::k4_min, 32}, "q2 g32 k min");
  refuse({32, 256, Codes::q3, Scheme::k8, 32}, "q3 g32 k");
  refuse({32, 256, Codes::q4, Scheme::k4_min, 16}, "q4 g16 k min");
  refuse({32, 256, Codes::q8, Scheme::k8_min, 16}, "q8 g16 k min");
  refuse({32, 256, static_cast<Codes>(15), Scheme::f16, 32}, "code");
  refuse({32, 256, Codes::q4, static_cast<Scheme>(200), 32}, "q4 g32");
  refuse({0xffffffffu, 0xffffffffu, Codes::f32}, "overflows");
  refuse({1, 0xffffffffu, Codes::q8, Scheme::f16, 128}, "out of range");  // cols_padded = 2^32
}

void test_view_checks() {
  const PackedShape shape{16, 32, Codes::q4, Scheme::f16, 32, 8};
  AnonymousMemory memory(1024);
  const std::byte* data = memory.data();
  const PackedView view = packed_view(shape, {data, 256 + 64}, "w");
  check_eq(view.scales - view.codes, 256);
  check_error([&] { packed_view(shape, {data, 256}, "w"); }, "expected 320 bytes");
  check_error([&] { packed_view(shape, {data, 321}, "w"); }, "321 bytes");
  check_error([&] { packed_view(shape, {data + 32, 320}, "w"); }, "multiple of 64");
  check(packed_view({1, 1, Codes::f32}, {data, 64}, "w").scales == nullptr, "no scales");
}

void test_names_and_bits() {
  check_eq(format_name({1, 1, Codes::f16}), "f16");
  check_eq(format_name({1, 1, Codes::bf16}), "bf16");
  check_eq(format_name({1, 1, Codes::q4, Scheme::f16_zero, 128}), "q4 g128 zero");
  check_near(bits_per_weight({1, 1, Codes::f32}), 32, 0);
  check_near(bits_per_weight({1, 1, Codes::q4, Scheme::f16_zero, 128}), 4.1875, 0);
  for (const BlockType& t : block_types()) {
    const Matrix m = random_blocks(t, 1, 256, 1);
    const PackedShape shape = packed_shape_of(matrix_of(m.tensor), {});
    check_eq(format_name(shape), t.format, t.name);
    check_near(bits_per_weight(shape), t.bits, 0, t.name);
  }
}

// Positions.

/// The code of (row, col), as packed.h places it.
int code_in_panels(const Packed& p, size_t row, size_t col) {
  const uint8_t* panel = p.bytes() + row / 16 * p.layout.code_stride;
  const size_t lane = row % 16;
  if (p.shape.codes == Codes::q8) return panel[64 * (col / 4) + 4 * lane + col % 4];
  if (p.shape.codes == Codes::q2 || p.shape.codes == Codes::q3)
    return static_cast<int>(small_code(p.shape.codes == Codes::q3, panel, lane, col));
  const size_t lines_before = p.shape.codes == Codes::q4    ? col / 8
                              : p.shape.codes == Codes::iq4 ? col / 8
                              : p.shape.codes == Codes::q5  ? col / 32 * 5 + col % 32 / 8
                                                            : col / 16 * 3 + col % 16 / 8;
  const uint8_t byte = panel[64 * lines_before + 4 * lane + col % 4];
  const int low = col % 8 < 4 ? byte & 15 : byte >> 4;
  if (p.shape.codes == Codes::q5)
    return low | (panel[col / 32 * 320 + 256 + 4 * lane + col % 4] >> (col % 32 / 4) & 1) << 4;
  if (p.shape.codes == Codes::q6)
    return low | (panel[col / 16 * 192 + 128 + 4 * lane + col % 4] >> (col % 16 / 4 * 2) & 3) << 4;
  return low;
}

const uint8_t* scales_of_panel(const Packed& p, size_t row) {
  return p.bytes() + p.layout.codes_bytes + row / 16 * p.layout.scale_stride;
}

/// Q4_0 and Q8_0 with code and scale that tell their row and column.
void test_code_positions() {
  const size_t rows = 20, cols = 64;
  const auto code4 = [](size_t r, size_t c) { return static_cast<int>((r + 3 * c + c / 16) % 16); };
  const auto code8 = [](size_t r, size_t c) { return static_cast<int>((37 * r + c) % 256); };
  const auto scale = [](size_t r, size_t g) { return static_cast<uint16_t>(0x2000 + 16 * r + g); };
  Bytes b4, b8;
  for (size_t r = 0; r < rows; ++r)
    for (size_t g = 0; g < 2; ++g) {
      for (Bytes* b : {&b4, &b8}) {
        b->push_back(static_cast<std::byte>(scale(r, g) & 255));
        b->push_back(static_cast<std::byte>(scale(r, g) >> 8));
      }
      for (size_t i = 0; i < 16; ++i)
        b4.push_back(static_cast<std::byte>(code4(r, 32 * g + i) | code4(r, 32 * g + 16 + i) << 4));
      for (size_t i = 0; i < 32; ++i)  // the file holds code - 128
        b8.push_back(static_cast<std::byte>(code8(r, 32 * g + i) - 128));
    }
  const Matrix m4 = matrix(DType::q4_0, rows, cols, b4), m8 = matrix(DType::q8_0, rows, cols, b8);
  const Packed p4 = pack(m4.tensor), p8 = pack(m8.tensor);
  check_eq(int{p4.shape.zero}, 8);
  check_eq(int{p8.shape.zero}, 128);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < cols; ++c) {
      check_eq(code_in_panels(p4, r, c), code4(r, c), "q4");
      check_eq(code_in_panels(p8, r, c), code8(r, c), "q8");
    }
  for (const Packed* p : {&p4, &p8})
    for (size_t r = 0; r < 32; ++r)
      for (size_t g = 0; g < 2; ++g) {
        uint16_t found = 0;
        std::memcpy(&found, scales_of_panel(*p, r) + 32 * g + 2 * (r % 16), 2);
        check_eq(found, r < rows ? scale(r, g) : 0, "scale, zero in the rows of the padding");
      }
}

void test_plain_positions() {
  const size_t rows = 18, cols = 300;  // more than one step of columns
  std::vector<float> f32;
  std::vector<uint16_t> f16;
  for (size_t i = 0; i < rows * cols; ++i) {
    f32.push_back(static_cast<float>(i) - 2000.5f);
    f16.push_back(static_cast<uint16_t>(0x1000 + i));
  }
  const Matrix m32 = matrix_of(DType::f32, rows, cols, f32);
  const Matrix m16 = matrix_of(DType::f16, rows, cols, f16);
  const Matrix mb = matrix_of(DType::bf16, rows, cols, f16);
  const Packed p32 = pack(m32.tensor), p16 = pack(m16.tensor), pb = pack(mb.tensor);
  check(p16.shape.codes == Codes::f16 && pb.shape.codes == Codes::bf16, "kept as they are");
  for (size_t r = 0; r < 32; ++r)
    for (size_t c = 0; c < cols; ++c) {
      const size_t i = 16 * c + r % 16;
      float x = 0;
      std::memcpy(&x, p32.bytes() + r / 16 * p32.layout.code_stride + 4 * i, 4);
      check_eq(x, r < rows ? f32[r * cols + c] : 0.0f, "f32");
      for (const Packed* p : {&p16, &pb}) {
        uint16_t bits = 0;
        std::memcpy(&bits, p->bytes() + r / 16 * p->layout.code_stride + 2 * i, 2);
        check_eq(bits, r < rows ? f16[r * cols + c] : 0, "16 bits");
      }
    }
  for (const auto& [m, p] : {std::pair{&m32, &p32}, {&m16, &p16}, {&mb, &pb}})
    for (size_t r = 0; r < rows; ++r)
      check(same_bits(packed_row(*p, r), source_row(*m, r)), "unpack_row");
}

/// The 6-bit scales of Q4_K, read as the comment of ScaleK6 says.
void test_k6_positions() {
  const Matrix m = random_blocks(block_types()[7], 16, 512, 3);
  const Packed p = pack(m.tensor);
  for (size_t r = 0; r < 16; ++r)
    for (size_t block = 0; block < 2; ++block) {
      const auto* in = reinterpret_cast<const uint8_t*>(m.bytes.data()) + (2 * r + block) * 144;
      const auto& out = reinterpret_cast<const ScaleK6*>(p.view.scales)[block];
      check_eq(int{out.d[r]}, in[0] | in[1] << 8, "d");
      check_eq(int{out.dmin[r]}, in[2] | in[3] << 8, "dmin");
      for (size_t g = 0; g < 8; ++g) {
        const int sc = g < 4 ? in[4 + g] & 63 : (in[8 + g] & 15) | (in[g] >> 6) << 4;
        const int mn = g < 4 ? in[8 + g] & 63 : (in[8 + g] >> 4) | (in[4 + g] >> 6) << 4;
        const size_t pair = g / 2, odd = g % 2;
        check_eq((out.sc[pair][r] >> (4 * odd)) & 15, sc & 15, "sc, low bits");
        check_eq((out.mn[pair][r] >> (4 * odd)) & 15, mn & 15, "mn, low bits");
        check_eq((out.hi[pair][r] >> (2 * odd)) & 3, sc >> 4, "sc, high bits");
        check_eq((out.hi[pair][r] >> (4 + 2 * odd)) & 3, mn >> 4, "mn, high bits");
      }
    }
}

// Weights.

void test_packed_equals_source() {
  for (const BlockType& t : block_types())
    for (const uint64_t cols : {t.cols, 2 * t.cols, 9 * t.cols}) {
      const Matrix m = random_blocks(t, 37, cols, 5);
      const Packed p = pack(m.tensor, {Kind::q8, 64, true});  // quantized types keep their grid
      check_eq(format_name(p.shape), t.format, t.name);
      for (size_t r = 0; r < 37; ++r)
        check(same_bits(packed_row(p, r), source_row(m, r)),
              std::string(t.name) + " row " + std::to_string(r));
      const std::vector<float> zeros(cols);
      for (size_t r = 37; r < 48; ++r)
        check(packed_row(p, r) == zeros, std::string(t.name) + ": a row of the padding");
    }
}

void test_widened() {
  for (const BlockType& t : block_types()) {
    Matrix m = random_blocks(t, 3, 512, 9);
    for (size_t block = 0; block < m.bytes.size(); block += t.bytes)
      for (const size_t at : t.halves) m.bytes[block + at + 1] &= std::byte{0x97};  // small: 2^-10
    const Packed f32 = pack(m.tensor, {Kind::f32}), f16 = pack(m.tensor, {Kind::f16});
    for (size_t r = 0; r < 3; ++r) {
      std::vector<float> expected = source_row(m, r);
      check(same_bits(packed_row(f32, r), expected), t.name);
      for (float& x : expected) x = half_to_float(float_to_half(x));
      check(same_bits(packed_row(f16, r), expected), t.name);
    }
  }
}

void test_rope_rows() {
  const RowMap part{.head_dim = 8, .rope_dim = 4};  // rows 4..7 of a head are not rotated
  const uint32_t expected[16] = {0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15};
  for (uint32_t n = 0; n < 16; ++n) check_eq(part.source_row(n), expected[n]);
  const RowMap full{.head_dim = 6, .rope_dim = 6};
  const uint32_t six[6] = {0, 2, 4, 1, 3, 5};
  for (uint32_t n = 0; n < 6; ++n) check_eq(full.source_row(6 + n), 6 + six[n]);
  check_eq(RowMap{.first = 3}.source_row(5), 8u);
  // Two heads of 4 rows in every 4 heads of the source, from the second on.
  const RowMap grouped{.first = 4, .head_dim = 4, .group = 2, .source_group = 4};
  const uint32_t heads[4] = {4, 8, 20, 24};
  for (uint32_t n = 0; n < 16; ++n) check_eq(grouped.source_row(n), heads[n / 4] + n % 4);

  const Matrix m = random_blocks(block_types()[0], 30, 64, 11);
  const Packed p = pack(m.tensor, {}, full);
  for (uint32_t r = 0; r < 30; ++r)
    check(same_bits(packed_row(p, r), source_row(m, r / 6 * 6 + six[r % 6])), "rows of Q4_0");

  // Sizes that do not fit: every row is still read inside the matrix (seen by the sanitizers).
  for (const RowMap bad :
       {RowMap{.head_dim = 64, .rope_dim = 64}, RowMap{.head_dim = 4, .rope_dim = 4000000000u},
        RowMap{.head_dim = 0, .rope_dim = 8}, RowMap{.first = 29}})
    pack(m.tensor, {}, bad);
}

void test_panels_apart() {
  const Matrix m = random_blocks(block_types()[9], 70, 512, 13);
  const Packed whole = pack(m.tensor);
  AnonymousMemory memory(whole.layout.total_bytes());
  for (const size_t panel : std::initializer_list<size_t>{3, 0, 4, 1, 2})
    pack_panels(matrix_of(m.tensor), whole.shape, {}, panel, panel + 1, memory.data(),
                *find_kernels(nullptr));
  check(std::memcmp(memory.data(), whole.bytes(), memory.size()) == 0, "panel by panel");
}

void test_shape_refuses() {
  const auto refuse = [](const TensorView& t, const PackTarget& target, const char* part) {
    check_error([&] { packed_shape_of(matrix_of(t), target); }, part);
  };
  const Bytes bytes(4096);
  const auto view = [&](DType type, std::vector<uint64_t> shape, size_t size) {
    return TensorView{"blk.0.w", type, std::move(shape), std::span(bytes).first(size)};
  };
  refuse(view(DType::i32, {4, 4}, 64), {}, "I32");
  refuse(view(DType::f32, {16}, 64), {}, "rank");
  refuse(view(DType::f32, {1, 4, 4}, 64), {}, "rank");
  refuse(view(DType::q4_0, {2, 48}, 54), {}, "multiple of 32");
  refuse(view(DType::q4_k, {2, 128}, 144), {}, "multiple of 256");
  refuse(view(DType::f32, {4, 4}, 60), {}, "expected 64 bytes");
  refuse(view(DType::f32, {0, 4}, 0), {}, "[0, 4]");
  refuse(view(DType::f32, {1ull << 32, 4}, 64), {}, "out of range");
  refuse(view(DType::f32, {4, 4}, 64), {Kind::q4, 48}, "q4 g48");
  refuse(view(DType::f32, {4, 4}, 64), {Kind::q8, 0}, "q8");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"layout sizes", test_layout_sizes},
              {"layout refuses what kernels do not know", test_layout_refuses},
              {"view checks size and alignment", test_view_checks},
              {"names and bits per weight", test_names_and_bits},
              {"codes and scales land where packed.h says", test_code_positions},
              {"f32, f16 and bf16 panels", test_plain_positions},
              {"the 6-bit scales of Q4_K", test_k6_positions},
              {"every quantized type keeps its weights", test_packed_equals_source},
              {"widened to f32 and f16", test_widened},
              {"row order of interleaved RoPE", test_rope_rows},
              {"panels packed apart", test_panels_apart},
              {"tensors that cannot be packed", test_shape_refuses}});
}
