// The model families in the other forms of their checkpoints: 16 bits in several files, and
// quantized by AWQ, GPTQ and compressed-tensors, against the family's double-precision forward
// pass of the values that are stored.
#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>

#include "family_cases.h"
#include "logits.h"
#include "nibble/nibble.h"
#include "quantized_layers.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr double kTolerance = 1e-4;  // of the largest logit
constexpr int kTokens = 30;          // beyond every shortened context of the cases
constexpr size_t kGroup = 16;

std::vector<int> some_tokens(int vocab) {
  std::vector<int> out;
  for (int i = 0; i < kTokens; ++i) out.push_back((i * i * 5 + i * 11 + 3) % vocab);
  return out;
}

// Fails unless the model in `directory` computes the logits of the reference over `tensors`.
void check_logits(const FamilyCase& c, const Tensors& tensors, const std::string& directory,
                  const std::string& what) {
  const std::vector<int> tokens = some_tokens(c.config.integer("vocab_size"));
  const Matrix expected = c.reference({c.config, tensors}, tokens);
  SessionOptions options;
  options.context = kTokens;  // beyond the contexts of some
  const double error =
      relative_max(logits_of(Model(directory, exact_options()), tokens, options), expected.data);
  check(error <= kTolerance, c.name + ", " + what + ": the largest difference is " +
                                 std::to_string(error) + " of the largest logit");
}

Tensors tensors_of(const FamilyCase& c) { return c.tensors(c.name.size()); }

// ---- 16 bits -----------------------------------------------------------------------------------

// The nearest value towards zero that bf16, or fp16 without its subnormals, holds.
float cut(float x, DType type) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (type == DType::bf16) return std::bit_cast<float>(bits & 0xffff0000u);
  if (std::abs(x) < 0x1p-14f || std::abs(x) > 65000.0f) return 0.0f;
  return std::bit_cast<float>(bits & 0xffffe000u);
}

uint16_t half_bits(float x, DType type) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (type == DType::bf16) return static_cast<uint16_t>(bits >> 16);
  const uint32_t sign = bits >> 16 & 0x8000u;
  if (x == 0.0f) return static_cast<uint16_t>(sign);
  const uint32_t exponent = (bits >> 23 & 0xffu) - 127 + 15;
  return static_cast<uint16_t>(sign | exponent << 10 | (bits >> 13 & 0x3ffu));
}

StoredTensor in_16_bits(const std::string& name, const Tensor& t, DType type) {
  StoredTensor out{name, type, t.shape, {}};
  for (const float x : t.data) out.bytes += raw(half_bits(x, type));
  return out;
}

StoredTensor in_f32(const std::string& name, const Tensor& t) {
  return {name, DType::f32, t.shape, bytes_of(t.data)};
}

StoredTensor filled(const std::string& name, DType type, std::vector<uint64_t> shape) {
  uint64_t n = 1;
  for (const uint64_t d : shape) n *= d;
  return {name, type, shape, std::string(n * dtype_info(type).block_bytes, '\1')};
}

// Tensors dealt to two files, and the index that says which has which.
void write_shards(const std::string& directory, const FamilyConfig& config,
                  const StoredTensors& tensors) {
  std::filesystem::create_directories(directory);
  write_file(directory + "/config.json", config.text());
  StoredTensors shards[2];
  std::string map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    shards[i % 2].push_back(tensors[i]);
    map += (map.empty() ? "\"" : ",\"") + tensors[i].name + "\":\"model-0000" +
           std::to_string(i % 2 + 1) + "-of-00002.safetensors\"";
  }
  for (const size_t n : {0u, 1u})
    write_file(directory + "/model-0000" + std::to_string(n + 1) + "-of-00002.safetensors",
               safetensors_of(shards[n]));
  write_file(directory + "/model.safetensors.index.json",
             R"({"metadata":{"total_size":1},"weight_map":{)" + map + "}}");
}

void sixteen_bits(DType type) {
  for (const FamilyCase& c : all_cases()) {
    Tensors tensors = tensors_of(c);
    StoredTensors stored;
    for (auto& [name, t] : tensors) {
      for (float& x : t.data) x = cut(x, type);
      stored.push_back(in_16_bits(name, t, type));
    }
    const TempDir dir;
    write_shards(dir / "hf", c.config, stored);
    check_logits(c, tensors, dir / "hf", dtype_info(type).name);
  }
}

// ---- Grids -------------------------------------------------------------------------------------

// The linear layers that quantizers take: those of layers, without routers.
bool is_linear(const std::string& name, const Tensor& t) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return t.shape.size() == 2 && name.ends_with(".weight") && (has("layers.") || has("h.")) &&
         !has("norm") && !name.ends_with("gate.weight");
}

// Rounds a matrix to a grid whose scales fp16 holds. `symmetric`: every zero is 8. Else it is at
// least 1: the first form of GPTQ has no 0.
test::QuantizedLayer grid_of(const Tensor& w, bool symmetric) {
  test::QuantizedLayer l;
  l.rows = w.shape[0];
  l.cols = w.shape[1];
  l.group = kGroup;
  l.groups = l.cols / kGroup;
  l.codes.resize(w.data.size());
  for (size_t c = 0; c < l.cols; ++c) l.group_of.push_back(c / kGroup);
  for (size_t r = 0; r < l.rows; ++r)
    for (size_t g = 0; g < l.groups; ++g) {
      const float* x = w.data.data() + r * l.cols + g * kGroup;
      const auto [low, high] = std::minmax_element(x, x + kGroup);
      const float most = std::max(-*low, *high);
      const float scale = cut(symmetric ? most / 7 : (*high - *low) / 15, DType::f16);
      const float zero = symmetric ? 8 : std::clamp(std::round(-*low / scale), 1.0f, 15.0f);
      l.scales.push_back(scale);
      l.zeros.push_back(static_cast<unsigned>(zero));
      for (size_t i = 0; i < kGroup; ++i)
        l.codes[r * l.cols + g * kGroup + i] =
            static_cast<unsigned>(std::clamp(std::round(x[i] / scale) + zero, 0.0f, 15.0f));
    }
  return l;
}

struct Form {
  const char* name;
  const char* config;  // quantization_config
  bool symmetric;
  StoredTensors (*store)(const test::QuantizedLayer&, const std::string& prefix);
};

const Form kForms[] = {
    {"AWQ", R"({"quantization_config":{"quant_method":"awq","bits":4,"group_size":16,
       "version":"gemm","zero_point":true}})",
     false, as_awq_gemm},
    {"GPTQ", R"({"quantization_config":{"quant_method":"gptq","bits":4,"group_size":16,
       "desc_act":false,"sym":false}})",
     false,
     [](const test::QuantizedLayer& l, const std::string& p) { return as_gptq(l, p, true); }},
    {"compressed-tensors, symmetric", R"({"quantization_config":{"quant_method":
       "compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{"targets":
       ["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group",
       "group_size":16},"input_activations":null}}}})",
     true,
     [](const test::QuantizedLayer& l, const std::string& p) { return as_compressed(l, p, true); }},
    {"compressed-tensors", R"({"quantization_config":{"quant_method":
       "compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{"targets":
       ["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":"group",
       "group_size":16},"input_activations":null}}}})",
     false,
     [](const test::QuantizedLayer& l, const std::string& p) {
       return as_compressed(l, p, false);
     }},
};

Tensor values_of(const test::QuantizedLayer& l) {
  Tensor out{{l.rows, l.cols}, {}};
  for (size_t r = 0; r < l.rows; ++r)
    for (size_t c = 0; c < l.cols; ++c) out.data.push_back(l.weight(r, c));
  return out;
}

// A Conv1D of GPT-2 is [in, out] in floats, and packed like any other layer.
bool is_conv1d(const FamilyCase& c) { return c.config.string("model_type") == "gpt2"; }

// AutoAWQ divides the activation of some families by scales of its own.
struct ActivationScales {
  const char* type;
  const char* down;
  const char* scales;
};
constexpr ActivationScales kActivationScales[] = {
    {"mpt", "ffn.down_proj.weight", "ffn.act.scales"},
    {"falcon", "mlp.dense_4h_to_h.weight", "mlp.act.scales"},
    {"gpt_neox", "mlp.dense_4h_to_h.weight", "mlp.act.scales"},
    {"gpt_bigcode", "mlp.c_proj.weight", "mlp.act.scales"},
    {"starcoder2", "mlp.c_proj.weight", "mlp.act.scales"},
    {"bloom", "mlp.dense_4h_to_h.weight", "mlp.gelu_impl.scales"},
};

// Adds such scales to what is stored, and divides the columns that follow in the reference by them.
void add_activation_scales(const FamilyCase& c, Tensors& tensors, StoredTensors& stored) {
  for (const ActivationScales& s : kActivationScales) {
    if (c.config.string("model_type") != s.type) continue;
    for (auto& [name, t] : tensors) {
      if (!name.ends_with(s.down)) continue;
      Tensor scales{{t.shape[1]}, {}};
      for (size_t i = 0; i < t.shape[1]; ++i)
        scales.data.push_back(0.5f + 0.125f * static_cast<float>(i % 11));
      for (size_t i = 0; i < t.data.size(); ++i) t.data[i] /= scales.data[i % t.shape[1]];
      const std::string block = name.substr(0, name.size() - std::strlen(s.down));
      stored.push_back(in_16_bits(block + s.scales, scales, DType::f16));
    }
  }
}

void quantized(const Form& form) {
  int n_grids = 0;
  for (const FamilyCase& c : all_cases()) {
    Tensors tensors = tensors_of(c);
    StoredTensors stored;
    for (auto& [name, t] : tensors) {
      const Tensor w = is_linear(name, t) && is_conv1d(c) ? transposed(t) : t;
      if (!is_linear(name, t) || w.shape[1] % kGroup != 0 || w.shape[0] % 8 != 0) {
        stored.push_back(in_f32(name, t));
        continue;
      }
      const test::QuantizedLayer l = grid_of(w, form.symmetric);
      const std::string prefix = name.substr(0, name.size() - std::strlen(".weight"));
      for (const StoredTensor& part : form.store(l, prefix)) stored.push_back(part);
      t = is_conv1d(c) ? transposed(values_of(l)) : values_of(l);
      ++n_grids;
    }
    if (form.name == std::string("AWQ")) add_activation_scales(c, tensors, stored);
    const TempDir dir;
    write_shards(dir / "hf", c.config.with(form.config), stored);
    check_logits(c, tensors, dir / "hf", form.name);
    QuantizeOptions as_it_is;
    as_it_is.weights = WeightType::f32;
    quantize(dir / "hf", dir / "model.nib", as_it_is);
    check_logits(c, tensors, dir / "model.nib", std::string(form.name) + ", .nib");
  }
  check(n_grids > 1000, "only " + std::to_string(n_grids) + " matrices are on grids");
}

// ---- transformers 5 ----------------------------------------------------------------------------

// The same config as transformers 5 writes it: all of RoPE in "rope_parameters", "dtype" for
// "torch_dtype", and for Gemma 3 an object for each kind of layer.
FamilyConfig in_new_style(const FamilyConfig& c) {
  const char* const theta_key = c.has("rotary_emb_base") ? "rotary_emb_base" : "rope_theta";
  const auto text = [](double x) { return write_json(Json(x)); };
  FamilyConfig rope = c.has("rope_scaling") ? c.object("rope_scaling") : FamilyConfig("{}");
  rope = rope.with("{\"rope_type\":\"" + rope.string("rope_type", rope.string("type", "default")) +
                   "\",\"rope_theta\":" + text(c.number(theta_key, 10000)) + "}")
             .without("type");
  FamilyConfig out = c.with(R"({"dtype":"bfloat16","transformers_version":"5.0.0"})");
  for (const char* key : {"partial_rotary_factor", "rotary_pct"})
    if (c.has(key)) rope = rope.with("{\"partial_rotary_factor\":" + text(c.number(key)) + "}");
  if (c.has("rope_scaling") && c.has("original_max_position_embeddings"))
    rope = rope.with("{\"original_max_position_embeddings\":" +
                     text(c.number("original_max_position_embeddings")) + "}");
  std::string parameters = rope.text();
  if (c.has("rope_local_base_freq"))
    parameters = "{\"full_attention\":" + parameters +
                 R"(,"sliding_attention":{"rope_type":"default","rope_theta":)" +
                 text(c.number("rope_local_base_freq")) + "}}";
  for (const char* key :
       {"rope_theta", "rotary_emb_base", "rope_scaling", "partial_rotary_factor", "rotary_pct",
        "rope_local_base_freq", "torch_dtype", "original_max_position_embeddings"})
    out = out.without(key);
  return out.with("{\"rope_parameters\":" + parameters + "}");
}

void new_style() {
  int n_cases = 0;
  for (const FamilyCase& c : all_cases()) {
    if (!c.config.has("rope_theta") && !c.config.has("rotary_emb_base")) continue;
    const Tensors tensors = tensors_of(c);
    const TempDir dir;
    write_hugging_face(dir / "hf", in_new_style(c.config), tensors);
    check_logits(c, tensors, dir / "hf", "rope_parameters");
    ++n_cases;
  }
  check(n_cases > 50, "only " + std::to_string(n_cases) + " configs have a theta");
}

// ---- Models of text and images -----------------------------------------------------------------

// Gemma 3 from 4B on: the text part in an object of its own, which leaves out what is usual for the
// family; its tensors under longer names, beside those of the part that sees.
void text_part() {
  FamilyCase c = case_named("gemma3");
  c.config = c.config.with(R"({"num_attention_heads":8,"num_key_value_heads":4})");
  FamilyConfig text = c.config;
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "sliding_window_pattern",
                          "rope_local_base_freq", "eos_token_id", "max_position_embeddings"})
    text = text.without(key);
  const FamilyConfig config(R"({"architectures":["Gemma3ForConditionalGeneration"],
    "boi_token_index":80,"eoi_token_index":81,"eos_token_id":[1,3],"image_token_index":82,
    "mm_tokens_per_image":256,"model_type":"gemma3","text_config":)" +
                            text.text() + R"(,"vision_config":{"hidden_size":8,
    "model_type":"siglip_vision_model","num_hidden_layers":1}})");
  const Tensors tensors = tensors_of(c);
  for (const bool newer : {false, true}) {
    StoredTensors stored;
    for (const auto& [name, t] : tensors) {
      const std::string rest = name.substr(std::strlen("model."));
      stored.push_back(
          in_f32((newer ? "model.language_model." : "language_model.model.") + rest, t));
    }
    const std::string prefix = newer ? "model." : "";
    for (const char* name : {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
                             "multi_modal_projector.mm_soft_emb_norm.weight"})
      stored.push_back(filled(prefix + name, DType::f32, {8}));
    const TempDir dir;
    write_shards(dir / "hf", config, stored);
    check_logits(c, tensors, dir / "hf", "text part");
  }
}

// ---- What checkpoints carry along --------------------------------------------------------------

struct Leftover {
  const char* family;
  StoredTensor tensor;
};

// Buffers that follow from the config, and heads of tied models.
std::vector<Leftover> leftovers() {
  const auto of = [](const char* family, const std::string& name, DType type,
                     std::vector<uint64_t> shape) {
    return Leftover{family, filled(name, type, std::move(shape))};
  };
  const std::string llama = "model.layers.0.self_attn.", gpt = "transformer.h.0.";
  return {
      of("llama", llama + "rotary_emb.inv_freq", DType::f32, {8}),
      of("llama", "model.rotary_emb.inv_freq", DType::f16, {8}),
      of("mixtral", llama + "rotary_emb.inv_freq", DType::bf16, {8}),
      of("falcon", gpt + "self_attention.rotary_emb.inv_freq", DType::f32, {8}),
      of("gpt2, prefixed", gpt + "attn.bias", DType::u8, {1, 1, 64, 64}),
      of("gpt2, prefixed", gpt + "attn.masked_bias", DType::f32, {}),
      of("gpt2, prefixed", "lm_head.weight", DType::f32, {91, 64}),
      of("starcoder", gpt + "attn.bias", DType::boolean, {1, 1, 64, 64}),
      of("gpt_neox", "gpt_neox.layers.1.attention.rotary_emb.inv_freq", DType::f16, {2}),
      of("llama, tied and biased", "lm_head.weight", DType::f32, {91, 64}),
      of("qwen2", "lm_head.weight", DType::f32, {91, 64}),
      of("gemma", "lm_head.weight", DType::f32, {91, 64}),
      of("gemma2", "lm_head.weight", DType::f32, {91, 64}),
      of("opt", "lm_head.weight", DType::f32, {91, 64}),
      of("bloom, prefixed, six heads", "lm_head.weight", DType::f32, {91, 72}),
      of("mpt", "lm_head.weight", DType::f32, {91, 64}),
      of("cohere", "lm_head.weight", DType::f32, {91, 64}),
      of("minicpm", "lm_head.weight", DType::f32, {91, 64}),
      of("starcoder2", "lm_head.weight", DType::f32, {91, 64}),
  };
}

void accepted() {
  for (const Leftover& l : leftovers()) {
    const FamilyCase& c = case_named(l.family);
    const Tensors tensors = tensors_of(c);
    StoredTensors stored = {l.tensor};
    for (const auto& [name, t] : tensors)
      if (name != l.tensor.name) stored.push_back(in_f32(name, t));
    const TempDir dir;
    write_shards(dir / "hf", c.config, stored);
    check_logits(c, tensors, dir / "hf", l.tensor.name);
  }
}

// Tensors that would change the arithmetic if they were read.
void unknown_tensors() {
  for (const auto& [family, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {"llama", "model.layers.0.self_attn.q_norm.weight"},
           {"llama", "model.layers.0.self_attn.q_proj.bias"},
           {"llama", "model.layers.3.self_attn.q_proj.weight"},
           {"llama", "lm_head.bias"},
           {"qwen3_moe", "model.layers.0.mlp.shared_expert.up_proj.weight"},
           {"phi3", "model.layers.0.self_attn.qkv_proj.bias"},
           {"gemma2", "model.layers.0.self_attn.q_norm.weight"},
           {"mpt", "transformer.wpe.weight"},
           {"mpt", "transformer.blocks.0.attn.q_ln.weight"},
           {"olmo2", "model.layers.0.input_layernorm.weight"}}) {
    const FamilyCase& c = case_named(family);
    StoredTensors stored = {filled(name, DType::f32, {64})};
    for (const auto& [known, t] : tensors_of(c)) stored.push_back(in_f32(known, t));
    const TempDir dir;
    write_shards(dir / "hf", c.config, stored);
    check_error([&] { Model(dir / "hf"); }, name);
  }
}

// llama.cpp keeps those of MPT.
void activation_scales_in_gguf() {
  const FamilyCase& c = case_named("mpt");
  Tensors with_scales = tensors_of(c), divided = with_scales;
  for (const int layer : {0, 1, 2}) {
    const std::string ffn = layer_name("transformer.blocks.#.ffn.", layer);
    Tensor& down = divided[ffn + "down_proj.weight"];
    Tensor& scales = with_scales[ffn + "act.scales"];
    scales.shape = {down.shape[1]};
    for (size_t i = 0; i < down.shape[1]; ++i)
      scales.data.push_back(0.5f + 0.25f * static_cast<float>(i % 7));
    for (size_t i = 0; i < down.data.size(); ++i) down.data[i] /= scales.data[i % down.shape[1]];
  }
  const TempDir dir;
  write_file(dir / "model.gguf", c.gguf(c.config, with_scales));
  check_logits(c, divided, dir / "model.gguf", "scales in GGUF");
}

void bad_activation_scales() {
  const FamilyCase& c = case_named("mpt");
  for (const float value : {0.0f, INFINITY}) {
    StoredTensors stored;
    for (const auto& [name, t] : tensors_of(c)) stored.push_back(in_f32(name, t));
    for (const int layer : {0, 1, 2})
      stored.push_back(in_f32(layer_name("transformer.blocks.#.ffn.act.scales", layer),
                              {{256}, std::vector<float>(256, value)}));
    const TempDir dir;
    write_shards(dir / "hf", c.config, stored);
    check_error([&] { Model(dir / "hf"); }, value == 0.0f ? "is 0" : "not finite");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Case> cases = {{"bf16 in two files", [] { sixteen_bits(DType::bf16); }},
                             {"fp16 in two files", [] { sixteen_bits(DType::f16); }}};
  for (const Form& form : kForms) cases.push_back({form.name, [&form] { quantized(form); }});
  cases.push_back({"rope_parameters of transformers 5", new_style});
  cases.push_back({"the text part of a model of images", text_part});
  cases.push_back({"buffers and heads that follow from the rest", accepted});
  cases.push_back({"tensors that nobody asks for", unknown_tensors});
  cases.push_back({"activation scales in GGUF", activation_scales_in_gguf});
  cases.push_back({"activation scales that are no divisors", bad_activation_scales});
  return run(argc, argv, cases);
}
