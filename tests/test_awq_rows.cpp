// What the calibration text becomes from layer to layer, and what rounding sees of it.
#include <array>

#include "awq/calibration_rows.h"
#include "awq/layer_quantizer.h"
#include "awq_setup.h"
#include "check.h"
#include "model/model_impl.h"
#include "model/model_loader.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// A model whose layers are loaded one at a time, as quantize() has it.
struct LayerwiseModel {
  Checkpoint checkpoint;
  std::shared_ptr<ModelImpl> impl;
  WeightPlan plan;
  std::vector<LayerPlan> layers;
  explicit LayerwiseModel(const std::string& path) : checkpoint(open_checkpoint(path)) {
    ModelOptions options;
    options.threads = 2;
    options.activations = Activations::f32;
    impl = make_model_impl(options);
    read_metadata(checkpoint, *impl);
    plan = plan_weights(checkpoint, impl->config, {WeightType::q4, 32, false}, impl->weights);
    plan.read_vectors();
    layers.resize(static_cast<size_t>(impl->config.n_layers));
    for (const PlannedMatrix& m : plan.matrices)
      if (layer_of(m.name) >= 0)
        layers[static_cast<size_t>(layer_of(m.name))].matrices.push_back(&m);
  }

  void load_embedding() {
    for (const PlannedMatrix& m : plan.matrices) {
      if (m.destination != &impl->weights.embedding) continue;
      const size_t bytes = packed_layout(m.shape, m.name).total_bytes();
      table = AnonymousMemory(bytes);
      pack_matrix(m, table.data(), *impl->kernels, *impl->pool);
      m.destination->view = packed_view(m.shape, {table.data(), bytes}, m.name);
    }
  }
  AnonymousMemory table;
};

// What q of the second layer reads, behind a first layer whose `down` is rounded or not.
std::vector<float> input_of_second_q(LayerwiseModel& model, const RoundedMatrix* down,
                                     const std::vector<Token>& window) {
  ModelImpl& impl = *model.impl;
  KvCache cache(impl.config, KvCode::f32, int(window.size()));
  Workspace ws(impl, int(window.size()));
  LoadedLayer layer(model.checkpoint, {*impl.kernels, *impl.pool});
  std::vector<float> out;
  const auto run = [&](int index) {
    run_layer(impl, cache, ws, index, window.size(),
              [&](std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
                  size_t n_rows, size_t cols) {
                const LayerWeights& second = impl.weights.layers[1];
                if (readers.front() != &second.q) return readers.front() != &second.o;
                for (size_t t = 0; t < n_rows; ++t)
                  out.insert(out.end(), x + t * stride, x + t * stride + cols);
                return true;
              });
  };
  embed_tokens(impl, ws, window);
  layer.load(model.layers[0]);
  if (down) layer.write_rounded(&impl.weights.layers[0].down, *down);
  layer.show(down != nullptr);
  run(0);
  layer.load(model.layers[1]);
  const std::vector<float> before(ws.x, ws.x + window.size() * ws.x_stride);
  run(1);
  check(std::equal(before.begin(), before.end(), ws.x),
        "without the product of o the stream stays");
  return out;
}

// Products that a stage does not need are left out, which must not change what it sees.
void test_products_left_out() {
  const Setup setup;
  LayerwiseModel model(setup.in());
  model.load_embedding();
  ModelImpl& impl = *model.impl;
  const Compute compute{*impl.kernels, *impl.pool};
  const StatsPlan plan{.n_tokens = 16, .full_gram = true};
  LayerWeights& weights = impl.weights.layers[0];
  const std::vector<PackedMatrix*> all = {&weights.q,    &weights.k,  &weights.v,   &weights.o,
                                          &weights.gate, &weights.up, &weights.down};
  LoadedLayer layer(model.checkpoint, compute);
  CalibrationRows rows(impl, {kTokens, {9, 4, 4, 13}}, /*paired=*/true, 1 << 20,
                       setup.dir / "rows");
  rows.embed();
  layer.load(model.layers[0]);
  const auto same = [](const FloatMatrix& a, const FloatMatrix& b) {
    return a.rows() == b.rows() && a.cols() == b.cols() &&
           std::equal(a.row(0), a.row(0) + a.rows() * a.cols(), b.row(0));
  };
  const std::vector<Stage> stages = stages_of(impl.config, weights, all);
  check_eq(stages.size(), size_t{4}, "stages");
  for (size_t k = 0; k < stages.size(); ++k) {
    Stage whole = stages[k];
    whole.unneeded.clear();
    check_eq(stages[k].unneeded.size(), std::array<size_t, 4>{7, 4, 3, 1}[k], "left out");
    LayerInputs some(compute, plan, stages[k], k > 0), every(compute, plan, whole, k > 0);
    rows.measure(0, layer, some, [](double) {});
    rows.measure(0, layer, every, [](double) {});
    for (PackedMatrix* m : stages[k].matrices) {
      const InputStats &a = *some.find(m), &b = *every.find(m);
      check(same(a.gram, b.gram) && same(a.drift, b.drift) && same(a.owed, b.owed), "the same");
      check(k == 0 || a.drift.row(0)[0] != 0 || a.drift.row(1)[2] != 0, "something has drifted");
      layer.write_rounded(m, round_matrix(compute, panels_of(*m), a, {}, nullptr));
    }
  }
}

void test_rows_of_two_models() {
  const Setup setup;
  LayerwiseModel model(setup.in());
  model.load_embedding();
  ModelImpl& impl = *model.impl;
  const Compute compute{*impl.kernels, *impl.pool};
  const CalibrationRows::Windows windows = {kTokens, {9, 4, 4, 13}};
  const StatsPlan plan{.n_tokens = 16, .full_gram = true};
  PackedMatrix& down = impl.weights.layers[0].down;
  PackedMatrix& q = impl.weights.layers[1].q;
  RoundedMatrix rounded;
  std::vector<InputStats> found;
  for (const uint64_t memory : {uint64_t{1} << 20, uint64_t{0}}) {  // kept, and in files
    LoadedLayer layer(model.checkpoint, {*impl.kernels, *impl.pool});
    CalibrationRows rows(impl, windows, /*paired=*/true, memory, setup.dir / "rows");
    rows.embed();
    layer.load(model.layers[0]);
    rounded = round_matrix(compute, panels_of(down), InputStats(96, plan), {}, nullptr);
    const Stage first{.matrices = {&down}, .unneeded = {}};
    LayerInputs before(compute, plan, first, false);
    rows.measure(0, layer, before, [](double) {});
    check_eq(before.find(&down)->drift.row(3)[3], 0.0f, "nothing is rounded yet");
    check(before.find(&impl.weights.layers[0].q)->drift.empty(), "not of the stage");
    layer.write_rounded(&down, rounded);
    rows.finish(0, layer);
    layer.load(model.layers[1]);
    const Stage second{.matrices = {&q}, .unneeded = {&impl.weights.layers[1].o}};
    LayerInputs inputs(compute, plan, second, true);
    rows.measure(1, layer, inputs, [](double) {});
    check(inputs.find(&impl.weights.layers[1].o) == nullptr, "the stage alone");
    found.push_back(std::move(*inputs.find(&q)));
  }
  std::vector<float> x, exact;
  for (const auto& window : windows)
    for (auto* rows : {&x, &exact}) {
      const auto more = input_of_second_q(model, rows == &x ? &rounded : nullptr, window);
      rows->insert(rows->end(), more.begin(), more.end());
    }
  double largest = 0;
  for (size_t i = 0; i < 64; i += 9)
    for (size_t j = 0; j < 64; j += 7) {
      double gram = 0, drift = 0;
      for (size_t t = 0; t < 16; ++t) {
        const double a = double{x[t * 64 + i]}, b = double{x[t * 64 + j]};
        gram += a * b / 16;
        drift += a * (double{exact[t * 64 + j]} - b) / 16;
      }
      check_near(double{found[0].gram.row(i)[j]}, gram, 1e-3 * (1 + std::abs(gram)), "gram");
      check_near(double{found[0].drift.row(i)[j]}, drift, 1e-5, "drift");
      largest = std::max(largest, std::abs(drift));
      check_eq(found[0].drift.row(i)[j], found[1].drift.row(i)[j], "files");
    }
  check(largest > 1e-3, "there is drift");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"products left out", test_products_left_out},
              {"rows of two models", test_rows_of_two_models}});
}
