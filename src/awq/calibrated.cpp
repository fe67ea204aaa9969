#include "awq/calibrated.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "awq/calibration.h"
#include "awq/fold.h"
#include "base/checked.h"
#include "model/transformer.h"
#include "nibble/error.h"
#include "text/chat_template.h"

namespace nibble {
namespace {

// Activations up to this stay in memory, more go to a file.
constexpr uint64_t kStatesInMemory = uint64_t{512} << 20;

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

PackedShape f32_shape(const PlannedMatrix& m) {
  return {.rows = m.shape.rows, .cols = m.shape.cols, .codes = Codes::f32};
}

// Packs a matrix as another format than the plan says: exactly as the file has it, or as f32.
void pack_as(const PlannedMatrix& m, PackTarget::Kind kind, std::byte* out, ThreadPool& pool) {
  PlannedMatrix as = m;
  retarget(as, kind);
  pack_matrix(as, out, pool);
}

// The rows of an f32 matrix as a source, to be packed like any other.
std::vector<float> rows_of(const PackedMatrix& m, ThreadPool& pool) {
  const size_t cols = m.view.shape.cols;
  std::vector<float> out(size_t{m.view.shape.rows} * cols);
  pool.run(m.view.shape.rows, [&](size_t r, int) { unpack_row(m.view, r, out.data() + r * cols); });
  return out;
}

}  // namespace

void retarget(PlannedMatrix& m, PackTarget::Kind kind) {
  const uint32_t rows = m.shape.rows;  // the tensor may hold those of other matrices, too
  m.target.kind = kind;
  m.shape = packed_shape_of(m.source, m.target);
  m.shape.rows = rows;
}

bool is_rounded(const PlannedMatrix& m) {
  return layer_of(m.name) >= 0 && m.target.kind == PackTarget::Kind::q4 && !m.source.has_grid();
}

int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc{} && end != name.data() + name.size() && *end == '.' ? layer : -1;
}

LayerByLayer::LayerByLayer(const Checkpoint& checkpoint, ModelImpl& impl, const WeightPlan& plan,
                           const WorkFolder& folder, const QuantizeOptions& options)
    : checkpoint_(checkpoint),
      impl_(impl),
      plan_(plan),
      folder_(folder),
      options_(options),
      compute_{*impl.kernels, *impl.pool},
      layers_(static_cast<size_t>(impl.config.n_layers)) {
  const auto layer = [&](std::string_view name) {
    const int index = layer_of(name);
    return index >= 0 && index < impl.config.n_layers ? &layers_[static_cast<size_t>(index)]
                                                      : nullptr;
  };
  for (const PlannedMatrix& m : plan.matrices)
    if (Layer* of = layer(m.name)) of->matrices.push_back(&m);
  for (const auto& [name, values] : plan.vectors)
    if (Layer* of = layer(name)) of->vectors.emplace_back(name, values);
}

void LayerByLayer::run() {
  const int n_layers = impl_.config.n_layers;
  int n_missing = 0;
  for (int i = 0; i < n_layers; ++i) n_missing += folder_.has(i) ? 0 : 1;
  if (n_missing == 0) return;
  check_memory();
  if (options_.needs_calibration()) {
    step(0, 0);
    embed();
  }
  double seconds = 0;
  for (int i = 0, n_done = 0; n_done < n_missing; ++i) {
    const auto start = Clock::now();
    step(i, 0);
    const bool finished = folder_.has(i);
    StatsPlan stats;
    stats.group = static_cast<size_t>(options_.group);
    stats.n_tokens = states_ ? states_->n_tokens() : 0;
    stats.full_gram = options_.rounding == Rounding::compensated;
    LayerInputs inputs(compute_, stats);
    if (!finished || states_) load_layer(layers_[static_cast<size_t>(i)]);
    if (states_) forward(i, finished ? nullptr : &inputs);
    if (finished) continue;
    inputs.finish();
    QuantizedLayer report = quantize(i, inputs);
    report.seconds = seconds_since(start);
    seconds += report.seconds;
    ++n_done;
    report.seconds_left = seconds / n_done * (n_missing - n_done);
    if (options_.on_layer) options_.on_layer(report);
  }
}

void LayerByLayer::step(int layer, double part) const {
  const double done = (static_cast<double>(layer) + part) / impl_.config.n_layers;
  if (options_.progress && !options_.progress(done))
    throw Error(folder_.file(""), "quantizing was cancelled", "--resume goes on with it");
}

// The second moments of all inputs of a layer at once are what needs most memory.
void LayerByLayer::check_memory() const {
  uint64_t panels = 0, moments = 0;
  for (const PlannedMatrix* m : layers_.front().matrices) {
    panels += packed_layout(f32_shape(*m), m->name).total_bytes();
    if (options_.rounding == Rounding::compensated)
      moments += uint64_t{m->shape.cols} * m->shape.cols * sizeof(float);
  }
  const uint64_t needed = checked_add(panels, moments, checkpoint_.path);
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
  const MappedFile text(options_.calibration);
  const auto bytes = text.bytes();
  const size_t context = static_cast<size_t>(impl_.config.context_length);
  windows_ = calibration_windows({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                 *impl_.tokenizer, /*style=*/{},
                                 {options_.calibration, static_cast<size_t>(options_.samples),
                                  std::min(context, static_cast<size_t>(options_.window))});
  std::vector<size_t> lengths;
  size_t longest = 0;
  for (const auto& window : windows_) {
    lengths.push_back(window.size());
    longest = std::max(longest, window.size());
  }
  const auto dim = static_cast<size_t>(impl_.config.dim);
  states_ = std::make_unique<HiddenStates>(std::move(lengths), dim, kStatesInMemory,
                                           folder_.file("activations"));
  cache_ = std::make_unique<KvCache>(impl_.config, KvCode::f32, static_cast<int>(longest));
  workspace_ = std::make_unique<Workspace>(impl_, static_cast<int>(longest));

  std::vector<AnonymousMemory> tables;
  for (const PlannedMatrix& m : plan_.matrices)
    if (is_embedding(m)) tables.push_back(load_as_it_is(m));
  for (size_t i = 0; i < windows_.size(); ++i) {
    for (const Token id : windows_[i])
      if (id < 0 || id >= impl_.config.vocab_size)
        throw Error(options_.calibration,
                    "the token " + std::to_string(id) + " is outside the model's vocabulary");
    embed_tokens(impl_, *workspace_, windows_[i]);
    states_->store(i, workspace_->x, workspace_->x_stride);
  }
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
  pack_matrix(as, memory.data(), compute_.pool);
  m.destination->view = packed_view(as.shape, {memory.data(), bytes}, m.name);
  m.destination->bytes = bytes;
  return memory;
}

void LayerByLayer::load_layer(const Layer& layer) {
  uint64_t total = 0;
  for (const PlannedMatrix* m : layer.matrices)
    total = checked_add(total, packed_layout(f32_shape(*m), m->name).total_bytes(), m->name);
  if (panels_.size() < total) {
    panels_ = {};
    panels_ = AnonymousMemory(total);
  }
  std::byte* at = panels_.data();
  for (const PlannedMatrix* m : layer.matrices) {
    const PackedShape shape = f32_shape(*m);
    const size_t bytes = packed_layout(shape, m->name).total_bytes();
    std::fill_n(at, bytes, std::byte{0});
    pack_as(*m, PackTarget::Kind::f32, at, compute_.pool);
    m->destination->name = m->name;
    m->destination->view = packed_view(shape, {at, bytes}, m->name);
    m->destination->bytes = bytes;
    release(checkpoint_, m->source);
    at += bytes;
  }
}

void LayerByLayer::forward(int index, LayerInputs* inputs) {
  const InputTap tap = [&](std::span<const PackedMatrix* const> readers, const float* x,
                           size_t stride, size_t n_rows, size_t cols) {
    if (inputs) inputs->add(readers, x, stride, n_rows, cols);
  };
  for (size_t i = 0; i < states_->n_windows(); ++i) {
    step(index, 0.5 * static_cast<double>(i) / static_cast<double>(states_->n_windows()));
    states_->load(i, workspace_->x, workspace_->x_stride);
    run_layer(impl_, *cache_, *workspace_, index, states_->length(i), tap);
    states_->store(i, workspace_->x, workspace_->x_stride);
  }
}

QuantizedLayer LayerByLayer::quantize(int index, LayerInputs& inputs) {
  step(index, 0.5);
  std::vector<PackedMatrix*> quantized;
  for (const PlannedMatrix* m : layers_[static_cast<size_t>(index)].matrices)
    if (is_rounded(*m)) quantized.push_back(m->destination);
  LayerRule rule;
  rule.scales = options_.scales;
  rule.rounding.group = static_cast<size_t>(options_.group);
  rule.rounding.grid.symmetric = options_.symmetric;
  rule.rounding.rounding = options_.rounding;
  const LayerResult result =
      quantize_layer(compute_, impl_.config, impl_.weights.layers[static_cast<size_t>(index)],
                     quantized, inputs, rule);
  save(index, result.matrices, quantized);
  QuantizedLayer report;
  report.layer = index;
  report.n_layers = impl_.config.n_layers;
  report.error_before = result.error_before;
  report.error_after = result.error_after;
  return report;
}

void LayerByLayer::save(int index, const std::vector<RoundedMatrix>& rounded,
                        const std::vector<PackedMatrix*>& quantized) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  std::vector<AnonymousMemory> packed;
  std::vector<LayerPiece> pieces;
  for (const PlannedMatrix* m : layer.matrices) {
    const size_t bytes = packed_layout(m->shape, m->name).total_bytes();
    packed.emplace_back(bytes);
    const std::span<std::byte> out{packed.back().data(), bytes};
    const auto at = std::find(quantized.begin(), quantized.end(), m->destination);
    if (at != quantized.end()) {
      pack_rounded(rounded[static_cast<size_t>(at - quantized.begin())], m->shape, out,
                   compute_.pool);
    } else {
      const std::vector<float> rows = rows_of(*m->destination, compute_.pool);
      PlannedMatrix scaled = *m;
      scaled.rows = {};  // in order already
      scaled.source.type = DType::f32;
      scaled.source.data = std::as_bytes(std::span(rows));
      scaled.source.tensors.clear();
      pack_matrix(scaled, out.data(), compute_.pool);
    }
    pieces.push_back({m->name, out});
  }
  for (const auto& [name, values] : layer.vectors)
    pieces.push_back({name, std::as_bytes(std::span(*values))});
  folder_.save(index, pieces);
}

}  // namespace nibble
