// What changes a family's arithmetic and is not computed is refused by its name, never run
// approximately.
#include "family_cases.h"
#include "logits.h"
#include "model/config_reader.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// The family's model in `directory`, under a config.json with other members.
void write_changed(const FamilyCase& c, const std::string& changes, const std::string& directory) {
  write_hugging_face(directory, c.config.with(changes), c.tensors());
}

bool names(const Error& e, const char* setting) {
  return std::string_view(e.what()).find(setting) != std::string_view::npos;
}

struct Change {
  const char* family;
  const char* config;  // members that replace those of the family's config.json
  const char* says;    // what the refusal names
};

const Change kRefused[] = {
    {"llama", R"({"model_type":"zebra"})", "zebra"},
    {"llama", R"({"hidden_size":null,"text_config":{"model_type":"zebra_text"}})", "zebra_text"},
    {"llama", R"({"hidden_act":"softplus"})", "softplus"},
    {"llama", R"({"rope_scaling":{"rope_type":"spiral","factor":2.0}})", "spiral"},
    {"llama", R"({"quantization_config":{"quant_method":"sponge","bits":4}})", "sponge"},
    {"llama, tied and biased", R"({"tie_word_embeddings":false})", "lm_head.weight"},
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
    {"llama", R"({"sliding_window":9})", "sliding_window"},
    {"llama", R"({"layer_types":["chunked_attention","full_attention","full_attention"]})",
     "chunked_attention"},
    {"llama", R"({"layer_types":["full_attention"]})", "layer_types"},
    {"llama", R"({"layer_types":["sliding_attention","full_attention","full_attention"]})",
     "sliding_window"},
    {"llama", R"({"final_logit_softcapping":30.0})", "final_logit_softcapping"},
    {"llama", R"({"attn_logit_softcapping":50.0})", "attn_logit_softcapping"},
    {"llama", R"({"query_pre_attn_scalar":24})", "query_pre_attn_scalar"},
    {"llama", R"({"use_qk_norm":true})", "use_qk_norm"},
    {"llama", R"({"qk_layernorm":true})", "qk_layernorm"},
    {"llama", R"({"no_rope_layers":[1,0,1]})", "no_rope_layers"},
    {"llama", R"({"num_local_experts":8})", "num_local_experts"},
    {"llama", R"({"attention_chunk_size":64})", "attention_chunk_size"},
    {"llama", R"({"position_embedding_type":"nope"})", "position_embedding_type"},
    {"llama", R"({"embedding_multiplier":12.0})", "embedding_multiplier"},
    {"llama", R"({"logits_scaling":8.0})", "logits_scaling"},
    {"llama", R"({"kv_lora_rank":512})", "kv_lora_rank"},
    {"llama", R"({"rope_interleave":true})", "rope_interleave"},
    {"llama", R"({"is_encoder_decoder":true})", "is_encoder_decoder"},
    {"llama", R"({"rope_scaling":{"type":"dynamic","factor":2.0,"alpha":1000.0}})", "alpha"},
    {"llama", R"({"rope_scaling":{"rope_type":"yarn","factor":4.0,
       "original_max_position_embeddings":32,"llama_4_scaling_beta":0.1}})",
     "llama_4_scaling_beta"},
    {"llama", R"({"rope_parameters":{"rope_type":"proportional","rope_theta":10000.0}})",
     "proportional"},
    {"llama", R"({"rope_parameters":{"chunked_attention":{"rope_type":"default",
       "rope_theta":10000.0},"full_attention":{"rope_type":"default","rope_theta":10000.0}}})",
     "chunked_attention"},
    {"gemma3", R"({"rope_parameters":{"sliding_attention":{"rope_type":"linear","factor":2.0,
       "rope_theta":10000.0},"full_attention":{"rope_type":"default","rope_theta":1e6}}})",
     "rope_type"},
    {"mistral", R"({"attention_bias":true})", "attention_bias"},
    {"mistral", R"({"mlp_bias":true})", "mlp_bias"},
    {"mistral", R"({"num_experts":8})", "num_experts"},
    {"ministral", R"({"sliding_window":null})", "sliding_window"},
    {"mixtral", R"({"attention_bias":true})", "attention_bias"},
    {"mixtral", R"({"scoring_func":"sigmoid"})", "scoring_func"},
    {"qwen2", R"({"attention_bias":true})", "attention_bias"},
    {"qwen2", R"({"use_mrope":true})", "use_mrope"},
    {"qwen2", R"({"use_logn_attn":true})", "use_logn_attn"},
    {"qwen3_moe", R"({"shared_expert_intermediate_size":64})", "shared_expert_intermediate_size"},
    {"qwen3_moe", R"({"routed_scaling_factor":2.5})", "routed_scaling_factor"},
    {"qwen3_moe", R"({"n_group":4})", "n_group"},
    {"olmoe", R"({"sliding_window":9})", "sliding_window"},
    {"smollm3", R"({"no_rope_layers":[1,0]})", "no_rope_layers"},
    {"phi3", R"({"attention_bias":true})", "attention_bias"},
    {"phi3", R"({"mlp_bias":true})", "mlp_bias"},
    {"phi4 mini", R"({"lm_head_bias":true})", "lm_head_bias"},
    {"phi4 mini", R"({"interpolate_factor":4})", "interpolate_factor"},
    {"phi3, longrope beyond it", R"({"rope_scaling":{"type":"longrope","long_mscale":1.2,
       "long_factor":[1,1,1,1,1,1,1,1],"short_factor":[1,1,1,1,1,1,1,1]}})",
     "long_mscale"},
    {"gemma2", R"({"sliding_window":null})", "sliding_window"},
    {"gemma2", R"({"use_bidirectional_attention":true})", "use_bidirectional_attention"},
    {"gemma3", R"({"attention_multiplier":0.5})", "attention_multiplier"},
    {"granite", R"({"shared_intermediate_size":64})", "shared_intermediate_size"},
    {"granite", R"({"position_embedding_type":"nope"})", "position_embedding_type"},
    {"granite 4, dense", R"({"position_embedding_type":"nope"})", "position_embedding_type"},
    {"granite 4, dense", R"({"layer_types":["mamba","attention","mamba"]})", "mamba"},
    {"granite 4, dense", R"({"num_local_experts":64})", "num_local_experts"},
    {"minicpm", R"({"sparse_config":{"kernel_size":32}})", "sparse_config"},
    {"minicpm", R"({"num_experts":8})", "num_experts"},
    {"olmo2", R"({"clip_qkv":8.0})", "clip_qkv"},
    {"olmo2", R"({"sliding_window":9})", "sliding_window"},
    {"exaone4", R"({"layer_types":null,"sliding_window_pattern":"LXG"})", "LXG"},
    {"cohere2", R"({"use_gated_activation":false})", "use_gated_activation"},
    {"cohere2", R"({"use_parallel_block":false})", "use_parallel_block"},
    {"cohere2", R"({"use_qk_norm":true})", "use_qk_norm"},
    {"cohere2", R"({"position_embedding_type":"alibi"})", "position_embedding_type"},
    {"cohere2", R"({"order_of_interleaved_layers":"global_attn_first"})",
     "order_of_interleaved_layers"},
    {"internlm2", R"({"qkv_bias":true})", "qkv_bias"},
    {"stablelm", R"({"attention_bias":true})", "attention_bias"},
    {"ernie4_5", R"({"moe_num_experts":64})", "moe_num_experts"},
    {"ernie4_5", R"({"compression_ratio":2.0})", "compression_ratio"},
    {"glm4", R"({"n_routed_experts":128})", "n_routed_experts"},
    {"gpt_neox", R"({"rope_scaling":{"type":"ntk","factor":2.0}})", "ntk"},
    {"falcon", R"({"apply_residual_connection_post_layernorm":true})",
     "apply_residual_connection_post_layernorm"},
    {"falcon", R"({"activation":"softplus"})", "softplus"},
    {"mpt", R"({"attn_config":{"alibi":true,"attn_type":"grouped_query_attention"}})", "attn_type"},
    {"mpt", R"({"attn_config":{"alibi":true,"sliding_window_size":64}})", "sliding_window_size"},
    {"mpt", R"({"attn_config":{"alibi":true,"rope":true}})", "rope"},
    {"mpt", R"({"ffn_config":{"ffn_type":"mptglu"}})", "ffn_type"},
    {"mpt", R"({"ffn_config":{"ffn_type":"mptmlp","ffn_act_fn":{"name":"relu"}}})", "ffn_act_fn"},
    {"opt", R"({"attention_bias":true})", "attention_bias"},
    {"gpt2", R"({"alibi":true})", "alibi"},
};

// What config.json files say that has no say in the logits.
struct Variant {
  const char* family;
  const char* config;
};
const Variant kHarmless[] = {
    {"llama", R"({"pretraining_tp":2,"use_cache":false,"attention_dropout":0.3,"dtype":"float16",
       "initializer_range":0.5,"output_attentions":true,"_attn_implementation":"eager",
       "num_logits_to_keep":1,"is_decoder":true,"tokenizer_class":"X","rope_ratio":1,
       "unsloth_version":"2025.1","head_dim":null,"num_experts":0,"position_embedding_type":"rope",
       "rope_parameters":null,"layer_types":["full_attention","full_attention","full_attention"],
       "auto_map":{"AutoModel":"x.Y"},"sliding_window":null,"logit_scale":1.0,"clip_qkv":null})"},
    {"llama, linear RoPE", R"({"rope_scaling":{"factor":4.0,"type":"linear","rope_type":"linear",
       "finetuned":true}})"},
    {"qwen2", R"({"rope_scaling":{"type":"default","rope_type":"default","mrope_section":[2,3,3]},
       "sliding_window":null,"dual_chunk_attention_config":null,"use_mrope":false})"},
    {"mixtral", R"({"output_router_logits":true,"router_aux_loss_coef":0.5,
       "router_jitter_noise":0.1})"},
    {"qwen3_moe", R"({"scoring_func":"softmax","n_group":1,"routed_scaling_factor":1.0})"},
    {"gemma2", R"({"hidden_act":"gelu","cache_implementation":null})"},
    {"phi3", R"({"embd_pdrop":0.5,"resid_pdrop":0.5,"use_cache":false})"},
    {"falcon", R"({"hidden_dropout":0.5,"attention_dropout":0.5})"},
    {"mpt", R"({"embedding_fraction":0.5,"emb_pdrop":0.3,"ffn_config":{"ffn_type":"mptmlp",
       "fc_type":{"name":"torch"}},"use_pad_tok_in_ffn":true})"},
    {"opt", R"({"layerdrop":0.5,"activation_dropout":0.5})"},
    {"gpt2", R"({"reorder_and_upcast_attn":true,"summary_type":"mean","n_ctx":16})"},
    {"starcoder", R"({"attention_softmax_in_fp32":false})"},
    {"bloom", R"({"slow_but_exact":true,"skip_bias_add_qkv":true,"n_inner":7})"},
    {"cohere2", R"({"layer_switch":3,"use_embedding_sharing":true})"},
    {"minicpm", R"({"mup_denominator":32})"},
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
    // Texts may be longer than the context that the model was trained for.
    {"mixtral", R"({"sliding_window":9,"max_position_embeddings":9})", "sliding_window"},
};

void hugging_face() {
  for (const Change& change : kRefused) {
    const FamilyCase& c = case_named(change.family);
    const TempDir dir;
    write_changed(c, change.config, dir / "hf");
    try {
      Model(dir / "hf", exact_options());
    } catch (const Error& e) {
      if (names(e, change.says)) continue;
      fail(c.name + " " + change.config + " is refused without its name: " + e.what());
    }
    fail(c.name + " " + change.config + " is not refused");
  }
}

void right_or_refused() {
  std::vector<int> tokens;
  for (int i = 0; i < 24; ++i) tokens.push_back((i * 37 + 5) % 91);
  for (const Change& change : kRefusedOrRight) {
    FamilyCase c = case_named(change.family);
    c.config = c.config.with(change.config);
    const Tensors tensors = c.tensors();
    const TempDir dir;
    write_hugging_face(dir / "hf", c.config, tensors);
    try {
      const auto found = logits_of(Model(dir / "hf", exact_options()), tokens, {.context = 24});
      const Matrix expected = c.reference({c.config, tensors}, tokens);
      check(relative_max(found, expected.data) <= 1e-4,
            c.name + " " + change.config + " is neither refused nor right");
    } catch (const Error& e) {
      check(names(e, change.says),
            c.name + " " + change.config + " is refused without its name: " + e.what());
    }
  }
}

// Numbers that no model has: an error, whatever would be done with them.
const Variant kAbsurd[] = {
    {"llama", R"({"rope_theta":-1.0})"},
    {"llama", R"({"rope_theta":0.0})"},
    {"llama", R"({"rope_theta":1e39})"},
    {"llama", R"({"head_dim":23})"},
    {"llama", R"({"head_dim":0})"},
    {"llama", R"({"head_dim":1000000000000})"},
    {"llama", R"({"num_key_value_heads":3})"},
    {"llama", R"({"num_key_value_heads":0})"},
    {"llama", R"({"num_attention_heads":16777216,"num_key_value_heads":16777216,"head_dim":16})"},
    {"llama", R"({"num_hidden_layers":0})"},
    {"llama", R"({"num_hidden_layers":16777216})"},
    {"llama", R"({"hidden_size":-64})"},
    {"llama", R"({"intermediate_size":99999999999999999999})"},
    {"llama", R"({"max_position_embeddings":0})"},
    {"llama", R"({"rms_norm_eps":-1.0})"},
    {"llama", R"({"rms_norm_eps":7.0})"},
    {"llama", R"({"rope_scaling":{"type":"linear","factor":0.0}})"},
    {"llama", R"({"rope_scaling":{"type":"linear","factor":"4"}})"},
    {"llama", R"({"rope_scaling":{"type":"linear"}})"},
    {"llama", R"({"rope_scaling":["linear",4.0]})"},
    {"llama", R"({"rope_scaling":{"type":"dynamic","factor":0.5}})"},
    {"llama", R"({"rope_scaling":{"type":"dynamic","factor":1e300}})"},
    {"llama", R"({"rope_scaling":{"type":"yarn","factor":4.0,
       "original_max_position_embeddings":0}})"},
    {"llama", R"({"rope_scaling":{"type":"yarn","factor":4.0,"beta_fast":1,"beta_slow":32,
       "original_max_position_embeddings":32}})"},
    {"llama", R"({"rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":-1.0,
       "original_max_position_embeddings":32}})"},
    {"llama", R"({"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":4.0,
       "high_freq_factor":4.0,"original_max_position_embeddings":64}})"},
    {"llama", R"({"rope_parameters":{"full_attention":[]}})"},
    {"gemma3", R"({"rope_parameters":{"sliding_attention":{"rope_theta":-10.0},
       "full_attention":{"rope_theta":1e6}}})"},
    {"phi4 mini", R"({"partial_rotary_factor":0.0})"},
    {"phi4 mini", R"({"partial_rotary_factor":1.5})"},
    {"phi4 mini", R"({"original_max_position_embeddings":-1})"},
    {"phi4 mini", R"({"original_max_position_embeddings":1})"},
    {"phi4 mini", R"({"rope_scaling":{"type":"longrope","long_factor":[1,1,1,1,1,0],
       "short_factor":[1,1,1,1,1,1]}})"},
    {"phi4 mini", R"({"rope_scaling":{"type":"longrope","long_factor":[1,1],
       "short_factor":[1,1,1,1,1,1]}})"},
    {"phi4 mini", R"({"rope_scaling":{"type":"longrope","long_factor":["1"],
       "short_factor":[1]}})"},
    {"mistral", R"({"sliding_window":-9})"},
    {"mistral", R"({"sliding_window":1e30})"},
    {"ministral", R"({"layer_types":[1,2,3]})"},
    {"ministral", R"({"layer_types":"sliding_attention"})"},
    {"mixtral", R"({"num_experts_per_tok":0})"},
    {"mixtral", R"({"num_experts_per_tok":6})"},
    {"mixtral", R"({"num_local_experts":1000000})"},
    {"qwen3_moe", R"({"moe_intermediate_size":0})"},
    {"qwen2", R"({"use_sliding_window":true,"sliding_window":0})"},
    {"qwen2", R"({"max_window_layers":-1,"use_sliding_window":true})"},
    {"smollm3", R"({"no_rope_layers":null,"no_rope_layer_interval":0})"},
    {"smollm3", R"({"no_rope_layers":["1","1","1","0","1"]})"},
    {"gemma2", R"({"query_pre_attn_scalar":0})"},
    {"gemma2", R"({"query_pre_attn_scalar":-24})"},
    {"gemma2", R"({"attn_logit_softcapping":-5.0})"},
    {"gemma2", R"({"final_logit_softcapping":1e300})"},
    {"gemma2", R"({"sliding_window_pattern":0})"},
    {"granite", R"({"logits_scaling":0.0})"},
    {"granite", R"({"attention_multiplier":-1.0})"},
    {"minicpm", R"({"dim_model_base":-256})"},
    {"olmoe", R"({"clip_qkv":-1.0})"},
    {"exaone4", R"({"layer_types":null,"sliding_window_pattern":""})"},
    {"exaone4", R"({"layer_types":null,"sliding_window_pattern":-4})"},
    {"mpt", R"({"expansion_ratio":65})"},
    {"mpt", R"({"attn_config":{"alibi":true,"alibi_bias_max":-8}})"},
    {"mpt", R"({"attn_config":[]})"},
    {"falcon, 40B", R"({"num_kv_heads":3})"},
    {"opt", R"({"word_embed_proj_dim":0})"},
    {"gpt_neox", R"({"rotary_pct":-0.25})"},
};

void absurd() {
  for (const Variant& change : kAbsurd) {
    const FamilyCase& c = case_named(change.family);
    const TempDir dir;
    write_changed(c, change.config, dir / "hf");
    try {
      Model(dir / "hf", exact_options());
    } catch (const Error&) {
      continue;
    }
    fail(c.name + " " + change.config + " is not refused");
  }
}

void harmless() {
  for (const Variant& change : kHarmless) {
    const FamilyCase& c = case_named(change.family);
    const TempDir dir;
    write_changed(c, "{}", dir / "before");
    write_changed(c, change.config, dir / "after");
    const std::vector<Token> tokens = {1, 5, 9, 2, 80, 33};
    check(logits_of(Model(dir / "before", exact_options()), tokens) ==
              logits_of(Model(dir / "after", exact_options()), tokens),
          c.name + " " + change.config + " changes the logits");
  }
}

// Of a GGUF file by words of equal length.
void gguf() {
  const auto refused = [](const char* name, const std::string& from, const std::string& to) {
    const FamilyCase& c = case_named(name);
    std::string bytes = c.gguf(c.config, c.tensors());
    for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size())
      bytes.replace(at, from.size(), to);
    TempDir dir;
    write_file(dir / "model.gguf", bytes);
    check_error([&] { Model(dir / "model.gguf", exact_options()); }, to);
  };
  refused("llama", "llama", "zebra");
  refused("llama, linear RoPE", "linear", "spiral");
}

void gguf_keys() {
  struct Key {
    const char* family;
    const char* key;
    GgufValue type;
    std::string value;
    bool refused;
  };
  const auto number = [](float x) { return raw(x); };
  const auto count = [](uint32_t n) { return raw(n); };
  const auto yes = raw(uint8_t{1}), no = raw(uint8_t{0});
  using enum GgufValue;
  const Key keys[] = {
      {"llama", "llama.attention.causal", boolean, no, true},
      {"llama", "llama.attention.causal", boolean, yes, false},
      {"llama", "llama.attention.temperature_scale", f32, number(0.1f), true},
      {"llama", "llama.logit_scale", f32, number(0.5f), true},
      {"llama", "llama.logit_scale", f32, number(1), false},
      {"llama", "llama.final_logit_softcapping", f32, number(30), true},
      {"llama", "llama.attention.scale", f32, number(0.5f), true},
      {"llama", "llama.expert_used_count", u32, count(2), false},
      {"llama", "llama.interleave_moe_layer_step", u32, count(2), true},
      {"llama", "llama.rope.freq_base_swa", f32, number(500), true},
      {"qwen3_moe", "qwen3moe.expert_gating_func", u32, count(2), true},
      {"qwen3_moe", "qwen3moe.expert_gating_func", u32, count(1), false},
      {"qwen3_moe", "qwen3moe.expert_weights_scale", f32, number(2.5f), true},
      {"qwen3_moe", "qwen3moe.expert_shared_count", u32, count(1), true},
      {"qwen3_moe", "qwen3moe.leading_dense_block_count", u32, count(1), true},
      {"qwen3", "qwen3.attention.sliding_window_pattern", u32, count(4), true},
      {"gemma2", "gemma2.rope.freq_base_swa", f32, number(10000), false},
      {"cohere2", "cohere2.rope.freq_base_swa", f32, number(10000), true},
      {"glm4", "glm4.nextn_predict_layers", u32, count(1), true},
      {"bloom", "bloom.attention.max_alibi_bias", f32, number(16), true},
      {"llama, yarn RoPE", "llama.rope.scaling.yarn_log_multiplier", f32, number(0.1f), true},
  };
  for (const Key& k : keys) {
    const FamilyCase& c = case_named(k.family);
    const TempDir dir;
    write_file(dir / "model.gguf", with_key(c.gguf(c.config, c.tensors()), k.key, k.type, k.value));
    if (k.refused)
      check_error([&] { Model(dir / "model.gguf", exact_options()); }, k.key);
    else
      Model(dir / "model.gguf", exact_options());
  }
}

// A factor alone scales, under its old name, too; 0 is none.
void gguf_rope_factors() {
  const std::vector<Token> tokens = {1, 5, 9, 2, 80, 33};
  const TempDir dir;
  const auto logits = [&](const std::string& gguf) {
    write_file(dir / "model.gguf", gguf);
    return logits_of(Model(dir / "model.gguf", exact_options()), tokens);
  };
  const FamilyCase &c = case_named("llama"), &scaled = case_named("llama, linear RoPE");
  const std::string plain = c.gguf(c.config, c.tensors());
  const std::vector<float> expected = logits(scaled.gguf(scaled.config, scaled.tensors()));
  check(logits(plain) != expected);
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    check(logits(with_key(plain, key, GgufValue::f32, raw(4.0f))) == expected, key);
    check(logits(with_key(plain, key, GgufValue::f32, raw(0.0f))) == logits(plain), key);
  }
  check_error(
      [&] { logits(with_key(plain, "llama.rope.scaling.factor", GgufValue::f32, raw(-4.0f))); },
      "the factor of the RoPE scaling");
}

// What the classes of config.json files assume where those say nothing.
void defaults() {
  const auto read = [](const char* name, const FamilyConfig& config) {
    const TempDir dir;
    write_hugging_face(dir / "hf", config, case_named(name).tensors());
    return read_config(open_checkpoint(dir / "hf"));
  };
  for (const char* name : {"mistral", "ministral, all layers", "exaone4"}) {
    const FamilyConfig config = case_named(name)
                                    .config.without("layer_types")
                                    .without("sliding_window")
                                    .with(R"({"sliding_window_pattern":4})");
    check_eq(read(name, config).sliding_window, 4096, name);
    check_eq(read(name, config.with(R"({"sliding_window":null})")).sliding_window, 0, name);
  }
  const FamilyConfig mistral3 = case_named("ministral3").config.without("sliding_window");
  check_eq(read("ministral3", mistral3).sliding_window, 0, "Ministral 3");
  const FamilyConfig exaone = case_named("exaone4")
                                  .config.without("layer_types")
                                  .without("sliding_window")
                                  .with(R"({"sliding_window_pattern":4})");
  check_eq(std::ranges::count(read("exaone4", exaone).nope_layers, 1), 1, "exaone4");
  // Heads of Mistral's class, of which the text part of LLaVA leaves some out.
  const FamilyConfig heads = case_named("mistral").config.with(R"({"hidden_size":256})");
  const FamilyConfig none = heads.without("num_attention_heads").without("num_key_value_heads");
  check_eq(read("mistral", none).n_heads, 32);
  check_eq(read("mistral", none).n_kv_heads, 8);
  check_eq(read("mistral", none.with(R"({"num_key_value_heads":null})")).n_kv_heads, 32);
  // Granite 4 rotates if its files say so.
  const char* const granite = "granite 4, dense";
  const FamilyConfig rotates = case_named(granite).config;
  check(read(granite, rotates).nope_layers.empty(), "rope");
  for (const FamilyConfig& silent : {rotates.without("position_embedding_type"),
                                     rotates.with(R"({"position_embedding_type":null})")}) {
    const Config config = read(granite, silent);
    check_eq(std::ranges::count(config.nope_layers, 1), config.n_layers);
  }
}

void gguf_window_of_gemma2() {
  const FamilyCase& c = case_named("gemma2");
  const TempDir dir;
  write_file(dir / "model.gguf",
             c.gguf(c.config.with(R"({"max_position_embeddings":8192})").without("sliding_window"),
                    c.tensors()));
  const Config config = read_config(open_checkpoint(dir / "model.gguf"));
  check_eq(config.sliding_window, 4096);
  check_eq(std::ranges::count(config.window_layers, 1), (config.n_layers + 1) / 2);
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"flags of config.json", hugging_face},
              {"flags that are computed or refused", right_or_refused},
              {"members without a say", harmless},
              {"absurd numbers", absurd},
              {"defaults of config.json", defaults},
              {"keys of GGUF files", gguf_keys},
              {"RoPE factors of GGUF files", gguf_rope_factors},
              {"the window of Gemma 2 in GGUF files", gguf_window_of_gemma2},
              {"words of GGUF files", gguf}});
}
