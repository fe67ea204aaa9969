#include "model/families.h"

namespace nibble {
namespace {

// --- Names in most files --------------------------------------------------------------------

constexpr SlotName kGguf[] = {
    {Slot::embedding, "token_embd.weight"},
    {Slot::embedding_norm, "token_embd_norm.weight"},
    {Slot::positions, "position_embd.weight"},
    {Slot::project_in, "project_in.weight"},
    {Slot::project_out, "project_out.weight"},
    {Slot::output_norm, "output_norm.weight"},
    {Slot::output, "output.weight"},
    {Slot::rope_factors, "rope_freqs.weight"},
    {Slot::rope_short_factors, "rope_factors_short.weight"},
    {Slot::rope_long_factors, "rope_factors_long.weight"},
    {Slot::attn_norm, "blk.#.attn_norm.weight"},
    {Slot::q, "blk.#.attn_q.weight"},
    {Slot::k, "blk.#.attn_k.weight"},
    {Slot::v, "blk.#.attn_v.weight"},
    {Slot::o, "blk.#.attn_output.weight"},
    {Slot::q_norm, "blk.#.attn_q_norm.weight"},
    {Slot::k_norm, "blk.#.attn_k_norm.weight"},
    {Slot::sinks, "blk.#.attn_sinks.weight"},
    {Slot::attn_post_norm, "blk.#.post_attention_norm.weight"},
    {Slot::ffn_norm, "blk.#.ffn_norm.weight"},
    {Slot::gate, "blk.#.ffn_gate.weight"},
    {Slot::up, "blk.#.ffn_up.weight"},
    {Slot::down, "blk.#.ffn_down.weight"},
    {Slot::act_scales, "blk.#.ffn.act.scales"},
    {Slot::ffn_post_norm, "blk.#.post_ffw_norm.weight"},
    {Slot::router, "blk.#.ffn_gate_inp.weight"},
    // With an option of its converter.
    {Slot::expert_gate, "blk.#.ffn_gate_up_exps.weight"},
    {Slot::expert_up, "blk.#.ffn_gate_up_exps.weight"},
    // Files of before 2024-04 have a tensor for each expert, as .nib files do.
    {Slot::expert_gate, "blk.#.ffn_gate_exps.weight"},
    {Slot::expert_up, "blk.#.ffn_up_exps.weight"},
    {Slot::expert_down, "blk.#.ffn_down_exps.weight"},
    {Slot::expert_gate, "blk.#.ffn_gate.@.weight"},
    {Slot::expert_up, "blk.#.ffn_up.@.weight"},
    {Slot::expert_down, "blk.#.ffn_down.@.weight"},
};
constexpr SlotName kHuggingFace[] = {
    {Slot::embedding, "model.embed_tokens.weight"},
    {Slot::output_norm, "model.norm.weight"},
    {Slot::output, "lm_head.weight"},
    {Slot::attn_norm, "model.layers.#.input_layernorm.weight"},
    {Slot::q, "model.layers.#.self_attn.q_proj.weight"},
    {Slot::k, "model.layers.#.self_attn.k_proj.weight"},
    {Slot::v, "model.layers.#.self_attn.v_proj.weight"},
    {Slot::o, "model.layers.#.self_attn.o_proj.weight"},
    {Slot::q_norm, "model.layers.#.self_attn.q_norm.weight"},
    {Slot::k_norm, "model.layers.#.self_attn.k_norm.weight"},
    {Slot::ffn_norm, "model.layers.#.post_attention_layernorm.weight"},
    {Slot::gate, "model.layers.#.mlp.gate_proj.weight"},
    {Slot::up, "model.layers.#.mlp.up_proj.weight"},
    {Slot::down, "model.layers.#.mlp.down_proj.weight"},
    {Slot::router, "model.layers.#.mlp.gate.weight"},
    {Slot::expert_gate, "model.layers.#.mlp.experts.@.gate_proj.weight"},
    {Slot::expert_up, "model.layers.#.mlp.experts.@.up_proj.weight"},
    {Slot::expert_down, "model.layers.#.mlp.experts.@.down_proj.weight"},
};

// --- Names of some families: Hugging Face ---------------------------------------------------

constexpr SlotName kMixtral[] = {
    {Slot::router, "model.layers.#.block_sparse_moe.gate.weight"},
    {Slot::expert_gate, "model.layers.#.block_sparse_moe.experts.@.w1.weight"},
    {Slot::expert_up, "model.layers.#.block_sparse_moe.experts.@.w3.weight"},
    {Slot::expert_down, "model.layers.#.block_sparse_moe.experts.@.w2.weight"},
};

constexpr SlotName kGptOssNames[] = {
    {Slot::sinks, "model.layers.#.self_attn.sinks"},
    {Slot::router, "model.layers.#.mlp.router.weight"},
    {Slot::expert_gate, "model.layers.#.mlp.experts.gate_up_proj_blocks"},
    {Slot::expert_up, "model.layers.#.mlp.experts.gate_up_proj_blocks"},
    {Slot::expert_down, "model.layers.#.mlp.experts.down_proj_blocks"},
};

constexpr SlotName kPhi3[] = {
    {Slot::q, "model.layers.#.self_attn.qkv_proj.weight"},
    {Slot::k, "model.layers.#.self_attn.qkv_proj.weight"},
    {Slot::v, "model.layers.#.self_attn.qkv_proj.weight"},
    {Slot::gate, "model.layers.#.mlp.gate_up_proj.weight"},
    {Slot::up, "model.layers.#.mlp.gate_up_proj.weight"},
};

// Norms of a sublayer's output.
constexpr SlotName kPostNorms[] = {
    {Slot::attn_post_norm, "model.layers.#.post_attention_layernorm.weight"},
    {Slot::ffn_norm, "model.layers.#.pre_feedforward_layernorm.weight"},
    {Slot::ffn_post_norm, "model.layers.#.post_feedforward_layernorm.weight"},
};

constexpr SlotName kExaone[] = {
    {Slot::embedding, "transformer.wte.weight"},
    {Slot::output_norm, "transformer.ln_f.weight"},
    {Slot::attn_norm, "transformer.h.#.ln_1.weight"},
    {Slot::q, "transformer.h.#.attn.attention.q_proj.weight"},
    {Slot::k, "transformer.h.#.attn.attention.k_proj.weight"},
    {Slot::v, "transformer.h.#.attn.attention.v_proj.weight"},
    {Slot::o, "transformer.h.#.attn.attention.out_proj.weight"},
    {Slot::ffn_norm, "transformer.h.#.ln_2.weight"},
    {Slot::gate, "transformer.h.#.mlp.c_fc_0.weight"},
    {Slot::up, "transformer.h.#.mlp.c_fc_1.weight"},
    {Slot::down, "transformer.h.#.mlp.c_proj.weight"},
};

constexpr SlotName kGlm[] = {
    {Slot::gate, "model.layers.#.mlp.gate_up_proj.weight"},
    {Slot::up, "model.layers.#.mlp.gate_up_proj.weight"},
    {Slot::attn_post_norm, "model.layers.#.post_self_attn_layernorm.weight"},
    {Slot::ffn_post_norm, "model.layers.#.post_mlp_layernorm.weight"},
};

// Granite 4 without experts: the network that its other models share is all there is.
constexpr SlotName kGranite4[] = {
    {Slot::gate, "model.layers.#.shared_mlp.input_linear.weight"},
    {Slot::up, "model.layers.#.shared_mlp.input_linear.weight"},
    {Slot::down, "model.layers.#.shared_mlp.output_linear.weight"},
};

constexpr SlotName kInternLm2[] = {
    {Slot::embedding, "model.tok_embeddings.weight"},
    {Slot::output, "output.weight"},
    {Slot::attn_norm, "model.layers.#.attention_norm.weight"},
    {Slot::q, "model.layers.#.attention.wqkv.weight"},
    {Slot::k, "model.layers.#.attention.wqkv.weight"},
    {Slot::v, "model.layers.#.attention.wqkv.weight"},
    {Slot::o, "model.layers.#.attention.wo.weight"},
    {Slot::ffn_norm, "model.layers.#.ffn_norm.weight"},
    {Slot::gate, "model.layers.#.feed_forward.w1.weight"},
    {Slot::up, "model.layers.#.feed_forward.w3.weight"},
    {Slot::down, "model.layers.#.feed_forward.w2.weight"},
};

constexpr SlotName kStableLm[] = {
    {Slot::q_norm, "model.layers.#.self_attn.q_layernorm.norms.@.weight"},
    {Slot::k_norm, "model.layers.#.self_attn.k_layernorm.norms.@.weight"},
};

constexpr SlotName kGptNeoX[] = {
    {Slot::embedding, "gpt_neox.embed_in.weight"},
    {Slot::output_norm, "gpt_neox.final_layer_norm.weight"},
    {Slot::output, "embed_out.weight"},
    {Slot::attn_norm, "gpt_neox.layers.#.input_layernorm.weight"},
    {Slot::q, "gpt_neox.layers.#.attention.query_key_value.weight"},
    {Slot::k, "gpt_neox.layers.#.attention.query_key_value.weight"},
    {Slot::v, "gpt_neox.layers.#.attention.query_key_value.weight"},
    {Slot::o, "gpt_neox.layers.#.attention.dense.weight"},
    {Slot::ffn_norm, "gpt_neox.layers.#.post_attention_layernorm.weight"},
    {Slot::up, "gpt_neox.layers.#.mlp.dense_h_to_4h.weight"},
    {Slot::down, "gpt_neox.layers.#.mlp.dense_4h_to_h.weight"},
    {Slot::act_scales, "gpt_neox.layers.#.mlp.act.scales"},
};

// Falcon 40B has two norms and names them otherwise.
constexpr SlotName kFalcon[] = {
    {Slot::embedding, "transformer.word_embeddings.weight"},
    {Slot::output_norm, "transformer.ln_f.weight"},
    {Slot::attn_norm, "transformer.h.#.ln_attn.weight"},
    {Slot::attn_norm, "transformer.h.#.input_layernorm.weight"},
    {Slot::q, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::k, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::v, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::o, "transformer.h.#.self_attention.dense.weight"},
    {Slot::ffn_norm, "transformer.h.#.ln_mlp.weight"},
    {Slot::ffn_norm, "transformer.h.#.post_attention_layernorm.weight"},
    {Slot::up, "transformer.h.#.mlp.dense_h_to_4h.weight"},
    {Slot::down, "transformer.h.#.mlp.dense_4h_to_h.weight"},
    {Slot::act_scales, "transformer.h.#.mlp.act.scales"},
};

constexpr SlotName kBloom[] = {
    {Slot::embedding, "transformer.word_embeddings.weight"},
    {Slot::embedding_norm, "transformer.word_embeddings_layernorm.weight"},
    {Slot::output_norm, "transformer.ln_f.weight"},
    {Slot::attn_norm, "transformer.h.#.input_layernorm.weight"},
    {Slot::q, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::k, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::v, "transformer.h.#.self_attention.query_key_value.weight"},
    {Slot::o, "transformer.h.#.self_attention.dense.weight"},
    {Slot::ffn_norm, "transformer.h.#.post_attention_layernorm.weight"},
    {Slot::up, "transformer.h.#.mlp.dense_h_to_4h.weight"},
    {Slot::down, "transformer.h.#.mlp.dense_4h_to_h.weight"},
    {Slot::act_scales, "transformer.h.#.mlp.gelu_impl.scales"},
};

constexpr SlotName kMpt[] = {
    {Slot::embedding, "transformer.wte.weight"},
    {Slot::output_norm, "transformer.norm_f.weight"},
    {Slot::attn_norm, "transformer.blocks.#.norm_1.weight"},
    {Slot::q, "transformer.blocks.#.attn.Wqkv.weight"},
    {Slot::k, "transformer.blocks.#.attn.Wqkv.weight"},
    {Slot::v, "transformer.blocks.#.attn.Wqkv.weight"},
    {Slot::o, "transformer.blocks.#.attn.out_proj.weight"},
    {Slot::ffn_norm, "transformer.blocks.#.norm_2.weight"},
    {Slot::up, "transformer.blocks.#.ffn.up_proj.weight"},
    {Slot::down, "transformer.blocks.#.ffn.down_proj.weight"},
    {Slot::act_scales, "transformer.blocks.#.ffn.act.scales"},
};

constexpr SlotName kOpt[] = {
    {Slot::embedding, "model.decoder.embed_tokens.weight"},
    {Slot::positions, "model.decoder.embed_positions.weight"},
    {Slot::project_in, "model.decoder.project_in.weight"},
    {Slot::project_out, "model.decoder.project_out.weight"},
    {Slot::output_norm, "model.decoder.final_layer_norm.weight"},
    {Slot::attn_norm, "model.decoder.layers.#.self_attn_layer_norm.weight"},
    {Slot::q, "model.decoder.layers.#.self_attn.q_proj.weight"},
    {Slot::k, "model.decoder.layers.#.self_attn.k_proj.weight"},
    {Slot::v, "model.decoder.layers.#.self_attn.v_proj.weight"},
    {Slot::o, "model.decoder.layers.#.self_attn.out_proj.weight"},
    {Slot::ffn_norm, "model.decoder.layers.#.final_layer_norm.weight"},
    {Slot::up, "model.decoder.layers.#.fc1.weight"},
    {Slot::down, "model.decoder.layers.#.fc2.weight"},
};

constexpr SlotName kGpt2[] = {
    {Slot::embedding, "transformer.wte.weight"},
    {Slot::positions, "transformer.wpe.weight"},
    {Slot::output_norm, "transformer.ln_f.weight"},
    {Slot::attn_norm, "transformer.h.#.ln_1.weight"},
    {Slot::q, "transformer.h.#.attn.c_attn.weight"},
    {Slot::k, "transformer.h.#.attn.c_attn.weight"},
    {Slot::v, "transformer.h.#.attn.c_attn.weight"},
    {Slot::o, "transformer.h.#.attn.c_proj.weight"},
    {Slot::ffn_norm, "transformer.h.#.ln_2.weight"},
    {Slot::up, "transformer.h.#.mlp.c_fc.weight"},
    {Slot::down, "transformer.h.#.mlp.c_proj.weight"},
    {Slot::act_scales, "transformer.h.#.mlp.act.scales"},
};

constexpr SlotName kStarCoder2[] = {
    {Slot::up, "model.layers.#.mlp.c_fc.weight"},
    {Slot::down, "model.layers.#.mlp.c_proj.weight"},
    {Slot::act_scales, "model.layers.#.mlp.act.scales"},
};

// --- Names of some families: GGUF -----------------------------------------------------------

constexpr SlotName kGgufFused[] = {
    {Slot::q, "blk.#.attn_qkv.weight"},
    {Slot::k, "blk.#.attn_qkv.weight"},
    {Slot::v, "blk.#.attn_qkv.weight"},
};
constexpr SlotName kGgufPhi3[] = {
    {Slot::q, "blk.#.attn_qkv.weight"}, {Slot::k, "blk.#.attn_qkv.weight"},
    {Slot::v, "blk.#.attn_qkv.weight"}, {Slot::gate, "blk.#.ffn_up.weight"},
    {Slot::up, "blk.#.ffn_up.weight"},
};
constexpr SlotName kGgufGateUp[] = {{Slot::gate, "blk.#.ffn_up.weight"}};
// Not a norm of the output, as in other files.
constexpr SlotName kGgufFfnNorm[] = {{Slot::ffn_norm, "blk.#.post_attention_norm.weight"}};
constexpr SlotName kGgufFalcon[] = {
    {Slot::attn_norm, "blk.#.attn_norm_2.weight"},
    {Slot::attn_norm, "blk.#.attn_norm.weight"},
    {Slot::ffn_norm, "blk.#.attn_norm.weight"},
    {Slot::q, "blk.#.attn_qkv.weight"},
    {Slot::k, "blk.#.attn_qkv.weight"},
    {Slot::v, "blk.#.attn_qkv.weight"},
};

// --- Layouts and traits ---------------------------------------------------------------------

constexpr Layout kPlain{};
constexpr Layout kPermuted{.interleaved_rope = true};  // llama.cpp's converter reorders q and k
constexpr Layout kFusedGguf{.names = kGgufFused, .qkv = QkvOrder::concatenated};

// Qwen2: biases of q, k and v. Qwen3: norms of them instead.
constexpr Traits kQwen2{.qkv_bias = true};
constexpr Traits kQwen3{.qk_norm = QkNorm::head};
constexpr Traits kOlmoe{.qk_norm = QkNorm::row};
constexpr Traits kGptOss{.activation = Activation::swiglu_oai,
                         .qkv_bias = true,
                         .o_bias = true,
                         .ffn_bias = true,
                         .attention_sinks = true};
constexpr Traits kGemma{.activation = Activation::gelu_tanh};
constexpr Traits kGemma2{.norm_placement = NormPlacement::around,
                         .activation = Activation::gelu_tanh};
constexpr Traits kGemma3{.norm_placement = NormPlacement::around,
                         .activation = Activation::gelu_tanh,
                         .qk_norm = QkNorm::head};
constexpr Traits kGlm4{.norm_placement = NormPlacement::around};
constexpr Traits kExaone4{.norm_placement = NormPlacement::after, .qk_norm = QkNorm::head};
constexpr Traits kOlmo2{.norm_placement = NormPlacement::after, .qk_norm = QkNorm::row};
constexpr Traits kCohere{.norm = NormKind::layer, .residual = Residual::parallel_one_norm};
constexpr Traits kStable{.norm = NormKind::layer, .norm_bias = true};
constexpr Traits kNeoX{.norm = NormKind::layer,
                       .norm_bias = true,
                       .residual = Residual::parallel,
                       .activation = Activation::gelu,
                       .gated_ffn = false,
                       .qkv_bias = true,
                       .o_bias = true,
                       .ffn_bias = true};
constexpr Traits kFalconTraits{.norm = NormKind::layer,
                               .norm_bias = true,
                               .residual = Residual::parallel_one_norm,
                               .activation = Activation::gelu,
                               .gated_ffn = false};
constexpr Traits kMptTraits{.norm = NormKind::layer,
                            .activation = Activation::gelu,
                            .gated_ffn = false,
                            .positions = Positions::alibi};
constexpr Traits kBloomTraits{.norm = NormKind::layer,
                              .norm_bias = true,
                              .embedding_norm = true,
                              .activation = Activation::gelu_tanh,
                              .gated_ffn = false,
                              .qkv_bias = true,
                              .o_bias = true,
                              .ffn_bias = true,
                              .positions = Positions::alibi};
constexpr Traits kGptTraits{.norm = NormKind::layer,
                            .norm_bias = true,
                            .activation = Activation::gelu_tanh,
                            .gated_ffn = false,
                            .qkv_bias = true,
                            .o_bias = true,
                            .ffn_bias = true,
                            .positions = Positions::learned};
// StarCoder's GELU is exact.
constexpr Traits kStarCoderTraits{.norm = NormKind::layer,
                                  .norm_bias = true,
                                  .activation = Activation::gelu,
                                  .gated_ffn = false,
                                  .qkv_bias = true,
                                  .o_bias = true,
                                  .ffn_bias = true,
                                  .positions = Positions::learned};
constexpr Traits kOptTraits{.norm = NormKind::layer,
                            .norm_bias = true,
                            .activation = Activation::relu,
                            .gated_ffn = false,
                            .qkv_bias = true,
                            .o_bias = true,
                            .ffn_bias = true,
                            .positions = Positions::learned};
constexpr Traits kStarCoder2Traits{.norm = NormKind::layer,
                                   .norm_bias = true,
                                   .activation = Activation::gelu_tanh,
                                   .gated_ffn = false,
                                   .qkv_bias = true,
                                   .o_bias = true,
                                   .ffn_bias = true};

constexpr Layout kFalconLayout{.names = kFalcon, .qkv = QkvOrder::grouped};

// A row a family: our name, GGUF's, Hugging Face's, traits, tensors in GGUF and in Hugging Face
// files. The first row of a name is the one that is found by it.
constexpr Family kFamilies[] = {
    {"llama", "llama", "llama", {}, kPermuted, kPlain},
    {"llama", "llama", "mistral", {}, kPermuted, kPlain},
    {"llama", "llama", "ministral", {}, kPermuted, kPlain},
    {"ministral3", "mistral3", "ministral3", {}, kPermuted, kPlain},
    {"llama", "llama", "mixtral", {}, kPermuted, {.names = kMixtral}},
    {"llama", "llama", "internlm3", {}, kPermuted, kPlain},
    {"smollm3", "smollm3", "smollm3", {}, kPermuted, kPlain},
    {"qwen2", "qwen2", "qwen2", kQwen2, kPlain, kPlain},
    {"qwen3", "qwen3", "qwen3", kQwen3, kPlain, kPlain},
    {"qwen3moe", "qwen3moe", "qwen3_moe", kQwen3, kPlain, kPlain},
    {"olmoe", "olmoe", "olmoe", kOlmoe, kPlain, kPlain},
    {"gpt-oss",
     "gpt-oss",
     "gpt_oss",
     kGptOss,
     {.names = kGgufFfnNorm},
     {.names = kGptOssNames, .expert_pairs = true}},
    {"phi3",
     "phi3",
     "phi3",
     {},
     {.names = kGgufPhi3, .qkv = QkvOrder::concatenated, .gate_up = true},
     {.names = kPhi3, .qkv = QkvOrder::concatenated, .gate_up = true}},
    {"gemma", "gemma", "gemma", kGemma, kPlain, {.unit_norms = true}},
    {"gemma2", "gemma2", "gemma2", kGemma2, kPlain, {.names = kPostNorms, .unit_norms = true}},
    {"gemma3", "gemma3", "gemma3_text", kGemma3, kPlain, {.names = kPostNorms, .unit_norms = true}},
    {"granite", "granite", "granite", {}, kPermuted, kPlain},
    {"granite",
     "granite",
     "granitemoehybrid",
     {},
     kPermuted,
     {.names = kGranite4, .gate_up = true}},
    {"minicpm", "minicpm", "minicpm", {}, kPermuted, kPlain},
    {"olmo2", "olmo2", "olmo2", kOlmo2, kPlain, {.names = kPostNorms}},
    {"olmo2", "olmo2", "olmo3", kOlmo2, kPlain, {.names = kPostNorms}},
    {"exaone", "exaone", "exaone", {}, kPlain, {.names = kExaone}},
    {"exaone4", "exaone4", "exaone4", kExaone4, kPlain, {.names = kPostNorms}},
    {"glm", "", "glm", {}, {}, {.names = kGlm, .gate_up = true, .interleaved_rope = true}},
    {"glm4",
     "glm4",
     "glm4",
     kGlm4,
     {.names = kGgufGateUp, .gate_up = true, .interleaved_rope = true, .halves_if_sections = true},
     {.names = kGlm, .gate_up = true, .interleaved_rope = true}},
    {"seed_oss", "seed_oss", "seed_oss", {}, {.names = kGgufFfnNorm}, kPlain},
    {"ernie4_5", "ernie4_5", "ernie4_5", {}, kPermuted, {.interleaved_rope = true}},
    {"command-r", "command-r", "cohere", kCohere, kPermuted, {.interleaved_rope = true}},
    {"cohere2", "cohere2", "cohere2", kCohere, kPermuted, {.interleaved_rope = true}},
    {"internlm2",
     "internlm2",
     "internlm2",
     {},
     kPermuted,
     {.names = kInternLm2, .qkv = QkvOrder::grouped}},
    {"stablelm", "stablelm", "stablelm", kStable, kPlain, {.names = kStableLm}},
    {"gptneox",
     "gptneox",
     "gpt_neox",
     kNeoX,
     kFusedGguf,
     {.names = kGptNeoX, .qkv = QkvOrder::grouped}},
    {"falcon",
     "falcon",
     "falcon",
     kFalconTraits,
     {.names = kGgufFalcon, .qkv = QkvOrder::concatenated},
     kFalconLayout},
    {"falcon", "falcon", "RefinedWeb", kFalconTraits, {}, kFalconLayout},
    {"falcon", "falcon", "RefinedWebModel", kFalconTraits, {}, kFalconLayout},
    {"mpt", "mpt", "mpt", kMptTraits, kFusedGguf, {.names = kMpt, .qkv = QkvOrder::concatenated}},
    {"bloom",
     "bloom",
     "bloom",
     kBloomTraits,
     kFusedGguf,
     {.names = kBloom, .qkv = QkvOrder::grouped}},
    {"opt", "", "opt", kOptTraits, kPlain, {.names = kOpt}},
    {"gpt2",
     "gpt2",
     "gpt2",
     kGptTraits,
     kFusedGguf,
     {.names = kGpt2, .qkv = QkvOrder::concatenated, .transposed = true}},
    {"starcoder",
     "starcoder",
     "gpt_bigcode",
     kStarCoderTraits,
     kFusedGguf,
     {.names = kGpt2, .qkv = QkvOrder::grouped}},
    {"starcoder2", "starcoder2", "starcoder2", kStarCoder2Traits, kPlain, {.names = kStarCoder2}},
};

const Family* find_by(const char* Family::*name, std::string_view wanted) {
  for (const Family& family : kFamilies)
    if (!wanted.empty() && wanted == family.*name) return &family;
  return nullptr;
}

}  // namespace

const Family* find_family(std::string_view name) { return find_by(&Family::name, name); }
const Family* find_family_gguf(std::string_view architecture) {
  return find_by(&Family::gguf, architecture);
}
const Family* find_family_hugging_face(std::string_view model_type) {
  return find_by(&Family::hugging_face, model_type);
}

std::span<const Family> families() { return kFamilies; }

std::span<const SlotName> gguf_names() { return kGguf; }
std::span<const SlotName> hugging_face_names() { return kHuggingFace; }

const char* nib_name(Slot slot) {
  const char* name = "";
  for (const SlotName& row : kGguf)
    if (row.slot == slot) name = row.name;
  return name;
}

}  // namespace nibble
