// Quantization of whole models with calibration: tiny random ones, in every output form.
#include <atomic>
#include <map>

#include "awq/fold.h"
#include "awq/work_folder.h"
#include "awq_setup.h"
#include "check.h"
#include "logits.h"
#include "model/model_impl.h"
#include "model/model_loader.h"
#include "nibble/session.h"

namespace {

using namespace nibble;
using namespace nibble::test;

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
  Setup setup(512, false, 256, /*n_layers=*/1);  // wide matrices take long under an emulator
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
  const std::string file = read_file(setup.dir / "out.nib");
  error(automatic, true, Rounding::compensated);
  check(read_file(setup.dir / "out.nib") == file, "mixed where nobody says it");
  check(best.first < nearest.first, "calibration pays");
  check(mixed.first < nearest.first, "with some matrices in six bits, too");
  check(mixed.second > best.second, "which cost");

  const auto refused = [&](const char* why, const std::function<void(QuantizeOptions&)>& change) {
    QuantizeOptions options = setup.options;
    options.group_scales = shared_mix;
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
  // What cannot share has its own where nobody says it.
  const auto same = [&](const auto& change) {
    std::string files[2];
    for (const GroupScales scales : {automatic, own}) {
      QuantizeOptions options = narrow.options;
      options.group_scales = scales;
      change(options);
      quantize(narrow.in(), narrow.dir / "out.nib", options);
      files[scales == own] = read_file(narrow.dir / "out.nib");
    }
    return files[0] == files[1];
  };
  check(same([](QuantizeOptions& o) { o.group = 64; }), "groups of 64");
  check(same([](QuantizeOptions& o) { o.rounding = Rounding::clip; }), "clip");
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
    const std::string config = read_file(setup.dir / "out/config.json");
    for (const char* part :
         {"\"version\": \"gemm\"", bias ? "\"Qwen2ForCausalLM\"" : "\"LlamaForCausalLM\""})
      check(config.find(part) != std::string::npos, part);
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

void test_one_run_at_a_time() {
  Setup setup;
  const std::string out = setup.dir / "out.nib";
  {
    const WorkFolder other(out + ".part", "of another run", false);
    check_error([&] { quantize(setup.in(), out, setup.options); }, "is in use by another run");
  }
  // What another program does to the folder is noticed before any work.
  QuantizeOptions options = setup.options;
  options.on_layer = [](const QuantizedLayer&) { throw Error("test", "stopped"); };
  check_error([&] { quantize(setup.in(), out, options); }, "stopped");
  const std::string layer = out + ".part/layer-0.safetensors", good = read_file(layer);
  options.on_layer = [](const QuantizedLayer&) { fail("worked"); };
  options.resume = true;
  write_file(layer, good.substr(0, good.size() / 2));
  check_error([&] { quantize(setup.in(), out, options); },
              "(remove " + layer + ", and --resume makes the layer anew)");
  write_file(layer, safetensors_of({{"blk.0.attn_q.weight", DType::u8, {3}, "abc"}}));
  check_error([&] { quantize(setup.in(), out, options); }, "attn_");
  write_file(layer, good);
  options.on_layer = {};
  double last = 0;
  options.progress = [&](double part) {
    check(part >= last && part <= 1, "progress");
    last = part;
    return true;
  };
  quantize(setup.in(), out, options);
  check_eq(last, 1.0, "all is done");
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
                 {"the input is never overwritten", test_input_is_never_overwritten},
                 {"weights that are not finite", test_weights_that_are_not_finite},
                 {"one run at a time", test_one_run_at_a_time},
                 {"refusals", test_refusals},
             });
}
