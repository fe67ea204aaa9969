// Tensors into panels: the codes and scales of quantized types as they are, other weights as they
// are, widened, or rounded to nearest.
//
// A panel of blocks is packed in steps of columns, row by row: what becomes of them stays in the
// first-level cache until all rows are there, and then changes from rows to lines.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/half.h"
#include "quant/block_scales.h"
#include "quant/block_types.h"
#include "quant/pack_grid.h"
#include "quant/packed_matrix.h"
#include "quant/transpose.h"
#include "quant/two_bits.h"

namespace nibble {
namespace {

/// Bytes of a line that belong to one row.
constexpr size_t kLaneBytes = kLineBytes / kPanelRows;
/// While a row is packed, the row after the next is fetched: hardware looks ahead neither past the
/// end of a page nor past that of a row.
constexpr size_t kRowsAhead = 2;

/// The rows of one panel in the source, and where the panel goes.
struct Panel {
  DType type = DType::f32;
  const std::byte* rows[kPanelRows] = {};
  size_t row_bytes = 0;
  size_t n_rows = 0;                       // 1..16
  const std::byte* next[kRowsAhead] = {};  // the first rows of the next panel
  uint8_t* codes = nullptr;
  uint8_t* scales = nullptr;

  const std::byte* at(size_t r, size_t col) const {
    const DTypeInfo& info = dtype_info(type);
    return rows[r] + col / info.block_elems * info.block_bytes;
  }
  /// From columns col..col+n-1 to what is read next: those behind, or the next panel, whose rows
  /// are about as far from these as they are many.
  size_t ahead(size_t col, size_t n) const {
    const bool last = row_bytes == static_cast<size_t>(at(0, col + n) - rows[0]);
    return last ? kPanelRows * row_bytes - static_cast<size_t>(at(0, col) - rows[0])
                : static_cast<size_t>(at(0, col + n) - at(0, col));
  }
};

/// Columns that the codes of a row are split into at once; its part of their lines is as many words
/// as a code has bits.
constexpr size_t kSplitCols = 32;
template <Codes kCodes>
constexpr size_t kSplitWords = code_bits(kCodes);

/// Writes 32 codes of a row, columns c.., as its lane of the lines holds them.
template <Codes kCodes>
void store_codes(Codes16 a, Codes16 b, size_t c, std::byte* words) {
  words += c / kSplitCols * kSplitWords<kCodes> * kLaneBytes;
  if constexpr (kCodes == Codes::q8) {
    store_as(words, a);
    store_as(words + 16, b);
    return;
  }
  // Four columns in low nibbles, the next four in high ones.
  const auto x = reinterpret_cast<Words4>(a), y = reinterpret_cast<Words4>(b);
  const Words4 even = {x[0], x[2], y[0], y[2]}, odd = {x[1], x[3], y[1], y[3]};
  const Words4 low = (even & 0x0f0f0f0f) | (odd & 0x0f0f0f0f) << 4;
  if constexpr (kUpperBits<kernel_codes(kCodes)> == 0) {
    store_as(words, low);
  } else if constexpr (kCodes == Codes::q5) {  // bit 4 of columns 4p..4p + 3 to the bits p
    const Words4 upper = ((even >> 4) & 0x01010101) | ((odd >> 3) & 0x02020202);
    const auto pairs = reinterpret_cast<Codes16>(upper);
    const Codes16 joined = pairs | pairs >> 30;
    store_as(words, low);
    store_as(words + 16, static_cast<uint32_t>(joined[0] | joined[1] << 4));
  } else if constexpr (kHalfUpper<kernel_codes(kCodes)>) {  // as two_bits.h has it
    const auto fields =
        [](Words4 pairs) {  // bits 1:0 of four words in the fields of one, then bit 2
          uint32_t two = 0, upper = 0;
          for (int p = 0; p < 4; ++p) {
            two |= (pairs[p] & 0x03030303u) << (2 * p);
            upper |= (pairs[p] >> 2 & 0x01010101u) << (p % 2 + p / 2 * 4 + 2);
          }
          return std::array{two, (upper | upper >> 18) & 0xffffu};
        };
    const auto first = fields(x), second = fields(y);
    store_as(words, first[0]);
    store_as(words + 4, second[0]);
    store_as(words + 8, first[1] | second[1] << 16);
  } else {  // two units; bits 5:4 of columns 4p..4p + 3 to the bits 2p and 2p + 1
    const Words4 upper = ((even >> 4) & 0x03030303) | ((odd >> 2) & 0x0c0c0c0c);
    const auto pairs = reinterpret_cast<Codes16>(upper), lines = reinterpret_cast<Codes16>(low);
    const Codes16 joined = pairs | pairs >> 28;
    for (size_t unit = 0; unit < 2; ++unit) {
      store_as(words + 12 * unit, uint64_t{lines[unit]});
      store_as(words + 12 * unit + 8, static_cast<uint32_t>(joined[unit]));
    }
  }
}

/// Columns begin..end-1 of row r, unchanged: codes to `words`, scales to the panel.
template <class Block>
void split_row(const Panel& panel, size_t r, size_t begin, size_t end, const std::byte* ahead,
               std::byte* words) {
  constexpr size_t kWords = kSplitWords<Block::kForm.codes>;
  const auto* block = reinterpret_cast<const Block*>(panel.at(r, begin));
  size_t offset = 0;
  for (size_t c = begin; c < end; c += Block::kCols, ++block, offset += sizeof(Block)) {
    for (size_t i = 0; i < sizeof(Block); i += kLineBytes) fetch(ahead, offset + i);
    BlockScales scales;
    if constexpr (Block::kForm.codes == Codes::q2 || Block::kForm.codes == Codes::q3) {
      store_codes(*block, words + (c - begin) / kSplitCols * kWords * kLaneBytes);
      scales = scales_of(*block);
    } else {
      scales = split(*block, [&](size_t at, Codes16 a, Codes16 b) {
        store_codes<Block::kForm.codes>(a, b, c - begin + at, words);
      });
    }
    store_scales<Block>(scales, c, r, panel.scales);
  }
}

/// Of three lines each, two of low bits and one of upper ones, makes two units of three bits.
void divide_upper(const uint32_t* lines, size_t n, uint8_t* out) {
  constexpr size_t kUnit = kUnitBytes<Codes::q3>;
  for (size_t i = 0; i < n; i += 3, lines += 3 * kPanelRows, out += 2 * kUnit) {
    std::memcpy(out, lines, kLineBytes);
    std::memcpy(out + kUnit, lines + kPanelRows, kLineBytes);
    uint16_t first[kPanelRows], second[kPanelRows];
    for (size_t r = 0; r < kPanelRows; ++r) {
      first[r] = static_cast<uint16_t>(lines[2 * kPanelRows + r]);
      second[r] = static_cast<uint16_t>(lines[2 * kPanelRows + r] >> 16);
    }
    std::memcpy(out + kLineBytes, first, sizeof first);
    std::memcpy(out + kUnit + kLineBytes, second, sizeof second);
  }
}

/// Codes and scales unchanged.
template <class Block>
void pack_blocks(const Panel& panel, size_t cols, const LoadKernels& kernels) {
  constexpr size_t kWords = kSplitWords<Block::kForm.codes>;
  constexpr size_t kStep = kRun * kSplitCols / kWords / kSuperCols * kSuperCols;
  alignas(kLineBytes) uint32_t words[kPanelRows][kRun], lines[kRunSize];
  const std::byte* rows[kPanelRows];
  for (size_t r = 0; r < kPanelRows; ++r) rows[r] = reinterpret_cast<const std::byte*>(words[r]);
  for (size_t begin = 0; begin < cols; begin += kStep) {
    const size_t end = std::min(begin + kStep, cols), n = (end - begin) / kSplitCols * kWords;
    for (size_t r = 0; r < panel.n_rows; ++r) {
      const size_t next = r + kRowsAhead;
      const std::byte* ahead = next < panel.n_rows ? panel.at(next, begin)
                               : end < cols        ? panel.at(next % panel.n_rows, end)
                                                   : panel.next[next % kRowsAhead];
      split_row<Block>(panel, r, begin, end, ahead, reinterpret_cast<std::byte*>(words[r]));
    }
    transpose_run(kernels.transpose_words, rows, panel.n_rows, n, 0, lines);
    uint8_t* out = panel.codes + begin / kSplitCols * kWords * kLineBytes;
    if constexpr (kHalfUpper<kernel_codes(Block::kForm.codes)>)
      divide_upper(lines, n, out);
    else
      std::memcpy(out, lines, n * kLineBytes);
  }
}

/// Where column `col` of each row lies.
using RowPointers = std::array<const std::byte*, kPanelRows>;
RowPointers rows_at(const Panel& panel, size_t col) {
  RowPointers rows{};
  for (size_t r = 0; r < panel.n_rows; ++r) rows[r] = panel.at(r, col);
  return rows;
}

bool is_half(DType type) { return type == DType::f16 || type == DType::bf16; }

/// Columns col.. of a panel of f16 or bf16, as they are.
void load_halves(const Panel& panel, size_t col, size_t n, const LoadKernels& kernels,
                 uint16_t* out) {
  transpose_run(kernels.transpose_halves, rows_at(panel, col).data(), panel.n_rows, n,
                panel.ahead(col, n), out);
}

/// Columns col.. of the panel as f32, their bits.
void load_floats(const Panel& panel, size_t col, size_t n, const LoadKernels& kernels,
                 uint32_t* out) {
  if (is_half(panel.type)) {
    uint16_t halves[kRunSize];
    load_halves(panel, col, n, kernels, halves);
    const auto widen = panel.type == DType::f16 ? half_to_float : bf16_to_float;
    for (size_t i = 0; i < n * kPanelRows; ++i) out[i] = std::bit_cast<uint32_t>(widen(halves[i]));
    return;
  }
  RowPointers rows = rows_at(panel, col);
  float wide[kPanelRows][kRun];
  for (size_t r = 0; r < panel.n_rows; ++r) {
    dequantize(panel.type, rows[r], n, wide[r]);
    rows[r] = reinterpret_cast<const std::byte*>(wide[r]);
  }
  transpose_run(kernels.transpose_words, rows.data(), panel.n_rows, n, 0, out);
}

/// Zeroes the lanes of rows that are not there in `size` bytes of vectors of 16 elements.
void clear_lanes(uint8_t* vectors, size_t size, size_t n_rows, size_t element) {
  for (size_t i = 0; i < size; i += kPanelRows * element)
    std::fill(vectors + i + n_rows * element, vectors + i + kPanelRows * element, uint8_t{0});
}

/// Unquantized rows, to q4 or q8.
void pack_nearest(const Panel& panel, const PackedShape& shape, const LoadKernels& kernels) {
  alignas(64) uint32_t floats[kRunSize];
  alignas(64) uint16_t halves[kRunSize];
  const bool zeros = shape.scheme == Scheme::f16_zero;
  const size_t scale_bytes = zeros ? sizeof(ScaleF16Zero) : sizeof(ScaleF16);
  for (size_t c = 0; c < shape.cols; c += kRun) {
    const size_t n = std::min<size_t>(kRun, shape.cols - c), whole = round_up(n, shape.group);
    uint8_t* codes = panel.codes + c * column_bytes(shape.codes);
    uint8_t* scales = panel.scales + c / shape.group * scale_bytes;
    if (is_half(panel.type)) {
      load_halves(panel, c, n, kernels, halves);
      const Codes from = panel.type == DType::f16 ? Codes::f16 : Codes::bf16;
      kernels.round_columns(shape, from, halves, whole, codes, scales);
    } else {
      load_floats(panel, c, n, kernels, floats);
      kernels.round_columns(shape, Codes::f32, floats, whole, codes, scales);
    }
    if (panel.n_rows == kPanelRows) continue;
    clear_lanes(codes, whole * column_bytes(shape.codes), panel.n_rows, kLaneBytes);
    for (size_t g = 0; g < whole / shape.group; ++g, scales += scale_bytes) {
      clear_lanes(scales, sizeof(ScaleF16), panel.n_rows, sizeof(uint16_t));
      if (zeros) clear_lanes(scales + sizeof(ScaleF16), kPanelRows, panel.n_rows, 1);
    }
  }
}

/// To f32, f16 or bf16.
void pack_plain(const Panel& panel, const PackedShape& shape, const LoadKernels& kernels) {
  alignas(64) uint32_t floats[kRunSize];
  alignas(64) uint16_t halves[kRunSize];
  for (size_t c = 0; c < shape.cols; c += kRun) {
    const size_t n = std::min<size_t>(kRun, shape.cols - c), count = n * kPanelRows;
    if (shape.codes == Codes::f32) {
      load_floats(panel, c, n, kernels, floats);
      std::memcpy(panel.codes + c * kPanelRows * sizeof(float), floats, count * sizeof(float));
      continue;
    }
    if (shape.codes == Codes::bf16 || panel.type == DType::f16) {
      load_halves(panel, c, n, kernels, halves);
    } else {
      load_floats(panel, c, n, kernels, floats);
      std::transform(floats, floats + count, halves,
                     [](uint32_t x) { return float_to_half(std::bit_cast<float>(x)); });
    }
    std::memcpy(panel.codes + c * kPanelRows * sizeof(uint16_t), halves, count * sizeof(uint16_t));
  }
}

void pack_panel(const Panel& panel, const PackedShape& shape, const LoadKernels& kernels) {
  if (!is_quantized(shape.codes)) return pack_plain(panel, shape, kernels);
  const bool blocks = with_block(panel.type, [&](auto tag) {
    pack_blocks<typename decltype(tag)::type>(panel, shape.cols, kernels);
  });
  if (!blocks) pack_nearest(panel, shape, kernels);
}

/// Row `row` of a matrix that is stored transposed, together.
void gather_column(const MatrixSource& source, size_t row, std::byte* out) {
  const size_t size = dtype_info(source.type).block_bytes;
  for (size_t c = 0; c < source.cols; ++c)
    std::memcpy(out + c * size, source.data.data() + (c * source.rows + row) * size, size);
}

PackedShape shape_of_form(const PackedForm& form) {
  return {.codes = form.codes, .scheme = form.scheme, .group = form.group, .zero = form.zero};
}

/// The format that `target` gives to a type; rows and cols are not set.
PackedShape target_format(DType type, const PackTarget& target) {
  using Kind = PackTarget::Kind;
  if (target.kind == Kind::f32) return {.codes = Codes::f32};
  if (target.kind == Kind::f16) return {.codes = Codes::f16};
  PackedShape shape;
  const bool quantized =
      with_block(type, [&](auto tag) { shape = shape_of_form(decltype(tag)::type::kForm); });
  if (quantized) return shape;
  if (target.kind == Kind::keep) {
    shape.codes = type == DType::f16 ? Codes::f16 : type == DType::bf16 ? Codes::bf16 : Codes::f32;
    return shape;
  }
  if (target.kind == Kind::q4_k) return shape_of_form(BlockQ4_K::kForm);
  if (target.kind == Kind::q6_k) return shape_of_form(BlockQ6_K::kForm);
  const bool q8 = target.kind == Kind::q8;
  shape.codes = q8 ? Codes::q8 : Codes::q4;
  shape.group = target.group;
  if (q8 || target.symmetric) {
    shape.scheme = Scheme::f16;
    shape.zero = q8 ? 128 : 8;
  } else {
    shape.scheme = Scheme::f16_zero;
  }
  return shape;
}

}  // namespace

uint32_t RowMap::source_row(uint32_t n) const {
  if (head_dim == 0) return first + n;
  uint32_t head = n / head_dim, i = n % head_dim;
  const uint32_t half = std::min(rope_dim, head_dim) / 2;
  if (i < 2 * half) i = i < half ? 2 * i : 2 * (i - half) + 1;
  if (group > 0) head = head / group * source_group + head % group;
  return first + head * head_dim + i;
}

PackedShape packed_shape_of(const MatrixSource& source, const PackTarget& target) {
  PackedShape shape =
      source.grid ? shape_of_form(source.grid->form) : target_format(source.type, target);
  shape.rows = source.rows;
  shape.cols = source.cols;
  packed_layout(shape, source.where);  // the group and the total size
  return shape;
}

void pack_panels(const MatrixSource& source, const PackedShape& shape, const RowMap& rows,
                 size_t panel_begin, size_t panel_end, std::byte* out, const Kernels& kernels) {
  const PackedLayout layout = packed_layout(shape, source.where);
  auto* codes = reinterpret_cast<uint8_t*>(out);
  const auto codes_of = [&](size_t p) { return codes + p * layout.code_stride; };
  const auto scales_of = [&](size_t p) {
    return codes + layout.codes_bytes + p * layout.scale_stride;
  };
  const auto n_rows_of = [&](size_t p) {
    return std::min(kPanelRows, shape.rows - p * kPanelRows);
  };
  // A head cut off by the end of the matrix has no pairs: its rows stay where they are.
  const auto source_row = [&](size_t p, size_t r) {
    const auto n = static_cast<uint32_t>(p * kPanelRows + r);
    const uint32_t row = rows.source_row(n);
    return row < source.rows ? row : n;
  };
  if (!source.grid) {
    const DTypeInfo& info = dtype_info(source.type);
    const size_t row_bytes = size_t{source.cols / info.block_elems} * info.block_bytes;
    std::vector<std::byte> gathered(source.transposed ? kPanelRows * row_bytes : 0);
    for (size_t p = panel_begin; p < panel_end; ++p) {
      Panel panel{.type = source.type, .row_bytes = row_bytes};
      panel.n_rows = n_rows_of(p);
      panel.codes = codes_of(p);
      panel.scales = scales_of(p);
      for (size_t r = 0; r < panel.n_rows; ++r) {
        panel.rows[r] = source.data.data() + source_row(p, r) * row_bytes;
        if (!source.transposed) continue;
        panel.rows[r] = gathered.data() + r * row_bytes;
        gather_column(source, source_row(p, r), gathered.data() + r * row_bytes);
      }
      for (size_t r = 0; r < kRowsAhead; ++r)
        panel.next[r] = source.data.data() +
                        std::min<size_t>(source_row(p + 1, r), source.rows - 1) * row_bytes;
      pack_panel(panel, shape, kernels.load);
    }
    return;
  }
  std::array<GridPanel, kGridPanels> panels;
  for (size_t p = panel_begin; p < panel_end; p += kGridPanels) {
    const size_t n = std::min(kGridPanels, panel_end - p);
    for (size_t i = 0; i < n; ++i) {
      GridPanel& panel = panels[i];
      panel.n_rows = n_rows_of(p + i);
      panel.codes = codes_of(p + i);
      panel.scales = scales_of(p + i);
      for (size_t r = 0; r < panel.n_rows; ++r) panel.rows[r] = source_row(p + i, r);
    }
    pack_grid(*source.grid, shape, std::span(panels).first(n), kernels.load);
  }
}

}  // namespace nibble
