// The model families as test cases: a published config.json in miniature, the tensors that go with
// it, the family's forward pass in double precision, and its GGUF form.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "family_math.h"

namespace nibble::test {

struct FamilyCase {
  std::string name;  // the family, then the variant
  FamilyConfig config;
  std::function<void(TensorMaker&, const FamilyConfig&)> make;
  /// What `make` makes of the config.
  Tensors tensors(uint64_t seed = 1) const;
  /// Logits [n_tokens, vocab].
  std::function<Matrix(const Net&, const std::vector<int>&)> reference;
  /// A GGUF file as llama.cpp's converter writes it; empty where it has no such architecture or
  /// drops what the case is about.
  std::function<std::string(const FamilyConfig&, const Tensors&)> gguf = {};
  /// Writes the Hugging Face directory.
  std::function<void(const std::string&, const FamilyConfig&, const Tensors&)> publish =
      write_hugging_face;
};

std::vector<FamilyCase> llama_cases();   // LLaMA, Mistral, Qwen2/3, SmolLM3, Granite, MiniCPM, ...
std::vector<FamilyCase> expert_cases();  // Mixtral, Qwen3-MoE, OLMoE
std::vector<FamilyCase> gemma_cases();   // Gemma 1/2/3

std::vector<FamilyCase> phi_cases();        // Phi-3, 3.5, 4 mini
std::vector<FamilyCase> glm_cases();        // GLM 4
std::vector<FamilyCase> exaone_cases();     // EXAONE 3
std::vector<FamilyCase> reordered_cases();  // OLMo 2/3, EXAONE 4, Command-R, StableLM 2, ...
std::vector<FamilyCase> gpt_cases();        // GPT-2, StarCoder, StarCoder 2, GPT-NeoX
std::vector<FamilyCase> opt_cases();        // OPT
std::vector<FamilyCase> alibi_cases();      // Falcon, MPT, BLOOM

std::vector<FamilyCase> gpt_oss_cases();  // gpt-oss

/// All of the above but gpt-oss, whose directories are of a kind of their own.
const std::vector<FamilyCase>& all_cases();
const FamilyCase& case_named(const std::string& name);

// ---- parts that families share, under LLaMA's names
// -----------------------------------------------

inline const std::string kLayer = "model.layers.#.";

/// Shapes that a config.json of the LLaMA kind states.
struct Shapes {
  explicit Shapes(const FamilyConfig& c)
      : dim(c.integer("hidden_size")),
        layers(c.integer("num_hidden_layers")),
        heads(c.integer("num_attention_heads")),
        kv_heads(c.integer("num_key_value_heads", heads)),
        head_dim(c.integer("head_dim", dim / heads)),
        ffn(c.integer("intermediate_size", 0)),
        vocab(c.integer("vocab_size")) {}
  int q_dim() const { return heads * head_dim; }
  int kv_dim() const { return kv_heads * head_dim; }
  /// Attention scaled by the root of the head's width.
  Attention attention(int window = 0) const;
  int dim, layers, heads, kv_heads, head_dim, ffn, vocab;
};

/// AT.q_proj, k_proj, v_proj and o_proj.
void make_attention(TensorMaker& m, const Shapes& s, const std::string& at, bool qkv_bias = false,
                    bool o_bias = false);
/// AT.gate_proj, up_proj and down_proj.
void make_gated_mlp(TensorMaker& m, const Shapes& s, const std::string& at, bool bias = false);

/// Attention of AT.q_proj, k_proj and v_proj of x, q and k rotated.
Matrix rotated_attention(const Net& net, const Matrix& x, const std::string& at, const Rope& rope,
                         const Attention& how);
/// The same of q, k and v side by side.
Matrix rotated_attention(const Matrix& qkv, const Rope& rope, const Attention& how);
Matrix gated_mlp(const Net& net, const Matrix& x, const std::string& at,
                 double (*f)(double) = silu);
/// f of the first half of the columns times the second.
Matrix gated(const Matrix& gate_up, double (*f)(double) = silu);

/// What the names of llama.cpp's matrices stand for: attn_q, attn_k, attn_v and attn_output;
/// ffn_gate, ffn_up and ffn_down.
void copy_attention(GgufWriter& out, int n_layers);
void copy_gated_mlp(GgufWriter& out, int n_layers);
/// Embedding, last norm, and the head if there is one.
void copy_ends(GgufWriter& out);

/// The divisors of Llama 3's frequencies, which llama.cpp's converter writes instead of keys.
Tensor llama3_divisors(const FamilyConfig& config, int rotated);

/// Whether layer `i` has the window: what "layer_types" says or else, if there is a window, all
/// layers but every `period`th.
bool is_windowed(const FamilyConfig& config, int i, int period);
std::vector<bool> windowed_layers(const FamilyConfig& config, int period);

/// The keys that llama.cpp's converter writes for every config.json of the LLaMA kind.
void write_common_keys(GgufWriter& gguf, const FamilyConfig& config);

}  // namespace nibble::test
