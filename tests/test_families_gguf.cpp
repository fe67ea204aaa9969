// GGUF files that say the same as others in other words: those of other converters, and of the
// first version of one.
#include "family_cases.h"
#include "logits.h"
#include "model/config_reader.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr int kTokens = 40;

std::string gguf_of(const FamilyCase& c) { return c.gguf(c.config, c.tensors()); }

std::vector<int> some_tokens() {
  std::vector<int> out;
  for (int i = 0; i < kTokens; ++i) out.push_back((i * 37 + 5) % 91);
  return out;
}

Config config_of(const std::string& gguf) {
  const TempDir dir;
  write_file(dir / "model.gguf", gguf);
  return read_config(open_checkpoint(dir / "model.gguf"));
}

std::vector<float> gguf_logits(const std::string& gguf) {
  const TempDir dir;
  write_file(dir / "model.gguf", gguf);
  return logits_of(Model(dir / "model.gguf", exact_options()), some_tokens(), {.context = kTokens});
}

void check_right(const std::string& gguf, const FamilyCase& c, const std::string& what) {
  const Matrix expected = c.reference({c.config, c.tensors()}, some_tokens());
  check(relative_max(gguf_logits(gguf), expected.data) <= 1e-4, what);
}

void check_refused(const std::string& gguf, const std::string& says) {
  check_error([&] { config_of(gguf); }, says);
}

std::string list(const std::vector<int32_t>& values) {
  std::vector<std::string> elements;
  for (const int32_t v : values) elements.push_back(raw(v));
  return GgufBuilder::array(GgufValue::i32, elements);
}

// The file with a number for each layer in place of one for all.
std::string with_list(const std::string& gguf, const std::string& name,
                      const std::vector<int32_t>& values) {
  return with_key(with_key_renamed(gguf, name, "_" + name.substr(1)), name, GgufValue::array,
                  list(values));
}

void numbers_of_layers() {
  const FamilyCase& c = case_named("granite 4, dense");
  const std::string plain = gguf_of(c);
  const Config config = config_of(plain);
  const auto n = static_cast<size_t>(config.n_layers);
  struct Key {
    std::string name;
    int32_t value;
  };
  std::string all = plain;
  for (const Key& key : {Key{"granite.attention.head_count_kv", config.n_kv_heads},
                         Key{"granite.attention.head_count", config.n_heads},
                         Key{"granite.feed_forward_length", config.ffn_dim}}) {
    std::vector<int32_t> values(n, key.value);
    all = with_list(all, key.name, values);
    values.pop_back();
    check_refused(with_list(plain, key.name, values), key.name);
    values.push_back(2 * key.value);
    check_refused(with_list(plain, key.name, values), key.name);
  }
  all = with_key(all, "granite.ssm.state_size", GgufValue::u32, raw(256u));
  all = with_key(all, "granite.ssm.conv_kernel", GgufValue::u32, raw(4u));
  all = with_key(all, "granite.rope.scaling.finetuned", GgufValue::boolean, raw(uint8_t{1}));
  check(gguf_logits(all) == gguf_logits(plain), "the logits differ");
  const FamilyCase& llama = case_named("llama");
  check_refused(with_key(gguf_of(llama), "llama.ssm.state_size", GgufValue::u32, raw(256u)),
                "llama.ssm.state_size");
}

void granite_that_does_not_rotate() {
  const std::string plain = gguf_of(case_named("granite 4, dense"));
  const Config config = config_of(
      with_key(plain, "granite.rope.scaling.finetuned", GgufValue::boolean, raw(uint8_t{0})));
  check_eq(std::ranges::count(config.nope_layers, 1), config.n_layers);
}

// Rows of each head from pairs (2i, 2i + 1) to halves, as far as it rotates.
Tensor pairs_to_halves(const Tensor& w, int head_dim, int rotated) {
  std::vector<int> order;
  for (int head = 0; head < static_cast<int>(w.shape[0]); head += head_dim)
    for (int i = 0; i < head_dim; ++i)
      order.push_back(head + (i >= rotated ? i : i < rotated / 2 ? 2 * i : 2 * i - rotated + 1));
  return pick_rows(w, order);
}

// GLM 4.1V, whose positions have sections for images.
void glm_of_images() {
  const FamilyCase& c = case_named("glm4");
  Tensors moved = c.tensors();
  for (auto& [name, tensor] : moved)
    if (name.find(".q_proj.") != std::string::npos || name.find(".k_proj.") != std::string::npos)
      tensor = pairs_to_halves(tensor, 24, 12);
  const auto with_sections = [](const std::string& gguf, const std::string& architecture,
                                const std::vector<int32_t>& sections) {
    return with_key(gguf, architecture + ".rope.dimension_sections", GgufValue::array,
                    list(sections));
  };
  check_right(with_sections(c.gguf(c.config, moved), "glm4", {2, 2, 2, 0}), c, "sections");
  check_right(with_sections(gguf_of(c), "glm4", {0, 0, 0, 0}), c, "no sections");
  // Halves as in other files, and pairs, of which none is known to have sections.
  const FamilyCase &qwen = case_named("qwen3"), &llama = case_named("llama");
  check_right(with_sections(gguf_of(qwen), "qwen3", {4, 2, 2, 0}), qwen, "qwen3");
  check_refused(with_sections(gguf_of(llama), "llama", {4, 4, 4, 0}),
                "llama.rope.dimension_sections");
}

void keys_of_rope() {
  const auto number = [](float x) { return raw(x); };
  using enum GgufValue;
  struct Key {
    const char* family;
    std::string key;
    GgufValue type;
    std::string value;
    bool refused;
  };
  const std::string llama = "llama.rope.scaling.";
  const Key keys[] = {
      {"llama", "llama.rope.global.freq_base", f32, number(1e6f), true},
      {"llama", "llama.rope.scaling_beta", f32, number(0.1f), true},
      {"llama", "llama.rope.dimension_count_swa", u32, raw(8u), true},
      {"llama", llama + "attn_factor", f32, number(1.2f), true},
      {"llama", llama + "attn_factor", f32, number(1), false},
      {"llama", llama + "yarn_attn_factor", f32, number(1.2f), true},
      {"llama", llama + "original_context_length", u32, raw(32u), false},
      {"llama", llama + "finetuned", boolean, raw(uint8_t{1}), false},
      {"llama", llama + "mscale", f32, number(1), true},
      {"llama, yarn RoPE", llama + "yarn_ext_factor", f32, number(0), true},
      {"llama, yarn RoPE", llama + "yarn_ext_factor", f32, number(1), false},
      {"llama, yarn RoPE", llama + "beta_fast", f32, number(16), true},
      {"bloom", "bloom.rope.scaling.factor", f32, number(2), true},
  };
  for (const Key& k : keys) {
    const std::string gguf = with_key(gguf_of(case_named(k.family)), k.key, k.type, k.value);
    if (k.refused)
      check_refused(gguf, k.key);
    else
      config_of(gguf);
  }
}

void factors_of_yarn() {
  const std::string key = "olmo2.rope.scaling.";
  const FamilyCase& olmo = case_named("olmo3, yarn, default layers");
  const auto factor = [](const std::string& gguf) { return config_of(gguf).rope_attention_factor; };
  const auto with = [](const std::string& gguf, const std::string& name, float value) {
    return with_key(gguf, name, GgufValue::f32, raw(value));
  };
  const std::string plain = gguf_of(olmo);
  check_near(factor(plain), 1.2079441541679836, 1e-6);
  check_near(factor(with(plain, key + "attn_factor", 1.25f)), 1.25, 1e-6, "OLMo 3's first files");
  check_near(factor(with(plain, key + "yarn_attn_factor", 1.25f)), 1.25, 1e-6, "the whole factor");
  const std::string llama = gguf_of(case_named("llama, yarn RoPE"));
  const float usual = factor(llama);
  check_near(factor(with(llama, "llama.rope.scaling.attn_factor", 2)), 2 * usual, 1e-5);
  check_near(factor(with(llama, "llama.rope.scaling.yarn_attn_factor", 1)), 1, 1e-6);
}

// The keys of Ollama's converter: the same in place of llama.cpp's.
void other_names() {
  const FamilyCase& gemma = case_named("gemma3");
  const std::string plain = gguf_of(gemma);
  const std::string none =
      with_key_renamed(plain, "gemma3.rope.freq_base", "_emma3.rope.freq_base");
  check_near(config_of(none).rope_theta, 1e6, 1, "without a theta");
  Config config =
      config_of(with_key(with_key(none, "gemma3.rope.global.freq_base", GgufValue::f32, raw(5e5f)),
                         "gemma3.rope.local.freq_base", GgufValue::f32, raw(2e4f)));
  check_near(config.rope_theta, 5e5, 1);
  check_near(config.rope_local_theta, 2e4, 1);
  const FamilyCase& mistral = case_named("ministral3, other magnitudes");
  const FamilyConfig scaling = mistral.config.object("rope_scaling");
  std::string gguf = gguf_of(mistral);
  const auto renamed = [&](const std::string& from, const std::string& to, const char* member) {
    gguf = with_key_renamed(gguf, "mistral3." + from, "_istral3." + from);
    gguf = with_key(gguf, "mistral3." + to, GgufValue::f32,
                    raw(static_cast<float>(scaling.number(member))));
  };
  renamed("attention.temperature_scale", "rope.scaling_beta", "llama_4_scaling_beta");
  renamed("rope.scaling.yarn_beta_fast", "rope.scaling.beta_fast", "beta_fast");
  renamed("rope.scaling.yarn_beta_slow", "rope.scaling.beta_slow", "beta_slow");
  renamed("rope.scaling.yarn_log_multiplier", "rope.scaling.mscale", "mscale");
  gguf = with_key(gguf, "mistral3.rope.scaling.mscale_all_dim", GgufValue::f32,
                  raw(static_cast<float>(scaling.number("mscale_all_dim"))));
  check_right(gguf, mistral, "Ministral 3");
  // Mistral Small, which has no scaling, has them empty.
  const std::string key = "llama.rope.scaling.";
  std::string small = gguf_of(case_named("llama"));
  small = with_key(small, key + "type", GgufValue::string, GgufBuilder::text(""));
  for (const char* name : {"factor", "beta_fast", "beta_slow"})
    small = with_key(small, key + name, GgufValue::f32, raw(0.0f));
  check(config_of(small).rope_scaling == RopeScaling::none, "no scaling");
}

// The first files of Phi-3 leave it out.
void window_of_phi3() {
  const FamilyCase& c = case_named("phi3");
  const auto window = [&](int layers, int context) {
    const FamilyConfig config = c.config.with(
        R"({"hidden_size":16,"intermediate_size":16,"num_attention_heads":1,
            "num_key_value_heads":1,"num_hidden_layers":)" +
        std::to_string(layers) + R"(,"max_position_embeddings":)" + std::to_string(context) + "}");
    TensorMaker m(1);
    c.make(m, config);
    const std::string key = "phi3.attention.sliding_window";
    return config_of(with_key_renamed(c.gguf(config, m.tensors), key, "_" + key.substr(1)))
        .sliding_window;
  };
  check_eq(window(32, 4096), 2047);
  check_eq(window(40, 4096), 2047);
  check_eq(window(40, 16384), 0, "Phi-4");
}

// What is odd about a tokenizer reaches the user.
void notes_of_tokenizers() {
  std::string gguf = gguf_of(case_named("llama"));
  std::vector<std::string> tokens;
  for (int i = 0; i < 91; ++i) tokens.push_back(GgufBuilder::text("t" + std::to_string(i)));
  using enum GgufValue;
  const auto add = [&](const char* name, GgufValue type, const std::string& value) {
    gguf = with_key(gguf, std::string("tokenizer.ggml.") + name, type, value);
  };
  add("model", string, GgufBuilder::text("gpt2"));
  add("tokens", array, GgufBuilder::array(string, tokens));
  add("merges", array, GgufBuilder::array(string, {}));
  add("eos_token_id", u32, raw(99999u));
  const TempDir dir;
  write_file(dir / "model.gguf", gguf);
  const auto check_notes = [](const std::vector<std::string>& notes) {
    for (const char* says : {"tokenizer.ggml.pre", "eos_token_id is 99999"})
      check(
          std::ranges::any_of(
              notes, [&](const std::string& note) { return note.find(says) != std::string::npos; }),
          says);
  };
  check_notes(Model(dir / "model.gguf", exact_options()).info().notes);
  QuantizeOptions as_it_is;
  as_it_is.weights = WeightType::f32;
  check_notes(quantize(dir / "model.gguf", dir / "model.nib", as_it_is).notes);
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"a number for each layer", numbers_of_layers},
              {"Granite without positions", granite_that_does_not_rotate},
              {"GLM of images and text", glm_of_images},
              {"keys of RoPE", keys_of_rope},
              {"factors of YaRN", factors_of_yarn},
              {"other names", other_names},
              {"the window of Phi-3", window_of_phi3},
              {"notes of tokenizers", notes_of_tokenizers}});
}
