#include "model/config_hf_common.h"

#include <cmath>

#include "model/rope.h"
#include "nibble/error.h"

namespace nibble {
namespace {

void read_yarn(const Fields& f, Config& out) {
  out.rope_factor = f.number("factor");
  out.rope_original_context =
      f.size_or("original_max_position_embeddings", out.context_length, kMaxContext);
  out.rope_beta_fast = f.number_or("beta_fast", 32.0f);
  out.rope_beta_slow = f.number_or("beta_slow", 1.0f);
  out.rope_truncate = f.bool_or("truncate", true);
  const float scale = f.number_or("mscale", 0.0f), all = f.number_or("mscale_all_dim", 0.0f);
  const float usual = scale != 0.0f && all != 0.0f ? yarn_magnitude(out.rope_factor, scale) /
                                                         yarn_magnitude(out.rope_factor, all)
                                                   : yarn_magnitude(out.rope_factor, 1.0f);
  out.rope_attention_factor = f.number_or("attention_factor", usual);
}

// `config` may hold the original context beside the scaling, as Phi-3's does.
void read_longrope(const Fields& f, const Fields& config, Config& out) {
  const std::string original = "original_max_position_embeddings";
  out.rope_short_factors = f.numbers("short_factor");
  out.rope_long_factors = f.numbers("long_factor");
  out.rope_original_context =
      config.size_or(original, f.size_or(original, out.context_length, kMaxContext), kMaxContext);
  out.rope_factor =
      static_cast<float>(out.context_length) / static_cast<float>(out.rope_original_context);
  if (!config.find(original)) out.rope_factor = f.number_or("factor", out.rope_factor);
  const double context = out.rope_original_context;
  const double usual =
      out.rope_factor <= 1.0f
          ? 1.0
          : std::sqrt(1.0 + std::log(static_cast<double>(out.rope_factor)) / std::log(context));
  out.rope_attention_factor = f.number_or("attention_factor", static_cast<float>(usual));
  for (const char* key : {"short_mscale", "long_mscale"})
    if (f.find(key)) throw Error(f.where(key), "is not implemented");
}

// Where layers differ there is an object for each kind; that of the layers with a window is read
// here, and the other one returned.
const Json* global_rope(const Json& scaling, const std::string& where, Config& out) {
  scaling.as_object(where);
  const Fields kinds(scaling, where);
  const Json* global = kinds.find("full_attention");
  const Json* local = kinds.find("sliding_attention");
  if (!global && !local) return &scaling;
  kinds.refuse_others({});
  if (local) {
    const Fields f(*local, where + ": sliding_attention");
    f.only("rope_type", "default");
    out.rope_local_theta = f.number("rope_theta");
    f.refuse_others({});
  }
  return global ? global : local;
}

void read_scaling(const Fields& f, const Fields& config, Config& out) {
  const std::string type = f.string_or({"rope_type", "type"}, "default");
  f.find("type");
  if (type == "default") {  // whose other members the model code does not read
    for (const char* key : {"factor", "original_max_position_embeddings"}) f.find(key);
    return;
  }
  if (type == "linear") {
    out.rope_scaling = RopeScaling::linear;
    out.rope_factor = f.number("factor");
    f.find("original_max_position_embeddings");  // has no say
  } else if (type == "llama3") {
    out.rope_scaling = RopeScaling::llama3;
    out.rope_factor = f.number("factor");
    out.rope_low_freq_factor = f.number_or("low_freq_factor", 1.0f);
    out.rope_high_freq_factor = f.number_or("high_freq_factor", 4.0f);
    out.rope_original_context = f.size("original_max_position_embeddings", kMaxContext);
  } else if (type == "yarn") {
    out.rope_scaling = RopeScaling::yarn;
    read_yarn(f, out);
  } else if (type == "dynamic") {
    out.rope_scaling = RopeScaling::dynamic;
    out.rope_factor = f.number("factor");
    out.rope_original_context = out.context_length;
  } else if (type == "longrope" || type == "su") {
    out.rope_scaling = RopeScaling::longrope;
    read_longrope(f, config, out);
  } else {
    refuse_rope(config.path(), type);
  }
}

}  // namespace

void read_rope(const Fields& f, float rotary, Config& out) {
  out.rope_theta = f.number_or({"rope_theta", "rotary_emb_base"}, out.rope_theta);
  float partial = f.number_or({"partial_rotary_factor", "rotary_pct", "rope_pct"}, rotary);
  // "rope_scaling" of older configs; "rope_parameters" of newer ones has the theta inside.
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* scaling = f.find(key);
    if (!scaling) continue;
    const Fields of_scaling(*global_rope(*scaling, f.where(key), out), f.where(key));
    out.rope_theta = of_scaling.number_or("rope_theta", out.rope_theta);
    partial = of_scaling.number_or("partial_rotary_factor", partial);
    read_scaling(of_scaling, f, out);
    out.query_growth = of_scaling.number_or("llama_4_scaling_beta", 0.0f);
    // Sections of positions of images are all alike for text.
    of_scaling.refuse_others(
        {"finetuned", "mrope_section", "mrope_interleaved", "max_position_embeddings"});
  }
  if (!(partial > 0.0f && partial <= 1.0f))
    throw Error(f.where("partial_rotary_factor"),
                "is " + std::to_string(partial) + ", expected more than 0, up to 1");
  // Rounded down; a float factor may lie just below the decimal one.
  out.rope_dim = static_cast<int32_t>(static_cast<float>(out.head_dim) * partial + 1e-3f);
}

void read_window_pattern(const Fields& f, const char* key, int32_t period, Config& out) {
  period = f.size_or(key, period);
  if (out.window_layers.empty())
    out.window_layers = per_layer(out, [&](int32_t i) { return (i + 1) % period != 0; });
}

void read_layer_types(const Fields& f, Config& out) {
  const Json* types = f.find("layer_types");
  if (!types) return;
  const std::string where = f.where("layer_types");
  for (const Json& type : types->as_array(where)) {
    const std::string& name = type.as_string(where);
    if (name != "full_attention" && name != "attention" && name != "sliding_attention")
      throw Error(where, "\"" + name + "\" is not implemented",
                  "known: full_attention, sliding_attention");
    out.window_layers.push_back(name == "sliding_attention");
  }
  const size_t n = out.window_layers.size();
  if (n != static_cast<size_t>(out.n_layers))
    throw Error::mismatch(where, "length", std::to_string(out.n_layers), std::to_string(n));
}

void read_window(const Fields& f, Config& out, int32_t absent) {
  const int32_t unset = f.mentions("sliding_window") ? 0 : absent;
  out.sliding_window = f.size_or("sliding_window", unset, kMaxContext);
}

void read_optional_window(const Fields& f, Config& out) {
  const int32_t window = f.count_or("sliding_window", 0);
  const int32_t full = f.count_or("max_window_layers", 28);
  if (!f.bool_or("use_sliding_window", false)) {
    out.window_layers.clear();
    return;
  }
  out.sliding_window = window;
  if (out.window_layers.empty())
    out.window_layers = per_layer(out, [&](int32_t i) { return i >= full; });
}

void read_attention_bias(const Fields& f, Config& out) {
  out.qkv_bias = out.o_bias = f.bool_or("attention_bias", out.qkv_bias);
}

void read_experts(const Fields& f, const char* count, Config& out) {
  out.n_experts = f.size(count);
  out.n_experts_used = f.size("num_experts_per_tok");
}

}  // namespace nibble
