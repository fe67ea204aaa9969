// The smallest whole models, one in each format: what the tests of hostile files damage.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "files.h"
#include "gguf_builder.h"
#include "load/json.h"

namespace nibble::test {

// One layer, two heads that share one KV head.
inline constexpr uint64_t kTinyDim = 32, kTinyKvDim = 16, kTinyFfn = 64, kTinyVocab = 16;

inline const std::vector<std::string>& tiny_tokens() {
  static const std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "a", "b", "c",
                                                  "d",     "e",   "f",    "g", "h", "i",
                                                  "ab",    "cd",  "abcd", "ef"};
  return tokens;
}

/// n small numbers, none of them zero, as f32 or as f16 bits.
inline std::string tiny_f32(uint64_t n) {
  std::string bytes;
  for (uint64_t i = 0; i < n; ++i) bytes += raw(0.01f * static_cast<float>(i * 7 % 23) - 0.105f);
  return bytes;
}
inline std::string tiny_f16(uint64_t n) {
  std::string bytes;
  for (uint64_t i = 0; i < n; ++i)
    bytes += raw(static_cast<uint16_t>((i % 2 ? 0x8000 : 0) + 0x2000 + i * 37 % 0x1000));
  return bytes;
}
/// n_blocks of Q4_0: the scale 1/16, then 16 bytes of codes.
inline std::string tiny_q4_0(uint64_t n_blocks) {
  std::string bytes;
  for (uint64_t i = 0; i < n_blocks; ++i) {
    bytes += raw(uint16_t{0x2c00});
    for (uint64_t j = 0; j < 16; ++j) bytes.push_back(static_cast<char>(i * 31 + j * 17));
  }
  return bytes;
}

/// The metadata that a LLaMA needs; the tensors are the caller's.
inline GgufBuilder tiny_gguf_metadata() {
  std::vector<std::string> tokens, scores, types;
  for (size_t i = 0; i < tiny_tokens().size(); ++i) {
    tokens.push_back(GgufBuilder::text(tiny_tokens()[i]));
    scores.push_back(raw(-static_cast<float>(i)));
    types.push_back(raw<int32_t>(i == 0 ? 2 : i < 3 ? 3 : 1));
  }
  GgufBuilder gguf;
  gguf.string("general.architecture", "llama")
      .u32("llama.context_length", 64)
      .u32("llama.embedding_length", kTinyDim)
      .u32("llama.block_count", 1)
      .u32("llama.feed_forward_length", kTinyFfn)
      .u32("llama.attention.head_count", 2)
      .u32("llama.attention.head_count_kv", 1)
      .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .u32("llama.rope.dimension_count", kTinyDim / 2)
      .string("tokenizer.ggml.model", "llama")
      .key("tokenizer.ggml.tokens", GgufValue::array, GgufBuilder::array(GgufValue::string, tokens))
      .key("tokenizer.ggml.scores", GgufValue::array, GgufBuilder::array(GgufValue::f32, scores))
      .key("tokenizer.ggml.token_type", GgufValue::array, GgufBuilder::array(GgufValue::i32, types))
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2)
      .u32("tokenizer.ggml.unknown_token_id", 0);
  return gguf;
}

inline void add_tiny_tensors(GgufBuilder& gguf) {
  constexpr uint32_t kF32 = 0, kF16 = 1, kQ40 = 2;
  const auto matrix = [&](const char* name, uint64_t rows, uint64_t columns) {
    gguf.tensor(name, kQ40, {columns, rows}, tiny_q4_0(rows * columns / 32));
  };
  gguf.tensor("token_embd.weight", kF16, {kTinyDim, kTinyVocab}, tiny_f16(kTinyDim * kTinyVocab));
  gguf.tensor("blk.0.attn_norm.weight", kF32, {kTinyDim}, tiny_f32(kTinyDim));
  matrix("blk.0.attn_q.weight", kTinyDim, kTinyDim);
  matrix("blk.0.attn_k.weight", kTinyKvDim, kTinyDim);
  matrix("blk.0.attn_v.weight", kTinyKvDim, kTinyDim);
  matrix("blk.0.attn_output.weight", kTinyDim, kTinyDim);
  gguf.tensor("blk.0.ffn_norm.weight", kF32, {kTinyDim}, tiny_f32(kTinyDim));
  matrix("blk.0.ffn_gate.weight", kTinyFfn, kTinyDim);
  matrix("blk.0.ffn_up.weight", kTinyFfn, kTinyDim);
  matrix("blk.0.ffn_down.weight", kTinyDim, kTinyFfn);
  gguf.tensor("output_norm.weight", kF32, {kTinyDim}, tiny_f32(kTinyDim));
}

inline std::string tiny_gguf() {
  GgufBuilder gguf = tiny_gguf_metadata();
  add_tiny_tensors(gguf);
  return gguf.build();
}

/// A safetensors file: the length of the header, the header, the data.
inline std::string safetensors(std::string_view header, std::string_view data = {}) {
  return raw<uint64_t>(header.size()) + std::string(header) + std::string(data);
}

inline std::string tiny_safetensors() {
  std::string header = R"({"__metadata__":{"format":"pt"})", data;
  const auto add = [&](const std::string& name, const std::string& shape, uint64_t n) {
    header += ",\"" + name + R"(":{"dtype":"F16","shape":[)" + shape + R"(],"data_offsets":[)" +
              std::to_string(data.size()) + ',' + std::to_string(data.size() + 2 * n) + "]}";
    data += tiny_f16(n);
  };
  const auto matrix = [&](const std::string& name, uint64_t rows, uint64_t columns) {
    add(name, std::to_string(rows) + ',' + std::to_string(columns), rows * columns);
  };
  const std::string dim = std::to_string(kTinyDim), layer = "model.layers.0.";
  matrix("model.embed_tokens.weight", kTinyVocab, kTinyDim);
  add(layer + "input_layernorm.weight", dim, kTinyDim);
  matrix(layer + "self_attn.q_proj.weight", kTinyDim, kTinyDim);
  matrix(layer + "self_attn.k_proj.weight", kTinyKvDim, kTinyDim);
  matrix(layer + "self_attn.v_proj.weight", kTinyKvDim, kTinyDim);
  matrix(layer + "self_attn.o_proj.weight", kTinyDim, kTinyDim);
  add(layer + "post_attention_layernorm.weight", dim, kTinyDim);
  matrix(layer + "mlp.gate_proj.weight", kTinyFfn, kTinyDim);
  matrix(layer + "mlp.up_proj.weight", kTinyFfn, kTinyDim);
  matrix(layer + "mlp.down_proj.weight", kTinyDim, kTinyFfn);
  add("model.norm.weight", dim, kTinyDim);
  return safetensors(header + "}", data);
}

inline std::string tiny_config() {
  return R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,)"
         R"("intermediate_size":64,"num_hidden_layers":1,"num_attention_heads":2,)"
         R"("num_key_value_heads":1,"vocab_size":16,"max_position_embeddings":64,)"
         R"("rms_norm_eps":1e-05,"rope_theta":10000.0,"hidden_act":"silu",)"
         R"("tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":2})";
}

inline std::string tiny_tokenizer_json() {
  std::string vocab;
  for (size_t i = 0; i < tiny_tokens().size(); ++i)
    vocab += (i ? ",\"" : "\"") + tiny_tokens()[i] + "\":" + std::to_string(i);
  return R"({"version":"1.0","added_tokens":[{"id":0,"content":"<unk>","special":true},)"
         R"({"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true}],)"
         R"("normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)"
         R"("use_regex":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" +
         vocab + R"(},"merges":["a b","c d","ab cd","e f"]}})";
}

/// A Hugging Face directory of one file of weights.
inline void write_tiny_hugging_face(const std::string& directory) {
  std::filesystem::create_directories(directory);
  write_file(directory + "/config.json", tiny_config());
  write_file(directory + "/tokenizer.json", tiny_tokenizer_json());
  write_file(directory + "/model.safetensors", tiny_safetensors());
}

/// What the .nib file of tiny_gguf() says of the model.
inline std::string tiny_nib_config() {
  return R"({"architecture":"llama","n_layers":1,"dim":32,"n_heads":2,"n_kv_heads":1,)"
         R"("head_dim":16,"ffn_dim":64,"vocab_size":16,"context_length":64,)"
         R"("tied_embeddings":true,"rope_dim":16})";
}

/// A .nib file with another text as its "nibble.config".
inline std::string with_nib_config(const std::string& nib, std::string_view config) {
  uint64_t length = 0;
  std::memcpy(&length, nib.data(), sizeof length);
  Json::Object header = parse_json(nib.substr(sizeof length, length), "nib").as_object("nib");
  for (auto& [name, entry] : header) {
    if (name != "__metadata__") continue;
    Json::Object metadata = entry.as_object("nib");
    for (auto& [key, text] : metadata)
      if (key == "nibble.config") text = std::string(config);
    entry = std::move(metadata);
  }
  std::string text = write_json(Json(std::move(header)));
  text.resize((text.size() + sizeof length + 63) / 64 * 64 - sizeof length, ' ');
  return safetensors(text, nib.substr(sizeof length + length));
}

// The least vocabulary of llama2.c that is a tokenizer: three special tokens, 256 bytes, letters.
inline constexpr uint64_t kTinyLlama2cVocab = 264;

/// A llama2.c model of `n_layers`; the output head is separate if not tied.
inline std::string tiny_llama2c(bool tied = true, int32_t n_layers = 1,
                                uint64_t vocab_size = kTinyVocab) {
  const auto vocab = static_cast<int32_t>(vocab_size), seq_len = 4;
  std::string bytes;
  for (const int32_t n : {static_cast<int32_t>(kTinyDim), static_cast<int32_t>(kTinyFfn), n_layers,
                          2, 1, tied ? vocab : -vocab, seq_len})
    bytes += raw(n);
  const uint64_t layer =
      2 * kTinyDim * kTinyDim + 2 * kTinyKvDim * kTinyDim + 3 * kTinyFfn * kTinyDim + 2 * kTinyDim;
  const uint64_t rope = 4 * kTinyDim / 2;  // seq_len rows of cosines and sines of half a head
  return bytes + tiny_f32(vocab_size * kTinyDim * (tied ? 1 : 2) +
                          layer * static_cast<uint64_t>(n_layers) + kTinyDim + rope);
}

inline std::string tiny_llama2c_tokenizer(uint64_t vocab_size = kTinyVocab) {
  std::string bytes = raw<int32_t>(5);
  for (uint64_t i = 0; i < vocab_size; ++i) {
    // The text of bytes does not matter; letters follow them.
    const std::string text = i < tiny_tokens().size() ? tiny_tokens()[i]
                             : i < 259                ? std::string("?")
                                       : std::string(1, static_cast<char>('a' + (i - 259)));
    bytes += raw(-static_cast<float>(i)) + raw(static_cast<int32_t>(text.size())) + text;
  }
  return bytes;
}

}  // namespace nibble::test
