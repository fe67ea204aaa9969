// The references of the model families themselves: hand-checked numbers, every tensor has a say in
// the logits, and a published model continues its text.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "family_cases.h"
#include "nibble/model.h"
#include "nibble/tokenizer.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Matrix matrix_of(int rows, int cols, std::vector<double> data) {
  Matrix m(rows, cols);
  m.data = std::move(data);
  return m;
}

void building_blocks() {
  // LayerNorm and RMSNorm of (1, 3): mean 2, variance 1; mean square 5.
  const Matrix x = matrix_of(1, 2, {1, 3});
  const Tensor ones{{2}, {1, 1}}, shift{{2}, {10, 20}};
  const Matrix centered = normalize(x, ones, {.eps = 0, .centered = true, .bias = &shift});
  check_near(centered.data[0], 9, 1e-12);
  check_near(centered.data[1], 21, 1e-12);
  check_near(normalize(x, ones, {.eps = 0, .offset = 1}).data[1], 2 * 3 / std::sqrt(5), 1e-12);
  // GELU(1) = Phi(1); the form with tanh differs in the fourth digit.
  check_near(gelu(1), 0.8413447461, 1e-9);
  check_near(gelu_tanh(1), 0.8411919906, 1e-9);
  check_near(silu(1), 0.7310585786, 1e-9);
  // The slopes of the ALiBi paper for 8 heads, and of its code for 6.
  check_near(alibi_slopes(8)[0], 0.5, 1e-12);
  check_near(alibi_slopes(8)[7], 1.0 / 256, 1e-12);
  const double six[] = {1.0 / 4, 1.0 / 16, 1.0 / 64, 1.0 / 256, 1.0 / 2, 1.0 / 8};
  for (size_t h = 0; h < 6; ++h) check_near(alibi_slopes(6)[h], six[h], 1e-12);
}

void rotations() {
  const FamilyConfig plain(R"({"rope_theta":10000.0,"rope_scaling":null})");
  const Rope rope = rope_of(plain, 4, 1);
  check_near(rope.frequencies[1], 0.01, 1e-12);
  // A quarter turn takes (1, 0) to (0, 1), in halves or in pairs; the rest of a head stays.
  Rope quarter{{std::numbers::pi / 2}};
  Matrix x(2, 4);
  for (int i = 0; i < 4; ++i) x.row(1)[i] = i == 0 ? 1 : i == 3 ? 7 : 0;
  for (const bool pairs : {false, true}) {
    quarter.pairs = pairs;
    const Matrix y = rotate(x, 4, quarter);
    check_near(y.row(1)[0], 0, 1e-12);
    check_near(y.row(1)[1], 1, 1e-12);
    check_near(y.row(1)[3], 7, 1e-12);
  }
  // Llama 3.1's own numbers: theta 500000, head of 128, factor 8 of 8192 positions. The fastest
  // frequency stays, the slowest is divided by 8.
  const FamilyConfig llama3(R"({"rope_theta":500000.0,"rope_scaling":{"factor":8.0,
    "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,
    "rope_type":"llama3"}})");
  const auto before = rope_frequencies(500000, 128), after = rope_of(llama3, 128, 1).frequencies;
  check_near(after.front(), 1, 1e-12);
  check_near(after.back(), before.back() / 8, 1e-15);
  // YaRN of factor 4: the magnitude is 0.1 ln 4 + 1.
  const FamilyConfig yarn(R"({"rope_theta":1000000.0,"rope_scaling":{"factor":4.0,
    "original_max_position_embeddings":32768,"type":"yarn"}})");
  const Rope stretched = rope_of(yarn, 128, 1);
  check_near(stretched.magnitude, 1.138629436, 1e-9);
  check_near(stretched.frequencies.front(), 1, 1e-12);
  check_near(stretched.frequencies.back(), rope_frequencies(1e6, 128).back() / 4, 1e-15);
  // Twice the context at a factor of 2 makes theta 3^(d / (d - 2)) times as large.
  const FamilyConfig dynamic(R"({"rope_theta":10000.0,"max_position_embeddings":20,
    "rope_scaling":{"type":"dynamic","factor":2.0}})");
  check_near(rope_of(dynamic, 16, 20).frequencies[1], rope_frequencies(10000, 16)[1], 1e-15);
  check_near(rope_of(dynamic, 16, 40).frequencies[1],
             std::pow(10000 * std::pow(3, 16.0 / 14), -2.0 / 16), 1e-15);
}

void attention_by_hand() {
  // Two positions, one head of one column: scores q k, softmax, then a window of one position.
  const Matrix q = matrix_of(2, 1, {1, 2}), k = matrix_of(2, 1, {3, 4}),
               v = matrix_of(2, 1, {10, 20});
  Attention a{.n_heads = 1, .n_kv_heads = 1, .head_dim = 1, .scale = 0.5};
  const double p = 1 / (1 + std::exp(1.0));  // of scores 3 and 4
  check_near(attend(q, k, v, a).data[0], 10, 1e-12);
  check_near(attend(q, k, v, a).data[1], 10 * p + 20 * (1 - p), 1e-12);
  a.alibi = {1};  // takes the distance's difference of one away
  check_near(attend(q, k, v, a).data[1], 10 / (1 + std::exp(2.0)) + 20 / (1 + std::exp(-2.0)),
             1e-12);
  a.window = 1;
  check_near(attend(q, k, v, a).data[1], 20, 1e-12);
  // Two of three experts, that double and negate what comes in; softmax of (ln 1, ln 2, ln 5).
  const Tensor router{{3, 1}, {0, std::log(2.0f), std::log(5.0f)}};
  const auto expert = [](const Matrix& x, int e) { return x * (e == 1 ? 2.0 : -1.0); };
  const Matrix one = matrix_of(1, 1, {1});
  check_near(mixture(one, router, 2, false, expert).data[0], 2 * 2 / 8.0 - 5 / 8.0, 1e-6);
  check_near(mixture(one, router, 2, true, expert).data[0], 2 * 2 / 7.0 - 5 / 7.0, 1e-6);
}

// Tensors that cannot change the logits: buffers, and biases of k where no position rotates it
// (they add the same to every score of a query).
bool is_silent(const std::string& family, const std::string& tensor) {
  const auto ends = [&](const char* end) { return tensor.ends_with(end); };
  if (ends("attn.bias") || ends("attention.bias") || ends("masked_bias") || ends("inv_freq"))
    return true;
  return tensor.find(".experts.") != std::string::npos ||
         (family.starts_with("opt") && ends("k_proj.bias"));
}

bool is_of_later_layer(const std::string& tensor) {
  for (const char* layer : {".1.", ".2.", ".3.", ".4.", ".5.", ".6."})
    if (tensor.find(layer) != std::string::npos) return true;
  return false;
}

void every_tensor_matters() {
  std::vector<int> tokens;
  for (int i = 0; i < 14; ++i) tokens.push_back((i * 37 + 5) % 91);
  for (const FamilyCase& c : all_cases()) {
    Tensors tensors = c.tensors();
    const Matrix before = c.reference({c.config, tensors}, tokens);
    double largest = 0;
    for (const double v : before.data) largest = std::max(largest, std::abs(v));
    for (auto& [name, tensor] : tensors) {
      if (is_silent(c.name, name) || is_of_later_layer(name)) continue;
      const std::vector<float> kept = tensor.data;
      std::ranges::reverse(tensor.data);
      const Matrix after = c.reference({c.config, tensors}, tokens);
      tensor.data = kept;
      double worst = 0;
      for (size_t i = 0; i < after.data.size(); ++i)
        worst = std::max(worst, std::abs(after.data[i] - before.data[i]));
      check(worst > 1e-3 * largest,
            c.name + ": " + name + " hardly matters: " + std::to_string(worst / largest));
    }
  }
}

/// The f32 tensors of a safetensors file.
Tensors read_tensors(const std::string& path) {
  const std::string bytes = read_file(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const Json index = parse_json(std::string_view(bytes).substr(8, header), path);
  Tensors out;
  for (const auto& [name, info] : index.as_object(path)) {
    if (name == "__metadata__") continue;
    check_eq(info.find("dtype")->as_string(path), "F32");
    Tensor& t = out[name];
    for (const Json& n : info.find("shape")->as_array(path))
      t.shape.push_back(static_cast<uint64_t>(n.as_int(path)));
    const Json::Array& ends = info.find("data_offsets")->as_array(path);
    const auto begin = static_cast<size_t>(ends[0].as_int(path)),
               end = static_cast<size_t>(ends[1].as_int(path));
    t.data.resize((end - begin) / sizeof(float));
    std::memcpy(t.data.data(), bytes.data() + 8 + header + begin, end - begin);
  }
  return out;
}

void stories_continue() {
  const std::string folder = shared("data/stories260K");
  const std::string golden = read_file(folder + "/golden.txt");
  const Model model(folder + "/stories260K.gguf");  // for its tokenizer
  const FamilyConfig config(read_file(folder + "/hf/config.json"));
  const Tensors tensors = read_tensors(folder + "/hf/model.safetensors");
  std::vector<int> tokens = {1};  // <s>
  for (const int token : model.tokenizer().encode("Once upon a time")) tokens.push_back(token);
  for (int i = 0; i < 30; ++i) {
    const Matrix logits = llama_cases()[0].reference({config, tensors}, tokens);
    const double* last = logits.row(logits.rows - 1);
    tokens.push_back(static_cast<int>(std::max_element(last, last + logits.cols) - last));
  }
  const std::string text = model.tokenizer().decode(tokens);
  check(text.size() > 60 && golden.find(text) != std::string::npos, "it tells: " + text);
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"norms, activations, slopes", building_blocks},
              {"rotations", rotations},
              {"attention and experts by hand", attention_by_hand},
              {"every tensor matters", every_tensor_matters},
              {"a published model continues its text", stories_continue}});
}
