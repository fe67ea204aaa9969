// Calibration of every model family: scales that move between matrices keep the function, and the
// whole quantization runs on its tensors.
#include <cmath>
#include <random>

#include "awq/fold.h"
#include "check.h"
#include "family_cases.h"
#include "model/model_impl.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// Bytes a to i, of models that have tokens enough.
const char* const kTokenizer =
    R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel",)"
    R"("add_prefix_space":false,"use_regex":true},"decoder":{"type":"ByteLevel"},"model":{)"
    R"("type":"BPE","vocab":{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"ab":9,"cd":10)"
    R"(},"merges":["a b","c d"]}})";

std::vector<float> logits_of(const Model& model) {
  Session session(model);
  std::vector<Token> tokens;
  for (int i = 0; i < 20; ++i) tokens.push_back((i * i * 7 + i * 3 + 5) % 11);
  const auto logits = session.eval(tokens, Logits::all);
  return {logits.begin(), logits.end()};
}

Model open_exact(const std::string& path, WeightType weights) {
  ModelOptions options;
  options.threads = 2;
  options.activations = Activations::f32;
  options.weights = weights;
  return Model(path, options);
}

/// The norm of the difference relative to that of `expected`.
double distance(const std::vector<float>& found, const std::vector<float>& expected) {
  check_eq(found.size(), expected.size(), "logits");
  double above = 0, below = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = double{found[i]} - double{expected[i]};
    above += d * d;
    below += double{expected[i]} * double{expected[i]};
  }
  return std::sqrt(above / below);
}

/// The matrices of a layer whose columns no fold scales.
size_t unfolded(const LayerWeights& layer, const std::vector<Fold>& folds) {
  size_t n = 0;
  for_each_matrix(layer, [&](const PackedMatrix& m) {
    bool read = false;
    for (const Fold& fold : folds)
      for (const PackedMatrix* reader : fold.readers) read = read || reader == &m;
    n += read ? 0 : 1;
  });
  return n;
}

/// Those of the family by its published arithmetic: q, k, v, gate, up behind no norm of their own;
/// o behind clipped values; down behind a GELU.
size_t expected_unfolded(const Config& c) {
  size_t n = 0;
  const bool stream =
      c.norm_placement == NormPlacement::after || c.norm_placement == NormPlacement::residual;
  if (stream) n += c.gated_ffn ? 5 : 4;
  if (c.qkv_clip != 0) n += 1;
  if (!c.gated_ffn && c.activation != Activation::relu && !c.activation_scales) n += 1;
  return n;
}

void fold_all(const Model& model) {
  auto& impl = const_cast<ModelImpl&>(*model.impl());  // of this test alone
  const Compute compute{*impl.kernels, *impl.pool};
  std::mt19937 random(5);
  std::uniform_real_distribution<float> factor(0.2f, 5.0f);
  for (LayerWeights& layer : impl.weights.layers) {
    const std::vector<Fold> folds = folds_of(impl.config, layer);
    check_eq(unfolded(layer, folds), expected_unfolded(impl.config), "matrices without a scale");
    for (const Fold& fold : folds) {
      const std::vector<float> max_abs(fold.readers.front()->view.shape.cols, 1.0f);
      std::vector<float> s(max_abs.size());
      for (float& v : s) v = factor(random);
      limit_scale(fold, max_abs, s);
      apply_fold(compute, fold, s);
    }
  }
}

/// The AWQ directory of the same options is the same model; Conv1D has no such form.
void check_directory(const TempDir& dir, QuantizeOptions options) {
  options.format = QuantizeFormat::awq;
  const std::string model_type = open_exact(dir / "hf", WeightType::f32).config().architecture;
  if (model_type == "gpt2")
    return check_error([&] { quantize(dir / "hf", dir / "awq", options); }, "transposed");
  const QuantizeResult result = quantize(dir / "hf", dir / "awq", options);
  if (!result.notes.empty()) return;  // what stays in 16 bits differs
  check(logits_of(open_exact(dir / "awq", WeightType::automatic)) ==
            logits_of(open_exact(dir / "out.nib", WeightType::automatic)),
        "the directory is another model");
}

void run_case(const FamilyCase& c) {
  TensorMaker maker(11);
  c.make(maker, c.config);
  TempDir dir;
  write_hugging_face(dir / "hf", c.config, maker.tensors);
  const std::vector<float> exact = logits_of(open_exact(dir / "hf", WeightType::f32));
  {
    const Model model = open_exact(dir / "hf", WeightType::f32);
    fold_all(model);
    const double change = distance(logits_of(model), exact);  // biases become fp16
    check(change < 1e-3, "folding changed the function: " + std::to_string(change));
  }
  write_file(dir / "hf/tokenizer.json", kTokenizer);
  std::string text;
  std::mt19937 random(3);
  for (int i = 0; i < 250; ++i) text += static_cast<char>('a' + random() % 9);
  write_file(dir / "text.txt", text);
  QuantizeOptions options;
  options.threads = 2;
  options.scales = true;
  options.rounding = Rounding::compensated;
  options.calibration = dir / "text.txt";
  options.window = 60;
  quantize(dir / "hf", dir / "out.nib", options);
  const double rtn = distance(logits_of(open_exact(dir / "hf", WeightType::automatic)), exact);
  const double calibrated =
      distance(logits_of(open_exact(dir / "out.nib", WeightType::automatic)), exact);
  check(calibrated < rtn, std::to_string(calibrated) + ", to nearest " + std::to_string(rtn));
  check_directory(dir, options);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<FamilyCase> families = all_cases();
  std::vector<Case> cases;
  for (const FamilyCase& c : families) cases.push_back({c.name.c_str(), [&c] { run_case(c); }});
  return run(argc, argv, cases);
}
