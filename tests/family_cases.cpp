#include "family_cases.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace nibble::test {

Tensors FamilyCase::tensors(uint64_t seed) const {
  TensorMaker maker(seed);
  make(maker, config);
  return maker.tensors;
}

const std::vector<FamilyCase>& all_cases() {
  static const std::vector<FamilyCase> all = [] {
    std::vector<FamilyCase> out;
    for (const auto& theme :
         {llama_cases(), expert_cases(), gemma_cases(), phi_cases(), glm_cases(), exaone_cases(),
          reordered_cases(), gpt_cases(), opt_cases(), alibi_cases()})
      out.insert(out.end(), theme.begin(), theme.end());
    return out;
  }();
  return all;
}

const FamilyCase& case_named(const std::string& name) {
  const auto found = std::ranges::find(all_cases(), name, &FamilyCase::name);
  if (found == all_cases().end()) fail("no case is named " + name);
  return *found;
}

Attention Shapes::attention(int window) const {
  return {.n_heads = heads,
          .n_kv_heads = kv_heads,
          .head_dim = head_dim,
          .scale = 1 / std::sqrt(head_dim),
          .window = window};
}

void make_attention(TensorMaker& m, const Shapes& s, const std::string& at, bool qkv_bias,
                    bool o_bias) {
  m.linear(at + "q_proj", s.q_dim(), s.dim, qkv_bias);
  m.linear(at + "k_proj", s.kv_dim(), s.dim, qkv_bias);
  m.linear(at + "v_proj", s.kv_dim(), s.dim, qkv_bias);
  m.linear(at + "o_proj", s.dim, s.q_dim(), o_bias);
}

void make_gated_mlp(TensorMaker& m, const Shapes& s, const std::string& at, bool bias) {
  m.linear(at + "gate_proj", s.ffn, s.dim, bias);
  m.linear(at + "up_proj", s.ffn, s.dim, bias);
  m.linear(at + "down_proj", s.dim, s.ffn, bias);
}

Matrix rotated_attention(const Net& net, const Matrix& x, const std::string& at, const Rope& rope,
                         const Attention& how) {
  return attend(rotate(net.linear(x, at + "q_proj"), how.head_dim, rope),
                rotate(net.linear(x, at + "k_proj"), how.head_dim, rope),
                net.linear(x, at + "v_proj"), how);
}

Matrix rotated_attention(const Matrix& qkv, const Rope& rope, const Attention& how) {
  const int q_dim = how.n_heads * how.head_dim, kv_dim = how.n_kv_heads * how.head_dim;
  return attend(rotate(columns(qkv, 0, q_dim), how.head_dim, rope),
                rotate(columns(qkv, q_dim, kv_dim), how.head_dim, rope),
                columns(qkv, q_dim + kv_dim, kv_dim), how);
}

Matrix gated_mlp(const Net& net, const Matrix& x, const std::string& at, double (*f)(double)) {
  return net.linear(map(net.linear(x, at + "gate_proj"), f) * net.linear(x, at + "up_proj"),
                    at + "down_proj");
}

Matrix gated(const Matrix& gate_up, double (*f)(double)) {
  const int width = gate_up.cols / 2;
  return map(columns(gate_up, 0, width), f) * columns(gate_up, width, width);
}

void copy_attention(GgufWriter& out, int n_layers) {
  out.copy_layers(n_layers, {{"blk.#.attn_q", kLayer + "self_attn.q_proj"},
                             {"blk.#.attn_k", kLayer + "self_attn.k_proj"},
                             {"blk.#.attn_v", kLayer + "self_attn.v_proj"},
                             {"blk.#.attn_output", kLayer + "self_attn.o_proj"}});
}

void copy_gated_mlp(GgufWriter& out, int n_layers) {
  out.copy_layers(n_layers, {{"blk.#.ffn_gate", kLayer + "mlp.gate_proj"},
                             {"blk.#.ffn_up", kLayer + "mlp.up_proj"},
                             {"blk.#.ffn_down", kLayer + "mlp.down_proj"}});
}

void copy_ends(GgufWriter& out) {
  out.copy("token_embd", "model.embed_tokens");
  out.copy("output_norm", "model.norm");
  if (out.find_source("lm_head.weight")) out.copy("output", "lm_head");
}

Tensor llama3_divisors(const FamilyConfig& c, int rotated) {
  const auto plain = rope_frequencies(c.number("rope_theta"), rotated);
  const Rope scaled = rope_of(c, rotated, 1);
  Tensor out{{plain.size()}, {}};
  for (size_t i = 0; i < plain.size(); ++i)
    out.data.push_back(static_cast<float>(plain[i] / scaled.frequencies[i]));
  return out;
}

bool is_windowed(const FamilyConfig& c, int i, int period) {
  if (!c.has("sliding_window")) return false;
  if (c.has("layer_types"))
    return c.strings("layer_types")[static_cast<size_t>(i)] == "sliding_attention";
  return period == 0 || (i + 1) % period != 0;
}

std::vector<bool> windowed_layers(const FamilyConfig& c, int period) {
  std::vector<bool> out;
  for (int i = 0; i < Shapes(c).layers; ++i) out.push_back(is_windowed(c, i, period));
  return out;
}

void write_common_keys(GgufWriter& out, const FamilyConfig& c) {
  const Shapes s(c);
  out.u32("block_count", s.layers).u32("context_length", c.integer("max_position_embeddings"));
  out.u32("embedding_length", s.dim).u32("feed_forward_length", s.ffn);
  out.u32("attention.head_count", s.heads).u32("attention.head_count_kv", s.kv_heads);
  if (c.has("rope_theta")) out.f32("rope.freq_base", c.number("rope_theta"));
  if (c.has("rms_norm_eps")) out.f32("attention.layer_norm_rms_epsilon", c.number("rms_norm_eps"));
  for (const char* key : {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"})
    if (c.has(key)) {
      out.f32("attention.layer_norm_epsilon", c.number(key));
      break;
    }
  if (c.has("head_dim"))
    out.u32("attention.key_length", s.head_dim).u32("attention.value_length", s.head_dim);
  if (!c.has("rope_scaling")) return;
  const FamilyConfig scaling = c.object("rope_scaling");
  const std::string type = scaling.string("rope_type", scaling.string("type"));
  if (type != "linear" && type != "yarn") return;  // the others have no keys
  out.string("rope.scaling.type", type).f32("rope.scaling.factor", scaling.number("factor"));
  if (type == "yarn")
    out.u32("rope.scaling.original_context_length",
            scaling.integer("original_max_position_embeddings"));
}

}  // namespace nibble::test
