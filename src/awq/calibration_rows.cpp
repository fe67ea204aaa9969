#include "awq/calibration_rows.h"

#include <algorithm>
#include <utility>

namespace nibble {
namespace {

int longest_of(const CalibrationRows::Windows& windows) {
  size_t out = 0;
  for (const auto& window : windows) out = std::max(out, window.size());
  return static_cast<int>(out);
}

bool no_tap(std::span<const PackedMatrix* const>, const float*, size_t, size_t, size_t) {
  return true;
}
void no_step(double) {}

}  // namespace

CalibrationRows::CalibrationRows(const ModelImpl& model, Windows windows, bool paired,
                                 uint64_t memory, const std::string& file)
    : model_(model),
      windows_(std::move(windows)),
      cache_(model.config, KvCode::f32, longest_of(windows_)),
      workspace_(model, longest_of(windows_)) {
  std::vector<size_t> lengths;
  for (const auto& window : windows_) lengths.push_back(window.size());
  const auto make = [&](const char* name) {
    return std::make_unique<HiddenStates>(lengths, static_cast<size_t>(model.config.dim),
                                          memory / (paired ? 3 : 1), file + name);
  };
  exact_ = make("-exact");
  if (!paired) return;
  behind_ = make("-behind");
  rounded_ = make("-rounded");
}

void CalibrationRows::embed() {
  for (size_t i = 0; i < windows_.size(); ++i) {
    embed_tokens(model_, workspace_, windows_[i]);
    exact_->store(i, workspace_.x, workspace_.x_stride);
    if (rounded_) rounded_->store(i, workspace_.x, workspace_.x_stride);
  }
}

void CalibrationRows::advance(HiddenStates& from, HiddenStates& to, int index, const InputTap& tap,
                              const Step& step) {
  for (size_t i = 0; i < windows_.size(); ++i) {
    step(static_cast<double>(i) / static_cast<double>(windows_.size()));
    from.load(i, workspace_.x, workspace_.x_stride);
    run_layer(model_, cache_, workspace_, index, from.length(i), tap);
    to.store(i, workspace_.x, workspace_.x_stride);
  }
}

// One window through the layer as the model sees it, as far as `inputs` needs.
std::vector<TappedRows> CalibrationRows::run(HiddenStates& states, size_t window, int index,
                                             const LayerInputs& inputs) {
  std::vector<TappedRows> out;
  const RowsView stream{workspace_.x, workspace_.x_stride, states.length(window),
                        static_cast<size_t>(model_.config.dim)};
  const InputTap tap = [&](std::span<const PackedMatrix* const> readers, const float* x,
                           size_t stride, size_t n_rows, size_t cols) {
    if (inputs.wants(readers)) out.emplace_back(readers, RowsView{x, stride, n_rows, cols}, stream);
    return inputs.needs(readers);
  };
  states.load(window, workspace_.x, workspace_.x_stride);
  run_layer(model_, cache_, workspace_, index, states.length(window), tap);
  return out;
}

void CalibrationRows::measure(int index, LoadedLayer& layer, LayerInputs& inputs,
                              const Step& step) {
  if (!paired()) {
    const InputTap tap = [&](std::span<const PackedMatrix* const> readers, const float* x,
                             size_t stride, size_t n_rows, size_t cols) {
      inputs.add(readers, x, stride, n_rows, cols);
      return true;
    };
    advance(*exact_, *exact_, index, tap, step);
    return inputs.finish();
  }
  for (size_t i = 0; i < windows_.size(); ++i) {
    step(static_cast<double>(i) / static_cast<double>(windows_.size()));
    layer.show(/*written=*/false);
    const std::vector<TappedRows> exact = run(*exact_, i, index, inputs);
    if (!inputs.stage_alone()) behind_->store(i, workspace_.x, workspace_.x_stride);
    layer.show(/*written=*/true);
    inputs.add_pairs(run(*rounded_, i, index, inputs), exact);
  }
  layer.show(/*written=*/false);
  inputs.finish();
}

void CalibrationRows::finish(int index, LoadedLayer& layer) {
  if (!paired()) return;
  layer.show(/*written=*/true);
  advance(*rounded_, *rounded_, index, no_tap, no_step);
  std::swap(exact_, behind_);
}

void CalibrationRows::pass(int index, LoadedLayer& layer, const Checkpoint& written,
                           const Step& step) {
  advance(*exact_, paired() ? *behind_ : *exact_, index, no_tap, step);
  if (paired()) layer.read_pieces(written);
  finish(index, layer);
}

}  // namespace nibble
