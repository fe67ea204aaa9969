#include "quant/pack_grid.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/half.h"

namespace nibble {
namespace {

// A line of a panel is a 32-bit word for each of its 16 rows: eight codes of 4 bits, those of
// columns 0, 4, 1, 5, 2, 6, 3, 7 from the lowest bits up, or four codes of 8 bits in order.

uint32_t word_at(const std::byte* words, size_t i) {
  return load_as<uint32_t>(words + i * sizeof(uint32_t));
}

/// The bit at which column j of eight lies in the word of a line.
constexpr unsigned line_shift(size_t j) {
  return static_cast<unsigned>(j < 4 ? 8 * j : 8 * (j - 4) + 4);
}

/// Eight codes in order, from the lowest bits up, to the order of a line: a perfect shuffle.
constexpr uint32_t to_line_order(uint32_t x) {
  uint32_t t = (x ^ (x >> 8)) & 0x0000ff00u;
  x ^= t ^ (t << 8);
  t = (x ^ (x >> 4)) & 0x00f000f0u;
  return x ^ t ^ (t << 4);
}
static_assert(to_line_order(0x76543210u) == 0x73625140u);

/// From words of eight codes in order. Not in place: the compiler sees that nothing overlaps.
void store_in_line_order(uint32_t (&x)[kPanelRows], uint32_t* out) {
  for (uint32_t& word : x) word = to_line_order(word);
  std::copy_n(x, kPanelRows, out);
}

/// The source rows of a panel: those of lanes 0..n-1.
struct Rows {
  const uint32_t* row;
  size_t n;
  bool follow;  // all 16 there, one after the other

  explicit Rows(const GridPanel& panel)
      : row(panel.rows), n(panel.n_rows), follow(panel.n_rows == kPanelRows) {
    for (size_t r = 1; r < n; ++r) follow = follow && row[r] == row[0] + r;
  }
};

// The layouts. line(rows, k, out) writes the words of one line of columns from k; code(row, k) is
// one code.

struct RowWords4 {
  static constexpr size_t kCols = 8;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    uint32_t x[kPanelRows] = {};
    for (size_t r = 0; r < rows.n; ++r) x[r] = word_at(words, rows.row[r] * stride + k / 8);
    store_in_line_order(x, out);
  }
  uint32_t code(size_t row, size_t k) const {
    return (word_at(words, row * stride + k / 8) >> (4 * (k % 8))) & 15;
  }
};

struct RowWords8 {
  static constexpr size_t kCols = 4;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    for (size_t r = 0; r < rows.n; ++r) out[r] = word_at(words, rows.row[r] * stride + k / 4);
  }
  uint32_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>(words[row * stride * sizeof(uint32_t) + k]);
  }
};

struct ColumnWords4 {
  static constexpr size_t kCols = 8;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    const std::byte* from = words + k / 8 * stride * sizeof(uint32_t);
    uint32_t x[kPanelRows] = {};
    if (rows.follow) {
      const size_t first = rows.row[0] * sizeof(uint32_t);
      fetch(from, 8 * stride * sizeof(uint32_t) + first);
      std::memcpy(x, from + first, sizeof x);
    } else {
      for (size_t r = 0; r < rows.n; ++r) x[r] = word_at(from, rows.row[r]);
    }
    store_in_line_order(x, out);
  }
  /// Column j of the line is column k[j].
  void permuted_line(const Rows& rows, const uint32_t* k, uint32_t* out) const {
    uint32_t sum[kPanelRows] = {};
    for (size_t j = 0; j < kCols; ++j) {
      const std::byte* from = words + (k[j] / 8 * stride + rows.row[0]) * sizeof(uint32_t);
      const unsigned shift = 4 * (k[j] % 8), to = line_shift(j);
      for (size_t r = 0; r < kPanelRows; ++r) sum[r] |= ((word_at(from, r) >> shift) & 15) << to;
    }
    std::copy_n(sum, kPanelRows, out);
  }
  uint32_t code(size_t row, size_t k) const {
    return (word_at(words, k / 8 * stride + row) >> (4 * (k % 8))) & 15;
  }
};

struct ColumnWords8 {
  static constexpr size_t kCols = 4;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    for (size_t r = 0; r < rows.n; ++r) out[r] = word_at(words, k / 4 * stride + rows.row[r]);
  }
  uint32_t code(size_t row, size_t k) const {
    return static_cast<uint8_t>(words[(k / 4 * stride + row) * sizeof(uint32_t) + k % 4]);
  }
};

struct AwqGemm {
  static constexpr size_t kCols = 8;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    for (size_t r = 0; r < rows.n; ++r) {
      out[r] = 0;
      for (size_t j = 0; j < kCols; ++j) out[r] |= code(rows.row[r], k + j) << line_shift(j);
    }
  }
  uint32_t code(size_t row, size_t k) const {
    return (word_at(words, k * stride + row / 8) >> kAwqShifts[row % 8]) & 15;
  }
};

struct AwqFast {
  static constexpr size_t kCols = 8;
  const std::byte* halves;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    const size_t shift = k % 32 / 8 * 4;
    for (size_t r = 0; r < rows.n; ++r) {
      const std::byte* from = at(rows.row[r], k);
      const uint64_t low = (load_as<uint64_t>(from) >> shift) & 0x000f000f000f000fu;
      const uint64_t high = (load_as<uint64_t>(from + 8) >> shift) & 0x000f000f000f000fu;
      uint64_t x = low | high << 4;  // columns j and 4 + j in the low byte of each 16 bits
      x = (x | x >> 8) & 0x0000ffff0000ffffu;
      out[r] = static_cast<uint32_t>(x | x >> 16);
    }
  }
  uint32_t code(size_t row, size_t k) const {
    const uint16_t x = load_as<uint16_t>(at(row, k) + k % 8 * sizeof(uint16_t));
    return (x >> (k % 32 / 8 * 4)) & 15u;
  }

 private:
  /// The first of the eight elements that hold columns k / 32 * 32 .. + 31 of a row.
  const std::byte* at(size_t row, size_t k) const {
    return halves +
           (row / 4 * stride + k / 64 * 64 + row % 4 * 16 + k % 64 / 32 * 8) * sizeof(uint16_t);
  }
};

/// One line whose column j is column k[j] of the source.
template <class Layout>
void permuted_line(const Layout& layout, const Rows& rows, const uint32_t* k, uint32_t* out) {
  if constexpr (requires { layout.permuted_line(rows, k, out); }) {
    if (rows.follow) return layout.permuted_line(rows, k, out);
  }
  for (size_t r = 0; r < rows.n; ++r) {
    out[r] = 0;
    for (size_t j = 0; j < Layout::kCols; ++j)
      out[r] |= layout.code(rows.row[r], k[j]) << (Layout::kCols == 8 ? line_shift(j) : 8 * j);
  }
}

uint32_t* line_at(const GridPanel& panel, size_t i) {
  return reinterpret_cast<uint32_t*>(panel.codes + i * kLineBytes);
}

/// In steps of columns, so that panels side by side find each other's cache lines and pages.
template <class Layout>
void pack_codes(const GridSource& grid, const PackedShape& shape, const Layout& layout,
                std::span<const GridPanel> panels) {
  constexpr size_t kStep = 256;
  const uint32_t* order = grid.column_order.empty() ? nullptr : grid.column_order.data();
  for (size_t c0 = 0; c0 < shape.cols; c0 += kStep)
    for (const GridPanel& panel : panels) {
      const Rows rows(panel);
      for (size_t c = c0; c < std::min<size_t>(c0 + kStep, shape.cols); c += Layout::kCols) {
        uint32_t* out = line_at(panel, c / Layout::kCols);
        if (order)
          permuted_line(layout, rows, order + c, out);
        else
          layout.line(rows, c, out);
      }
    }
}

// awq_gemm: eight words of eight rows are an 8 x 8 matrix of nibbles, to be transposed. All panels
// at once: their words fill a cache line of the source.

constexpr size_t kBlocks = kGridPanels * 2;   // of eight rows
using Block = std::array<uint32_t, kBlocks>;  // one word of each

/// Nibble j of word i becomes nibble i of word j, in all blocks.
void transpose(std::array<Block, 8>& x) {
  const auto swap = [&](size_t i, size_t j, int shift, uint32_t mask) {
    for (size_t b = 0; b < kBlocks; ++b) {
      const uint32_t t = ((x[i][b] >> shift) ^ x[j][b]) & mask;
      x[i][b] ^= t << shift;
      x[j][b] ^= t;
    }
  };
  for (const size_t i : {0, 1, 2, 3}) swap(i, i + 4, 16, 0x0000ffffu);
  for (const size_t i : {0, 1, 4, 5}) swap(i, i + 2, 8, 0x00ff00ffu);
  for (const size_t i : {0, 2, 4, 6}) swap(i, i + 1, 4, 0x0f0f0f0fu);
}

/// Whether the rows of the panels are whole words, in blocks of eight; word[b] is that of block b.
bool find_blocks(std::span<const GridPanel> panels, std::array<size_t, kBlocks>& word,
                 size_t& n_blocks) {
  n_blocks = 0;
  for (const GridPanel& panel : panels)
    for (size_t r = 0; r < panel.n_rows; r += 8) {
      if (panel.rows[r] % 8 != 0 || r + 8 > panel.n_rows) return false;
      for (size_t i = 1; i < 8; ++i)
        if (panel.rows[r + i] != panel.rows[r] + i) return false;
      word[n_blocks++] = panel.rows[r] / 8;
    }
  return true;
}

void pack_awq_gemm(const GridSource& grid, const PackedShape& shape,
                   std::span<const GridPanel> panels) {
  std::array<size_t, kBlocks> word{};
  size_t n_blocks = 0;
  if (!find_blocks(panels, word, n_blocks))
    return pack_codes(grid, shape, AwqGemm{grid.codes, grid.line}, panels);
  bool follow = n_blocks == kBlocks;
  for (size_t b = 1; b < n_blocks; ++b) follow = follow && word[b] == word[0] + b;
  // Column j of eight goes to nibble line_shift(j) / 4; row i comes from nibble kAwqShifts[i] / 4.
  const size_t line_bytes = grid.line * sizeof(uint32_t), first = word[0] * sizeof(uint32_t);
  const size_t ahead = 32 * line_bytes + first;
  std::array<Block, 8> x{};
  for (size_t k = 0; k < shape.cols; k += 8) {
    for (size_t j = 0; j < 8; ++j) {
      const std::byte* from = grid.codes + (k + j) * line_bytes;
      fetch(from, ahead);  // 64 bytes that may straddle two cache lines
      fetch(from, ahead + sizeof(Block) - 1);
      Block& to = x[line_shift(j) / 4];
      if (follow)
        std::memcpy(to.data(), from + first, sizeof(Block));
      else
        for (size_t b = 0; b < n_blocks; ++b) to[b] = word_at(from, word[b]);
    }
    transpose(x);
    for (size_t b = 0; b < n_blocks; ++b) {
      uint32_t* out = line_at(panels[b / 2], k / 8) + b % 2 * 8;
      for (size_t i = 0; i < 8; ++i) out[i] = x[kAwqShifts[i] / 4][b];
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

template <class T>
T& scale_at(uint8_t* scales, size_t i) {
  return reinterpret_cast<T*>(scales)[i];
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
      pack_awq_gemm(grid, shape, panels);
      break;
    case CodeLayout::awq_fast:
      pack(AwqFast{grid.codes, grid.line});
      break;
  }
  for (const GridPanel& panel : panels) pack_scales(grid, shape, panel);
}

}  // namespace nibble
