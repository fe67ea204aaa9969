// A tiny random model with loud channels, and a text to calibrate it with.
#pragma once

#include <string>
#include <vector>

#include "check.h"
#include "files.h"
#include "nibble/quantize.h"
#include "nibble/tokenizer.h"
#include "tiny_model.h"

namespace nibble::test {

// Sixteen tokens: letters, two pairs of them.
inline const char* const kTokenizer =
    R"({"version":"1.0","added_tokens":[{"id":0,"content":"<unk>","special":true},)"
    R"({"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true}],)"
    R"("normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)"
    R"("use_regex":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)"
    R"("<unk>":0,"<s>":1,"</s>":2,"a":3,"b":4,"c":5,"d":6,"e":7,"f":8,"g":9,"h":10,"i":11,)"
    R"("ab":12,"cd":13,"abcd":14,"ef":15},"merges":["a b","c d","ab cd","e f"]}})";

struct Setup {
  TempDir dir;
  TinyModel tiny;
  QuantizeOptions options;
  explicit Setup(int ffn_dim = 96, bool bias = false, int dim = 64, int n_layers = 3) {
    tiny.dim = dim;
    tiny.n_heads = 4;
    tiny.n_kv_heads = 2;
    tiny.head_dim = dim / 4;
    tiny.ffn_dim = ffn_dim;
    tiny.n_layers = n_layers;
    tiny.vocab = 16;
    tiny.context = 64;
    tiny.qkv_bias = bias;
    tiny.randomize(7);
    for (int i = 0; i < tiny.n_layers; ++i) {  // loud channels
      auto& norm = tiny.tensors["blk." + std::to_string(i) + ".attn_norm.weight"].data;
      for (size_t c = 3; c < norm.size(); c += 19) norm[c] *= 24;
    }
    write_hugging_face(tiny, in(), bias ? "qwen2" : "llama");
    write_file(in() + "/tokenizer.json", kTokenizer);
    std::string text;
    uint32_t state = 1;
    for (int i = 0; i < 1500; ++i) {
      state = state * 1664525 + 1013904223;
      text += static_cast<char>('a' + (state >> 24) % 9);
    }
    write_file(dir / "text.txt", text);
    options.threads = 2;
    options.scales = true;
    options.calibration = dir / "text.txt";
    options.window = 40;
  }
  std::string in() const { return dir / "in"; }
};

inline const std::vector<Token> kTokens = {3, 12, 7, 9, 14, 5, 5, 11, 4, 8, 15, 6};

}  // namespace nibble::test
