#include "quant/pack_grid.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/half.h"
#include "quant/block_scales.h"
#include "quant/transpose.h"

namespace nibble {
namespace {

// A line of a panel is a 32-bit word for each of its 16 rows: eight codes of 4 bits, those of
// columns 0, 4, 1, 5, 2, 6, 3, 7 from the lowest bits up, or four codes of 8 bits in order.

constexpr size_t kWord = sizeof(uint32_t);

uint32_t word_at(const std::byte* words, size_t i) { return load_as<uint32_t>(words + i * kWord); }

/// Whether the rows of the lanes follow each other from the first one on.
bool rows_follow(const GridPanel& panel, size_t begin, size_t end) {
  for (size_t r = begin + 1; r < end; ++r)
    if (panel.rows[r] != panel.rows[begin] + (r - begin)) return false;
  return true;
}
bool is_whole(const GridPanel& panel) {
  return panel.n_rows == kPanelRows && rows_follow(panel, 0, kPanelRows);
}

/// Columns of many panels that are packed together, so that panels side by side find each other's
/// cache lines and pages.
constexpr size_t kStep = 64;

uint8_t* line_at(const GridPanel& panel, size_t i) { return panel.codes + i * kLineBytes; }

/// n lines from the words of 16 rows, `stride` bytes from one line to the next.
void pack_words(const void* words, size_t stride, size_t n, size_t ahead, bool wide,
                const LoadKernels& kernels, uint8_t* out) {
  if (!wide) return kernels.lines_of_words(words, stride, n, ahead, out);
  for (size_t i = 0; i < n; ++i) {
    fetch(words, i * stride + ahead);
    std::memcpy(out + i * kLineBytes, static_cast<const std::byte*>(words) + i * stride,
                kLineBytes);
  }
}

/// Words of consecutive columns, side by side for all rows.
void pack_column_words(const GridSource& grid, size_t cols, std::span<const GridPanel> panels,
                       const LoadKernels& kernels) {
  const bool wide = grid.bits == 8;
  const size_t per_word = wide ? 4 : 8, n_words = cols / per_word, step = kStep / per_word;
  const size_t stride = grid.line * kWord;
  for (size_t begin = 0; begin < n_words; begin += step)
    for (const GridPanel& panel : panels) {
      const std::byte* from = grid.codes + begin * stride;
      const size_t n = std::min(step, n_words - begin);
      if (is_whole(panel)) {
        pack_words(from + panel.rows[0] * kWord, stride, n, step * stride, wide, kernels,
                   line_at(panel, begin));
        continue;
      }
      uint32_t words[kStep][kPanelRows] = {};
      for (size_t i = 0; i < n; ++i)
        for (size_t r = 0; r < panel.n_rows; ++r)
          words[i][r] = word_at(from + i * stride, panel.rows[r]);
      pack_words(words, kLineBytes, n, 0, wide, kernels, line_at(panel, begin));
    }
}

/// Words of consecutive columns, one row after the other.
void pack_row_words(const GridSource& grid, size_t cols, std::span<const GridPanel> panels,
                    const LoadKernels& kernels) {
  constexpr size_t kAhead = 512;
  const bool wide = grid.bits == 8;
  const size_t n_words = cols / (wide ? 4 : 8);
  alignas(kLineBytes) uint32_t words[kRunSize];
  for (const GridPanel& panel : panels)
    for (size_t i = 0; i < n_words; i += kRun) {
      const size_t n = std::min(kRun, n_words - i);
      const std::byte* rows[kPanelRows];
      for (size_t r = 0; r < panel.n_rows; ++r)
        rows[r] = grid.codes + (panel.rows[r] * grid.line + i) * kWord;
      transpose_run(kernels.transpose_words, rows, panel.n_rows, n, kAhead, words);
      pack_words(words, kLineBytes, n, 0, wide, kernels, line_at(panel, i));
    }
}

// Layouts that are packed line by line: line(panel, k, out) writes the words of columns k..k+7.

/// Rows that are no whole words.
struct AwqGemm {
  const std::byte* words;
  size_t stride;
  void line(const GridPanel& panel, size_t k, uint32_t* out) const {
    for (size_t r = 0; r < panel.n_rows; ++r)
      for (size_t j = 0; j < 8; ++j) {
        const uint32_t word = word_at(words, (k + j) * stride + panel.rows[r] / 8);
        out[r] |= ((word >> kAwqShifts[panel.rows[r] % 8]) & 15) << column_shift<Codes::q4>(j);
      }
  }
};

struct AwqFast {
  const std::byte* halves;
  size_t stride;
  void line(const GridPanel& panel, size_t k, uint32_t* out) const {
    const size_t shift = k % 32 / 8 * 4;
    for (size_t r = 0; r < panel.n_rows; ++r) {
      const std::byte* from = at(panel.rows[r], k);
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

template <class Layout>
void pack_lines(const Layout& layout, size_t cols, std::span<const GridPanel> panels) {
  for (size_t begin = 0; begin < cols; begin += kStep)
    for (const GridPanel& panel : panels)
      for (size_t c = begin; c < std::min(begin + kStep, cols); c += 8) {
        uint32_t line[kPanelRows] = {};
        layout.line(panel, c, line);
        std::memcpy(line_at(panel, c / 8), line, sizeof line);
      }
}

// awq_gemm: 16 words of eight rows, those of eight panels, are 64 bytes of the source.

constexpr size_t kAwqBlocks = kAwqPanels * 2;  // words, of eight rows each

/// Up to eight panels whose rows are whole words.
struct AwqBlocks {
  std::span<const GridPanel> panels;
  std::array<size_t, kAwqBlocks> word{};  // that of each block
  size_t n = 0;
  bool follow = false;  // all are there, one after the other

  /// False if the rows are no whole words.
  bool find() {
    for (const GridPanel& panel : panels)
      for (size_t r = 0; r < panel.n_rows; r += 8) {
        if (panel.rows[r] % 8 != 0 || r + 8 > panel.n_rows) return false;
        if (!rows_follow(panel, r, r + 8)) return false;
        word[n++] = panel.rows[r] / 8;
      }
    follow = n == kAwqBlocks;
    for (size_t b = 1; b < n; ++b) follow = follow && word[b] == word[0] + b;
    return true;
  }

  /// Columns k..k+count-1 <= k+kStep-1: the words of column k at `from`.
  void pack(const std::byte* from, size_t stride, size_t k, size_t count,
            const LoadKernels& kernels) const {
    uint8_t nowhere[kStep / 8 * kLineBytes];  // lines of panels that are not there
    uint8_t* out[kAwqPanels];
    for (size_t p = 0; p < kAwqPanels; ++p)
      out[p] = p < panels.size() ? line_at(panels[p], k / 8) : nowhere;
    if (follow)
      return kernels.lines_of_awq(from + word[0] * kWord, stride, count, kStep / 2 * stride, out);
    uint32_t words[kStep][kAwqBlocks] = {};
    for (size_t j = 0; j < count; ++j)
      for (size_t b = 0; b < n; ++b) words[j][b] = word_at(from + j * stride, word[b]);
    kernels.lines_of_awq(words, sizeof words[0], count, 0, out);
  }
};

void pack_awq_gemm(const GridSource& grid, size_t cols, std::span<const GridPanel> panels,
                   const LoadKernels& kernels) {
  std::array<AwqBlocks, ceil_div(kGridPanels, kAwqPanels)> blocks;
  const size_t n = ceil_div(panels.size(), kAwqPanels), stride = grid.line * kWord;
  for (size_t i = 0; i < n; ++i) {
    const size_t first = i * kAwqPanels;
    blocks[i].panels = panels.subspan(first, std::min(kAwqPanels, panels.size() - first));
    if (!blocks[i].find()) return pack_lines(AwqGemm{grid.codes, grid.line}, cols, panels);
  }
  for (size_t k = 0; k < cols; k += kStep)
    for (size_t i = 0; i < n; ++i)
      blocks[i].pack(grid.codes + k * stride, stride, k, std::min(kStep, cols - k), kernels);
}

/// In the order of the source.
void pack_codes(const GridSource& grid, size_t cols, std::span<const GridPanel> panels,
                const LoadKernels& kernels) {
  switch (grid.layout) {
    case CodeLayout::row_words:
      return pack_row_words(grid, cols, panels, kernels);
    case CodeLayout::column_words:
      return pack_column_words(grid, cols, panels, kernels);
    case CodeLayout::awq_gemm:
      return pack_awq_gemm(grid, cols, panels, kernels);
    case CodeLayout::awq_fast:
      return pack_lines(AwqFast{grid.codes, grid.line}, cols, panels);
  }
}

/// In activation order: packed as they lie, then permuted, which jumps about in a panel alone.
void pack_permuted(const GridSource& grid, std::span<const GridPanel> panels,
                   const LoadKernels& kernels) {
  const std::span<const uint32_t> order = grid.column_order;
  const Codes codes = grid.bits == 8 ? Codes::q8 : Codes::q4;
  const size_t n_lines = order.size() * static_cast<size_t>(grid.bits) / 32;
  std::vector<uint8_t> in_order(panels.size() * n_lines * kLineBytes);
  std::vector<GridPanel> ordered(panels.begin(), panels.end());
  for (size_t i = 0; i < panels.size(); ++i)
    ordered[i].codes = in_order.data() + i * n_lines * kLineBytes;
  pack_codes(grid, order.size(), ordered, kernels);
  for (size_t i = 0; i < panels.size(); ++i)
    kernels.permute_columns(codes, ordered[i].codes, order.data(), n_lines, panels[i].codes);
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
  if (scales.type == DType::u8) return half_power(static_cast<uint8_t>(scales.data[i]));
  if (scales.type == DType::f16) return load_as<uint16_t>(scales.data + i * sizeof(uint16_t));
  return float_to_half(scale_value(scales, i));
}

/// The scale of packed group `to` of one lane, from group `from` of the source.
void pack_scale(const GridSource& grid, size_t row, size_t from, size_t to, size_t r,
                uint8_t* scales) {
  const size_t i = row * grid.scales.row_stride + from * grid.scales.group_stride;
  switch (grid.form.scheme) {
    case Scheme::f16:
      struct_at<ScaleF16>(scales, to).s[r] = scale_bits(grid.scales, i);
      break;
    case Scheme::f16_zero:
      struct_at<ScaleF16Zero>(scales, to).s[r] = scale_bits(grid.scales, i);
      break;
    case Scheme::f32_zero:
      struct_at<ScaleF32Zero>(scales, to).s[r] = scale_value(grid.scales, i);
      break;
    case Scheme::f16_min:
      struct_at<ScaleF16Min>(scales, to).s[r] = scale_bits(grid.scales, i);
      struct_at<ScaleF16Min>(scales, to).m[r] =
          load_as<uint16_t>(grid.minima + i * sizeof(uint16_t));
      break;
    case Scheme::none:
    case Scheme::k6:
    case Scheme::k8:
    case Scheme::k8_min:
    case Scheme::k4_min:
      break;  // no grid becomes these
  }
}

/// The zeros of group `from`.
void pack_zeros(const GridSource& grid, const GridPanel& panel, size_t from, bool whole,
                uint8_t* out) {
  const GridSource::Zeros& zeros = grid.zeros;
  if (!whole || panel.rows[0] % 8 != 0 || !zeros.along_rows || zeros.data.empty() ||
      grid.bits != 4) {
    for (size_t r = 0; r < panel.n_rows; ++r)
      out[r] = static_cast<uint8_t>(grid.zero_at(panel.rows[r], from));
    return;
  }
  for (size_t r = 0; r < kPanelRows; r += 8) {  // a word of rows side by side
    const uint32_t word =
        zeros.added + word_at(zeros.data.data(),
                              (panel.rows[r] / 8) * zeros.row_stride + from * zeros.group_stride);
    for (size_t i = 0; i < 8; ++i)
      out[r + i] = static_cast<uint8_t>((word >> (zeros.awq_order ? kAwqShifts[i] : 4 * i)) & 15);
  }
}

void pack_scales(const GridSource& grid, const PackedShape& shape, const GridPanel& panel) {
  const GridSource::Scales& scales = grid.scales;
  const bool whole = is_whole(panel);
  const bool side_by_side = whole && scales.type == DType::f16 && scales.row_stride == 1;
  const Scheme scheme = grid.form.scheme;
  const size_t n_groups = ceil_div(shape.cols, shape.group);
  for (size_t to = 0; to < n_groups; ++to) {
    const size_t from = to * shape.group / grid.group;
    auto& zero = struct_at<ScaleF16Zero>(panel.scales, to);
    const size_t first = panel.rows[0] + from * scales.group_stride;
    if (side_by_side && (scheme == Scheme::f16 || scheme == Scheme::f16_zero))
      std::memcpy(scheme == Scheme::f16 ? struct_at<ScaleF16>(panel.scales, to).s : zero.s,
                  scales.data + first * sizeof(uint16_t), sizeof(ScaleF16));
    else
      for (size_t r = 0; r < panel.n_rows; ++r)
        pack_scale(grid, panel.rows[r], from, to, r, panel.scales);
    if (scheme == Scheme::f16_zero) pack_zeros(grid, panel, from, whole, zero.z);
    if (scheme == Scheme::f32_zero)
      pack_zeros(grid, panel, from, whole, struct_at<ScaleF32Zero>(panel.scales, to).z);
  }
}

}  // namespace

void pack_grid(const GridSource& grid, const PackedShape& shape, std::span<const GridPanel> panels,
               const LoadKernels& kernels) {
  if (grid.column_order.empty())
    pack_codes(grid, shape.cols, panels, kernels);
  else
    pack_permuted(grid, panels, kernels);
  for (const GridPanel& panel : panels) pack_scales(grid, shape, panel);
}

}  // namespace nibble
