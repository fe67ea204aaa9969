// Linear layers on a grid, stored as the checkpoints of AutoAWQ, llm-awq, GPTQ and
// compressed-tensors store them. Written from the tables of the formats, not from the engine.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "stored_tensors.h"

namespace nibble::test {

/// The bf16 number next to x towards zero, as bits.
inline uint16_t bf16_bits(float x) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
}

/// w[row][col] = scale[row][g] * (code[row][col] - zero[row][g]) with g = group_of[col].
struct QuantizedLayer {
  size_t rows = 0, cols = 0, group = 0, groups = 0;
  unsigned bits = 4;
  std::vector<unsigned> codes;   // [rows, cols]
  std::vector<unsigned> zeros;   // [rows, groups]
  std::vector<float> scales;     // [rows, groups]
  std::vector<size_t> group_of;  // [cols]
  DType scale_type = DType::f16;

  unsigned code(size_t r, size_t c) const { return codes[r * cols + c]; }
  unsigned zero(size_t r, size_t g) const { return zeros[r * groups + g]; }
  float scale(size_t r, size_t g) const { return scales[r * groups + g]; }
  float weight(size_t r, size_t c) const {
    const size_t g = group_of[c];
    return scale(r, g) *
           static_cast<float>(static_cast<int>(code(r, c)) - static_cast<int>(zero(r, g)));
  }
  /// The weight of the forms that store fp16(-scale * zero).
  float weight_with_minimum(size_t r, size_t c) const {
    return scale(r, group_of[c]) * static_cast<float>(code(r, c)) +
           half_to_float(minimum(r, group_of[c]));
  }
  uint16_t minimum(size_t r, size_t g) const {
    return float_to_half(-scale(r, g) * static_cast<float>(zero(r, g)));
  }

  std::string scale_bytes(float s) const {
    if (scale_type == DType::f32) return raw(s);
    return raw(scale_type == DType::bf16 ? bf16_bits(s) : float_to_half(s));
  }
  /// Scales [groups, rows], or [rows, groups] with `width` >= groups columns.
  StoredTensor scales_by_group(const std::string& name, size_t height = 0) const {
    StoredTensor t{name, scale_type, {std::max(height, groups), rows}, {}};
    for (size_t g = 0; g < t.shape[0]; ++g)
      for (size_t r = 0; r < rows; ++r) t.bytes += scale_bytes(g < groups ? scale(r, g) : 0.0f);
    return t;
  }
  StoredTensor scales_by_row(const std::string& name, size_t width = 0) const {
    StoredTensor t{name, scale_type, {rows, std::max(width, groups)}, {}};
    for (size_t r = 0; r < rows; ++r)
      for (size_t g = 0; g < t.shape[1]; ++g)
        t.bytes += scale_bytes(g < groups ? scale(r, g) : 0.0f);
    return t;
  }
};

/// Random codes, zeros and scales that scale_type holds; columns in natural order.
inline QuantizedLayer random_layer(std::mt19937& random, size_t rows, size_t cols, size_t group,
                                   unsigned bits = 4, DType scale_type = DType::f16) {
  QuantizedLayer l;
  l.rows = rows;
  l.cols = cols;
  l.group = group;
  l.groups = (cols + group - 1) / group;
  l.bits = bits;
  l.scale_type = scale_type;
  for (size_t i = 0; i < rows * cols; ++i)
    l.codes.push_back(static_cast<unsigned>(random() % (1u << bits)));
  for (size_t i = 0; i < rows * l.groups; ++i) {
    l.zeros.push_back(static_cast<unsigned>(random() % (1u << bits)));
    const float s = 0.001f + 0.01f * static_cast<float>(random() % 10000) / 10000.0f;
    l.scales.push_back(scale_type == DType::f32    ? s
                       : scale_type == DType::bf16 ? bf16_to_float(bf16_bits(s))
                                                   : half_to_float(float_to_half(s)));
  }
  for (size_t c = 0; c < cols; ++c) l.group_of.push_back(c / group);
  return l;
}

/// Deals the columns to the groups at random, as many to each as before.
inline void shuffle_groups(std::mt19937& random, QuantizedLayer& l) {
  for (size_t i = l.cols; i > 1; --i) std::swap(l.group_of[i - 1], l.group_of[random() % i]);
}

inline StoredTensor words(const std::string& name, size_t height, size_t width,
                          const std::vector<uint32_t>& values) {
  return {name, DType::i32, {height, width}, bytes_of(values)};
}

/// AutoAWQ "gemm": nibbles 0..7 of a word, lowest first, hold the outputs 0, 2, 4, 6, 1, 3, 5, 7.
inline uint32_t awq_word(const unsigned (&outputs)[8]) {
  constexpr size_t kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  uint32_t word = 0;
  for (size_t n = 0; n < 8; ++n) word |= uint32_t{outputs[kOrder[n]]} << (4 * n);
  return word;
}

inline StoredTensors as_awq_gemm(const QuantizedLayer& l, const std::string& p) {
  std::vector<uint32_t> codes, zeros;
  for (size_t c = 0; c < l.cols; ++c)
    for (size_t r = 0; r < l.rows; r += 8) {
      unsigned eight[8];
      for (size_t i = 0; i < 8; ++i) eight[i] = l.code(r + i, c);
      codes.push_back(awq_word(eight));
    }
  for (size_t g = 0; g < l.groups; ++g)
    for (size_t r = 0; r < l.rows; r += 8) {
      unsigned eight[8];
      for (size_t i = 0; i < 8; ++i) eight[i] = l.zero(r + i, g);
      zeros.push_back(awq_word(eight));
    }
  return {words(p + ".qweight", l.cols, l.rows / 8, codes),
          words(p + ".qzeros", l.groups, l.rows / 8, zeros), l.scales_by_group(p + ".scales")};
}

/// value(i) for i < n, `bits` bits each, lowest first; n is filled up with zeros.
template <class Value>
void pack_run(std::vector<uint32_t>& out, unsigned bits, size_t n, const Value& value) {
  const size_t per_word = 32 / bits;
  for (size_t i = 0; i < n; i += per_word) {
    uint32_t word = 0;
    for (size_t j = 0; j < per_word && i + j < n; ++j) word |= uint32_t{value(i + j)} << (bits * j);
    out.push_back(word);
  }
}

/// Words of zeros in a row of gemv: AutoAWQ's calculate_zeros_width.
inline size_t gemv_zero_words(size_t groups, size_t group) {
  const size_t words = (groups + 7) / 8;
  if (group == 64) return (words + 1) / 2 * 2;
  if (group == 32) return (words + 3) / 4 * 4;
  return words;
}

inline StoredTensors as_awq_gemv(const QuantizedLayer& l, const std::string& p) {
  std::vector<uint32_t> codes, zeros;
  const size_t zero_words = gemv_zero_words(l.groups, l.group);
  for (size_t r = 0; r < l.rows; ++r) {
    pack_run(codes, 4, l.cols, [&](size_t c) { return l.code(r, c); });
    pack_run(zeros, 4, 8 * zero_words, [&](size_t g) { return g < l.groups ? l.zero(r, g) : 0u; });
  }
  return {words(p + ".qweight", l.rows, l.cols / 8, codes),
          words(p + ".qzeros", l.rows, zero_words, zeros),
          l.scales_by_row(p + ".scales", 8 * zero_words)};
}

/// gemv_fast, and llm-awq's second format, which calls the zeros scaled_zeros: nibble j of element
/// [R][64 chunk + t] is row 4 R + t / 16, column 64 chunk + 32 (u / 8) + 8 j + 2 (u % 8 / 2) + u %
/// 2 with u = t % 16.
inline StoredTensors as_awq_fast(const QuantizedLayer& l, const std::string& p,
                                 const std::string& zeros_name = "qzeros") {
  std::vector<uint16_t> codes;
  for (size_t line = 0; line < l.rows / 4; ++line)
    for (size_t c = 0; c < l.cols; ++c) {
      const size_t chunk = c / 64, t = c % 64, u = t % 16;
      unsigned element = 0;
      for (size_t j = 0; j < 4; ++j)
        element |=
            l.code(4 * line + t / 16, 64 * chunk + 32 * (u / 8) + 8 * j + 2 * (u % 8 / 2) + u % 2)
            << (4 * j);
      codes.push_back(static_cast<uint16_t>(element));
    }
  const size_t height = 8 * gemv_zero_words(l.groups, l.group);
  std::vector<uint16_t> minima(height * l.rows);
  for (size_t g = 0; g < l.groups; ++g)
    for (size_t r = 0; r < l.rows; ++r) minima[g * l.rows + r] = l.minimum(r, g);
  return {{p + ".qweight", DType::i16, {l.rows / 4, l.cols}, bytes_of(codes)},
          {p + "." + zeros_name, DType::f16, {height, l.rows}, bytes_of(minima)},
          l.scales_by_group(p + ".scales", height)};
}

/// GPTQ; `minus_one`: the first format, which stores z - 1, subtracted from whole words.
inline StoredTensors as_gptq(const QuantizedLayer& l, const std::string& p, bool minus_one,
                             bool with_g_idx = true) {
  const size_t per_word = 32 / l.bits;
  std::vector<uint32_t> codes(l.cols / per_word * l.rows), zeros;
  for (size_t c = 0; c < l.cols; ++c)
    for (size_t r = 0; r < l.rows; ++r)
      codes[c / per_word * l.rows + r] |= uint32_t{l.code(r, c)} << (l.bits * (c % per_word));
  for (size_t g = 0; g < l.groups; ++g)
    pack_run(zeros, l.bits, l.rows, [&](size_t r) { return l.zero(r, g); });
  for (uint32_t& word : zeros)
    if (minus_one) word -= l.bits == 8 ? 0x01010101u : 0x11111111u;
  StoredTensors out = {words(p + ".qweight", l.cols / per_word, l.rows, codes),
                       words(p + ".qzeros", l.groups, l.rows / per_word, zeros),
                       l.scales_by_group(p + ".scales")};
  if (!with_g_idx) return out;
  StoredTensor g_idx{p + ".g_idx", DType::i32, {l.cols}, {}};
  for (const size_t g : l.group_of) g_idx.bytes += raw(static_cast<int32_t>(g));
  out.push_back(g_idx);
  return out;
}

/// compressed-tensors, pack-quantized; symmetric has no zeros.
inline StoredTensors as_compressed(const QuantizedLayer& l, const std::string& p, bool symmetric,
                                   bool with_g_idx = false) {
  const size_t per_word = 32 / l.bits;
  std::vector<uint32_t> codes, zeros;
  for (size_t r = 0; r < l.rows; ++r)
    pack_run(codes, l.bits, l.cols, [&](size_t c) { return l.code(r, c); });
  StoredTensors out = {
      words(p + ".weight_packed", l.rows, (l.cols + per_word - 1) / per_word, codes),
      l.scales_by_row(p + ".weight_scale"),
      {p + ".weight_shape",
       DType::i64,
       {2},
       raw(static_cast<int64_t>(l.rows)) + raw(static_cast<int64_t>(l.cols))}};
  if (!symmetric) {
    for (size_t r = 0; r < l.rows; r += per_word)
      for (size_t g = 0; g < l.groups; ++g) {
        uint32_t word = 0;
        for (size_t j = 0; j < per_word && r + j < l.rows; ++j)
          word |= uint32_t{l.zero(r + j, g)} << (l.bits * j);
        zeros.push_back(word);
      }
    out.push_back(
        words(p + ".weight_zero_point", (l.rows + per_word - 1) / per_word, l.groups, zeros));
  }
  if (with_g_idx) {
    StoredTensor g_idx{p + ".weight_g_idx", DType::i32, {l.cols}, {}};
    for (const size_t g : l.group_of) g_idx.bytes += raw(static_cast<int32_t>(g));
    out.push_back(g_idx);
  }
  return out;
}

inline void set_zeros(QuantizedLayer& l, unsigned zero) {
  std::fill(l.zeros.begin(), l.zeros.end(), zero);
}

/// Tensors in memory as an opened Hugging Face directory, at odd addresses.
class StoredCheckpoint {
 public:
  explicit StoredCheckpoint(const StoredTensors& tensors, const std::string& config = "{}") {
    checkpoint.format = FileFormat::hugging_face;
    checkpoint.path = "model";
    checkpoint.metadata = Json(Json::Object{{"config", parse_json(config, "config.json")}});
    for (const StoredTensor& t : tensors) {
      bytes_.push_back("#" + t.bytes);
      const auto* data = reinterpret_cast<const std::byte*>(bytes_.back().data()) + 1;
      checkpoint.tensors.push_back({t.name, t.type, t.shape, {data, t.bytes.size()}});
    }
    checkpoint.index_tensors();
  }
  Checkpoint checkpoint;

 private:
  std::deque<std::string> bytes_;
};

}  // namespace nibble::test
