// What changes a family's arithmetic and is not computed is refused by its name, never run
// approximately.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "family_cases.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

const std::vector<FamilyCase>& known_cases() {
  static const std::vector<FamilyCase> cases = all_cases();
  return cases;
}

const FamilyCase& case_named(const std::string& name) {
  const auto found = std::ranges::find(known_cases(), name, &FamilyCase::name);
  if (found == known_cases().end()) fail("no case is named " + name);
  return *found;
}

ModelOptions exact() {
  ModelOptions options;
  options.weights = WeightType::f32;
  options.activations = Activations::f32;
  return options;
}

bool says_not_implemented(const Error& e) {
  return std::string_view(e.what()).find("the architecture \"") != std::string_view::npos;
}

struct Change {
  const char* family;
  const char* config;  // members that replace those of the family's config.json
  const char* says;    // what the refusal names
};

const Change kRefused[] = {
    {"llama", R"({"model_type":"zebra"})", "zebra"},
    {"llama", R"({"hidden_act":"softplus"})", "softplus"},
    {"llama", R"({"rope_scaling":{"rope_type":"spiral","factor":2.0}})", "spiral"},
    {"llama", R"({"quantization_config":{"quant_method":"sponge","bits":4}})", "sponge"},
    {"qwen3_moe", R"({"mlp_only_layers":[1]})", "mlp_only_layers"},
    {"qwen3_moe", R"({"decoder_sparse_step":2})", "decoder_sparse_step"},
    {"gemma", R"({"hidden_activation":"softplus"})", "softplus"},
    {"gemma3", R"({"use_bidirectional_attention":true})", "use_bidirectional_attention"},
    {"bloom", R"({"apply_residual_connection_post_layernorm":true})",
     "apply_residual_connection_post_layernorm"},
    {"mpt", R"({"no_bias":false})", "no_bias"},
    {"mpt", R"({"norm_type":"rmsnorm"})", "norm_type"},
    {"mpt", R"({"logit_scale":0.5})", "logit_scale"},
    {"mpt", R"({"attn_config":{"alibi":false,"alibi_bias_max":8,"clip_qkv":null,"qk_ln":false,
       "prefix_lm":false,"softmax_scale":null}})",
     "alibi"},
    {"mpt", R"({"attn_config":{"alibi":true,"alibi_bias_max":8,"clip_qkv":null,"qk_ln":true,
       "prefix_lm":false,"softmax_scale":null}})",
     "qk_ln"},
    {"mpt", R"({"attn_config":{"alibi":true,"alibi_bias_max":8,"clip_qkv":null,"qk_ln":false,
       "prefix_lm":true,"softmax_scale":null}})",
     "prefix_lm"},
    {"opt", R"({"enable_bias":false})", "enable_bias"},
    {"opt", R"({"layer_norm_elementwise_affine":false})", "layer_norm_elementwise_affine"},
    {"opt", R"({"activation_function":"softplus"})", "softplus"},
    {"starcoder2", R"({"mlp_type":"gated"})", "mlp_type"},
    {"starcoder2", R"({"norm_type":"rmsnorm"})", "norm_type"},
    {"gpt2", R"({"add_cross_attention":true})", "add_cross_attention"},
    {"gpt2", R"({"activation_function":"softplus"})", "softplus"},
};

// Flags that an engine may compute or refuse.
const Change kRefusedOrRight[] = {
    {"gpt2", R"({"scale_attn_by_inverse_layer_idx":true})", "scale_attn_by_inverse_layer_idx"},
    {"gpt2", R"({"scale_attn_weights":false})", "scale_attn_weights"},
    {"starcoder", R"({"scale_attn_weights":false})", "scale_attn_weights"},
    {"starcoder", R"({"activation_function":"relu"})", "relu"},
    {"gpt_neox", R"({"hidden_act":"relu"})", "relu"},
    {"starcoder2", R"({"hidden_act":"relu"})", "relu"},
    {"gemma2", R"({"attn_logit_softcapping":null})", "attn_logit_softcapping"},
    {"gemma2", R"({"final_logit_softcapping":null})", "final_logit_softcapping"},
    {"falcon, 40B", R"({"num_kv_heads":4})", "num_kv_heads"},
    {"olmoe", R"({"norm_topk_prob":true})", "norm_topk_prob"},
    {"cohere", R"({"logit_scale":0.25})", "logit_scale"},
    {"qwen3", R"({"use_sliding_window":true,"sliding_window":9,"max_window_layers":1})",
     "sliding_window"},
    {"qwen3_moe", R"({"use_sliding_window":true,"sliding_window":9,"max_window_layers":0})",
     "sliding_window"},
    {"mixtral", R"({"sliding_window":9})", "sliding_window"},
};

void hugging_face() {
  std::string skipped;
  for (const Change& change : kRefused) {
    const FamilyCase& c = case_named(change.family);
    TensorMaker maker(1);
    c.make(maker, c.config);
    TempDir dir;
    write_hugging_face(dir / "hf", c.config.with(change.config), maker.tensors);
    try {
      Model(dir / "hf", exact());
    } catch (const Error& e) {
      if (std::string_view(e.what()).find(change.says) != std::string_view::npos) continue;
      if (!says_not_implemented(e))
        fail(c.name + " " + change.config + " is refused without its name: " + e.what());
      skipped = c.name;
      continue;
    }
    fail(c.name + " " + change.config + " is not refused");
  }
  if (!skipped.empty()) skip(skipped + " is not implemented");
}

void right_or_refused() {
  std::string skipped;
  for (const Change& change : kRefusedOrRight) {
    const FamilyCase& c = case_named(change.family);
    const FamilyConfig config = c.config.with(change.config);
    TensorMaker maker(1);
    c.make(maker, config);
    TempDir dir;
    write_hugging_face(dir / "hf", config, maker.tensors);
    std::vector<int> tokens;
    for (int i = 0; i < 24; ++i) tokens.push_back((i * 37 + 5) % 91);
    try {
      const Model model(dir / "hf", exact());
      Session session(model);
      const auto found = session.eval(tokens, Logits::all);
      const Matrix expected = c.reference({config, maker.tensors}, tokens);
      double worst = 0, largest = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        worst = std::max(worst, std::abs(found[i] - expected.data[i]));
        largest = std::max(largest, std::abs(expected.data[i]));
      }
      check(worst <= 1e-4 * largest,
            c.name + " " + change.config + " is neither refused nor right");
    } catch (const Error& e) {
      if (says_not_implemented(e))
        skipped = c.name;
      else
        check(std::string_view(e.what()).find(change.says) != std::string_view::npos,
              c.name + " " + change.config + " is refused without its name: " + e.what());
    }
  }
  if (!skipped.empty()) skip(skipped + " is not implemented");
}

// Of a GGUF file by words of equal length.
void gguf() {
  const auto refused = [](const char* name, const std::string& from, const std::string& to) {
    const FamilyCase& c = case_named(name);
    TensorMaker maker(1);
    c.make(maker, c.config);
    std::string bytes = c.gguf(c.config, maker.tensors);
    for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size())
      bytes.replace(at, from.size(), to);
    TempDir dir;
    write_file(dir / "model.gguf", bytes);
    check_error([&] { Model(dir / "model.gguf", exact()); }, to);
  };
  refused("llama", "llama", "zebra");
  refused("llama, linear RoPE", "linear", "spiral");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"flags of config.json", hugging_face},
              {"flags that are computed or refused", right_or_refused},
              {"words of GGUF files", gguf}});
}
