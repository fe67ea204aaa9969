// Quantization of whole models with calibration: tiny random ones, in every output form.
#include <array>
#include <atomic>
#include <map>

#include "awq/calibration_rows.h"
#include "awq/fold.h"
#include "awq/layer_quantizer.h"
#include "check.h"
#include "logits.h"
#include "model/model_impl.h"
#include "model/model_loader.h"
#include "nibble/quantize.h"
#include "nibble/session.h"
#include "tiny_model.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// Sixteen tokens: letters, two pairs of them.
const char* const kTokenizer =
    R"({"version":"1.0","added_tokens":[{"id":0,"content":"<unk>","special":true},)"
    R"({"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true}],)"
    R"("normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)"
    R"("use_regex":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)"
    R"("<unk>":0,"<s>":1,"</s>":2,"a":3,"b":4,"c":5,"d":6,"e":7,"f":8,"g":9,"h":10,"i":11,)"
    R"("ab":12,"cd":13,"abcd":14,"ef":15},"merges":["a b","c d","ab cd","e f"]}})";

struct Setup {
  TempDir dir;
  TinyModel tiny;
  QuantizeOptions options;
  explicit Setup(int ffn_dim = 96, bool bias = false, int dim = 64) {
    tiny.dim = dim;
    tiny.n_heads = 4;
    tiny.n_kv_heads = 2;
    tiny.head_dim = dim / 4;
    tiny.ffn_dim = ffn_dim;
    tiny.n_layers = 3;
    tiny.vocab = 16;
    tiny.context = 64;
    tiny.qkv_bias = bias;
    tiny.randomize(7);
    for (int i = 0; i < tiny.n_layers; ++i) {  // loud channels
      auto& norm = tiny.tensors["blk." + std::to_string(i) + ".attn_norm.weight"].data;
      for (size_t c = 3; c < norm.size(); c += 19) norm[c] *= 24;
    }
    write_hugging_face(tiny, in(), bias ? "qwen2" : "llama");
    write_file(in() + "/tokenizer.json", kTokenizer);
    std::string text;
    uint32_t state = 1;
    for (int i = 0; i < 1500; ++i) {
      state = state * 1664525 + 1013904223;
      text += static_cast<char>('a' + (state >> 24) % 9);
    }
    write_file(dir / "text.txt", text);
    options.threads = 2;
    options.scales = true;
    options.calibration = dir / "text.txt";
    options.window = 40;
  }
  std::string in() const { return dir / "in"; }
};

const std::vector<Token> kTokens = {3, 12, 7, 9, 14, 5, 5, 11, 4, 8, 15, 6};

std::vector<float> logits_in(const std::string& path, WeightType weights = WeightType::automatic) {
  ModelOptions options;
  options.threads = 2;
  options.activations = Activations::f32;
  options.weights = weights;
  return logits_of(Model(path, options), kTokens);
}

void test_folding_keeps_the_function() {
  for (const bool bias : {false, true}) {
    const Setup setup(96, bias);
    ModelOptions options;
    options.threads = 2;
    options.activations = Activations::f32;
    options.weights = WeightType::f32;
    const Model model(setup.in(), options);
    const std::vector<float> before = logits_of(model, kTokens);
    auto& impl = const_cast<ModelImpl&>(*model.impl());  // of this test alone
    const Compute compute{*impl.kernels, *impl.pool};
    std::mt19937 random(5);
    std::uniform_real_distribution<float> factor(0.2f, 5.0f);
    size_t n_folds = 0;
    for (LayerWeights& layer : impl.weights.layers)
      for (const Fold& fold : folds_of(impl.config, layer)) {
        const std::vector<float> max_abs(fold.readers.front()->view.shape.cols, 1.0f);
        std::vector<float> s(max_abs.size());
        for (float& v : s) v = factor(random);
        limit_scale(fold, max_abs, s);
        apply_fold(compute, fold, s);
        ++n_folds;
      }
    check_eq(n_folds, size_t{12}, "folds");
    check(relative_norm(logits_of(model, kTokens), before) <
              1e-5 * (bias ? 100 : 1),  // biases become fp16
          "the function changed");
  }
}

void test_scales_pay() {
  Setup setup;
  const std::vector<float> exact = logits_in(setup.in(), WeightType::f32);
  const auto error = [&](bool scales, Rounding rounding) {
    setup.options.scales = scales;
    setup.options.rounding = rounding;
    const std::string out =
        setup.dir / (std::to_string(scales) + std::to_string(int(rounding)) + ".nib");
    quantize(setup.in(), out, setup.options);
    check(!std::filesystem::exists(out + ".part"), "the work folder is removed");
    return relative_norm(logits_in(out), exact);
  };
  const double rtn = error(false, Rounding::nearest), awq = error(true, Rounding::nearest);
  check(awq < 0.8 * rtn, "scales: " + std::to_string(awq) + " of " + std::to_string(rtn));
  for (const Rounding rounding : {Rounding::clip, Rounding::importance, Rounding::compensated})
    check(error(true, rounding) < rtn, "rounding");
}

void test_shared_scales() {
  Setup setup(512, false, 256);
  const std::vector<float> exact = logits_in(setup.in(), WeightType::f32);
  const auto error = [&](GroupScales group_scales, bool scales, Rounding rounding) {
    setup.options.group_scales = group_scales;
    setup.options.scales = scales;
    setup.options.rounding = rounding;
    const std::string out = setup.dir / "out.nib";
    const double bits = quantize(setup.in(), out, setup.options).info.bits_per_weight;
    return std::pair{relative_norm(logits_in(out), exact), bits};
  };
  using enum GroupScales;
  const auto nearest = error(shared, false, Rounding::nearest);
  const auto best = error(shared, true, Rounding::compensated);
  const auto mixed = error(shared_mix, true, Rounding::compensated);
  check(best.first < nearest.first, "calibration pays");
  check(mixed.first < nearest.first, "with some matrices in six bits, too");
  check(mixed.second > best.second, "which cost");

  const auto refused = [&](const char* why, const std::function<void(QuantizeOptions&)>& change) {
    QuantizeOptions options = setup.options;
    change(options);
    check_error([&] { quantize(setup.in(), setup.dir / "refused", options); }, why);
  };
  refused("groups of 32", [](QuantizeOptions& o) { o.group = 64; });
  refused("symmetric", [](QuantizeOptions& o) { o.symmetric = true; });
  refused("format awq", [](QuantizeOptions& o) { o.format = QuantizeFormat::awq; });
  refused("clipping", [](QuantizeOptions& o) { o.rounding = Rounding::clip; });
  refused("are for 4-bit", [](QuantizeOptions& o) { o.weights = WeightType::q8; });

  Setup narrow;
  narrow.options.group_scales = shared_mix;
  const QuantizeResult result = quantize(narrow.in(), narrow.dir / "out.nib", narrow.options);
  check_eq(result.notes.size(), size_t{1}, "inputs of 64 and 96 are noted");
  narrow.options.group_scales = own;
  quantize(narrow.in(), narrow.dir / "own.nib", narrow.options);
  check(read_file(narrow.dir / "out.nib") == read_file(narrow.dir / "own.nib"), "their own scales");
}

void test_layers_are_reported() {
  Setup setup;
  std::vector<QuantizedLayer> layers;
  setup.options.on_layer = [&](const QuantizedLayer& layer) { layers.push_back(layer); };
  quantize(setup.in(), setup.dir / "out.nib", setup.options);
  check_eq(layers.size(), size_t{3}, "layers");
  for (const QuantizedLayer& layer : layers) {
    check(layer.error_before > 0 && layer.error_after > 0, "errors");
    check(layer.error_after < layer.error_before, "less");
  }
}

void test_awq_directory_is_the_same_model() {
  for (const bool bias : {false, true}) {
    Setup setup(96, bias);
    quantize(setup.in(), setup.dir / "out.nib", setup.options);
    setup.options.format = QuantizeFormat::awq;
    const QuantizeResult result = quantize(setup.in(), setup.dir / "out", setup.options);
    check(result.notes.empty(), "everything is 4 bits");
    check(logits_in(setup.dir / "out") == logits_in(setup.dir / "out.nib"), "logits");
    check(std::filesystem::exists(setup.dir / "out/tokenizer.json"), "the tokenizer is copied");
    check(
        read_file(setup.dir / "out/config.json").find("\"version\": \"gemm\"") != std::string::npos,
        "quantization_config");
  }
}

void test_groups_that_do_not_divide() {
  Setup setup(100);  // 100 inputs of down: no multiple of 32; 100 outputs of gate: none of 8
  quantize(setup.in(), setup.dir / "out.nib", setup.options);
  const std::vector<float> exact = logits_in(setup.in(), WeightType::f32);
  check(relative_norm(logits_in(setup.dir / "out.nib"), exact) < 0.5, "padded groups");
  setup.options.format = QuantizeFormat::awq;
  const QuantizeResult result = quantize(setup.in(), setup.dir / "out", setup.options);
  check_eq(result.notes.size(), size_t{9}, "gate, up and down of three layers stay in 16 bits");
  check(relative_norm(logits_in(setup.dir / "out", WeightType::f16), exact) < 0.5, "loads");
}

void test_resume() {
  Setup setup;
  setup.options.rounding = Rounding::compensated;
  quantize(setup.in(), setup.dir / "whole.nib", setup.options);
  const std::string out = setup.dir / "out.nib";
  QuantizeOptions stopping = setup.options;
  int n_done = 0;
  stopping.on_layer = [&](const QuantizedLayer&) { ++n_done; };
  stopping.progress = [&](double) { return n_done < 2; };
  check_error([&] { quantize(setup.in(), out, stopping); }, "cancelled");
  check(!std::filesystem::exists(out), "no output");
  check(std::filesystem::exists(out + ".part"), "the finished layers");
  check_error([&] { quantize(setup.in(), out, setup.options); }, "--resume");
  QuantizeOptions other = setup.options;
  other.resume = true;
  other.group = 64;
  check_error([&] { quantize(setup.in(), out, other); }, "other options");
  for (const auto& [file, from, to] :
       {std::tuple{"/config.json", "\"rope_theta\":1", "\"rope_theta\":2"},
        std::tuple{"/tokenizer.json", "\"a b\",\"c d\"", "\"c d\",\"a b\""}}) {
    const std::string path = setup.in() + file, before = read_file(path);
    std::string changed = before;
    const size_t at = changed.find(from);
    check(at != std::string::npos, path);
    write_file(path, changed.replace(at, std::string_view(from).size(), to));
    other = setup.options;
    other.resume = true;
    check_error([&] { quantize(setup.in(), out, other); }, "another input");
    write_file(path, before);
  }
  QuantizeOptions rest = setup.options;
  rest.resume = true;
  rest.threads = 1;
  n_done = 0;
  rest.on_layer = stopping.on_layer;
  quantize(setup.in(), out, rest);
  check_eq(n_done, 1, "layers that were left");
  check(read_file(out) == read_file(setup.dir / "whole.nib"), "bit for bit");
  check(!std::filesystem::exists(out + ".part"), "the folder is gone");
}

// What a run leaves that is killed before its first layer is finished.
void test_killed_early() {
  const Setup setup;
  const std::string out = setup.dir / "out.nib";
  const auto leave = [&](const char* file) {
    std::filesystem::create_directory(out + ".part");
    write_file(out + ".part/recipe.txt", "nibble 0\n");
    write_file(out + ".part/" + file, "x");
  };
  for (const bool resume : {false, true}) {
    leave("layer-0.safetensors.part-1-0");
    QuantizeOptions options = setup.options;
    options.resume = resume;
    quantize(setup.in(), out, options);
    check(!std::filesystem::exists(out + ".part"), "the folder is gone");
  }
  leave("layer-0.safetensors");
  check_error([&] { quantize(setup.in(), out, setup.options); }, "--resume");
}

// Cancelled anywhere, from any thread, it leaves what it had finished.
void test_cancelled() {
  Setup setup;
  const std::string out = setup.dir / "out.nib";
  std::atomic<int> n_asked = 0;
  int n_layers = 0, asked_before_layer = 0;
  setup.options.cancelled = [&] { return ++n_asked == 0; };
  setup.options.on_layer = [&](const QuantizedLayer&) {
    if (n_layers++ == 0) asked_before_layer = n_asked;
  };
  quantize(setup.in(), out, setup.options);
  const std::string whole = read_file(out);
  std::filesystem::remove(out);
  const int n_all = n_asked, n_first = asked_before_layer;
  check(n_first > 100, "asked often within a layer");
  for (const int n : {1, n_first / 2, n_first + n_all / 10, n_all - 1}) {
    n_asked = n_layers = 0;
    QuantizeOptions options = setup.options;
    options.cancelled = [&, n] { return ++n_asked >= n; };
    check_error([&] { quantize(setup.in(), out, options); }, "cancelled");
    check(n_asked < n + 100, "nothing is begun after that");
    check_eq(n_layers > 0, n > n_first, "layers that were finished");
    check(!std::filesystem::exists(out), "no output");
    check_eq(std::filesystem::exists(out + ".part"), n_layers > 0, "finished layers are kept");
    options.cancelled = {};
    options.resume = true;
    quantize(setup.in(), out, options);
    check(read_file(out) == whole, "bit for bit after resuming");
    std::filesystem::remove(out);
  }
}

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
  const auto run = [&](int index, LayerPart part) {
    run_layer(
        impl, cache, ws, index, window.size(),
        [&](std::span<const PackedMatrix* const> readers, const float* x, size_t stride,
            size_t n_rows, size_t cols) {
          if (readers.front() != &impl.weights.layers[1].q) return true;
          for (size_t t = 0; t < n_rows; ++t)
            out.insert(out.end(), x + t * stride, x + t * stride + cols);
          return true;
        },
        part);
  };
  embed_tokens(impl, ws, window);
  layer.load(model.layers[0]);
  if (down) layer.write_rounded(&impl.weights.layers[0].down, *down);
  layer.show(down != nullptr);
  run(0, LayerPart::whole);
  layer.load(model.layers[1]);
  const std::vector<float> before(ws.x, ws.x + window.size() * ws.x_stride);
  run(1, LayerPart::attention);
  check(std::equal(before.begin(), before.end(), ws.x), "attention alone leaves the stream");
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
    const Stage second{.matrices = {&q}, .unneeded = {}, .in_attention = true};
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

std::string all_files(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.is_regular_file()) files[entry.path().filename().string()] = read_file(entry.path());
  std::string text;
  for (const auto& [name, bytes] : files) text += name + bytes;
  return text;
}

void test_input_is_never_overwritten() {
  Setup setup;
  const std::string in = all_files(setup.in()), text = read_file(setup.options.calibration);
  std::filesystem::create_symlink(setup.in() + "/config.json", setup.dir / "link");
  for (const bool calibrated : {false, true}) {
    const QuantizeOptions options = calibrated ? setup.options : QuantizeOptions();
    const auto refused = [&](const std::string& out, const char* why) {
      check_error([&] { quantize(setup.in(), out, options); }, why);
      check(all_files(setup.in()) == in && read_file(setup.dir / "text.txt") == text, out);
    };
    refused(setup.in() + "/model.safetensors", "is the input itself");
    refused(setup.in() + "/config.json", "beside the weights");
    refused(setup.dir / "in/../in/tokenizer.json", "beside the weights");
    refused(setup.dir / "link", "beside the weights");
    if (calibrated) refused(setup.dir / "./text.txt", "is the calibration text");
  }
  for (int i = 0; i < 2; ++i) quantize(setup.in(), setup.in() + "/own.nib");  // may be made anew
}

void test_weights_that_are_not_finite() {
  Setup setup;
  for (const char* name : {"token_embd.weight", "blk.1.ffn_down.weight"})
    for (const float value : {NAN, -INFINITY}) {
      TinyModel spoilt = setup.tiny;
      spoilt.tensors[name].data[70] = value;
      write_hugging_face(spoilt, setup.in());
      for (const QuantizeOptions& options : {QuantizeOptions(), setup.options})
        check_error([&] { quantize(setup.in(), setup.dir / "out.nib", options); },
                    std::string(name).starts_with("blk") ? "layers.1.mlp.down_proj.weight: holds a"
                                                         : "embed_tokens.weight: holds a");
      check(!std::filesystem::exists(setup.dir / "out.nib"), "no output");
      std::filesystem::remove_all(setup.dir / "out.nib.part");
    }
}

void test_refusals() {
  Setup setup;
  const std::string out = setup.dir / "out.nib";
  const auto refused = [&](const std::string& in, const char* part) {
    check_error([&] { quantize(in, out, setup.options); }, part);
    check(!std::filesystem::exists(out), "no output");
    check(!std::filesystem::exists(out + ".part"), "no folder without a finished layer");
  };
  write_file(setup.dir / "empty.jsonl", "\n");
  setup.options.calibration = setup.dir / "empty.jsonl";
  refused(setup.in(), "no text to calibrate with");
  write_file(setup.dir / "bad.jsonl", "{\"question\": \"?\"}\n");
  setup.options.calibration = setup.dir / "bad.jsonl";
  refused(setup.in(), "bad.jsonl:1");
  setup.options.calibration = setup.dir / "text.txt";
  setup.options.format = QuantizeFormat::awq;
  quantize(setup.in(), setup.dir / "quantized", setup.options);
  check_error([&] { quantize(setup.in(), setup.dir / "quantized", setup.options); }, "exists");
  refused(setup.dir / "quantized", "quantized already");
  setup.options.format = QuantizeFormat::nib;
  setup.tiny.context = 1;
  write_hugging_face(setup.tiny, setup.dir / "short");
  write_file(setup.dir / "short/tokenizer.json", kTokenizer);
  refused(setup.dir / "short", "a context of one token");
  setup.options.window = 1;
  refused(setup.in(), "window");
  check_error([&] { quantize(setup.in(), setup.dir / "folder/", setup.options); },
              "ends with a slash");
  setup.options = {};
  setup.options.isa = "z80";
  refused(setup.in(), "z80");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {
                 {"folding keeps the function", test_folding_keeps_the_function},
                 {"scales pay", test_scales_pay},
                 {"shared scales", test_shared_scales},
                 {"layers are reported", test_layers_are_reported},
                 {"an AWQ directory is the same model", test_awq_directory_is_the_same_model},
                 {"groups that do not divide", test_groups_that_do_not_divide},
                 {"resume", test_resume},
                 {"killed before a layer is finished", test_killed_early},
                 {"cancelled", test_cancelled},
                 {"products left out", test_products_left_out},
                 {"rows of two models", test_rows_of_two_models},
                 {"the input is never overwritten", test_input_is_never_overwritten},
                 {"weights that are not finite", test_weights_that_are_not_finite},
                 {"refusals", test_refusals},
             });
}
