// Calibration of the model families: in every one, scales that move between matrices keep the
// function; and the whole quantization runs in those that differ in what it does.
#include <random>
#include <set>

#include "awq/fold.h"
#include "family_cases.h"
#include "logits.h"
#include "model/families.h"
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

std::vector<Token> some_tokens() {
  std::vector<Token> tokens;
  for (int i = 0; i < 20; ++i) tokens.push_back((i * i * 7 + i * 3 + 5) % 11);
  return tokens;
}
const std::vector<Token> kTokens = some_tokens();

Model open_exact(const std::string& path, WeightType weights) {
  ModelOptions options;
  options.threads = 1;
  options.activations = Activations::f32;
  options.weights = weights;
  return Model(path, options);
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
/// o behind clipped values; down behind a GELU, or each expert's behind values that are clamped.
size_t expected_unfolded(const Config& c) {
  size_t n = 0;
  const bool stream =
      c.norm_placement == NormPlacement::after || c.norm_placement == NormPlacement::residual;
  if (stream) n += c.gated_ffn ? 5 : 4;
  if (c.qkv_clip != 0) n += 1;
  if (c.activation == Activation::swiglu_oai) n += static_cast<size_t>(c.n_experts);
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

/// What calibration, folding and the writers treat apart, a word for each way that the model takes:
/// two models of the same words run the same code on other names and numbers.
std::set<std::string> ways_of(const FamilyCase& c, const ModelImpl& model) {
  const Config& config = model.config;
  const LayerWeights& layer = model.weights.layers.front();
  const Layout& layout =
      find_family_hugging_face(c.config.string("model_type"))->hugging_face_layout;
  std::set<std::string> out;
  const auto add = [&](bool there, const std::string& word) {
    if (there) out.insert(word);
  };
  const auto number = [](auto value) { return " " + std::to_string(static_cast<int>(value)); };
  const std::string order = "order of q, k, v" + number(layout.qkv);
  const std::string wiring = number(config.norm_placement) + number(config.residual);
  add(true, "norms and residual" + wiring);
  add(config.gated_ffn, "gated");
  add(!config.gated_ffn, "activation" + number(config.activation == Activation::relu));
  add(config.n_experts > 0, "experts");
  add(config.n_heads != config.n_kv_heads, "heads share values, " + order);
  add(!layer.v_bias.empty(), "values with a bias, " + order);
  add(!layer.attn_norm_bias.empty(), "norms with a bias" + wiring);
  add(!layer.up_bias.empty(), "up with a bias" + number(config.gated_ffn));
  add(config.qkv_clip != 0, "clipped");
  add(config.residual_scale != 1, "scaled residual");
  add(config.positions == Positions::learned, "learned positions");
  add(config.embedding_dim != 0, "projected embedding");
  add(!model.weights.embedding_norm.empty(), "norm of the embedding");
  add(true, order);
  add(layout.gate_up, "gate and up in one tensor");
  add(layout.interleaved_rope, "rows of q and k reordered, " + order);
  add(config.qk_norm != QkNorm::none,
      "norms of q and k" + number(config.qk_norm) + number(layout.interleaved_rope));
  add(config.dim % 32 != 0, "no whole groups, transposed" + number(layout.transposed));
  add(layout.unit_norms, "norms of 1 + weight");
  add(layout.transposed, "transposed");
  return out;
}

/// The same with one layer, and feed-forward networks of whole groups, so that a directory has 4
/// bits everywhere. What passes from layer to layer is test_awq_model's.
FamilyConfig smaller(const FamilyConfig& config) {
  std::string changes;
  const auto change = [&](const char* key, const std::string& value) {
    if (config.has(key))
      changes.append(changes.empty() ? "\"" : ",\"").append(key).append("\":").append(value);
  };
  for (const char* key : {"num_hidden_layers", "n_layer", "n_layers", "num_layers"})
    change(key, "1");
  if (config.has("layer_types"))
    change("layer_types", "[\"" + config.strings("layer_types").front() + "\"]");
  change("no_rope_layers", "[1]");
  for (const char* key :
       {"intermediate_size", "shared_intermediate_size", "moe_intermediate_size", "ffn_dim"})
    if (config.has(key)) change(key, std::to_string((config.integer(key) + 31) / 32 * 32));
  return config.with("{" + changes + "}");
}

/// Makes some channels of the embedding louder, as those of large models are, so that scales pay.
void make_loud(Tensors& tensors, int vocab) {
  for (auto& [name, tensor] : tensors) {
    if (tensor.shape.size() != 2 || tensor.shape[0] != static_cast<uint64_t>(vocab)) continue;
    for (size_t i = 5; i < tensor.data.size(); i += 16) tensor.data[i] *= 12;
  }
}

QuantizeOptions calibrated_options(const TempDir& dir) {
  std::string text;
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) text += static_cast<char>('a' + random() % 9);
  write_file(dir / "text.txt", text);
  QuantizeOptions options;
  options.threads = 1;
  options.scales = true;
  options.rounding = Rounding::compensated;
  options.group_scales = GroupScales::own;  // as AutoAWQ's directories have them
  options.calibration = dir / "text.txt";
  options.window = 60;
  return options;
}

/// A calibrated file is nearer to `exact` than one rounded to nearest, and an AWQ directory of the
/// same options is the same model, unless a part of it stays in 16 bits; Conv1D has no such form.
void check_quantized(const TempDir& dir, const std::vector<float>& exact, const Config& config) {
  write_file(dir / "hf/tokenizer.json", kTokenizer);
  QuantizeOptions options = calibrated_options(dir);
  quantize(dir / "hf", dir / "out.nib", options);
  const std::vector<float> found =
      logits_of(open_exact(dir / "out.nib", WeightType::automatic), kTokens);
  const double rtn =
      relative_norm(logits_of(open_exact(dir / "hf", WeightType::automatic), kTokens), exact);
  const double calibrated = relative_norm(found, exact);
  check(calibrated < rtn, std::to_string(calibrated) + ", to nearest " + std::to_string(rtn));

  options.format = QuantizeFormat::awq;
  if (config.architecture == "gpt2")
    return check_error([&] { quantize(dir / "hf", dir / "awq", options); }, "transposed");
  const bool whole = quantize(dir / "hf", dir / "awq", options).notes.empty();
  check_eq(whole, config.dim % 32 == 0, "all is 4 bits");
  if (!whole) return;
  check(logits_of(open_exact(dir / "awq", WeightType::automatic), kTokens) == found,
        "the directory is another model");
}

void check_folding(const Model& model, const std::vector<float>& exact) {
  fold_all(model);
  const double change = relative_norm(logits_of(model, kTokens), exact);  // biases become fp16
  check(change < 1e-3, "folding changed the function: " + std::to_string(change));
}

/// Folds, and quantizes if the family has a way that is not among `seen`.
void run_case(const FamilyCase& c, std::set<std::string>& seen) {
  const FamilyConfig config = smaller(c.config);
  TensorMaker maker(11);
  c.make(maker, config);
  make_loud(maker.tensors, config.integer("vocab_size"));
  TempDir dir;
  write_hugging_face(dir / "hf", config, maker.tensors);
  const Model model = open_exact(dir / "hf", WeightType::f32);
  const std::vector<float> exact = logits_of(model, kTokens);
  const std::set<std::string> ways = ways_of(c, *model.impl());
  check_folding(model, exact);
  const size_t n_seen = seen.size();
  seen.insert(ways.begin(), ways.end());
  if (seen.size() > n_seen) check_quantized(dir, exact, model.config());
}

/// gpt-oss has experts that are not quantized yet in GGUF files alone.
void run_gpt_oss() {
  const FamilyCase c = gpt_oss_cases().front();
  TensorMaker maker(11);
  c.make(maker, c.config);
  const TempDir dir;
  write_file(dir / "model.gguf", c.gguf(c.config, maker.tensors));
  const Model model = open_exact(dir / "model.gguf", WeightType::f32);
  check_folding(model, logits_of(model, kTokens));
}

}  // namespace

int main(int argc, char** argv) {
  std::set<std::string> seen;  // alone, any case is quantized
  std::vector<Case> cases;
  for (const FamilyCase& c : all_cases())
    cases.push_back({c.name.c_str(), [&c, &seen] { run_case(c, seen); }});
  cases.push_back({"gpt-oss", run_gpt_oss});
  return run(argc, argv, cases);
}
