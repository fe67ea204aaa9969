// The settings that change the arithmetic of some family: a file that uses one of them must be of a
// family that reads it.
#include "model/config_fields.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// What says that a setting is not used: null, false, 0, "", {} and [], and one number or word of
// its own.
struct Arithmetic {
  const char* key;
  double neutral = 0;
  const char* word = "";
};

constexpr Arithmetic kHuggingFace[] = {
    {"add_cross_attention"},
    {"alibi"},
    {"apply_residual_connection_post_layernorm"},
    {"attention_bias"},
    {"attention_chunk_size"},
    {"attention_multiplier", 1},
    {"attention_out_bias"},
    {"attn_layer_indices"},
    {"attn_logit_softcapping"},
    {"attn_temperature_tuning"},
    {"bias"},
    {"block_configs"},
    {"cla_share_factor", 1},
    {"clip_qkv"},
    {"compression_ratio", 1},
    {"embedding_multiplier", 1},
    {"final_logit_softcapping"},
    {"first_k_dense_replace"},
    {"full_attn_mod", 1},
    {"hybrid_override_pattern"},
    {"interleave_moe_layer_step"},
    {"interpolate_factor", 1},
    {"is_encoder_decoder"},
    {"kv_lora_rank"},
    {"layer_types"},
    {"lm_head_bias"},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"logits_soft_cap"},
    {"mamba_d_state"},
    {"mlp_bias"},
    {"mlp_only_layers"},
    {"moe_layer_freq", 1},
    {"moe_layers"},
    {"moe_num_experts"},
    {"mup_enabled"},
    {"n_group", 1},
    {"n_routed_experts"},
    {"n_shared_experts"},
    {"no_rope_layers"},
    {"num_experts"},
    {"num_local_experts"},
    {"num_shared_experts"},
    {"parallel_attn"},
    {"partial_rotary_factor", 1},
    {"position_embedding_type", 0, "rope"},
    {"q_lora_rank"},
    {"qk_layernorm"},
    {"qk_norm"},
    {"qkv_bias"},
    {"query_pre_attn_scalar"},
    {"residual_multiplier", 1},
    {"rope_interleave"},
    {"rope_local_base_freq"},
    {"rope_parameters"},
    {"rope_pct", 1},
    {"rope_ratio", 1},
    {"rope_scaling"},
    {"rotary_pct", 1},
    {"routed_scaling_factor", 1},
    {"scale_attn_by_inverse_layer_idx"},
    {"scale_depth"},
    {"scale_emb", 1},
    {"scale_embedding"},
    {"scoring_func", 0, "softmax"},
    {"shared_expert_intermediate_size"},
    {"shared_intermediate_size"},
    {"sliding_window"},
    {"sparse_config"},
    {"ssm_cfg"},
    {"topk_group", 1},
    {"use_bias"},
    {"use_bidirectional_attention"},
    {"use_cla"},
    {"use_logn_attn"},
    {"use_mrope"},
    {"use_parallel_residual"},
    {"use_qk_norm"},
    {"use_qkv_bias"},
    {"v_head_dim"},
    {"word_embed_proj_dim"},
};

// Keys after "ARCHITECTURE.".
constexpr Arithmetic kGguf[] = {
    {"attention.key_length_mla"},
    {"attention.kv_lora_rank"},
    {"attention.layer_indices"},
    {"attention.max_alibi_bias"},
    {"attention.q_lora_rank"},
    {"attention.scale", 1},
    {"attention.shared_kv_layers"},
    {"attention.sliding_window_pattern"},
    {"attention.temperature_length"},
    {"attention.temperature_scale"},
    {"attn_logit_softcapping"},
    {"embedding_scale", 1},
    {"expert_gating_func", 1},  // 1: softmax
    {"expert_group_count", 1},
    {"expert_shared_count"},
    {"expert_weights_scale", 1},
    {"final_logit_softcapping"},
    {"interleave_moe_layer_step"},
    {"leading_dense_block_count"},
    {"logit_scale", 1},
    {"moe_every_n_layers"},
    {"nextn_predict_layers"},
    {"residual_scale", 1},
    {"ssm.state_size"},
};

// Keys after "ARCHITECTURE.rope.": any other that nobody asked for must say that it is not used.
constexpr Arithmetic kGgufRope[] = {
    {"scale_linear", 1},           {"scaling.attn_factor", 1},      {"scaling.factor", 1},
    {"scaling.type", 0, "none"},   {"scaling.yarn_attn_factor", 1}, {"scaling.yarn_beta_fast", 32},
    {"scaling.yarn_beta_slow", 1}, {"scaling.yarn_ext_factor", 1},
};

bool says_nothing(const Json& value, double neutral, std::string_view word) {
  if (value.is_number()) {
    const double n = value.as_number("");
    return n == 0 || n == neutral;
  }
  if (value.is_bool()) return !value.as_bool("");
  if (value.is_string()) return value.as_string("").empty() || value.as_string("") == word;
  if (value.is_array()) return value.as_array("").empty();
  return value.is_null() || value.as_object("").empty();
}

}  // namespace

void Fields::refuse_if_set(const std::string& key, double neutral, std::string_view word,
                           const std::string& architecture) const {
  const Json* value = object_.find(key);
  if (!value || read_.contains(key) || says_nothing(*value, neutral, word)) return;
  throw Error(where(key), "is " + write_json(*value) +
                              ", which is not implemented for the architecture " + architecture);
}

void Fields::refuse_unread(const std::string& architecture) const {
  for (const Arithmetic& a : kHuggingFace) refuse_if_set(a.key, a.neutral, a.word, architecture);
}

void Fields::refuse_unread_gguf(const std::string& prefix) const {
  const std::string architecture = prefix.substr(0, prefix.size() - 1);
  for (const Arithmetic& a : kGguf) refuse_if_set(prefix + a.key, a.neutral, a.word, architecture);
  const std::string rope = prefix + "rope.";
  for (const auto& [key, value] : object_.as_object(path_)) {
    if (!key.starts_with(rope)) continue;
    Arithmetic unknown{""};
    for (const Arithmetic& a : kGgufRope)
      if (key.compare(rope.size(), std::string::npos, a.key) == 0) unknown = a;
    refuse_if_set(key, unknown.neutral, unknown.word, architecture);
  }
}

void Fields::refuse_others(Names harmless) const {
  for (const auto& [key, value] : object_.as_object(path_)) {
    if (read_.contains(key) || value.is_null()) continue;
    bool known = false;
    for (const char* name : harmless) known = known || key == name;
    if (!known) throw Error(where(key), "is " + write_json(value) + ", which is not implemented");
  }
}

}  // namespace nibble
