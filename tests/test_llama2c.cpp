// load/llama2c.cpp
#include <filesystem>

#include "check.h"
#include "load/checkpoint.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::string text_of(const TensorView& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()};
}

// The header with one of its seven fields changed.
std::string with_field(size_t field, int32_t value) {
  std::string bytes = tiny_llama2c();
  return bytes.replace(4 * field, 4, raw(value));
}

void reads() {
  const TempDir dir;
  write_file(dir / "m.bin", tiny_llama2c());
  write_file(dir / "tokenizer.bin", tiny_llama2c_tokenizer());
  const Checkpoint c = open_checkpoint(dir / "m.bin");
  check(c.format == FileFormat::llama2c);
  check_eq(c.description, "llama2.c");
  check_eq(c.tensors.size(), size_t{11});
  check(!c.find("output.weight"), "tied");
  const auto integer = [&](const char* key) { return c.metadata.find(key)->as_int(key); };
  check_eq(integer("dim"), int64_t{32});
  check_eq(integer("hidden_dim"), int64_t{64});
  check_eq(integer("n_layers"), int64_t{1});
  check_eq(integer("n_heads"), int64_t{2});
  check_eq(integer("n_kv_heads"), int64_t{1});
  check_eq(integer("vocab_size"), int64_t{16});
  check_eq(integer("seq_len"), int64_t{4});
  check(c.metadata.find("tied")->as_bool("tied"));
  const Json& tokenizer = *c.metadata.find("tokenizer");
  check_eq(tokenizer.find("tokens")->as_array("t")[14].as_string("t"), "abcd");
  check_eq(tokenizer.find("scores")->as_array("s")[14].as_number("s"), -14.0);
}

// Offsets derived by hand from the order of the arrays: embedding 16x32, then for two layers each
// norm 32, q 32x32, k and v 16x32, o 32x32, norm 32, gate 64x32, down 32x64, up 64x32.
void order_of_arrays() {
  const TempDir dir;
  const std::string bytes = tiny_llama2c(false, 2);
  write_file(dir / "m.bin", bytes);
  const Checkpoint c = open_checkpoint(dir / "m.bin");
  const auto at = [&](const char* name, size_t first, size_t n, const char* shape) {
    check_eq(c.get(name).shape_text(), shape, name);
    check(text_of(c.get(name)) == bytes.substr(28 + 4 * first, 4 * n), name);
  };
  at("token_embd.weight", 0, 512, "[16, 32]");
  at("blk.1.attn_norm.weight", 512 + 32, 32, "[32]");
  at("blk.0.attn_q.weight", 576, 1024, "[32, 32]");
  at("blk.1.attn_k.weight", 576 + 2048 + 512, 512, "[16, 32]");
  at("blk.0.attn_v.weight", 576 + 2048 + 1024, 512, "[16, 32]");
  at("blk.1.attn_output.weight", 576 + 2048 + 2048 + 1024, 1024, "[32, 32]");
  at("blk.0.ffn_norm.weight", 6720, 32, "[32]");
  at("blk.1.ffn_gate.weight", 6784 + 2048, 2048, "[64, 32]");
  at("blk.0.ffn_down.weight", 6784 + 4096, 2048, "[32, 64]");
  at("blk.1.ffn_up.weight", 6784 + 8192 + 2048, 2048, "[64, 32]");
  at("output_norm.weight", 6784 + 12288, 32, "[32]");
  at("output.weight", 6784 + 12288 + 32 + 64, 512, "[16, 32]");
  check(!c.metadata.find("tied")->as_bool("tied"));
  check_eq(c.metadata.find("vocab_size")->as_int("n"), int64_t{16});
}

void chooses_the_tokenizer() {
  const TempDir dir;
  write_file(dir / "m.bin", tiny_llama2c());
  const auto tokens = [&] {
    const Checkpoint c = open_checkpoint(dir / "m.bin");
    const Json* tokenizer = c.metadata.find("tokenizer");
    return tokenizer ? tokenizer->find("tokens")->as_array("t")[0].as_string("t") : "none";
  };
  check_eq(tokens(), "none");
  std::string other = tiny_llama2c_tokenizer();
  write_file(dir / "tok8.bin", raw<int32_t>(1) + raw(0.f) + raw<int32_t>(1) + "x");
  write_file(dir / "token.bin", other.substr(0, other.size() - 1));
  write_file(dir / "tokens.bin", other + "x");
  write_file(dir / "tok-negative.bin",
             raw<int32_t>(1) + raw(0.f) + raw<int32_t>(-1) + std::string(500, '\0'));
  write_file(dir / "tok-empty.bin", "");
  std::filesystem::create_directory(dir / "tok-directory.bin");
  check_eq(tokens(), "none");
  write_file(dir / "tokenizer.bin", other);
  check_eq(tokens(), "<unk>");
  other[12] = '[';
  write_file(dir / "tok16.bin", other);
  check_eq(tokens(), "[unk>", "the name that says 16 comes first");
}

void refused() {
  const TempDir dir;
  const auto refuse = [&](const std::string& bytes, std::string_view why) {
    write_file(dir / "m.bin", bytes);
    check_error([&] { open_checkpoint(dir / "m.bin"); }, why);
  };
  const std::string unknown = "is no model file that Nibble knows (GGUF, .nib, llama2.c, or";
  for (const size_t field : {0u, 1u, 2u, 3u, 4u, 5u, 6u}) refuse(with_field(field, 0), unknown);
  for (const size_t field : {0u, 1u, 2u, 3u, 4u, 6u}) refuse(with_field(field, -1), unknown);
  refuse(with_field(5, INT32_MIN), "the size of its weights");
  refuse(with_field(5, 17), "the size of its weights is");
  refuse(with_field(5, -16), "the size of its weights is");
  refuse(with_field(3, 3), "3 heads");
  refuse(with_field(4, 3), "3 KV heads");
  refuse(with_field(2, 1 << 30), unknown);
  refuse(with_field(1, INT32_MAX), "by its llama2.c header");
  refuse(with_field(0, 0x616b3432), "later version");
  refuse(tiny_llama2c() + "1234", "the size of its weights is");
  refuse("short", "cut short");
  refuse("", "is empty");
  std::string huge;
  for (const int32_t n : {INT32_MAX, INT32_MAX, 4096, 1, 1, INT32_MAX, INT32_MAX}) huge += raw(n);
  refuse(huge, "overflows 64 bits");
}

void shared_stories() {
  const Checkpoint bin = open_checkpoint(shared("data/stories260K/stories260K.bin"));
  const Checkpoint gguf = open_checkpoint(shared("data/stories260K/stories260K.gguf"));
  check_eq(bin.tensors.size(), gguf.tensors.size());
  for (const TensorView& tensor : gguf.tensors) {
    check_eq(bin.get(tensor.name).shape_text(), tensor.shape_text(), tensor.name);
    check(text_of(bin.get(tensor.name)) == text_of(tensor), tensor.name);
  }
  const Json::Array& tokens = bin.metadata.find("tokenizer")->find("tokens")->as_array("tokens");
  check_eq(tokens.size(), size_t{512});
  check_eq(tokens[1].as_string("token"), "\n<s>\n");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"reading", reads},
              {"order of the arrays", order_of_arrays},
              {"the tokenizer that fits", chooses_the_tokenizer},
              {"files that are refused", refused},
              {"shared stories260K", shared_stories}});
}
