// Random packed matrices, their weights read from the bytes by the words of packed.h, and
// activations.
#pragma once

#include "kernel_check.h"

namespace nibble::test {

struct Format {
  Codes codes;
  Scheme scheme;
  uint16_t group;
  uint8_t zero;
  std::string name() const {
    static constexpr const char* kCodes[] = {"f32", "f16", "bf16", "q2",      "q3",
                                             "iq1", "iq2", "q4",   "iq3_xxs", "iq3_s",
                                             "fp4", "iq4", "q5",   "q6",      "q8"};
    static constexpr const char* kSchemes[] = {"none", "f16", "f16_zero", "f32_zero", "f16_min",
                                               "k6",   "k8",  "k8_min",   "k4_min"};
    return std::string(kCodes[static_cast<int>(codes)]) + " " + kSchemes[static_cast<int>(scheme)] +
           " g" + std::to_string(group);
  }
};

inline std::vector<Format> quantized_formats() {
  std::vector<Format> all;
  for (const Codes codes : {Codes::q4, Codes::q8}) {
    const bool q4 = codes == Codes::q4;
    for (const uint16_t group : {uint16_t{32}, uint16_t{64}, uint16_t{128}}) {
      all.push_back({codes, Scheme::f16, group, q4 ? uint8_t{8} : uint8_t{128}});
      all.push_back({codes, Scheme::f16_zero, group, 0});
      all.push_back({codes, Scheme::f32_zero, group, 0});
      all.push_back({codes, Scheme::f16_min, group, 0});
    }
    all.push_back({codes, Scheme::f16_zero, 16, 0});
    all.push_back({codes, Scheme::f16, 32, q4 ? uint8_t{0} : uint8_t{16}});
    all.push_back({codes, Scheme::k6, 32, 0});
    all.push_back({codes, Scheme::k8, 16, q4 ? uint8_t{4} : uint8_t{32}});
    all.push_back({codes, Scheme::k8, 32, q4 ? uint8_t{8} : uint8_t{127}});
    if (q4) all.push_back({codes, Scheme::k8_min, 16, 0});
  }
  all.push_back({Codes::q2, Scheme::k4_min, 16, 0});
  all.push_back({Codes::q3, Scheme::k8, 16, 4});
  all.push_back({Codes::iq1, Scheme::k8, 16, 64});
  all.push_back({Codes::iq2, Scheme::k8, 16, 64});
  all.push_back({Codes::iq3_xxs, Scheme::k8, 32, kIq3Zero});
  all.push_back({Codes::iq3_s, Scheme::k8, 32, kIq3Zero});
  all.push_back({Codes::fp4, Scheme::k8, 32, kIq3Zero});
  all.push_back({Codes::fp4, Scheme::f16, 32, kIq3Zero});
  all.push_back({Codes::iq4, Scheme::f16, 32, 128});
  all.push_back({Codes::iq4, Scheme::k8, 32, 128});
  all.push_back({Codes::q5, Scheme::f16, 32, 16});
  all.push_back({Codes::q5, Scheme::f16_min, 32, 0});
  all.push_back({Codes::q5, Scheme::k6, 32, 0});
  all.push_back({Codes::q6, Scheme::k8, 16, 32});
  return all;
}

inline std::vector<Format> all_formats() {
  std::vector<Format> all = quantized_formats();
  for (const Codes codes : {Codes::f32, Codes::f16, Codes::bf16})
    all.push_back({codes, Scheme::none, 0, 0});
  return all;
}

inline size_t scale_bytes(const Format& f, size_t cols_padded) {
  switch (f.scheme) {
    case Scheme::none:
      return 0;
    case Scheme::f16:
      return cols_padded / f.group * 32;
    case Scheme::f16_zero:
      return cols_padded / f.group * 48;
    case Scheme::f32_zero:
      return cols_padded / f.group * 80;
    case Scheme::f16_min:
      return cols_padded / f.group * 64;
    case Scheme::k6:
      return cols_padded / 256 * 256;
    case Scheme::k8:
      return cols_padded / 256 * (f.group == 16 ? 288 : 160);
    case Scheme::k8_min:
      return cols_padded / 256 * 576;
    case Scheme::k4_min:
      return cols_padded / 256 * 320;
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

inline uint16_t random_half(Random& random) {  // +-2^-8 .. 2^-3
  return static_cast<uint16_t>((random() & 0x83ffu) | (7 + random() % 5) << 10);
}

/// Fills the fp16 fields of one panel's scales, at 16 values each, 0 for rows that do not exist.
inline void fill_halves(Random& random, uint8_t* scales, size_t bytes, size_t per, size_t fields,
                        size_t rows) {
  for (size_t at = 0; at < bytes; at += per)
    for (size_t i = 0; i < 16 * fields; ++i) {
      const uint16_t bits = i % 16 < rows ? random_half(random) : uint16_t{0};
      std::memcpy(scales + at + 2 * i, &bits, 2);
    }
}

inline void fill_panel(Random& random, const Format& f, size_t rows, size_t cols_padded,
                       size_t code_bytes, uint8_t* codes, uint8_t* scales) {
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
    case Scheme::f32_zero:
      for (size_t at = 0; at < bytes; at += 80)
        for (size_t r = 0; r < 16; ++r) {
          const float s = r < rows ? uniform(random, -0.02f, 0.02f) : 0.0f;
          std::memcpy(scales + at + 4 * r, &s, 4);
        }
      return;
    case Scheme::f16_min:
      return fill_halves(random, scales, bytes, 64, 2, rows);
    case Scheme::k6:
      return fill_halves(random, scales, bytes, 256, 2, rows);
    case Scheme::k8:
      return fill_halves(random, scales, bytes, f.group == 16 ? 288 : 160, 1, rows);
    case Scheme::k8_min:
      return fill_halves(random, scales, bytes, 576, 2, rows);
    case Scheme::k4_min:
      return fill_halves(random, scales, bytes, 320, 2, rows);
  }
}

inline Matrix random_matrix(Random& random, const Format& f, uint32_t rows, uint32_t cols) {
  const bool super = f.scheme >= Scheme::k6;
  const uint32_t unit = super ? 256 : f.group == 0 ? 1 : f.group;
  Matrix m{.format = f, .view = {}};
  m.view.shape = {rows, cols, f.codes, f.scheme, f.group, f.zero};
  m.view.cols_padded = (cols + unit - 1) / unit * unit;
  static constexpr size_t kBits[] = {32, 16, 16, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 6, 8};
  const size_t bits = kBits[static_cast<int>(f.codes)];
  const size_t code_bytes = m.view.cols_padded * 2 * bits;
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

/// What the codes of GGUF's uneven types stand for, by its documents; eighths or halves of units
/// in the IQ types of less than four bits.
inline int table_value(Codes codes, unsigned index) {
  static constexpr int kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
  static constexpr int kTwo[4] = {8, 25, 43, 0}, kFp4[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  const unsigned low3 = index % 8, low2 = index % 4;
  const int sign3 = index >= 8 ? -1 : 1, sign2 = index >= 4 ? -1 : 1;
  switch (codes) {
    case Codes::iq1:
      return low2 == 3 ? 0 : 8 * (static_cast<int>(low2) - 1) + sign2;
    case Codes::iq2:
      return sign2 * kTwo[low2];
    case Codes::iq3_xxs:
      return sign3 * (low3 == 7 ? 31 : 2 + 4 * static_cast<int>(low3));
    case Codes::iq3_s:
      return sign3 * (1 + 2 * static_cast<int>(low3));
    case Codes::fp4:
      return sign3 * kFp4[low3];
    default:
      return kIq4[index];
  }
}

/// w = s * q + m (m = -s * z where the scheme has zeros), read from the bytes by packed.h's words.
struct Weight {
  double s = 0, q = 0, m = 0;
  int64_t z = 0;
};

inline void read_scheme(const PackedShape& shape, const uint8_t* panel, size_t k, size_t r,
                        Weight& w) {
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
    case Scheme::f32_zero: {
      float s;
      std::memcpy(&s, panel + g * 80 + 4 * r, 4);
      w.s = static_cast<double>(s);
      w.z = panel[g * 80 + 64 + r];
      break;
    }
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
      if (shape.codes == Codes::iq1 || shape.codes == Codes::iq2) w.s /= 8;
      if (shape.codes == Codes::iq3_xxs) w.s /= 2;
      w.z = shape.zero;
      break;
    }
    case Scheme::k8_min:
    case Scheme::k4_min: {
      const bool nibbles = shape.scheme == Scheme::k4_min;
      const uint8_t* super = panel + k / 256 * (nibbles ? 320 : 576);
      const int sc = super[64 + 16 * j + r];
      w.s = half_at(super + 2 * r) * (nibbles ? sc % 16 : sc);
      w.m = -half_at(super + 32 + 2 * r) * (nibbles ? sc / 16 : super[320 + 16 * j + r]);
      return;
    }
  }
  w.m = -w.s * static_cast<double>(w.z);
}

inline Weight weight_at(const PackedView& view, size_t n, size_t k) {
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
    case Codes::q2:
      w.q = codes[64 * (k / 16) + 4 * r + k % 4] >> (2 * (k % 16 / 4)) & 3;
      break;
    case Codes::q3:
    case Codes::iq1:
    case Codes::iq2: {  // 96 bytes hold 16 columns
      static constexpr unsigned kBit[4] = {0, 1, 4, 5};
      const uint8_t* unit = codes + k / 16 * 96;
      const unsigned low = unit[4 * r + k % 4] >> (2 * (k % 16 / 4)) & 3;
      const unsigned upper = unit[64 + 2 * r + k % 2] >> (k % 4 < 2 ? 2 : 0);
      const unsigned code = low + 4 * (upper >> kBit[k % 16 / 4] & 1);
      w.q = view.shape.codes == Codes::q3 ? static_cast<int>(code)
                                          : table_value(view.shape.codes, code) + 64;
      break;
    }
    case Codes::q4: {
      const uint8_t byte = codes[64 * (k / 8) + 4 * r + k % 4];
      w.q = k / 4 % 2 == 0 ? byte % 16 : byte / 16;
      break;
    }
    case Codes::iq3_xxs:
    case Codes::iq3_s:
    case Codes::fp4:
    case Codes::iq4: {
      const uint8_t byte = codes[64 * (k / 8) + 4 * r + k % 4];
      w.q = table_value(view.shape.codes, k / 4 % 2 == 0 ? byte % 16u : byte / 16u) +
            (view.shape.codes == Codes::iq4 ? 128 : 32);
      break;
    }
    case Codes::q5: {  // 320 bytes hold 32 columns
      const uint8_t* unit = codes + k / 32 * 320 + 4 * r + k % 4;
      const unsigned low = unit[64 * (k % 32 / 8)] >> (k / 4 % 2 * 4) & 15;
      w.q = low + 16 * (unit[256] >> (k % 32 / 4) & 1);
      break;
    }
    case Codes::q6: {  // 192 bytes hold 16
      const uint8_t* unit = codes + k / 16 * 192 + 4 * r + k % 4;
      const unsigned low = unit[64 * (k % 16 / 8)] >> (k / 4 % 2 * 4) & 15;
      w.q = low + 16 * (unit[128] >> (2 * (k % 16 / 4)) & 3);
      break;
    }
    case Codes::q8:
      w.q = codes[64 * (k / 4) + 4 * r + k % 4];
      break;
  }
  read_scheme(view.shape, view.scales + n / 16 * view.scale_stride, k, r, w);
  return w;
}

struct Activations {
  QuantizedRows rows;
  Buffer codes{0};
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

inline Activations empty_activations(size_t n_rows, size_t n_groups, size_t group) {
  Activations a;
  const size_t stride = (n_groups * group + 63) / 64 * 64 + 64;
  a.codes = Buffer(n_rows * stride);
  a.scales.assign(n_rows * n_groups, kNan);
  a.sums.assign(n_rows * n_groups, -12345);
  a.rows = {a.codes.at<int8_t>(), a.scales.data(), a.sums.data(), n_rows, stride, n_groups, group};
  return a;
}

/// Random codes that fit a matrix, zero beyond its columns.
inline Activations random_activations(Random& random, const PackedView& w, size_t n_rows,
                                      bool extreme) {
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

/// To nearest even, by comparing distances.
inline uint16_t nearest_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const auto down = static_cast<uint16_t>(bits >> 16);  // towards zero
  const auto up = static_cast<uint16_t>(down + 1);
  const auto value = [](uint16_t b) {
    const uint8_t bytes[2] = {static_cast<uint8_t>(b), static_cast<uint8_t>(b >> 8)};
    return bf16_at(bytes);
  };
  const double from_down = std::abs(static_cast<double>(x) - value(down));
  const double from_up = std::abs(static_cast<double>(x) - value(up));
  if (from_down == from_up) return down % 2 == 0 ? down : up;
  return from_down < from_up ? down : up;
}

/// The same activations rounded to bf16.
inline Activations as_bf16(const Activations& a) {
  Activations out;
  out.rows = a.rows;
  out.rows.scales = nullptr;
  out.rows.sums = nullptr;
  out.rows.stride = 2 * a.rows.stride;
  out.codes = Buffer(out.rows.n_rows * out.rows.stride);
  out.rows.codes = out.codes.at<int8_t>();
  for (size_t t = 0; t < a.rows.n_rows; ++t)
    for (size_t k = 0; k < a.rows.stride; ++k) {
      const size_t g = std::min(k / a.rows.group, a.rows.n_groups - 1);  // codes behind it are 0
      const uint16_t x = nearest_bf16(a.scales[t * a.rows.n_groups + g] *
                                      static_cast<float>(a.rows.codes[t * a.rows.stride + k]));
      std::memcpy(out.rows.codes + t * out.rows.stride + 2 * k, &x, sizeof x);
    }
  return out;
}

}  // namespace nibble::test
