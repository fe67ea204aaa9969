#include "quant/pack_grid.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/half.h"
#include "quant/transpose.h"

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

// The layouts. line(rows, k, out) writes the words of one line of columns from k.

/// Codes of kBits in a word.
template <size_t kBits>
struct Words {
  static constexpr size_t kCols = 32 / kBits;
  /// A word of consecutive columns as a line has it.
  static constexpr uint32_t in_line(uint32_t word) {
    return kBits == 4 ? to_line_order(word) : word;
  }
};

template <size_t kBits>
struct ColumnWords {
  static constexpr size_t kCols = Words<kBits>::kCols;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    const std::byte* from = words + k / kCols * stride * sizeof(uint32_t);
    uint32_t x[kPanelRows] = {};
    if (rows.follow) {
      const size_t first = rows.row[0] * sizeof(uint32_t);
      fetch(from, 8 * stride * sizeof(uint32_t) + first);
      std::memcpy(x, from + first, sizeof x);
    } else {
      for (size_t r = 0; r < rows.n; ++r) x[r] = word_at(from, rows.row[r]);
    }
    uint32_t line[kPanelRows];  // apart, as the compiler then sees that nothing overlaps
    for (size_t r = 0; r < kPanelRows; ++r) line[r] = Words<kBits>::in_line(x[r]);
    std::memcpy(out, line, sizeof line);
  }
};
struct AwqGemm {
  static constexpr size_t kCols = 8;
  const std::byte* words;
  size_t stride;
  void line(const Rows& rows, size_t k, uint32_t* out) const {
    for (size_t r = 0; r < rows.n; ++r) {
      out[r] = 0;
      for (size_t j = 0; j < kCols; ++j) {
        const uint32_t word = word_at(words, (k + j) * stride + rows.row[r] / 8);
        out[r] |= ((word >> kAwqShifts[rows.row[r] % 8]) & 15) << line_shift(j);
      }
    }
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

 private:
  /// The first of the eight elements that hold columns k / 32 * 32 .. + 31 of a row.
  const std::byte* at(size_t row, size_t k) const {
    return halves +
           (row / 4 * stride + k / 64 * 64 + row % 4 * 16 + k % 64 / 32 * 8) * sizeof(uint16_t);
  }
};

uint32_t* line_at(const GridPanel& panel, size_t i) {
  return reinterpret_cast<uint32_t*>(panel.codes + i * kLineBytes);
}

/// Columns of many panels that are packed together, so that panels side by side find each other's
/// cache lines and pages.
constexpr size_t kStep = 64;

template <class Layout>
void pack_lines(const Layout& layout, size_t cols, std::span<const GridPanel> panels) {
  for (size_t begin = 0; begin < cols; begin += kStep)
    for (const GridPanel& panel : panels) {
      const Rows rows(panel);
      for (size_t c = begin; c < std::min(begin + kStep, cols); c += Layout::kCols)
        layout.line(rows, c, line_at(panel, c / Layout::kCols));
    }
}

/// Words of consecutive columns: the 16 x 16 words of 16 lines are transposed.
template <size_t kBits>
void pack_row_words(const GridSource& grid, size_t cols, std::span<const GridPanel> panels) {
  const size_t n_words = cols / Words<kBits>::kCols;
  for (const GridPanel& panel : panels)
    for (size_t i = 0; i < n_words; i += kPanelRows) {
      const size_t n = std::min(kPanelRows, n_words - i);
      const std::byte* rows[kPanelRows];
      for (size_t r = 0; r < panel.n_rows; ++r)
        rows[r] = grid.codes + (panel.rows[r] * grid.line + i) * sizeof(uint32_t);
      uint32_t lines[kSquare];
      transpose_rows<uint32_t>(rows, panel.n_rows, n, lines,
                               [](uint32_t word) { return Words<kBits>::in_line(word); });
      std::memcpy(line_at(panel, i), lines, n * kLineBytes);
    }
}

// awq_gemm: eight words of eight rows are an 8 x 8 matrix of nibbles, to be transposed. Eight
// panels at once: their words fill a cache line of the source.

constexpr size_t kBlocks = kPanelsOfLine * 2;  // of eight rows
using Block = std::array<uint32_t, kBlocks>;   // one word of each

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

/// Up to eight panels whose rows are whole words, in blocks of eight.
struct AwqBlocks {
  std::span<const GridPanel> panels;
  std::array<size_t, kBlocks> word{};  // that of each block
  size_t n = 0;
  bool follow = false;  // all are there, one after the other

  /// False if the rows are no whole words.
  bool find() {
    for (const GridPanel& panel : panels)
      for (size_t r = 0; r < panel.n_rows; r += 8) {
        if (panel.rows[r] % 8 != 0 || r + 8 > panel.n_rows) return false;
        for (size_t i = 1; i < 8; ++i)
          if (panel.rows[r + i] != panel.rows[r] + i) return false;
        word[n++] = panel.rows[r] / 8;
      }
    follow = n == kBlocks;
    for (size_t b = 1; b < n; ++b) follow = follow && word[b] == word[0] + b;
    return true;
  }

  /// Columns k..k+7: the words of column k at `from`. x: room.
  void pack(const std::byte* from, size_t line_bytes, size_t k, std::array<Block, 8>& x) const {
    const size_t first = word[0] * sizeof(uint32_t), ahead = kStep / 2 * line_bytes + first;
    // Column j of eight goes to nibble line_shift(j) / 4; row i comes from nibble kAwqShifts[i]
    // / 4.
    for (size_t j = 0; j < 8; ++j, from += line_bytes) {
      fetch(from, ahead);  // 64 bytes that may straddle two cache lines
      fetch(from, ahead + sizeof(Block) - 1);
      Block& to = x[line_shift(j) / 4];
      if (follow)
        std::memcpy(to.data(), from + first, sizeof(Block));
      else
        for (size_t b = 0; b < n; ++b) to[b] = word_at(from, word[b]);
    }
    transpose(x);
    for (size_t b = 0; b < n; ++b) {
      const std::array<uint32_t, 8> rows = {x[0][b], x[4][b], x[1][b], x[5][b],
                                            x[2][b], x[6][b], x[3][b], x[7][b]};
      std::memcpy(line_at(panels[b / 2], k / 8) + b % 2 * 8, rows.data(), sizeof rows);
    }
  }
};
static_assert(kAwqShifts[1] == 4 * 4 && kAwqShifts[2] == 4 * 1 && kAwqShifts[7] == 4 * 7);

void pack_awq_gemm(const GridSource& grid, size_t cols, std::span<const GridPanel> panels) {
  std::array<AwqBlocks, ceil_div(kGridPanels, kPanelsOfLine)> blocks;
  const size_t n = ceil_div(panels.size(), kPanelsOfLine),
               line_bytes = grid.line * sizeof(uint32_t);
  for (size_t i = 0; i < n; ++i) {
    const size_t first = i * kPanelsOfLine;
    blocks[i].panels = panels.subspan(first, std::min(kPanelsOfLine, panels.size() - first));
    if (!blocks[i].find()) return pack_lines(AwqGemm{grid.codes, grid.line}, cols, panels);
  }
  std::array<Block, 8> room{};
  for (size_t begin = 0; begin < cols; begin += kStep)
    for (size_t i = 0; i < n; ++i)
      for (size_t k = begin; k < std::min(begin + kStep, cols); k += 8)
        blocks[i].pack(grid.codes + k * line_bytes, line_bytes, k, room);
}

/// In the order of the source.
void pack_codes(const GridSource& grid, size_t cols, std::span<const GridPanel> panels) {
  const bool wide = grid.bits == 8;
  switch (grid.layout) {
    case CodeLayout::row_words:
      return wide ? pack_row_words<8>(grid, cols, panels) : pack_row_words<4>(grid, cols, panels);
    case CodeLayout::column_words:
      return wide ? pack_lines(ColumnWords<8>{grid.codes, grid.line}, cols, panels)
                  : pack_lines(ColumnWords<4>{grid.codes, grid.line}, cols, panels);
    case CodeLayout::awq_gemm:
      return pack_awq_gemm(grid, cols, panels);
    case CodeLayout::awq_fast:
      return pack_lines(AwqFast{grid.codes, grid.line}, cols, panels);
  }
}

/// Lines whose column c is column order[c] of the lines `in`.
template <size_t kBits>
void permute_columns(const uint32_t* in, std::span<const uint32_t> order, uint32_t* out) {
  constexpr size_t kCols = Words<kBits>::kCols;
  const auto shift = [](size_t j) { return kBits == 4 ? line_shift(j) : 8 * j; };
  for (size_t c = 0; c < order.size(); c += kCols, out += kPanelRows) {
    const uint32_t* from[kCols];
    size_t down[kCols];
    for (size_t j = 0; j < kCols; ++j) {
      from[j] = in + order[c + j] / kCols * kPanelRows;
      down[j] = shift(order[c + j] % kCols);
    }
    uint32_t line[kPanelRows];
    for (size_t r = 0; r < kPanelRows; ++r) {
      const auto code = [&](size_t j) {
        return ((from[j][r] >> down[j]) & ((1u << kBits) - 1)) << shift(j);
      };
      line[r] = code(0) | code(1) | code(2) | code(3);
      if constexpr (kBits == 4) line[r] |= code(4) | code(5) | code(6) | code(7);
    }
    std::memcpy(out, line, sizeof line);
  }
}

/// In activation order: packed as they lie, then permuted, which jumps about in a panel alone.
void pack_permuted(const GridSource& grid, std::span<const GridPanel> panels) {
  const std::span<const uint32_t> order = grid.column_order;
  const size_t words = ceil_div(order.size() * static_cast<size_t>(grid.bits), 32) * kPanelRows;
  std::vector<uint32_t> in_order(panels.size() * words);
  std::vector<GridPanel> ordered(panels.begin(), panels.end());
  for (size_t i = 0; i < panels.size(); ++i)
    ordered[i].codes = reinterpret_cast<uint8_t*>(in_order.data() + i * words);
  pack_codes(grid, order.size(), ordered);
  for (size_t i = 0; i < panels.size(); ++i) {
    const uint32_t* in = in_order.data() + i * words;
    if (grid.bits == 8)
      permute_columns<8>(in, order, line_at(panels[i], 0));
    else
      permute_columns<4>(in, order, line_at(panels[i], 0));
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
  if (grid.column_order.empty())
    pack_codes(grid, shape.cols, panels);
  else
    pack_permuted(grid, panels);
  for (const GridPanel& panel : panels) pack_scales(grid, shape, panel);
}

}  // namespace nibble
