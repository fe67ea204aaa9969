// Sparse experts: Mixtral, Qwen3-MoE and OLMoE.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

struct Experts {
  explicit Experts(const FamilyConfig& c) {
    mixtral = c.string("model_type") == "mixtral";
    count = c.integer(mixtral ? "num_local_experts" : "num_experts");
    top = c.integer("num_experts_per_tok");
    width = c.integer("moe_intermediate_size", c.integer("intermediate_size"));
    renormalize = mixtral || c.flag("norm_topk_prob");
  }
  std::string block(int layer) const {
    return layer_name(kLayer, layer) + (mixtral ? "block_sparse_moe." : "mlp.");
  }
  std::string matrix(int layer, int expert, int part) const {  // part: gate, up, down
    static const char* const names[2][3] = {{"gate_proj", "up_proj", "down_proj"},
                                            {"w1", "w3", "w2"}};
    return block(layer) + "experts." + std::to_string(expert) + "." + names[mixtral][part];
  }
  bool mixtral, renormalize;
  int count, top, width;
};

// Columns that share one norm of q and k: OLMoE's are the whole row, Qwen3's a head, Mixtral has
// none.
int norm_width(const FamilyConfig& c, int row) {
  const std::string type = c.string("model_type");
  return type == "olmoe" ? row : type == "qwen3_moe" ? Shapes(c).head_dim : 0;
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const Experts e(c);
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, std::sqrt(s.dim));
  for (int i = 0; i < s.layers; ++i) {
    const std::string layer = layer_name(kLayer, i), attention = layer + "self_attn.";
    m.norm(layer + "input_layernorm.weight", s.dim);
    make_attention(m, s, attention);
    if (norm_width(c, s.q_dim())) {
      m.norm(attention + "q_norm.weight", norm_width(c, s.q_dim()));
      m.norm(attention + "k_norm.weight", norm_width(c, s.kv_dim()));
    }
    m.norm(layer + "post_attention_layernorm.weight", s.dim);
    m.linear(e.block(i) + "gate", e.count, s.dim);
    for (int x = 0; x < e.count; ++x) {
      m.linear(e.matrix(i, x, 0), e.width, s.dim);
      m.linear(e.matrix(i, x, 1), e.width, s.dim);
      m.linear(e.matrix(i, x, 2), s.dim, e.width);
    }
  }
  m.norm("model.norm.weight", s.dim);
  m.matrix("lm_head.weight", s.vocab, s.dim);
}

// Mixtral's window holds in every layer; so does Qwen3-MoE's, if it is switched on.
int window_of(const FamilyConfig& c) {
  const bool on = c.string("model_type") == "mixtral" || c.flag("use_sliding_window");
  return on ? c.integer("sliding_window", 0) : 0;
}

Matrix attention(const Net& net, const Matrix& x, int i) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const std::string at = layer_name(kLayer, i) + "self_attn.";
  Matrix q = net.linear(x, at + "q_proj"), k = net.linear(x, at + "k_proj"),
         v = net.linear(x, at + "v_proj");
  if (norm_width(c, q.cols)) {
    const double eps = c.number("rms_norm_eps");
    q = normalize(q, net.at(at + "q_norm.weight"), {.eps = eps, .group = norm_width(c, q.cols)});
    k = normalize(k, net.at(at + "k_norm.weight"), {.eps = eps, .group = norm_width(c, k.cols)});
  }
  if (c.has("clip_qkv")) {
    const double clip = c.number("clip_qkv");
    for (Matrix* part : {&q, &k, &v})
      *part = map(*part, [clip](double value) { return std::clamp(value, -clip, clip); });
  }
  const Rope rope = rope_of(c, s.head_dim, x.rows);
  const Matrix mixed = attend(rotate(q, s.head_dim, rope), rotate(k, s.head_dim, rope), v,
                              s.attention(window_of(c)));
  return net.linear(mixed, at + "o_proj");
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Experts e(c);
  const double eps = c.number("rms_norm_eps");
  Matrix x = net.embed(tokens, "model.embed_tokens");
  for (int i = 0; i < Shapes(c).layers; ++i) {
    const std::string layer = layer_name(kLayer, i);
    x = x + attention(net, net.rms_norm(x, layer + "input_layernorm", eps), i);
    const auto expert = [&](const Matrix& h, int n) {
      const Matrix gate = map(net.linear(h, e.matrix(i, n, 0)), silu);
      return net.linear(gate * net.linear(h, e.matrix(i, n, 1)), e.matrix(i, n, 2));
    };
    x = x + mixture(net.rms_norm(x, layer + "post_attention_layernorm", eps),
                    net.at(e.block(i) + "gate.weight"), e.top, e.renormalize, expert);
  }
  return net.linear(net.rms_norm(x, "model.norm", eps), "lm_head");
}

// What shares a tensor: all experts; nothing, as in files of before 2024-04; or the gates and ups
// of all experts, too.
enum class Form { together, apart, fused };

std::string gguf_of(const FamilyConfig& c, const Tensors& tensors, Form form) {
  const Shapes s(c);
  const Experts e(c);
  const std::string type = c.string("model_type");
  GgufWriter out(e.mixtral ? "llama" : type == "qwen3_moe" ? "qwen3moe" : type, tensors);
  write_common_keys(out, c);
  out.u32("expert_count", e.count).u32("expert_used_count", e.top);
  if (e.mixtral) out.u32("vocab_size", s.vocab).u32("rope.dimension_count", s.head_dim);
  if (type == "qwen3_moe") out.u32("expert_feed_forward_length", e.width);
  if (!e.renormalize) out.boolean("expert_weights_norm", false);
  copy_ends(out);
  const std::string attention = kLayer + "self_attn.";
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                             {"blk.#.attn_v", attention + "v_proj"},
                             {"blk.#.attn_output", attention + "o_proj"},
                             {"blk.#.ffn_norm", kLayer + "post_attention_layernorm"}});
  for (int i = 0; i < s.layers; ++i) {
    const std::string to = layer_name("blk.#.", i), from = layer_name(attention, i);
    out.copy(to + "ffn_gate_inp", e.block(i) + "gate");
    if (e.mixtral) {
      out.tensor(to + "attn_q.weight",
                 halves_to_pairs(out.source(from + "q_proj.weight"), s.heads));
      out.tensor(to + "attn_k.weight",
                 halves_to_pairs(out.source(from + "k_proj.weight"), s.kv_heads));
    } else {
      for (const char* part : {"q", "k"}) {
        out.copy(to + "attn_" + part, from + part + "_proj");
        out.copy(to + "attn_" + part + "_norm", from + part + "_norm");
      }
    }
    const char* const parts[] = {"ffn_gate", "ffn_up", "ffn_down"};
    std::vector<const Tensor*> both;
    for (int x = 0; x < e.count; ++x)
      for (const int part : {0, 1}) both.push_back(&out.source(e.matrix(i, x, part) + ".weight"));
    if (form == Form::fused) {
      Tensor fused = stacked(both);
      fused.shape = {fused.shape[0] / 2, 2 * fused.shape[1], fused.shape[2]};
      out.tensor(to + "ffn_gate_up_exps.weight", fused);
    }
    for (int part = form == Form::fused ? 2 : 0; part < 3; ++part) {
      const bool apart = form == Form::apart;
      for (int x = 0; apart && x < e.count; ++x)
        out.copy(to + parts[part] + "." + std::to_string(x), e.matrix(i, x, part));
      if (apart) continue;
      std::vector<const Tensor*> experts;
      for (int x = 0; x < e.count; ++x)
        experts.push_back(&out.source(e.matrix(i, x, part) + ".weight"));
      out.tensor(to + parts[part] + "_exps.weight", stacked(experts));
    }
  }
  return out.build();
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  return gguf_of(c, tensors, Form::together);
}
std::string gguf_apart(const FamilyConfig& c, const Tensors& tensors) {
  return gguf_of(c, tensors, Form::apart);
}
std::string gguf_fused(const FamilyConfig& c, const Tensors& tensors) {
  return gguf_of(c, tensors, Form::fused);
}

const FamilyConfig kMixtral(R"({"architectures":["MixtralForCausalLM"],"attention_dropout":0.0,
  "bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":64,
  "initializer_range":0.02,"intermediate_size":80,"max_position_embeddings":128,
  "model_type":"mixtral","num_attention_heads":4,"num_experts_per_tok":2,"num_hidden_layers":3,
  "num_key_value_heads":2,"num_local_experts":5,"output_router_logits":false,
  "rms_norm_eps":1e-05,"rope_theta":1000000.0,"router_aux_loss_coef":0.02,
  "sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
  "transformers_version":"4.36.0.dev0","use_cache":true,"vocab_size":91})");

const FamilyConfig kQwen3Moe(R"({"architectures":["Qwen3MoeForCausalLM"],
  "attention_bias":false,"attention_dropout":0.0,"bos_token_id":1,"decoder_sparse_step":1,
  "eos_token_id":2,"head_dim":24,"hidden_act":"silu","hidden_size":64,"initializer_range":0.02,
  "intermediate_size":160,"max_position_embeddings":128,"max_window_layers":3,
  "mlp_only_layers":[],"model_type":"qwen3_moe","moe_intermediate_size":48,
  "norm_topk_prob":true,"num_attention_heads":4,"num_experts":8,"num_experts_per_tok":3,
  "num_hidden_layers":3,"num_key_value_heads":2,"output_router_logits":false,
  "rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000.0,"router_aux_loss_coef":0.001,
  "sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
  "transformers_version":"4.51.0","use_cache":true,"use_sliding_window":false,
  "vocab_size":91})");

const FamilyConfig kOlmoe(R"({"architectures":["OlmoeForCausalLM"],"attention_bias":false,
  "attention_dropout":0.0,"clip_qkv":null,"eos_token_id":2,"hidden_act":"silu",
  "hidden_size":64,"initializer_range":0.02,"intermediate_size":48,
  "max_position_embeddings":128,"model_type":"olmoe","norm_topk_prob":false,
  "num_attention_heads":4,"num_experts":8,"num_experts_per_tok":3,"num_hidden_layers":3,
  "num_key_value_heads":4,"output_router_logits":false,"pad_token_id":1,"rms_norm_eps":1e-05,
  "rope_scaling":null,"rope_theta":10000.0,"router_aux_loss_coef":0.01,
  "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.43.0.dev0",
  "use_cache":true,"vocab_size":91})");

}  // namespace

std::vector<FamilyCase> expert_cases() {
  return {
      {"mixtral", kMixtral, make, reference, gguf},
      {"mixtral, experts apart", kMixtral, make, reference, gguf_apart},
      {"qwen3_moe", kQwen3Moe, make, reference, gguf},
      {"qwen3_moe, weights not renormalized", kQwen3Moe.with(R"({"norm_topk_prob":false})"), make,
       reference, gguf_fused},
      {"olmoe", kOlmoe, make, reference, gguf},
      {"olmoe, clipped", kOlmoe.with(R"({"clip_qkv":0.8})"), make, reference},
  };
}

}  // namespace nibble::test
