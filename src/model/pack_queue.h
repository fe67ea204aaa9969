// How packing is cut into pieces for threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <tuple>
#include <vector>

#include "base/checked.h"
#include "base/read_ahead.h"
#include "model/weights.h"
#include "quant/pack_grid.h"

namespace nibble {

/// Panels that a thread takes at once: so many that claiming them costs nothing, so few that
/// threads end together.
inline size_t panels_of_piece(const PackedLayout& layout) {
  return std::max<size_t>(1, (size_t{1} << 19) / layout.code_stride);
}

/// The pieces of many matrices, to be packed by any threads. Who packs the last piece of a matrix
/// lets go of its source, while others go on.
class PackQueue {
 public:
  PackQueue(const Checkpoint& checkpoint, const Kernels& kernels, ReadAhead& reader,
            size_t n_matrices)
      : checkpoint_(checkpoint), kernels_(kernels), reader_(reader), left_(n_matrices) {}

  struct Piece {
    const PlannedMatrix* matrix;
    std::byte* out;
    size_t begin, end;  // panels
    size_t index;       // of the matrix
  };
  const std::vector<Piece>& pieces() const { return pieces_; }
  /// In the order of the file, which the system reads ahead.
  void sort() {
    std::ranges::sort(pieces_, std::less<>(), [](const Piece& piece) {
      return std::tuple(piece.matrix->source.begin(), piece.index, piece.begin);
    });
  }

  void add(const PlannedMatrix& m, std::byte* out) {
    const PackedLayout layout = packed_layout(m.shape, m.name);
    size_t panels = panels_of_piece(layout);
    if (m.source.grid) panels = round_up(panels, kAwqPanels);
    const size_t before = pieces_.size();
    for (size_t begin = 0; begin < layout.n_panels; begin += panels)
      pieces_.push_back(
          {&m, out, begin, std::min<size_t>(begin + panels, layout.n_panels), n_added_});
    left_[n_added_++] = pieces_.size() - before;
  }

  void pack(size_t i) {
    const Piece& p = pieces_[i];
    reader_.consumed(start_of(p));
    pack_panels(p.matrix->source, p.matrix->shape, p.matrix->rows, p.begin, p.end, p.out, kernels_);
    if (left_[p.index].fetch_sub(1) == 1) release(checkpoint_, p.matrix->source);
  }

 private:
  /// About where its rows begin in the file.
  static const std::byte* start_of(const Piece& p) {
    const MatrixSource& source = p.matrix->source;
    return source.begin() + source.data.size() / ceil_div(source.rows, kPanelRows) * p.begin;
  }

  const Checkpoint& checkpoint_;
  const Kernels& kernels_;
  ReadAhead& reader_;
  std::vector<Piece> pieces_;
  std::vector<std::atomic<size_t>> left_;  // pieces of each matrix
  size_t n_added_ = 0;
};

}  // namespace nibble
