// Model families as data: what files call them, how they differ, what they call their tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "nibble/config.h"

namespace nibble {

/// The tensors of a transformer: weights, and biases beside some of them. Those from attn_norm on
/// occur once per layer, those from expert_gate on once per expert.
enum class Slot : uint8_t {
  embedding,
  embedding_norm,
  positions,
  project_in,
  project_out,
  output_norm,
  output,
  rope_factors,
  rope_short_factors,
  rope_long_factors,
  attn_norm,
  q,
  k,
  v,
  o,
  q_norm,
  k_norm,
  sinks,
  attn_post_norm,
  ffn_norm,
  gate,
  up,
  down,
  act_scales,
  ffn_post_norm,
  router,
  expert_gate,
  expert_up,
  expert_down,
};

/// '#' stands for the layer's number, '@' for the expert's; a name of an expert without '@' is a
/// tensor of all experts, one after the other.
struct SlotName {
  Slot slot;
  const char* name;
};

/// How the rows of q, k and v lie in one tensor, if they share one: all queries, then all keys,
/// then all values; or for each KV head its queries, its key and its value.
enum class QkvOrder : uint8_t { separate, concatenated, grouped };

/// The tensors of a family in one kind of file.
struct Layout {
  std::span<const SlotName> names = {};  // that differ from the usual ones of such files
  QkvOrder qkv = QkvOrder::separate;
  bool gate_up = false;             // one tensor: gate, then up
  bool expert_gate_up = false;      // one tensor: for each expert its gate, then its up
  bool expert_pairs = false;        // one tensor for each expert's gate and up: row by row in turns
  bool interleaved_rope = false;    // rows of q and k pair (2i, 2i + 1)
  bool halves_if_sections = false;  // but not in files with has_rope_sections()
  bool transposed = false;          // matrices of layers are [inputs, outputs]
  bool unit_norms = false;          // norms multiply by 1 + weight
};

struct Family {
  const char* name;          // Config::architecture
  const char* gguf;          // general.architecture, or "" if there are no such files
  const char* hugging_face;  // model_type of config.json, or ""
  Traits traits;             // unless the file says otherwise
  Layout gguf_layout;
  Layout hugging_face_layout;
};

/// The family of that Config::architecture, GGUF or Hugging Face name, or null.
const Family* find_family(std::string_view name);
const Family* find_family_gguf(std::string_view architecture);
const Family* find_family_hugging_face(std::string_view model_type);
std::span<const Family> families();

/// What most files call tensors. A slot may have several rows, the best first; the last one of GGUF
/// is the name in .nib files, where every expert has a tensor of its own.
std::span<const SlotName> gguf_names();
std::span<const SlotName> hugging_face_names();
const char* nib_name(Slot slot);

}  // namespace nibble
