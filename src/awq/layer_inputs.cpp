#include "awq/layer_inputs.h"

#include <algorithm>

namespace nibble {
namespace {

FloatMatrix copy_rows(const RowsView& rows) {
  FloatMatrix out(rows.n_rows, rows.cols);
  for (size_t t = 0; t < rows.n_rows; ++t)
    std::copy_n(rows.data + t * rows.stride, rows.cols, out.row(t));
  return out;
}

}  // namespace

TappedRows::TappedRows(std::span<const PackedMatrix* const> who, const RowsView& x,
                       const RowsView& stream)
    : readers(who.begin(), who.end()), input(copy_rows(x)), residual(copy_rows(stream)) {}

bool LayerInputs::in_stage(std::span<const PackedMatrix* const> readers) const {
  return std::find_first_of(readers.begin(), readers.end(), stage_.matrices.begin(),
                            stage_.matrices.end()) != readers.end();
}

bool LayerInputs::wants(std::span<const PackedMatrix* const> readers) const {
  return !stage_alone_ || in_stage(readers);
}

bool LayerInputs::needs(std::span<const PackedMatrix* const> readers) const {
  const auto& unneeded = stage_.unneeded;
  return !stage_alone_ || std::any_of(readers.begin(), readers.end(), [&](const PackedMatrix* m) {
    return std::find(unneeded.begin(), unneeded.end(), m) == unneeded.end();
  });
}

void LayerInputs::add(std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
                      size_t n_rows, size_t cols) {
  std::shared_ptr<InputStats>& stats = by_reader_[readers.front()];
  if (!stats) {
    StatsPlan plan = plan_;
    plan.full_gram &= in_stage(readers);  // the others are asked for their scales alone
    stats = std::make_shared<InputStats>(cols, plan);
    all_.push_back(stats);
    for (const PackedMatrix* reader : readers) by_reader_[reader] = stats;
  }
  stats->add(compute_, x, stride, n_rows);
}

void LayerInputs::add_pairs(const std::vector<TappedRows>& rounded,
                            const std::vector<TappedRows>& exact) {
  for (size_t k = 0; k < rounded.size(); ++k) {
    const TappedRows& now = rounded[k];
    const size_t n = now.input.rows(), cols = now.input.cols();
    add(now.readers, now.input.row(0), cols, n, cols);
    if (!in_stage(now.readers) || !stage_.compared) continue;
    FloatMatrix lacking;
    if (stage_.residual_scale != 0)
      lacking = difference(exact[k].residual, now.residual, 1 / stage_.residual_scale);
    by_reader_[now.readers.front()]->add_drift(compute_, now.input, exact[k].input, lacking);
  }
}

void LayerInputs::finish() {
  for (const auto& stats : all_) stats->finish();
}

InputStats* LayerInputs::find(const PackedMatrix* matrix) {
  const auto at = by_reader_.find(matrix);
  return at == by_reader_.end() ? nullptr : at->second.get();
}

}  // namespace nibble
