// What the config.json of several families say alike: RoPE, windows, biases, experts.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config_fields.h"

namespace nibble {

/// RoPE and its scaling. `rotary`: the share of a head that rotates, if the file does not say.
void read_rope(const Fields& f, float rotary, Config& out);

/// One flag per layer from a function of its number.
template <class Fn>
std::vector<uint8_t> per_layer(const Config& c, Fn&& flag) {
  std::vector<uint8_t> out(static_cast<size_t>(c.n_layers));
  for (int32_t i = 0; i < c.n_layers; ++i) out[static_cast<size_t>(i)] = flag(i) ? 1 : 0;
  return out;
}

/// The layers that have the window, if the file lists them.
void read_layer_types(const Fields& f, Config& out);
/// Layers but every `period`th have the window, unless the file lists them.
void read_window_pattern(const Fields& f, const char* key, int32_t period, Config& out);
/// A null says that there is none; `absent` is what the model code assumes of a file that says
/// nothing.
void read_window(const Fields& f, Config& out, int32_t absent = 0);
/// A window that is off unless "use_sliding_window", and then for the upper layers.
void read_optional_window(const Fields& f, Config& out);

/// Of q, k, v and o.
void read_attention_bias(const Fields& f, Config& out);
void read_experts(const Fields& f, const char* count, Config& out);

}  // namespace nibble
