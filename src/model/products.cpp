#include "model/products.h"

namespace nibble {
namespace {

constexpr size_t kManyRows = 64;  // from here on arithmetic is the limit, not memory
// Panels that kernels take at once, for one row and for many.
constexpr size_t kPanelUnit = 4, kManyRowsPanelUnit = 2;

}  // namespace

// The quantized form of an input of `cols` columns that a matrix reads.
QuantizedRows Products::quantized_rows(const PackedMatrix& w, size_t cols) const {
  const size_t group = w.view.shape.group;
  for (const Workspace::Quantized& q8 : ws_.quantized) {
    if (q8.group != group || q8.input_form != w.input_form) continue;
    QuantizedRows rows = q8.rows;
    rows.stride =
        round_up(cols, kSuperCols) * code_bytes(kernels_.activations) + Workspace::kRowPadding;
    rows.n_groups = round_up(cols, kSuperCols) / group;
    rows.group = group;
    return rows;
  }
  return {};
}

bool Products::reads_int8(const PackedMatrix& w) const {
  return model_.int8_activations && w.view.shape.scheme != Scheme::none;
}

// Permutes row t once for each order of columns, quantizes it once for each order and group size.
void Products::quantize(const Input& in, size_t t,
                        std::initializer_list<const PackedMatrix*> readers) const {
  size_t done[Workspace::kInputForms] = {};  // bits: 1, and group sizes, which are powers of two
  const float* source = in.x + t * in.stride;
  for (const PackedMatrix* w : readers) {
    const size_t group = w->view.shape.group;
    const float* from = source;
    if (w->input_form != 0) {
      float* to = ws_.permuted[w->input_form] + t * ws_.widest_stride;
      if ((done[w->input_form] & 1) == 0)
        for (size_t c = 0; c < in.cols; ++c) to[c] = source[w->column_order[c]];
      done[w->input_form] |= 1;
      from = to;
    }
    if (!reads_int8(*w) || (done[w->input_form] & group) != 0) continue;
    done[w->input_form] |= group;
    QuantizedRows one = quantized_rows(*w, in.cols);
    one.codes += t * one.stride;
    one.scales += t * one.n_groups;
    one.sums += t * one.n_groups;
    one.n_rows = 1;
    kernels_.quantize_rows(from, in.stride, in.cols, one);
  }
}

// One parallel loop: pieces are (panels of a product, block of its rows).
bool Products::multiply(std::span<const Product> products, const Input& in, size_t n) const {
  if (tap_ && !show_input(products, in, n)) return false;
  size_t bytes = 0;
  for (const Product& p : products) bytes += p.w->bytes;
  const size_t piece_bytes =
      std::clamp<size_t>(bytes / (static_cast<size_t>(n_threads_) * 8), 16 << 10,
                         n < kManyRows ? 256 << 10 : kernels_.piece_bytes);
  const size_t row_block = round_up(
      ceil_div(n, std::max<size_t>(1, ceil_div(n, kernels_.row_block))), kernels_.row_unit);
  const auto rows_of = [&](const Product& p) { return p.n_rows > 0 ? p.n_rows : n; };
  const auto row_blocks_of = [&](const Product& p) { return ceil_div(rows_of(p), row_block); };
  const auto panels_per_piece = [&](const Product& p) {
    return round_up(std::max<size_t>(1, piece_bytes / p.w->view.code_stride),
                    n < kManyRows ? kPanelUnit : kManyRowsPanelUnit);
  };
  const auto pieces_of = [&](const Product& p) {
    return ceil_div(ceil_div(p.w->view.shape.rows, kPanelRows), panels_per_piece(p)) *
           row_blocks_of(p);
  };
  size_t n_pieces = 0;
  for (const Product& p : products) n_pieces += pieces_of(p);
  const auto piece = [&](size_t i, int) {
    const Product* p = products.data();
    while (i >= pieces_of(*p)) i -= pieces_of(*p++);
    const size_t first_panel = i / row_blocks_of(*p) * panels_per_piece(*p);
    const size_t end_panel =
        std::min(first_panel + panels_per_piece(*p), ceil_div(p->w->view.shape.rows, kPanelRows));
    const size_t first_row = i % row_blocks_of(*p) * row_block;
    multiply_piece(*p, first_panel, end_panel, in, p->first_row + first_row,
                   std::min(row_block, rows_of(*p) - first_row));
  };
  model_.pool->run(n_pieces, piece, n_threads_);
  return true;
}

// Neighbours that read the same rows are shown together. Returns whether any product is needed.
bool Products::show_input(std::span<const Product> products, const Input& in, size_t n) const {
  std::vector<const PackedMatrix*> readers;
  bool needed = false;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    readers.push_back(p.w);
    const bool last = i + 1 == products.size();
    if (!last && products[i + 1].first_row == p.first_row && products[i + 1].n_rows == p.n_rows)
      continue;
    needed |= (*tap_)(readers, in.x + p.first_row * in.stride, in.stride,
                      p.n_rows > 0 ? p.n_rows : n, in.cols);
    readers.clear();
  }
  return needed;
}

void Products::multiply_piece(const Product& p, size_t first_panel, size_t end_panel,
                              const Input& in, size_t first_row, size_t n_rows) const {
  const PackedView& w = p.w->view;
  float* y = p.y + first_row * p.y_stride;
  if (!reads_int8(*p.w)) {
    const bool permuted = p.w->input_form != 0;
    const float* x = permuted ? ws_.permuted[p.w->input_form] : in.x;
    const size_t stride = permuted ? ws_.widest_stride : in.stride;
    kernels_.matmul_f32(w, first_panel, end_panel, x + first_row * stride, stride, n_rows, y,
                        p.y_stride);
    return;
  }
  QuantizedRows rows = quantized_rows(*p.w, in.cols);
  rows.codes += first_row * rows.stride;
  rows.scales += first_row * rows.n_groups;
  rows.sums += first_row * rows.n_groups;
  rows.n_rows = n_rows;
  kernels_.matmul_q(w, first_panel, end_panel, rows, y, p.y_stride);
}

}  // namespace nibble
