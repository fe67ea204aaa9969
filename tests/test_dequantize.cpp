// dequantize(): every type against its published formula, worked out column by column in double
// from the raw bytes of the block. (Products are exact and sums fit a double, so results must be
// equal, not near.)
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "quant/packed_matrix.h"

using namespace nibble;
using namespace nibble::test;

namespace {

using Bytes = std::vector<uint8_t>;

double half_value(const Bytes& b, size_t at) {
  const unsigned bits = b[at] | static_cast<unsigned>(b[at + 1]) << 8;
  const int exponent = static_cast<int>((bits >> 10) & 31);
  const double fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

int bits_at(const Bytes& b, size_t byte, size_t shift, int mask) {
  return (b[byte] >> shift) & mask;
}

std::vector<float> run_dequantize(DType type, const Bytes& bytes, size_t n) {
  Bytes moved(bytes.size() + 1);  // at an odd address
  std::copy(bytes.begin(), bytes.end(), moved.begin() + 1);
  std::vector<float> out(n, -1e30f);
  dequantize(type, reinterpret_cast<const std::byte*>(moved.data() + 1), n, out.data());
  return out;
}

// The formulas: weight of column c of a block of bytes b.

/// Column c of 32 lies in nibble c / 16 of byte c % 16.
int small_nibble(const Bytes& b, size_t qs, size_t c) {
  return bits_at(b, qs + c % 16, c < 16 ? 0 : 4, 15);
}
int fifth_bit(const Bytes& b, size_t qh, size_t c) { return bits_at(b, qh + c / 8, c % 8, 1); }

double q4_0(const Bytes& b, size_t c) { return half_value(b, 0) * (small_nibble(b, 2, c) - 8); }
double q4_1(const Bytes& b, size_t c) {
  return half_value(b, 0) * small_nibble(b, 4, c) + half_value(b, 2);
}
double q5_0(const Bytes& b, size_t c) {
  return half_value(b, 0) * (small_nibble(b, 6, c) + 16 * fifth_bit(b, 2, c) - 16);
}
double q5_1(const Bytes& b, size_t c) {
  return half_value(b, 0) * (small_nibble(b, 8, c) + 16 * fifth_bit(b, 4, c)) + half_value(b, 2);
}
double q8_0(const Bytes& b, size_t c) { return half_value(b, 0) * static_cast<int8_t>(b[2 + c]); }

/// The two-bit field of column c in 64 bytes: quarter (c / 32) % 4 of byte 32 (c / 128) + c % 32.
int two_bits(const Bytes& b, size_t at, size_t c) {
  return bits_at(b, at + 32 * (c / 128) + c % 32, 2 * ((c / 32) % 4), 3);
}

double q2_k(const Bytes& b, size_t c) {
  const int sc = b[c / 16] & 15, mn = b[c / 16] >> 4;
  return half_value(b, 80) * sc * two_bits(b, 16, c) - half_value(b, 82) * mn;
}

double q3_k(const Bytes& b, size_t c) {
  const size_t g = c / 16;
  const int low = bits_at(b, 96 + g % 8, g < 8 ? 0 : 4, 15);
  const int high = bits_at(b, 104 + g % 4, 2 * (g / 4), 3);
  const int missing = bits_at(b, c % 32, c / 32, 1) == 1 ? 0 : 4;  // hmask
  return half_value(b, 108) * (low + 16 * high - 32) * (two_bits(b, 32, c) - missing);
}

/// Scale and minimum of group g of Q4_K and Q5_K, whose 12 bytes start at 4.
std::array<int, 2> k4_scale(const Bytes& b, size_t g) {
  if (g < 4) return {b[4 + g] & 63, b[8 + g] & 63};
  return {(b[8 + g] & 15) + 16 * (b[g] >> 6), (b[8 + g] >> 4) + 16 * (b[4 + g] >> 6)};
}
/// The nibble of column c: low for the first 32 of each 64 columns, high for the others.
int k4_nibble(const Bytes& b, size_t qs, size_t c) {
  return bits_at(b, qs + 32 * (c / 64) + c % 32, (c / 32) % 2 == 0 ? 0 : 4, 15);
}

double q4_k(const Bytes& b, size_t c) {
  const auto [sc, mn] = k4_scale(b, c / 32);
  return half_value(b, 0) * sc * k4_nibble(b, 16, c) - half_value(b, 2) * mn;
}
double q5_k(const Bytes& b, size_t c) {
  const auto [sc, mn] = k4_scale(b, c / 32);
  const int q = k4_nibble(b, 48, c) + 16 * bits_at(b, 16 + c % 32, c / 32, 1);
  return half_value(b, 0) * sc * q - half_value(b, 2) * mn;
}
double q6_k(const Bytes& b, size_t c) {
  const size_t half = c / 128, in_half = c % 128;
  const int low = bits_at(b, 64 * half + in_half % 64, in_half < 64 ? 0 : 4, 15);
  const int q = low + 16 * two_bits(b, 128, c) - 32;
  return half_value(b, 208) * static_cast<int8_t>(b[192 + c / 16]) * q;
}

constexpr int kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

double iq4_nl(const Bytes& b, size_t c) { return half_value(b, 0) * kIq4[small_nibble(b, 2, c)]; }
double iq4_xs(const Bytes& b, size_t c) {
  const size_t g = c / 32;
  const int low = bits_at(b, 4 + g / 2, 4 * (g % 2), 15);
  const int high = bits_at(b, 2 + g / 4, 2 * (g % 4), 3);
  return half_value(b, 0) * (low + 16 * high - 32) * kIq4[small_nibble(b, 8 + 16 * g, c % 32)];
}

struct Format {
  const char* name;
  DType type;
  size_t cols, bytes;
  std::vector<size_t> halves;  // where the fp16 fields are
  double (*weight)(const Bytes&, size_t);
};

const std::vector<Format>& formats() {
  static const std::vector<Format> all = {
      {"Q4_0", DType::q4_0, 32, 18, {0}, q4_0},
      {"Q4_1", DType::q4_1, 32, 20, {0, 2}, q4_1},
      {"Q5_0", DType::q5_0, 32, 22, {0}, q5_0},
      {"Q5_1", DType::q5_1, 32, 24, {0, 2}, q5_1},
      {"Q8_0", DType::q8_0, 32, 34, {0}, q8_0},
      {"Q2_K", DType::q2_k, 256, 84, {80, 82}, q2_k},
      {"Q3_K", DType::q3_k, 256, 110, {108}, q3_k},
      {"Q4_K", DType::q4_k, 256, 144, {0, 2}, q4_k},
      {"Q5_K", DType::q5_k, 256, 176, {0, 2}, q5_k},
      {"Q6_K", DType::q6_k, 256, 210, {208}, q6_k},
      {"IQ4_NL", DType::iq4_nl, 32, 18, {0}, iq4_nl},
      {"IQ4_XS", DType::iq4_xs, 256, 136, {0}, iq4_xs},
  };
  return all;
}

Bytes random_block(const Format& f, std::mt19937& random) {
  Bytes b(f.bytes);
  for (uint8_t& x : b) x = static_cast<uint8_t>(random());
  for (const size_t at : f.halves)  // any finite fp16
    if ((b[at + 1] & 0x7c) == 0x7c) b[at + 1] ^= 0x40;
  return b;
}

void test_formulas() {
  std::mt19937 random(7);
  for (const Format& f : formats())
    for (int round = 0; round < 200; ++round) {
      const Bytes block = random_block(f, random);
      const std::vector<float> found = run_dequantize(f.type, block, f.cols);
      for (size_t c = 0; c < f.cols; ++c)
        check_eq(found[c], static_cast<float>(f.weight(block, c)),
                 std::string(f.name) + " column " + std::to_string(c));
    }
}

void test_many_blocks_and_a_part() {
  std::mt19937 random(8);
  for (const Format& f : formats()) {
    Bytes bytes;
    std::vector<float> expected;
    for (int i = 0; i < 3; ++i) {
      const Bytes block = random_block(f, random);
      bytes.insert(bytes.end(), block.begin(), block.end());
      for (size_t c = 0; c < f.cols; ++c)
        expected.push_back(static_cast<float>(f.weight(block, c)));
    }
    for (const size_t n : {3 * f.cols, 2 * f.cols + 5, size_t{1}, size_t{0}}) {
      const std::vector<float> found = run_dequantize(f.type, bytes, n);
      check(std::equal(found.begin(), found.end(), expected.begin()),
            std::string(f.name) + " n = " + std::to_string(n));
    }
  }
}

/// A block of zero bytes but for some.
Bytes block_with(size_t size, const std::vector<std::pair<size_t, uint8_t>>& set) {
  Bytes b(size);
  for (const auto& [at, value] : set) b[at] = value;
  return b;
}

// Worked by hand, so that the formulas above are themselves anchored. 0x3800 = 0.5, 0x3c00 = 1,
// 0x4000 = 2, 0xbc00 = -1.
void test_hand_worked() {
  const auto at = [](DType type, const Bytes& b, size_t n, size_t c) {
    return run_dequantize(type, b, n)[c];
  };
  const Bytes b4_0 = block_with(18, {{1, 0x38}, {2, 0x8f}, {17, 0x21}});
  check_eq(at(DType::q4_0, b4_0, 32, 0), 3.5f);    // 0.5 * (15 - 8)
  check_eq(at(DType::q4_0, b4_0, 32, 16), 0.0f);   // 0.5 * (8 - 8)
  check_eq(at(DType::q4_0, b4_0, 32, 15), -3.5f);  // 0.5 * (1 - 8)
  check_eq(at(DType::q4_0, b4_0, 32, 31), -3.0f);  // 0.5 * (2 - 8)
  check_eq(at(DType::q4_1, block_with(20, {{1, 0x38}, {3, 0xbc}, {5, 0x90}}), 32, 17), 3.5f);
  const Bytes b5_0 = block_with(22, {{1, 0x3c}, {5, 0x80}, {21, 0x30}});
  check_eq(at(DType::q5_0, b5_0, 32, 31), 3.0f);  // 16 + 3 - 16
  check_eq(at(DType::q5_0, b5_0, 32, 15), -16.0f);
  check_eq(at(DType::q5_1, block_with(24, {{1, 0x3c}, {3, 0x40}, {5, 0x01}}), 32, 8), 18.0f);
  check_eq(at(DType::q8_0, block_with(34, {{1, 0x38}, {33, 0x80}}), 32, 31), -64.0f);
  // Q2_K: column 160 = half 1, byte 0, bits 3:2; group 10: sc 3, mn 2: 1 * 3 * 2 - 0.5 * 2.
  const Bytes b2 = block_with(84, {{81, 0x3c}, {83, 0x38}, {10, 0x23}, {48, 0x08}});
  check_eq(at(DType::q2_k, b2, 256, 160), 5.0f);
  // Q3_K: column 255: group 15: low nibble of it 7 (high half of byte 7), high bits 2 -> 39 - 32 =
  // 7; code 3 without the hmask bit: 3 - 4 = -1; with it 3.
  Bytes b3 = block_with(110, {{109, 0x3c}, {95, 0xc0}, {103, 0x70}, {107, 0x80}});
  check_eq(at(DType::q3_k, b3, 256, 255), -7.0f);
  b3[31] = 0x80;
  check_eq(at(DType::q3_k, b3, 256, 255), 21.0f);
  // Q4_K: column 255: group 7: sc = 5 + 16 * 1 = 21, mn = 2 + 16 * 3 = 50; code 9.
  const Bytes b4 =
      block_with(144, {{1, 0x3c}, {3, 0x38}, {7, 0x40}, {11, 0xc0}, {15, 0x25}, {143, 0x90}});
  check_eq(at(DType::q4_k, b4, 256, 255), 21.0f * 9 - 25);
  // Q5_K: the same with the fifth bit of column 255 (bit 7 of qh[31]): code 25.
  const Bytes b5 = block_with(
      176, {{1, 0x3c}, {3, 0x38}, {7, 0x40}, {11, 0xc0}, {15, 0x25}, {47, 0x80}, {175, 0x90}});
  check_eq(at(DType::q5_k, b5, 256, 255), 21.0f * 25 - 25);
  // Q6_K: column 96 = high nibble of ql[32], bits 7:6 of qh[0], group 6: (5 + 48 - 32) * -2.
  const Bytes b6 = block_with(210, {{209, 0x3c}, {32, 0x50}, {128, 0xc0}, {198, 0xfe}});
  check_eq(at(DType::q6_k, b6, 256, 96), -42.0f);
  check_eq(at(DType::iq4_nl, block_with(18, {{1, 0x3c}, {2, 0xf0}}), 32, 0), -127.0f);
  check_eq(at(DType::iq4_nl, block_with(18, {{1, 0x3c}, {2, 0xf0}}), 32, 16), 113.0f);
  // IQ4_XS: group 7: sc = 1 + 16 * 3 - 32 = 17; column 240 = high nibble of byte 0: 8 -> 1.
  const Bytes bx = block_with(136, {{1, 0x3c}, {3, 0xc0}, {7, 0x10}, {120, 0x80}});
  check_eq(at(DType::iq4_xs, bx, 256, 240), 17.0f);
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes out(values.size() * sizeof(T));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

void check_values(DType type, const Bytes& bytes, const std::vector<float>& expected) {
  const std::vector<float> found = run_dequantize(type, bytes, expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    check_eq(found[i], expected[i],
             "type " + std::to_string(static_cast<int>(type)) + " [" + std::to_string(i) + "]");
}

void test_plain_types() {
  check_values(DType::f32, bytes_of<float>({1.5f, -0.25f, 3e38f}), {1.5f, -0.25f, 3e38f});
  // fp16: 1, -2, largest, smallest subnormal, largest subnormal, infinity.
  check_values(DType::f16, bytes_of<uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x7c00}),
               {1, -2, 65504, 0x1p-24f, 1023 * 0x1p-24f, INFINITY});
  check_values(DType::bf16, bytes_of<uint16_t>({0x3f80, 0xc040, 0x0001}), {1, -3, 0x1p-133f});
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"every quantized type equals its formula", test_formulas},
              {"several blocks, and a part of one", test_many_blocks_and_a_part},
              {"values worked by hand", test_hand_worked},
              {"plain types", test_plain_types}});
}
