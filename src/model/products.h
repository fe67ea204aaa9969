// Matrix products of the rows of one batch, on all threads.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>

#include "base/checked.h"
#include "model/transformer.h"

namespace nibble {

/// The input of products: rows of `cols` columns.
struct Input {
  const float* x;  // [.., stride]
  size_t stride;   // floats
  size_t cols;
};

class Products {
 public:
  Products(const ModelImpl& model, Workspace& workspace, size_t n_rows, const InputTap* tap)
      : model_(model),
        kernels_(*model.kernels),
        ws_(workspace),
        tap_(tap),
        n_threads_(n_rows == 1 ? model.threads : model.threads_batch) {}

  int n_threads() const { return n_threads_; }

  /// fn(t) for t < n, on all threads if there are enough rows.
  template <class Fn>
  void for_rows(size_t n, Fn&& fn) const {
    if (n < 2 * kRowsPerThread) {
      for (size_t t = 0; t < n; ++t) fn(t);
      return;
    }
    const auto piece = [&](size_t i, int) {
      const size_t end = std::min(n, (i + 1) * kRowsPerThread);
      for (size_t t = i * kRowsPerThread; t < end; ++t) fn(t);
    };
    model_.pool->run(ceil_div(n, kRowsPerThread), piece, n_threads_);
  }

  /// Prepares row t of an input for the matrices that will read it.
  void quantize(const Input& in, size_t t,
                std::initializer_list<const PackedMatrix*> readers) const;

  /// Products of n rows of one input, which have been prepared for all of its readers. Returns
  /// whether they were computed: an InputTap may say that nobody needs them.
  bool multiply(std::span<const Product> products, const Input& in, size_t n) const;
  bool multiply(std::initializer_list<Product> products, const Input& in, size_t n) const {
    return multiply(std::span(products.begin(), products.size()), in, n);
  }

 private:
  // Rows below this are not worth waking the other threads for.
  static constexpr size_t kRowsPerThread = 4;

  QuantizedRows quantized_rows(const PackedMatrix& w, size_t cols) const;
  bool reads_int8(const PackedMatrix& w) const;
  bool show_input(std::span<const Product> products, const Input& in, size_t n) const;
  void multiply_piece(const Product& p, size_t first_panel, size_t end_panel, const Input& in,
                      size_t first_row, size_t n_rows) const;

  const ModelImpl& model_;
  const Kernels& kernels_;
  Workspace& ws_;
  const InputTap* tap_;  // or null
  int n_threads_;
};

}  // namespace nibble
