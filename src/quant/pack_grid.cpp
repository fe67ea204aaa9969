#include "quant/pack_grid.h"

#include <algorithm>
#include <array>

#include "base/half.h"
#include "quant/panel_stage.h"

namespace nibble {
namespace {

// Eight codes travel in a 64-bit word, a byte each.

/// The eight nibbles of a word, lowest first.
uint64_t bytes_of_nibbles(uint32_t word) {
  uint64_t x = word;
  x = (x | x << 16) & 0x0000ffff0000ffffu;
  x = (x | x << 8) & 0x00ff00ff00ff00ffu;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
}

/// The eight rows of a word of awq_gemm: its low half holds 0, 2, 4, 6, its high half 1, 3, 5, 7.
uint64_t bytes_of_awq(uint32_t word) {
  const uint64_t in_order = bytes_of_nibbles(word);
  uint64_t even = in_order & 0xffffffffu, odd = in_order >> 32;
  even = (even | even << 16) & 0x0000ffff0000ffffu;
  odd = (odd | odd << 16) & 0x0000ffff0000ffffu;
  even = (even | even << 8) & 0x00ff00ff00ff00ffu;
  odd = (odd | odd << 8) & 0x00ff00ff00ff00ffu;
  return even | odd << 8;
}

/// Byte j of word i becomes byte i of word j.
void transpose(std::array<uint64_t, 8>& x) {
  const auto swap = [&](size_t i, size_t j, int shift, uint64_t mask) {
    const uint64_t t = ((x[i] >> shift) ^ x[j]) & mask;
    x[i] ^= t << shift;
    x[j] ^= t;
  };
  for (size_t i = 0; i < 4; ++i) swap(i, i + 4, 32, 0x00000000ffffffffu);
  for (const size_t i : {0, 1, 4, 5}) swap(i, i + 2, 16, 0x0000ffff0000ffffu);
  for (const size_t i : {0, 2, 4, 6}) swap(i, i + 1, 8, 0x00ff00ff00ff00ffu);
}

// How each layout is read. `columns(row, k)` are the codes of columns k..k+7, k a multiple of 8,
// and `rows(row, k)` those of rows row..row+7 of a column; each layout has what it can do fast.
// `code(row, k)` is one of them.

uint32_t word_at(const std::byte* words, size_t i) {
  return load_as<uint32_t>(words + i * sizeof(uint32_t));
}

struct RowWords4 {
  static constexpr bool kByRows = false;
  const std::byte* words;
  size_t line;
  uint64_t columns(size_t row, size_t k) const {
    return bytes_of_nibbles(word_at(words, row * line + k / 8));
  }
  uint8_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>((word_at(words, row * line + k / 8) >> (4 * (k % 8))) & 15);
  }
};

/// Codes of 8 bits lie in words as they lie in bytes.
struct RowWords8 {
  static constexpr bool kByRows = false;
  const std::byte* words;
  size_t line;
  uint64_t columns(size_t row, size_t k) const {
    return load_as<uint64_t>(words + row * line * sizeof(uint32_t) + k);
  }
  uint8_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>(words[row * line * sizeof(uint32_t) + k]);
  }
};

struct ColumnWords4 {
  static constexpr bool kByRows = true;
  static constexpr size_t kRowUnit = 1;  // rows() starts at any row
  const std::byte* words;
  size_t line;
  uint64_t columns(size_t row, size_t k) const {
    return bytes_of_nibbles(word_at(words, k / 8 * line + row));
  }
  uint64_t rows(size_t row, size_t k) const {
    uint64_t out = 0;
    for (size_t r = 0; r < 8; ++r) out |= uint64_t{code(row + r, k)} << (8 * r);
    return out;
  }
  uint8_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>((word_at(words, k / 8 * line + row) >> (4 * (k % 8))) & 15);
  }
};

struct ColumnWords8 {
  static constexpr bool kByRows = false;
  const std::byte* words;
  size_t line;
  uint64_t columns(size_t row, size_t k) const {
    const size_t i = k / 4 * line + row;
    return word_at(words, i) | uint64_t{word_at(words, i + line)} << 32;
  }
  uint8_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>(words[(k / 4 * line + row) * sizeof(uint32_t) + k % 4]);
  }
};

struct AwqGemm {
  static constexpr bool kByRows = true;
  static constexpr size_t kRowUnit = 8;
  const std::byte* words;
  size_t line;
  uint64_t rows(size_t row, size_t k) const {
    return bytes_of_awq(word_at(words, k * line + row / 8));
  }
  uint8_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>((word_at(words, k * line + row / 8) >> kAwqShifts[row % 8]) & 15);
  }
};

struct AwqFast {
  static constexpr bool kByRows = false;
  const std::byte* halves;
  size_t line;
  /// Of the eight elements that hold columns k / 32 * 32 .. + 31 of a row, the first.
  const std::byte* at(size_t row, size_t k) const {
    const size_t element = row / 4 * line + k / 64 * 64 + row % 4 * 16 + k % 64 / 32 * 8;
    return halves + element * sizeof(uint16_t);
  }
  uint64_t columns(size_t row, size_t k) const {
    const std::byte* first = at(row, k);
    const auto four = [&](const std::byte* p) {
      uint64_t x = load_as<uint64_t>(p) >> (k % 32 / 8 * 4) & 0x000f000f000f000fu;
      x = (x | x >> 8) & 0x0000ffff0000ffffu;
      return (x | x >> 16) & 0x00000000ffffffffu;
    };
    return four(first) | four(first + 8) << 32;
  }
  uint8_t code(size_t row, size_t k) const {
    const uint16_t x = load_as<uint16_t>(at(row, k) + k % 8 * sizeof(uint16_t));
    return static_cast<uint8_t>((x >> (k % 32 / 8 * 4)) & 15);
  }
};

/// Whether rows 8 i .. 8 i + 7 of the panel lie one after the other in the source, from a multiple
/// of `unit`.
bool eight_rows_follow(const GridPanel& panel, size_t i, size_t unit) {
  if (8 * i + 8 > panel.n_rows || panel.rows[8 * i] % unit != 0) return false;
  for (size_t r = 1; r < 8; ++r)
    if (panel.rows[8 * i + r] != panel.rows[8 * i] + r) return false;
  return true;
}

/// The codes of n packed columns from c0; column c is source column `source(c)`.
template <class Layout, class Source>
void stage_rows(const Layout& layout, const GridPanel& panel, size_t i, size_t c0, size_t n,
                const Source& source, Stage<uint8_t>& stage) {
  if constexpr (Layout::kByRows) {
    if (eight_rows_follow(panel, i, Layout::kRowUnit)) {
      for (size_t c = 0; c < n; c += 8) {
        std::array<uint64_t, 8> block;
        for (size_t j = 0; j < 8; ++j)
          block[j] = layout.rows(panel.rows[8 * i], source(c0 + c + j));
        transpose(block);
        for (size_t r = 0; r < 8; ++r) store_as(&stage.rows[8 * i + r][c], block[r]);
      }
      return;
    }
  }
  for (size_t r = 8 * i; r < std::min(panel.n_rows, 8 * i + 8); ++r)
    for (size_t c = 0; c < n; ++c) stage.rows[r][c] = layout.code(panel.rows[r], source(c0 + c));
}

template <class Layout>
void stage_codes(const GridSource& grid, const Layout& layout, const GridPanel& panel, size_t c0,
                 size_t n, Stage<uint8_t>& stage) {
  if (!grid.column_order.empty()) {
    const uint32_t* order = grid.column_order.data();
    for (size_t i = 0; i < 2; ++i)
      stage_rows(
          layout, panel, i, c0, n, [order](size_t c) { return order[c]; }, stage);
  } else if constexpr (requires { layout.columns(0, 0); }) {
    for (size_t r = 0; r < panel.n_rows; ++r)
      for (size_t c = 0; c < n; c += 8)
        store_as(&stage.rows[r][c], layout.columns(panel.rows[r], c0 + c));
  } else {
    for (size_t i = 0; i < 2; ++i)
      stage_rows(
          layout, panel, i, c0, n, [](size_t c) { return c; }, stage);
  }
}

template <class Layout>
void pack_codes(const GridSource& grid, const PackedShape& shape, const Layout& layout,
                std::span<const GridPanel> panels) {
  Stage<uint8_t> stage;
  for (size_t c0 = 0; c0 < shape.cols; c0 += kStep) {
    const size_t n = std::min<size_t>(kStep, shape.cols - c0);
    for (const GridPanel& panel : panels) {
      if (panel.n_rows < kPanelRows) stage = {};
      stage_codes(grid, layout, panel, c0, n, stage);
      write_lines(shape.codes, stage, n, panel.codes + c0 * column_bytes(shape.codes));
    }
  }
}

float scale_value(const GridSource::Scales& scales, size_t i) {
  switch (scales.type) {
    case DType::f32:
      return load_as<float>(scales.data + i * sizeof(float));
    case DType::bf16:
      return bf16_to_float(load_as<uint16_t>(scales.data + i * sizeof(uint16_t)));
    default:
      return half_to_float(load_as<uint16_t>(scales.data + i * sizeof(uint16_t)));
  }
}

/// A scale that fp16 holds, as its bits.
uint16_t scale_bits(const GridSource::Scales& scales, size_t i) {
  if (scales.type == DType::f16) return load_as<uint16_t>(scales.data + i * sizeof(uint16_t));
  return float_to_half(scale_value(scales, i));
}

/// The scale of packed group `to` of one lane, from group `from` of the source.
void pack_scale(const GridSource& grid, size_t row, size_t from, size_t to, size_t r,
                uint8_t* scales) {
  const size_t i = row * grid.scales.row_stride + from * grid.scales.group_stride;
  switch (grid.form.scheme) {
    case Scheme::f16:
      scale_at<ScaleF16>(scales, to).s[r] = scale_bits(grid.scales, i);
      break;
    case Scheme::f16_zero:
      scale_at<ScaleF16Zero>(scales, to).s[r] = scale_bits(grid.scales, i);
      scale_at<ScaleF16Zero>(scales, to).z[r] = static_cast<uint8_t>(grid.zero_at(row, from));
      break;
    case Scheme::f32_zero:
      scale_at<ScaleF32Zero>(scales, to).s[r] = scale_value(grid.scales, i);
      scale_at<ScaleF32Zero>(scales, to).z[r] = static_cast<uint8_t>(grid.zero_at(row, from));
      break;
    case Scheme::f16_min:
      scale_at<ScaleF16Min>(scales, to).s[r] = scale_bits(grid.scales, i);
      scale_at<ScaleF16Min>(scales, to).m[r] =
          load_as<uint16_t>(grid.minima + i * sizeof(uint16_t));
      break;
    case Scheme::none:
    case Scheme::k6:
    case Scheme::k8:
    case Scheme::k8_min:
      break;  // no grid becomes these
  }
}

void pack_scales(const GridSource& grid, const PackedShape& shape, const GridPanel& panel) {
  const size_t n_groups = (shape.cols + shape.group - 1) / shape.group;
  for (size_t to = 0; to < n_groups; ++to) {
    const size_t from = to * shape.group / grid.group;
    for (size_t r = 0; r < panel.n_rows; ++r)
      pack_scale(grid, panel.rows[r], from, to, r, panel.scales);
  }
}

}  // namespace

void pack_grid(const GridSource& grid, const PackedShape& shape,
               std::span<const GridPanel> panels) {
  const auto pack = [&](const auto& layout) { pack_codes(grid, shape, layout, panels); };
  switch (grid.layout) {
    case CodeLayout::row_words:
      grid.bits == 8 ? pack(RowWords8{grid.codes, grid.line})
                     : pack(RowWords4{grid.codes, grid.line});
      break;
    case CodeLayout::column_words:
      grid.bits == 8 ? pack(ColumnWords8{grid.codes, grid.line})
                     : pack(ColumnWords4{grid.codes, grid.line});
      break;
    case CodeLayout::awq_gemm:
      pack(AwqGemm{grid.codes, grid.line});
      break;
    case CodeLayout::awq_fast:
      pack(AwqFast{grid.codes, grid.line});
      break;
  }
  for (const GridPanel& panel : panels) pack_scales(grid, shape, panel);
}

}  // namespace nibble
