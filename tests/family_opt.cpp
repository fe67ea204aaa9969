// OPT: learned positions from 2 on, ReLU; the 350M model norms after each half and has embeddings
// narrower than its layers.
#include <cmath>

#include "check.h"
#include "family_cases.h"

namespace nibble::test {
namespace {

const std::string kDecoder = "model.decoder.", kBlock = "model.decoder.layers.#.";
constexpr int kFirstPosition = 2;
constexpr double kEps = 1e-5;  // PyTorch's default, not in config.json

bool norms_first(const FamilyConfig& c) { return c.flag("do_layer_norm_before", true); }
int embedding_dim(const FamilyConfig& c) {
  return c.integer("word_embed_proj_dim", c.integer("hidden_size"));
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const int narrow = embedding_dim(c), ffn = c.integer("ffn_dim");
  m.matrix(kDecoder + "embed_tokens.weight", s.vocab, narrow);
  m.matrix(kDecoder + "embed_positions.weight",
           c.integer("max_position_embeddings") + kFirstPosition, s.dim);
  if (narrow != s.dim) {
    m.linear(kDecoder + "project_in", s.dim, narrow);
    m.linear(kDecoder + "project_out", narrow, s.dim);
  }
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kBlock, i);
    for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"})
      m.linear(at + "self_attn." + part, s.dim, s.dim, true);
    m.layer_norm(at + "self_attn_layer_norm", s.dim);
    m.linear(at + "fc1", ffn, s.dim, true);
    m.linear(at + "fc2", s.dim, ffn, true);
    m.layer_norm(at + "final_layer_norm", s.dim);
  }
  if (norms_first(c)) m.layer_norm(kDecoder + "final_layer_norm", s.dim);
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const bool first = norms_first(c), narrow = embedding_dim(c) != s.dim;
  const auto norm = [&](bool here, const Matrix& x, const std::string& name) {
    return here ? net.layer_norm(x, name, kEps) : x;
  };
  std::vector<int> positions;
  for (size_t t = 0; t < tokens.size(); ++t)
    positions.push_back(static_cast<int>(t) + kFirstPosition);
  Matrix x = net.embed(tokens, kDecoder + "embed_tokens");
  if (narrow) x = net.linear(x, kDecoder + "project_in");
  x = x + net.embed(positions, kDecoder + "embed_positions");
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = layer_name(kBlock, i), attention = at + "self_attn.";
    const Matrix h = norm(first, x, at + "self_attn_layer_norm");
    const Matrix mixed = rotated_attention(net, h, attention, {}, s.attention());
    x = norm(!first, x + net.linear(mixed, attention + "out_proj"), at + "self_attn_layer_norm");
    const Matrix up = map(net.linear(norm(first, x, at + "final_layer_norm"), at + "fc1"),
                          activation(c.string("activation_function")));
    x = norm(!first, x + net.linear(up, at + "fc2"), at + "final_layer_norm");
  }
  if (first) x = net.layer_norm(x, kDecoder + "final_layer_norm", kEps);
  if (narrow) x = net.linear(x, kDecoder + "project_out");
  return net.linear(x, kDecoder + "embed_tokens");
}

const FamilyConfig kOpt(R"({"_name_or_path":"facebook/opt-125m",
  "_remove_final_layer_norm":false,"activation_dropout":0.0,"activation_function":"relu",
  "architectures":["OPTForCausalLM"],"attention_dropout":0.0,"bos_token_id":2,
  "do_layer_norm_before":true,"dropout":0.1,"eos_token_id":2,"ffn_dim":112,"hidden_size":64,
  "init_std":0.02,"layerdrop":0.0,"max_position_embeddings":64,"model_type":"opt",
  "num_attention_heads":4,"num_hidden_layers":3,"pad_token_id":1,"prefix":"</s>",
  "torch_dtype":"float16","transformers_version":"4.21.0.dev0","use_cache":true,
  "vocab_size":91,"word_embed_proj_dim":64})");

}  // namespace

std::vector<FamilyCase> opt_cases() {
  // llama.cpp has no OPT.
  return {{"opt", kOpt, make, reference},
          {"opt, 350M", kOpt.with(R"({"do_layer_norm_before":false,"word_embed_proj_dim":40})"),
           make, reference}};
}

}  // namespace nibble::test
