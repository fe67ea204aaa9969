#include "awq/layer_by_layer.h"

#include <algorithm>

#include "awq/calibration.h"
#include "base/checked.h"
#include "base/clock.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// Activations up to this stay in memory, more go to a file.
constexpr uint64_t kStatesInMemory = uint64_t{512} << 20;

}  // namespace

LayerByLayer::LayerByLayer(const Checkpoint& checkpoint, ModelImpl& impl, const WeightPlan& plan,
                           const WorkFolder& folder, const QuantizeOptions& options)
    : checkpoint_(checkpoint),
      impl_(impl),
      plan_(plan),
      folder_(folder),
      options_(options),
      compute_{*impl.kernels, *impl.pool},
      layers_(static_cast<size_t>(impl.config.n_layers)),
      loaded_(checkpoint, compute_) {
  const auto layer = [&](std::string_view name) {
    const int index = layer_of(name);
    return index >= 0 && index < impl.config.n_layers ? &layers_[static_cast<size_t>(index)]
                                                      : nullptr;
  };
  for (const PlannedMatrix& m : plan.matrices)
    if (LayerPlan* of = layer(m.name)) of->matrices.push_back(&m);
  for (const auto& [name, values] : plan.vectors)
    if (LayerPlan* of = layer(name)) of->vectors.emplace_back(name, values);
}

void LayerByLayer::run() {
  const int n_layers = impl_.config.n_layers;
  std::vector<bool> finished;
  for (int i = 0; i < n_layers; ++i) finished.push_back(folder_.has(i));
  const auto n_missing = std::count(finished.begin(), finished.end(), false);
  for (int i = 0; i < n_layers; ++i)
    if (finished[static_cast<size_t>(i)]) check_finished(i);  // before any work
  if (n_missing == 0) return;
  check_memory();
  if (options_.needs_calibration()) {
    step(0, 0);
    embed();
  }
  double seconds = 0;
  int n_done = 0;
  for (int i = 0; i < n_layers && n_done < n_missing; ++i) {
    const auto start = Clock::now();
    step(i, 0);
    if (finished[static_cast<size_t>(i)]) {
      if (!rows_) continue;
      loaded_.load(layers_[static_cast<size_t>(i)]);
      rows_->pass(i, loaded_, folder_.load(i), part_of(i, 0, 1));
      continue;
    }
    QuantizedLayer report = quantize(i);
    report.seconds = seconds_since(start);
    seconds += report.seconds;
    ++n_done;
    report.seconds_left = seconds / n_done * static_cast<double>(n_missing - n_done);
    if (options_.on_layer) options_.on_layer(report);
  }
}

void LayerByLayer::check_finished(int layer) const try {
  const Checkpoint file = folder_.load(layer);
  const LayerPlan& plan = layers_[static_cast<size_t>(layer)];
  for (const PlannedMatrix* m : plan.matrices)
    WorkFolder::piece(file, m->name, packed_layout(m->shape, m->name).total_bytes());
  for (const auto& [name, values] : plan.vectors)
    WorkFolder::piece(file, name, values->size() * sizeof(float));
} catch (const Error& e) {
  throw Error(e.where(), e.why(),
              "remove " + folder_.layer_file(layer) + ", and --resume makes the layer anew");
}

void LayerByLayer::step(int layer, double part) const {
  if (options_.progress && !options_.progress((layer + part) / (impl_.config.n_layers + 1)))
    throw Error(folder_.file(""), "quantizing was cancelled", "--resume goes on with it");
}

CalibrationRows::Step LayerByLayer::part_of(int layer, double from, double size) const {
  return [=, this](double part) { step(layer, from + size * part); };
}

// What needs most memory: the f32 layer, the second moments of all its inputs (counted once for
// each matrix, which is too much where inputs are shared), and for the largest matrix the drift and
// the factor [cols, cols], what is owed [cols, rows] and its corrected copy [rows, cols].
void LayerByLayer::check_memory() const {
  const LayerPlan& layer = layers_.front();
  uint64_t moments = 0, largest = 0;
  for (const PlannedMatrix* m : layer.matrices) {
    if (!compensated() || !is_rounded(*m)) continue;
    const uint64_t rows = m->shape.rows, cols = m->shape.cols;
    moments += cols * cols * sizeof(float);
    largest = std::max(largest, 2 * cols * (cols + rows) * sizeof(float));
  }
  const uint64_t panels = LoadedLayer::float_bytes(layer);
  const uint64_t needed = checked_add(panels, moments + largest, checkpoint_.path);
  const uint64_t available = available_memory();
  if (available > 0 && needed > available)
    throw Error(checkpoint_.path,
                "quantizing a layer needs " + std::to_string(needed >> 20) + " MB of memory, and " +
                    std::to_string(available >> 20) + " MB are available",
                moments > panels ? "awq without gptq needs less" : "");
}

void LayerByLayer::embed() {
  if (!impl_.tokenizer)
    throw Error(checkpoint_.path, "has no tokenizer, so nothing to calibrate with",
                "--method rtn needs none");
  const size_t context = static_cast<size_t>(impl_.config.context_length);
  if (context < 2)
    throw Error(checkpoint_.path, "has a context of one token, too short to calibrate with",
                "--method rtn needs none");
  const MappedFile text(options_.calibration);
  const auto bytes = text.bytes();
  CalibrationRows::Windows windows = calibration_windows(
      {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, *impl_.tokenizer,
      {options_.calibration, static_cast<size_t>(options_.samples),
       std::min(context, static_cast<size_t>(options_.window))});
  for (const auto& window : windows)
    for (const Token id : window)
      if (id < 0 || id >= impl_.config.vocab_size)
        throw Error(options_.calibration,
                    "the token " + std::to_string(id) + " is outside the model's vocabulary");
  rows_ = std::make_unique<CalibrationRows>(impl_, std::move(windows), compensated(),
                                            kStatesInMemory, folder_.file("activations"));
  std::vector<AnonymousMemory> tables;
  for (const PlannedMatrix& m : plan_.matrices)
    if (is_embedding(m)) tables.push_back(load_as_it_is(m));
  rows_->embed();
  for (const PlannedMatrix& m : plan_.matrices) {
    if (!is_embedding(m)) continue;
    m.destination->view = {};
    release(checkpoint_, m.source);
  }
}

// What makes a token the first input of the layers.
bool LayerByLayer::is_embedding(const PlannedMatrix& m) const {
  const Weights& w = impl_.weights;
  return m.destination == &w.embedding || m.destination == &w.positions ||
         m.destination == &w.project_in;
}

AnonymousMemory LayerByLayer::load_as_it_is(const PlannedMatrix& m) const {
  PlannedMatrix as = m;
  retarget(as, PackTarget::Kind::keep);
  const size_t bytes = packed_layout(as.shape, m.name).total_bytes();
  AnonymousMemory memory(bytes);
  pack_matrix(as, memory.data(), compute_.kernels, compute_.pool);
  m.destination->view = packed_view(as.shape, {memory.data(), bytes}, m.name);
  m.destination->bytes = bytes;
  return memory;
}

StatsPlan LayerByLayer::stats_plan() const {
  StatsPlan out;
  if (options_.rounding == Rounding::clip) out.group = static_cast<size_t>(options_.group);
  out.n_tokens = rows_ ? rows_->n_tokens() : 0;
  out.full_gram = compensated();
  return out;
}

LayerRule LayerByLayer::rule() const {
  LayerRule out;
  out.scales = options_.scales;
  out.nearest.group = static_cast<size_t>(options_.group);
  out.nearest.scheme = options_.symmetric ? Scheme::f16 : Scheme::f16_zero;
  return out;
}

std::vector<RoundingRule> LayerByLayer::rules_of(const LayerPlan& plan,
                                                 std::span<PackedMatrix* const> matrices) const {
  std::vector<RoundingRule> out;
  for (const PackedMatrix* m : matrices) {
    const auto planned =
        std::find_if(plan.matrices.begin(), plan.matrices.end(),
                     [&](const PlannedMatrix* of) { return of->destination == m; });
    const PackedShape& shape = (*planned)->shape;
    out.push_back({shape.group, shape.scheme, options_.rounding});
  }
  return out;
}

QuantizedLayer LayerByLayer::quantize(int index) {
  const LayerPlan& plan = layers_[static_cast<size_t>(index)];
  LayerWeights& layer = impl_.weights.layers[static_cast<size_t>(index)];
  loaded_.load(plan);
  std::vector<PackedMatrix*> quantized;
  for (const PlannedMatrix* m : plan.matrices)
    if (is_rounded(*m)) quantized.push_back(m->destination);

  LayerErrors errors;
  std::vector<Stage> stages(1);
  stages.front().matrices = quantized;
  if (compensated()) stages = stages_of(impl_.config, layer, quantized);
  const double size = compensated() ? 1.0 / static_cast<double>(stages.size() + 1) : 0.5;
  for (size_t k = 0; k < stages.size(); ++k) {
    // The first inputs are those of all matrices, for the scales.
    LayerInputs inputs(compute_, stats_plan(), stages[k], k > 0);
    const double from = size * static_cast<double>(k);
    if (rows_) rows_->measure(index, loaded_, inputs, part_of(index, from, size));
    if (k == 0) scale_layer(compute_, impl_.config, layer, quantized, inputs, rule(), errors);
    const std::vector<RoundedMatrix> rounded = round_matrices(
        compute_, stages[k].matrices, rules_of(plan, stages[k].matrices), inputs, errors);
    for (size_t i = 0; i < rounded.size(); ++i)
      loaded_.write_rounded(stages[k].matrices[i], rounded[i]);
  }
  loaded_.write_others();
  folder_.save(index, loaded_.pieces());
  if (rows_ && index + 1 < impl_.config.n_layers) rows_->finish(index, loaded_);
  QuantizedLayer report;
  report.layer = index;
  report.n_layers = impl_.config.n_layers;
  report.error_before = errors.before.value();
  report.error_after = errors.after.value();
  return report;
}

}  // namespace nibble
