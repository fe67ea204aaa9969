// A model whose text is known beforehand: each byte is followed by one other, whatever came before.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "load/json.h"
#include "stored_tensors.h"

namespace nibble::test {

/// A Hugging Face directory in f32 with a byte-level tokenizer: token b < 256 is the byte b, then
/// come the special tokens, ChatML's unless others are given.
///
/// The embedding is the identity and the layer adds zero, so that the head sees a multiple of the
/// one-hot vector of the last token, and its matrix is the table of successors.
class ChainModel {
 public:
  static constexpr int kStart = 256, kEnd = 257, kBytes = 256, kVocab = 264;

  /// After a line break comes the first byte of `text`, after its last byte the end token, or
  /// `after_last` if given. Bytes of `text` must be distinct, and none a line break.
  explicit ChainModel(std::string_view text, int after_last = kEnd)
      : ChainModel(tokens_of(text, after_last), {"<|im_start|>", "<|im_end|>"}) {}

  /// After a line break come `tokens`, which must be distinct; the second of `specials` ends a
  /// reply.
  ChainModel(const std::vector<int>& tokens, const std::vector<std::string>& specials) {
    std::vector<int> next(kVocab, kEnd);
    int last = '\n';
    for (const int token : tokens) {
      next[static_cast<size_t>(last)] = token;
      last = token;
    }
    write_file(folder_ / "model.safetensors", weights(next));
    write_file(folder_ / "config.json", config());
    write_file(folder_ / "tokenizer.json", tokenizer(specials));
    write_config("{}");
  }

  std::string path() const { return folder_.path(); }
  std::string file(const std::string& name) const { return folder_ / name; }
  /// tokenizer_config.json, which may hold a chat template.
  void write_config(const std::string& json) const {
    write_file(file("tokenizer_config.json"), json);
  }

 private:
  static constexpr int kHead = 8, kFfn = 8;

  static std::vector<int> tokens_of(std::string_view text, int after_last) {
    std::vector<int> out;
    for (const char c : text) out.push_back(static_cast<unsigned char>(c));
    out.push_back(after_last);
    return out;
  }

  static std::string config() {
    const auto number = [](int n) { return std::to_string(n); };
    return "{\"model_type\":\"llama\",\"hidden_size\":" + number(kVocab) +
           ",\"vocab_size\":" + number(kVocab) + ",\"num_hidden_layers\":1" +
           ",\"num_attention_heads\":1,\"num_key_value_heads\":1,\"head_dim\":" + number(kHead) +
           ",\"intermediate_size\":" + number(kFfn) +
           ",\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
           "\"tie_word_embeddings\":false,\"eos_token_id\":" +
           number(kEnd) + "}";
  }

  static std::string weights(const std::vector<int>& next) {
    struct Tensor {
      int rows, cols;  // cols 0: a vector
    };
    const std::string layer = "model.layers.0.";
    const std::map<std::string, Tensor> tensors = {
        {"model.embed_tokens.weight", {kVocab, kVocab}},
        {"model.norm.weight", {kVocab, 0}},
        {"lm_head.weight", {kVocab, kVocab}},
        {layer + "input_layernorm.weight", {kVocab, 0}},
        {layer + "self_attn.q_proj.weight", {kHead, kVocab}},
        {layer + "self_attn.k_proj.weight", {kHead, kVocab}},
        {layer + "self_attn.v_proj.weight", {kHead, kVocab}},
        {layer + "self_attn.o_proj.weight", {kVocab, kHead}},
        {layer + "post_attention_layernorm.weight", {kVocab, 0}},
        {layer + "mlp.gate_proj.weight", {kFfn, kVocab}},
        {layer + "mlp.up_proj.weight", {kFfn, kVocab}},
        {layer + "mlp.down_proj.weight", {kVocab, kFfn}}};
    StoredTensors stored;
    for (const auto& [name, t] : tensors) {
      std::vector<uint64_t> shape = {static_cast<uint64_t>(t.rows)};
      if (t.cols != 0) shape.push_back(static_cast<uint64_t>(t.cols));
      std::string data;
      for (int row = 0; row < t.rows; ++row) {
        if (t.cols == 0) data += raw(1.0f);
        for (int col = 0; col < t.cols; ++col) {
          const bool one = name == "lm_head.weight"
                               ? next[static_cast<size_t>(col)] == row
                               : name == "model.embed_tokens.weight" && row == col;
          data += raw(one ? 1.0f : 0.0f);
        }
      }
      stored.push_back({name, DType::f32, shape, data});
    }
    return safetensors_of(stored);
  }

  /// The character that byte-level BPE writes for a byte: itself if it is printable in Latin-1,
  /// else the next free one from U+0100 on.
  static std::string byte_character(int byte, int& next_free) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    const int code = printable ? byte : next_free++;
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
  }

  static std::string tokenizer(const std::vector<std::string>& specials) {
    Json::Object vocab;
    int next_free = 256;
    for (int byte = 0; byte < kBytes; ++byte)
      vocab.emplace_back(byte_character(byte, next_free), byte);
    std::string added;
    int id = kStart;
    for (const std::string& text : specials) {
      added.append(added.empty() ? "" : ",").append(R"({"id":)");
      added += std::to_string(id++) + R"(,"content":")" + text +
               R"(","special":true,"normalized":false,"lstrip":false,)" +
               R"("rstrip":false,"single_word":false})";
    }
    return R"({"added_tokens":[)" + added +
           R"(],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
           R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","merges":[],"vocab":)" +
           write_json(Json(std::move(vocab))) + "}}";
  }

  TempDir folder_;
};

/// Arguments of a command that runs the model as it is, greedily.
inline std::vector<std::string> command(const char* name, const ChainModel& model,
                                        std::vector<std::string> more = {}) {
  std::vector<std::string> args = {name, model.path(), "--weights", "f32", "--temp", "0"};
  if (std::string(name) == "chat") args.insert(args.end(), {"--chat-template", "chatml"});
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

}  // namespace nibble::test
