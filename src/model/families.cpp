#include "model/families.h"

namespace nibble {
namespace {

constexpr SlotName kLlamaSlots[] = {
    {Slot::embedding, "token_embd.weight", "model.embed_tokens.weight"},
    {Slot::output_norm, "output_norm.weight", "model.norm.weight"},
    {Slot::output, "output.weight", "lm_head.weight"},
    {Slot::rope_factors, "rope_freqs.weight", ""},
    {Slot::attn_norm, "blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
    {Slot::q, "blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight"},
    {Slot::k, "blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight"},
    {Slot::v, "blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight"},
    {Slot::o, "blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight"},
    {Slot::q_bias, "blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
    {Slot::k_bias, "blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
    {Slot::v_bias, "blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
    {Slot::ffn_norm, "blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {Slot::gate, "blk.#.ffn_gate.weight", "model.layers.#.mlp.gate_proj.weight"},
    {Slot::up, "blk.#.ffn_up.weight", "model.layers.#.mlp.up_proj.weight"},
    {Slot::down, "blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight"},
};

// A row a family. Files that llama.cpp's converter wrote for "llama" have the rows of q and k
// permuted to interleaved pairs; all other families keep Hugging Face's halves.
constexpr Family kFamilies[] = {
    {"llama", "llama", true, false, kLlamaSlots},
    {"llama", "mistral", true, false, kLlamaSlots},
    {"qwen2", "qwen2", false, true, kLlamaSlots},
};

}  // namespace

const Family* find_family_gguf(std::string_view architecture) {
  for (const Family& family : kFamilies)
    if (architecture == family.name) return &family;
  return nullptr;
}

const Family* find_family_hugging_face(std::string_view model_type) {
  for (const Family& family : kFamilies)
    if (model_type == family.hugging_face_type) return &family;
  return nullptr;
}

std::span<const Family> families() { return kFamilies; }

}  // namespace nibble
