// Model families as data: what files call them, what they call their tensors, how they differ.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nibble {

/// The tensors of a transformer. `layer` tensors occur once per layer.
enum class Slot : uint8_t {
  embedding,
  output_norm,
  output,
  rope_factors,
  attn_norm,
  q,
  k,
  v,
  o,
  q_bias,
  k_bias,
  v_bias,
  ffn_norm,
  gate,
  up,
  down,
};

struct SlotName {
  Slot slot;
  const char* gguf;  // also llama2.c and .nib; '#' stands for the layer's number
  const char* hugging_face;
};

struct Family {
  const char* name;               // Config::architecture; GGUF general.architecture
  const char* hugging_face_type;  // model_type of config.json
  bool gguf_interleaved_rope;     // q and k rows of GGUF files pair (2i, 2i + 1)
  bool qkv_bias;
  std::span<const SlotName> slots;
};

/// The family of that GGUF or Hugging Face name, or null.
const Family* find_family_gguf(std::string_view architecture);
const Family* find_family_hugging_face(std::string_view model_type);
std::span<const Family> families();

}  // namespace nibble
