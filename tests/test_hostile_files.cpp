// Truncated, damaged and crafted model files. Each must end in nibble::Error, or load if the damage
// does no harm; never in another exception, a crash, a sanitizer report or a huge allocation.
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>

#include "check.h"
#include "hostile_cases.h"
#include "hostile_run.h"
#include "load/checkpoint.h"
#include "nibble/nibble.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// --- GGUF

constexpr uint32_t kF32 = 0, kQ40 = 2, kI8 = 24;
constexpr uint64_t kMax = ~uint64_t{0};

GgufBuilder with_tensor(const std::vector<uint64_t>& dims, uint32_t type = kF32,
                        std::optional<uint64_t> offset = {}) {
  return GgufBuilder().tensor("t", type, dims, tiny_f32(64), offset);
}

GgufBuilder with_array(uint32_t type, uint64_t count, std::string_view elements = {}) {
  return GgufBuilder().key("a", GgufValue::array, raw(type) + raw(count) + std::string(elements));
}

GgufBuilder announcing(std::optional<uint64_t> n_tensors, std::optional<uint64_t> n_keys) {
  GgufBuilder gguf = tiny_gguf_metadata();
  add_tiny_tensors(gguf);
  gguf.n_tensors = n_tensors;
  gguf.n_keys = n_keys;
  return gguf;
}

// Arrays of one array each, `depth` of them.
std::string nested_arrays(size_t depth) {
  std::string bytes;
  for (size_t i = 1; i < depth; ++i) bytes += raw(GgufValue::array) + raw(uint64_t{1});
  return bytes + raw(GgufValue::u8) + raw(uint64_t{0});
}

void add_gguf_counts(Cases& c) {
  c.crafted("gguf: CVE-2024-39720: four bytes", "GGUF", "cut short");
  c.crafted("gguf: the magic and half a version", "GGUF\3", "cut short");
  for (const uint64_t n :
       {kMax, kMax / 24, kMax / 48 + 2, uint64_t{1} << 60, uint64_t{1} << 32, uint64_t{1} << 24}) {
    const std::string text = std::to_string(n);
    c.crafted("CVE-2024-23605: n_kv is " + text, announcing({}, n), text + " metadata keys");
    c.crafted("CVE-2024-21836: n_tensors is " + text, announcing(n, {}), text + " tensors");
    c.crafted("CVE-2025-0315: an array of " + text + " bytes", with_array(0, n), text + " array");
    c.crafted("CVE-2024-21825: an array of " + text + " strings", with_array(8, n, raw(kMax)),
              text + " array elements");
    c.crafted("ollama#17042: an array of " + text + " doubles", with_array(12, n, "12345678"),
              text + " array elements");
    c.crafted("CVE-2024-23496: a string of " + text + " bytes",
              GgufBuilder().key("s", GgufValue::string, raw(n) + "text"), text + " bytes expected");
    c.crafted("gguf: CVE-2024-12055: a key of " + text + " bytes",
              "GGUF" + raw(3) + raw(uint64_t{0}) + raw(uint64_t{1}) + raw(n) + "keykeykey",
              text + " bytes expected");
    c.crafted("gguf: a tensor name of " + text + " bytes",
              "GGUF" + raw(3) + raw(uint64_t{1}) + raw(uint64_t{0}) + raw(n) + std::string(40, 'x'),
              text + " bytes expected");
  }
  c.crafted("one key more than there is", announcing({}, 17), "");
  c.crafted("one tensor more than there is", announcing(12, {}), "");
  c.crafted("CVE-2024-32878: an error between strings",
            GgufBuilder().string("a", "x").key("b", 99, "").string("c", "y"), "unknown type 99");
  c.crafted("memory: 5 million bytes that would take 200 MB",
            with_array(0, 5'000'000, std::string(5'000'000, 'x')), "metadata values");
  std::string arrays;
  for (int i = 0; i < 5; ++i)
    arrays += raw(uint32_t{0}) + raw(uint64_t{1'000'000}) + std::string(1'000'000, 'x');
  c.crafted("memory: the same in five arrays", with_array(9, 5, arrays), "metadata values");
  for (const size_t depth : {9u, 100u, 100'000u})
    c.crafted("arrays nested " + std::to_string(depth) + " deep",
              GgufBuilder().key("a", GgufValue::array, nested_arrays(depth)), "nested deeper");
  c.crafted("an array of an unknown type", with_array(13, 0), "unknown type 13");
  c.crafted("an array of the type -1", with_array(~0u, 1, "1234"), "unknown type 4294967295");
  c.crafted("a boolean of 2", GgufBuilder().key("b", GgufValue::boolean, "\2"), "expected 0 or 1");
  c.crafted("a key twice", GgufBuilder().u32("a", 1).u32("b", 1).u32("a", 1), "\"a\" occurs twice");
  c.crafted("terminal codes in a name", GgufBuilder().u32("\x1b[2J", 1).u32("\x1b[2J", 1),
            "key \"?[2J\" occurs");
}

void add_gguf_tensors(Cases& c) {
  for (const uint32_t rank : {0u, 5u, 0x80000000u, ~0u}) {
    const std::string info = GgufBuilder::text("t") + raw(rank) + std::string(60, '\1');
    c.crafted("gguf: CVE-2024-21802: " + std::to_string(rank) + " dimensions",
              "GGUF" + raw(3) + raw(uint64_t{1}) + raw(uint64_t{0}) + info,
              "the number of its dimensions is " + std::to_string(rank));
  }
  const uint64_t k32 = uint64_t{1} << 32, k62 = uint64_t{1} << 62, k63 = uint64_t{1} << 63;
  c.crafted("GHSA-3p75-pq92-q28f: the first dimension is zero", with_tensor({0, 4}), "is zero");
  c.crafted("GHSA-3p75-pq92-q28f: the last dimension is zero", with_tensor({4, 0}), "is zero");
  c.crafted("GHSA-3p75-pq92-q28f: zero and 2^63", with_tensor({k63, 0, k63}), "is zero");
  c.crafted("CVE-2026-33298: elements wrap to 0", with_tensor({k32, k32}), "overflows");
  c.crafted("CVE-2026-33298: elements wrap to 4", with_tensor({k32 + 2, k32 + 2}), "overflows");
  c.crafted("CVE-2026-33298: bytes wrap to 0", with_tensor({k62}), "overflows");
  c.crafted("CVE-2026-33298: bytes wrap to 4", with_tensor({k62 + 1}), "overflows");
  c.crafted("CVE-2026-33298: bytes of Q4_0 wrap",
            with_tensor({kMax / 18 * 32 / 64 * 32 + 32, 4}, kQ40), "overflows");
  c.crafted("CVE-2026-33298: an exabyte", with_tensor({uint64_t{1} << 58}),
            "of which the file holds");
  c.crafted("CVE-2026-33298: four dimensions of 65536", with_tensor({65536, 65536, 65536, 65536}),
            "overflows");
  c.crafted("a dimension of -1", with_tensor({kMax}, kI8), "of which the file holds");
  c.crafted("GGML_PAD: a size that padding wraps to 0", with_tensor({kMax - 30}, kI8),
            "of which the file holds");
  c.crafted("GGML_PAD: an offset that padding wraps", with_tensor({64}, kF32, kMax - 31),
            "of which the file holds");
  c.crafted("offset and size wrap", with_tensor({64}, kF32, kMax - 255), "of which the file holds");
  c.crafted("offset 2^63", with_tensor({64}, kF32, k63), "of which the file holds");
  GgufBuilder sum;
  sum.tensor("a", kI8, {k63}, "x", 0).tensor("b", kI8, {k63}, "x", 32);
  c.crafted("CVE-2025-53630: sizes whose sum wraps to 0", sum, "of which the file holds");
  GgufBuilder memory;
  memory.tensor("a", kI8, {kMax - 400}, "x", 0).tensor("b", kI8, {16}, std::string(16, 'x'), 32);
  c.crafted("CVE-2026-27940: a size near 2^64 and an overhead", memory, "of which the file holds");
  c.crafted("CVE-2026-7482: one element past the end", with_tensor({65}),
            "of which the file holds");
  c.crafted("CVE-2026-7482: an offset at the end", with_tensor({1}, kF32, 256),
            "4 bytes at offset 256 of the data, of which the file holds 256");
  c.crafted("CVE-2026-7482: an offset behind the end", with_tensor({1}, kF32, 4096), "file holds");
  GgufBuilder overlap;
  overlap.tensor("a", kF32, {16}, tiny_f32(16)).tensor("b", kF32, {16}, tiny_f32(16), 32);
  c.crafted("tensors that overlap", overlap, "overlaps tensor \"a\"");
  GgufBuilder same;
  same.tensor("a", kF32, {16}, tiny_f32(16)).tensor("b", kF32, {16}, "", 0);
  c.crafted("tensors at the same place", same, "overlaps tensor");
  GgufBuilder twice;
  twice.tensor("a", kF32, {8}, tiny_f32(8)).tensor("a", kF32, {8}, tiny_f32(8));
  c.crafted("a tensor twice", twice, "\"a\" occurs twice");
  for (const uint32_t type : {4u, 9u, 15u, 36u, 40u, 255u, 0x7fffffffu, ~0u})
    c.crafted("CVE-2024-42477: the tensor type " + std::to_string(type), with_tensor({32}, type),
              "its type");
  c.crafted("a row that is no whole block", with_tensor({31}, kQ40), "a multiple of 32");
}

// Each expert takes a kilobyte when it is loaded, and 6 bytes of this file.
GgufBuilder with_experts(uint32_t n_layers, uint64_t n_experts) {
  GgufBuilder out;
  out.string("general.architecture", "qwen3moe")
      .f32("qwen3moe.attention.layer_norm_rms_epsilon", 0.1f);
  for (const char* key : {"embedding_length", "attention.head_count", "expert_used_count",
                          "expert_feed_forward_length"})
    out.u32(std::string("qwen3moe.") + key, 1);
  out.u32("qwen3moe.block_count", n_layers).u32("qwen3moe.attention.key_length", 2);
  out.u32("qwen3moe.expert_count", static_cast<uint32_t>(n_experts));
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    uint64_t n = 1;
    for (const uint64_t d : dims) n *= d;
    out.tensor(name + ".weight", kF32, dims, tiny_f32(n));
  };
  add("token_embd", {1, 4});
  add("output_norm", {1});
  for (uint32_t i = 0; i < n_layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    for (const char* name : {"attn_norm", "ffn_norm"}) add(layer + name, {1});
    for (const char* name : {"attn_q_norm", "attn_k_norm"}) add(layer + name, {2});
    for (const char* name : {"attn_q", "attn_k", "attn_v"}) add(layer + name, {1, 2});
    add(layer + "attn_output", {2, 1});
    add(layer + "ffn_gate_inp", {1, n_experts});
    for (const char* name : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"})
      add(layer + name, {1, 1, n_experts});
  }
  return out;
}

void add_gguf_experts(Cases& c) {
  c.add("gguf: a few experts of one weight each", [](const TempDir& dir) {
    write_file(dir / "model", with_experts(2, 3).build());
    check(survives(dir / "model"));
  });
  c.crafted("memory: 17 layers of 4096 experts of one weight each", with_experts(17, 4096),
            "is too large");
}

void add_gguf_keys(Cases& c) {
  for (const uint32_t alignment : {0u, 3u, 31u, 33u, 1u << 21, 1u << 31, ~0u})
    c.crafted((alignment == 0 ? "CVE-2025-0317: " : "lc#24759: ") +
                  std::string("an alignment of ") + std::to_string(alignment),
              with_tensor({64}).u32("general.alignment", alignment), "expected a power of two");
  c.crafted("an alignment of 2^63",
            GgufBuilder().key("general.alignment", GgufValue::u64, raw(uint64_t{1} << 63)),
            "expected an integer");
  c.crafted("an alignment of -32", GgufBuilder().key("general.alignment", GgufValue::i32, raw(-32)),
            "power of two");
  c.crafted("an alignment of 32.5", GgufBuilder().f32("general.alignment", 32.5f),
            "expected an integer");
  c.crafted("an alignment that is an array",
            GgufBuilder().key("general.alignment", GgufValue::array, nested_arrays(1)),
            "found an array");
  for (const int count : {2, 3, 65535})
    c.crafted("split: one file of " + std::to_string(count),
              GgufBuilder().u32("split.count", static_cast<uint32_t>(count)), "does not end in");
  c.crafted("split: a count of 2^63", GgufBuilder().key("split.count", GgufValue::u64, raw(kMax)),
            "expected an integer");
  c.crafted("split: a number without a count", GgufBuilder().u32("split.no", 7), "part number 7");
  c.crafted("split: a negative number",
            GgufBuilder().key("split.no", GgufValue::i32, raw(-1)).u32("split.count", 2),
            "number -1");
  c.crafted("split: a count that is text", GgufBuilder().string("split.count", "2"),
            "found a string");

  // What only later layers can judge: it may load here.
  const auto replaced = [&](const std::string& name, const std::string& key, uint32_t type,
                            const std::string& value) {
    c.add("gguf: " + name, [=](const TempDir& dir) {
      GgufBuilder gguf = tiny_gguf_metadata();
      gguf.key(key, type, value);
      add_tiny_tensors(gguf);
      std::string file = gguf.build();
      file[file.find(key) + key.size() - 1] = '_';  // the tiny model's own: a name nobody reads
      write_file(dir / "model", file);
      survives(dir / "model");
    });
  };
  const auto number = [](GgufValue type) { return static_cast<uint32_t>(type); };
  const std::string blocks = "llama.block_count";
  replaced("CVE-2024-8063: block_count is text", blocks, number(GgufValue::string),
           GgufBuilder::text("1"));
  replaced("CVE-2024-8063: block_count is 0", blocks, number(GgufValue::u32), raw(0u));
  replaced("CVE-2024-8063: block_count is -1", blocks, number(GgufValue::i32), raw(-1));
  replaced("CVE-2024-8063: block_count is 2^64-1", blocks, number(GgufValue::u64), raw(kMax));
  replaced("CVE-2024-8063: block_count is an array", blocks, number(GgufValue::array),
           nested_arrays(2));
  replaced("head_count is 0", "llama.attention.head_count", number(GgufValue::u32), raw(0u));
  replaced("head_count_kv is 0", "llama.attention.head_count_kv", number(GgufValue::u32), raw(0u));
  replaced("embedding_length is 2^31", "llama.embedding_length", number(GgufValue::u32),
           raw(1u << 31));
  replaced("context_length is 2^32-1", "llama.context_length", number(GgufValue::u32), raw(~0u));
  replaced("lc#25969: scores of the type i8", "tokenizer.ggml.scores", number(GgufValue::array),
           GgufBuilder::array(GgufValue::i8, std::vector<std::string>(16, "x")));
  replaced("lc#25969: a byte token <0x-1>", "tokenizer.ggml.tokens", number(GgufValue::array),
           GgufBuilder::array(GgufValue::string,
                              std::vector<std::string>(16, GgufBuilder::text("<0x-1>"))));
  replaced(
      "CVE-2025-49847: a token of a million bytes", "tokenizer.ggml.tokens",
      number(GgufValue::array),
      GgufBuilder::array(GgufValue::string, std::vector<std::string>(
                                                16, GgufBuilder::text(std::string(1000000, 'x')))));
  replaced("no tokens", "tokenizer.ggml.tokens", number(GgufValue::array), nested_arrays(1));
  replaced("bos_token_id is 2^32-1", "tokenizer.ggml.bos_token_id", number(GgufValue::u32),
           raw(~0u));
  const auto template_of = [&](const std::string& name, const std::string& text) {
    c.add("gguf: " + name, [=](const TempDir& dir) {
      GgufBuilder gguf = tiny_gguf_metadata();
      gguf.string("tokenizer.chat_template", text);
      add_tiny_tensors(gguf);
      write_file(dir / "model", gguf.build());
      survives(dir / "model");
    });
  };
  template_of("CVE-2024-34359: a template that reaches for classes",
              "{{ ''.__class__.__mro__[1].__subclasses__() }}");
  template_of("a template that never closes", std::string(10000, '{'));
  c.add("gguf: GO-2025-3582: no keys, no tensors", [](const TempDir& dir) {
    write_file(dir / "model", GgufBuilder().build());
    survives(dir / "model");
  });
}

// --- safetensors and Hugging Face

void add_safetensors(Cases& cases) {
  const auto c = [&](const std::string& name, const std::string& bytes, std::string_view why) {
    cases.add("safetensors: " + name, [=, text = std::string(why)](const TempDir& dir) {
      refused(in_directory("model.safetensors")(dir), bytes, text);
    });
  };
  const auto tensor = [](const std::string& shape, const std::string& offsets,
                         const std::string& dtype = "F32") {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  for (const uint64_t n : {kMax, kMax - 7, uint64_t{1} << 63, uint64_t{1} << 32, uint64_t{3}})
    c("a header of " + std::to_string(n) + " bytes", raw(n) + "{}", "the header has");
  c("no header", raw(uint64_t{0}), "does not start with");
  c("a header that is a list", safetensors("[]"), "does not start with");
  c("a header that is cut", safetensors(R"({"t":{"dtype":"F32")"), "invalid JSON");
  c("nested deep", safetensors(R"({"t":)" + std::string(100000, '[')), "nested deeper");
  c("objects nested deep", safetensors([] {
      std::string text;
      for (int i = 0; i < 50000; ++i) text += R"({"a":)";
      return text;
    }()),
    "nested deeper");
  c("a key twice", safetensors(R"({"__metadata__":{},"__metadata__":{}})"), "occurs twice");
  c("metadata that are no strings", safetensors(R"({"__metadata__":{"a":[]}})"), "a string");
  c("a size that overflows", safetensors(tensor("[4294967296,4294967296]", "[0,0]")), "overflows");
  c("bytes that overflow", safetensors(tensor("[4611686018427387904]", "[0,0]")), "overflows");
  c("a size beyond 2^63", safetensors(tensor("[18446744073709551615]", "[0,0]")), "an integer");
  c("a negative size", safetensors(tensor("[-4]", "[0,0]")), "out of range");
  c("a fraction", safetensors(tensor("[0.5]", "[0,0]")), "expected an integer");
  c("offsets that are reversed", safetensors(tensor("[1]", "[4,0]"), "1234"), "bytes 4 to 0");
  c("offsets past the end", safetensors(tensor("[2]", "[0,8]"), "1234"), "bytes 0 to 8");
  c("offsets that wrap", safetensors(tensor("[1]", "[9223372036854775804,4]"), "1234"), "bytes 9");
  c("offsets at -4", safetensors(tensor("[1]", "[-4,0]"), "1234"), "out of range");
  c("offsets of 1e308", safetensors(tensor("[1]", "[0,1e308]"), "1234"), "an integer");
  c("a hole before", safetensors(tensor("[1]", "[4,8]"), "12345678"), "expected 0");
  c("a hole behind", safetensors(tensor("[1]", "[0,4]"), "12345678"), "size of the data is 8");
  c("less data than the shape", safetensors(tensor("[2]", "[0,4]"), "1234"), "expected 8");
  c("more data than the shape", safetensors(tensor("[1]", "[0,8]"), "12345678"), "expected 4");
  c("an unknown type", safetensors(tensor("[1]", "[0,1]", "F4"), "1"), "not supported");
  c("a type that is a program", safetensors(tensor("[1]", "[0,1]", "\\u001b[2J"), "1"), "\"?[2J\"");
  c("an overlap",
    safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                "123"),
    "expected 2");
  c("an empty file", "", "is empty");
}

void add_directories(Cases& cases) {
  const auto index = [&](const std::string& name, const std::string& map, std::string_view why) {
    cases.add("directory: " + name, [=, text = std::string(why)](const TempDir& dir) {
      write_tiny_hugging_face(dir.path());
      std::filesystem::rename(dir / "model.safetensors", dir / "shard.safetensors");
      std::filesystem::create_directory(dir / "model");
      std::filesystem::copy(dir / "shard.safetensors", dir / "model/shard.safetensors");
      refused({dir / "model.safetensors.index.json", dir.path()}, map, text);
    });
  };
  for (const std::string name :
       {"../shard.safetensors", "/etc/passwd", "..", ".", "", "model/shard.safetensors",
        "./shard.safetensors", "model/../shard.safetensors", "..\\\\shard.safetensors",
        "shard.safetensors\\u0000"})
    index("CVE-2024-37032: the shard name '" + name + "'",
          R"({"weight_map":{"model.norm.weight":")" + name + "\"}}", "is no plain file name");
  index("a shard that is a directory", R"({"weight_map":{"a":"model"}})", "is not a regular file");
  index("a shard that is the index", R"({"weight_map":{"a":"model.safetensors.index.json"}})", "");
  index("a shard that is missing", R"({"weight_map":{"a":"b"}})", "shard \"b\" is missing");
  index("a tensor that is not there", R"({"weight_map":{"a":"shard.safetensors"}})", "is not in");
  index("a map that is a list", R"({"weight_map":[]})", "expected an object");
  index("no map", "{}", "is missing");
  index("an empty index", "", "is empty");

  const auto config = [&](const std::string& name, const std::string& text, std::string_view why) {
    cases.add("directory: " + name, [=, w = std::string(why)](const TempDir& dir) {
      refused(in_directory("config.json")(dir), text, w);
    });
  };
  config("an empty config.json", "", "is empty");
  config("a config.json that is a list", "[]", "expected an object");
  config("a config.json nested deep", std::string(1'000'000, '['), "nested deeper");
  config("a config.json with NaN", R"({"a":NaN})", "invalid JSON");
  config("a config.json in UTF-16", std::string("\xff\xfe{\0}\0", 6), "not UTF-8");
  cases.add("directory: config.json is a pipe", [](const TempDir& dir) {
    check(mkfifo((dir / "config.json").c_str(), 0600) == 0, "mkfifo");
    check_error([&] { exercise(dir.path()); }, "is not a regular file");
  });
  cases.add("directory: config.json is a directory", [](const TempDir& dir) {
    std::filesystem::create_directory(dir / "config.json");
    check_error([&] { exercise(dir.path()); }, "is not a regular file");
  });
  cases.add("directory: config.json links to itself", [](const TempDir& dir) {
    std::filesystem::create_symlink("config.json", dir / "config.json");
    check_error([&] { exercise(dir.path()); }, "config.json: cannot open the file: ");
  });
  cases.add("a device", [](const TempDir&) {
    check_error([] { exercise("/dev/zero"); }, "is not a regular file");
  });
}

// --- llama2.c

std::string llama2c(const std::vector<int32_t>& header, size_t n_bytes = 4096) {
  std::string bytes;
  for (const int32_t n : header) bytes += raw(n);
  return bytes + std::string(n_bytes, '\0');
}

void add_llama2c(Cases& c) {
  constexpr int32_t kInt = INT32_MAX;
  for (size_t field = 0; field < 7; ++field)
    for (const int32_t value : {0, -1, INT32_MIN, kInt, 1 << 16}) {
      std::string bytes = tiny_llama2c();
      bytes.replace(4 * field, 4, raw(value));
      c.crafted("llama2c: field " + std::to_string(field) + " is " + std::to_string(value), bytes,
                "");
    }
  c.crafted("llama2c: every field at its limit",
            llama2c({kInt, kInt, kInt, kInt, kInt, kInt, kInt}), "");
  c.crafted("llama2c: a size that overflows", llama2c({kInt, kInt, 4096, 1, 1, kInt, kInt}),
            "overflows");
  c.crafted("llama2c: more heads than columns", llama2c({4, 4, 1, 8, 8, 4, 4}), "8 heads");
  c.crafted("llama2c: more layers than bytes", llama2c({1, 1, 4096, 1, 1, 1, 1}),
            "the size of its");
  c.crafted("another kind of file", "PK\3\4" + std::string(1000, '\0'), "is no model file");
  c.crafted("text", "Once upon a time, there was a little girl named Lily.", "");
  c.crafted("one byte", "G", "cut short");
}

// A packed model: its matrices are mapped as they are.
std::string tiny_nib() {
  const TempDir dir;
  write_file(dir / "gguf", tiny_gguf());
  quantize(dir / "gguf", dir / "nib");
  return read_file(dir / "nib");
}

std::vector<Case> all_cases(Cases& cases) {
  add_gguf_counts(cases);
  add_gguf_tensors(cases);
  add_gguf_keys(cases);
  add_gguf_experts(cases);
  add_safetensors(cases);
  add_directories(cases);
  add_llama2c(cases);

  GgufBuilder gguf = tiny_gguf_metadata();
  add_tiny_tensors(gguf);
  add_truncations(cases, "gguf", tiny_gguf(), 3, alone);
  add_damage(cases, "gguf", tiny_gguf(), gguf.header().size(), alone);

  const std::string weights = tiny_safetensors();
  const size_t header = 8 + weights.find("}}", 8) + 2;
  add_truncations(cases, "safetensors", weights, 31, in_directory("model.safetensors"));
  add_damage(cases, "safetensors", weights, header, in_directory("model.safetensors"));
  add_truncations(cases, "config.json", tiny_config(), 1, in_directory("config.json"), 64);
  add_damage(cases, "config.json", tiny_config(), tiny_config().size(),
             in_directory("config.json"));
  add_truncations(cases, "tokenizer.json", tiny_tokenizer_json(), 1, in_directory("tokenizer.json"),
                  64);
  add_damage(cases, "tokenizer.json", tiny_tokenizer_json(), tiny_tokenizer_json().size(),
             in_directory("tokenizer.json"), 64);

  const std::string nib = tiny_nib();
  std::string later = nib;
  const std::string version = "\"nibble.format\":\"1\"";
  check(later.find(version) != std::string::npos, "the version is where a case looks for it");
  later.replace(later.find(version), version.size(), "\"nibble.format\":\"2\"");
  cases.crafted("nib: a later version", later, "version of the .nib format");
  const auto config_case = [&](const std::string& name, const std::string& members,
                               std::string_view why) {
    std::string config = tiny_nib_config();
    config.replace(config.size() - 1, 1, "," + members + "}");
    cases.crafted("nib: " + name, with_nib_config(nib, config), why);
  };
  for (const std::string positions : {"rope", "alibi", "learned"})
    config_case("queries grow, positions are of the kind " + positions,
                R"("query_growth":0.1,"positions":")" + positions + "\"", "no original context");
  add_truncations(cases, "nib", nib, 61, alone);
  add_damage(cases, "nib", nib, nib.find("}}", 8) + 2, alone, 64);

  const std::string llama2c_bin = tiny_llama2c(true, 1, kTinyLlama2cVocab);
  const std::string tokenizer_bin = tiny_llama2c_tokenizer(kTinyLlama2cVocab);
  const Place with_tokenizer = [=](const TempDir& dir) {
    write_file(dir / "tokenizer.bin", tokenizer_bin);
    return alone(dir);
  };
  add_truncations(cases, "llama2c", llama2c_bin, 997, with_tokenizer);
  add_damage(cases, "llama2c", llama2c_bin, 28, with_tokenizer, 4);
  const Place tokenizer = [=](const TempDir& dir) {
    write_file(dir / "model", llama2c_bin);
    return Target{dir / "tokenizer.bin", dir / "model"};
  };
  add_damage(cases, "llama2c tokenizer", tokenizer_bin, 256, tokenizer, 16);
  cases.add("the undamaged files load", [=](const TempDir& dir) {
    write_file(dir / "gguf", tiny_gguf());
    write_file(dir / "llama2c", llama2c_bin);
    write_file(dir / "tokenizer.bin", tokenizer_bin);
    write_tiny_hugging_face(dir / "hf");
    write_file(dir / "nib", nib);
    write_file(dir / "nib2", with_nib_config(nib, tiny_nib_config()));
    for (const char* name : {"gguf", "llama2c", "hf", "nib", "nib2"}) exercise(dir / name);
  });
  return cases.list();
}

}  // namespace

int main(int argc, char** argv) {
  Cases cases;
  return run(argc, argv, all_cases(cases));
}
