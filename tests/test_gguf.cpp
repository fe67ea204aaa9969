// load/gguf.cpp: files written by gguf_builder.h, and the shared ones.
#include <array>
#include <filesystem>

#include "check.h"
#include "gguf_builder.h"
#include "load/checkpoint.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr uint32_t kF32 = 0, kQ40 = 2;

Checkpoint open_bytes(const TempDir& dir, const std::string& bytes,
                      const std::string& name = "model.gguf") {
  write_file(dir / name, bytes);
  return open_checkpoint(dir / name);
}

void check_refused(const GgufBuilder& gguf, std::string_view why,
                   const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const TempDir dir;
  check_error([&] { open_bytes(dir, gguf.build()); }, why, file, line);
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void both_versions() {
  for (const uint32_t version : {2u, 3u}) {
    const TempDir dir;
    GgufBuilder gguf;
    gguf.version = version;
    gguf.u32("a", 5).tensor("t", kF32, {3, 2}, tiny_f32(6)).tensor("u", kF32, {2}, tiny_f32(2));
    const Checkpoint c = open_bytes(dir, gguf.build(), "any name");
    check(c.format == FileFormat::gguf);
    check_eq(c.description, "GGUF v" + std::to_string(version));
    check_eq(c.metadata.find("a")->as_int("a"), int64_t{5});
    check_eq(c.tensors.size(), size_t{2});
    check_eq(c.get("t").shape_text(), "[2, 3]");  // rows first, as everywhere in Nibble
    check_eq(c.get("t").n_elements(), uint64_t{6});
    check_eq(text_of(c.get("t").data), tiny_f32(6));
    check_eq(text_of(c.get("u").data), tiny_f32(2));
    check(!c.find("v"), "no such tensor");
    check_error([&] { c.get("v"); }, "\"v\" is missing");
    check_eq(c.file_bytes(), uint64_t{gguf.build().size()});
    c.release(c.get("t"));
    check_eq(text_of(c.get("t").data), tiny_f32(6), "after release");
  }
}

void every_value_type() {
  const TempDir dir;
  GgufBuilder g;
  g.key("u8", GgufValue::u8, raw<uint8_t>(200)).key("i8", GgufValue::i8, raw<int8_t>(-100));
  g.key("u16", GgufValue::u16, raw<uint16_t>(60000)).key("i16", GgufValue::i16, raw<int16_t>(-3));
  g.key("u32", GgufValue::u32, raw(4000000000u)).key("i32", GgufValue::i32, raw(-7));
  g.key("f32", GgufValue::f32, raw(0.25f)).key("bool", GgufValue::boolean, raw<uint8_t>(1));
  g.key("string", GgufValue::string, GgufBuilder::text(std::string_view("a\0\xff", 3)));
  g.key("u64", GgufValue::u64, raw(uint64_t{1} << 40)).key("i64", GgufValue::i64, raw<int64_t>(-9));
  g.key("huge", GgufValue::u64, raw(~uint64_t{0})).key("f64", GgufValue::f64, raw(0.1));
  const std::string inner = GgufBuilder::array(GgufValue::i16, {raw<int16_t>(1), raw<int16_t>(-2)});
  const std::string empty = GgufBuilder::array(GgufValue::string, {});
  g.key("nested", GgufValue::array, GgufBuilder::array(GgufValue::array, {inner, empty}));
  g.key("", GgufValue::boolean, raw<uint8_t>(0));
  const Checkpoint c = open_bytes(dir, g.build());
  const auto integer = [&](const char* key) { return c.metadata.find(key)->as_int(key); };
  check_eq(integer("u8"), int64_t{200});
  check_eq(integer("i8"), int64_t{-100});
  check_eq(integer("u16"), int64_t{60000});
  check_eq(integer("i16"), int64_t{-3});
  check_eq(integer("u32"), int64_t{4000000000});
  check_eq(integer("i32"), int64_t{-7});
  check_eq(integer("u64"), int64_t{1} << 40);
  check_eq(integer("i64"), int64_t{-9});
  check_eq(c.metadata.find("f32")->as_number("f32"), 0.25);
  check_eq(c.metadata.find("f64")->as_number("f64"), 0.1);
  check_eq(c.metadata.find("huge")->as_number("huge"), 0x1p64);
  check_eq(c.metadata.find("bool")->as_bool("bool"), true);
  check_eq(c.metadata.find("")->as_bool("empty name"), false);
  check_eq(c.metadata.find("string")->as_string("string"), std::string("a\0\xff", 3));
  const Json::Array& nested = c.metadata.find("nested")->as_array("nested");
  check_eq(nested[0].as_array("nested")[1].as_int("nested"), int64_t{-2});
  check(nested[1].as_array("nested").empty());
}

// Bytes of a row of 256, from the layouts of the format's blocks.
void every_tensor_type() {
  struct Type {
    uint32_t number;
    DType type;
    uint64_t row_bytes;
  };
  constexpr uint64_t kBlocks = 256 / 32;
  const std::array<Type, 28> types = {{
      {0, DType::f32, 256 * 4},
      {1, DType::f16, 256 * 2},
      {2, DType::q4_0, kBlocks * (2 + 16)},
      {3, DType::q4_1, kBlocks * (2 + 2 + 16)},
      {6, DType::q5_0, kBlocks * (2 + 4 + 16)},
      {7, DType::q5_1, kBlocks * (2 + 2 + 4 + 16)},
      {8, DType::q8_0, kBlocks * (2 + 32)},
      {10, DType::q2_k, 16 + 64 + 2 + 2},
      {11, DType::q3_k, 32 + 64 + 12 + 2},
      {12, DType::q4_k, 2 + 2 + 12 + 128},
      {13, DType::q5_k, 2 + 2 + 12 + 32 + 128},
      {14, DType::q6_k, 128 + 64 + 16 + 2},
      {16, DType::iq2_xxs, 2 + 64},
      {17, DType::iq2_xs, 2 + 64 + 8},
      {18, DType::iq3_xxs, 2 + 64 + 32},
      {19, DType::iq1_s, 2 + 32 + 16},
      {21, DType::iq3_s, 2 + 64 + 8 + 32 + 4},
      {22, DType::iq2_s, 2 + 64 + 8 + 8},
      {29, DType::iq1_m, 32 + 16 + 8},
      {39, DType::mxfp4, kBlocks * (1 + 16)},
      {20, DType::iq4_nl, kBlocks * (2 + 16)},
      {23, DType::iq4_xs, 2 + 2 + 4 + 128},
      {24, DType::i8, 256},
      {25, DType::i16, 256 * 2},
      {26, DType::i32, 256 * 4},
      {27, DType::i64, 256 * 8},
      {28, DType::f64, 256 * 8},
      {30, DType::bf16, 256 * 2},
  }};
  GgufBuilder g;
  for (const Type& t : types)
    g.tensor(dtype_info(t.type).name, t.number, {256, 2, 1, 3}, std::string(6 * t.row_bytes, 'x'));
  const TempDir dir;
  const Checkpoint c = open_bytes(dir, g.build());
  for (const Type& t : types) {
    const TensorView& tensor = c.get(dtype_info(t.type).name);
    check(tensor.type == t.type, dtype_info(t.type).name);
    check_eq(tensor.data.size(), 6 * t.row_bytes, dtype_info(t.type).name);
    check_eq(tensor.shape_text(), "[3, 1, 2, 256]");
  }
}

void refused_types() {
  check_refused(GgufBuilder().tensor("t", 34, {256}, std::string(54, 'x')),
                "tensor \"t\": its type TQ1_0 is not supported");
  check_refused(GgufBuilder().tensor("t", 31, {256}, std::string(144, 'x')), "type Q4_0_4_4");
  check_refused(GgufBuilder().tensor("t", 35, {256}, std::string(66, 'x')), "type TQ2_0");
  check_refused(GgufBuilder().tensor("t", 77, {32}, "x"), "unknown number 77");
  check_refused(GgufBuilder().tensor("t", kQ40, {48, 2}, std::string(54, 'x')),
                "a row has 48 elements, expected a multiple of 32 for type Q4_0");
}

void refused_versions() {
  GgufBuilder g;
  for (const uint32_t version : {0u, 1u, 4u}) {
    g.version = version;
    check_refused(g, "the GGUF version is " + std::to_string(version) + ", expected 2 or 3");
  }
  g.version = 0x03000000;
  check_refused(g, "big-endian");
}

void alignment() {
  for (const uint32_t alignment : {1u, 8u, 64u, 4096u}) {
    const TempDir dir;
    GgufBuilder g;
    g.alignment = alignment;
    g.u32("general.alignment", alignment);
    g.tensor("t", kF32, {3}, tiny_f32(3)).tensor("u", kF32, {5}, tiny_f32(5));
    const Checkpoint c = open_bytes(dir, g.build());
    check_eq(text_of(c.get("u").data), tiny_f32(5));
    const auto offset = c.get("t").data.data() - c.files[0].bytes().data();
    check_eq(offset % static_cast<std::ptrdiff_t>(alignment), std::ptrdiff_t{0});
  }
  for (const uint32_t wrong : {0u, 3u, 48u, 1u << 21, ~0u})
    check_refused(GgufBuilder().u32("general.alignment", wrong), "general.alignment: is");
  check_refused(GgufBuilder().string("general.alignment", "32"), "expected an integer");
  check_refused(GgufBuilder().tensor("t", kF32, {1}, "1234").tensor("u", kF32, {1}, "1234", 36),
                "its offset is 36, expected a multiple of 32");
}

GgufBuilder part(int number, int count, int n_tensors = -1) {
  GgufBuilder g;
  g.key("split.no", GgufValue::u16, raw(static_cast<uint16_t>(number)));
  g.key("split.count", GgufValue::u16, raw(static_cast<uint16_t>(count)));
  if (n_tensors >= 0) g.key("split.tensors.count", GgufValue::i32, raw(n_tensors));
  return g.tensor("t" + std::to_string(number), kF32, {2}, tiny_f32(2));
}

void split_files() {
  const TempDir dir;
  const auto name = [](int i) { return "m-0000" + std::to_string(i) + "-of-00003.gguf"; };
  write_file(dir / name(2), part(1, 3).build());
  write_file(dir / name(3), part(2, 3).build());
  const Checkpoint c = open_bytes(dir, part(0, 3, 3).string("general.name", "x").build(), name(1));
  check_eq(c.description, "GGUF v3, 3 files");
  check_eq(c.files.size(), size_t{3});
  check_eq(text_of(c.get("t2").data), tiny_f32(2));
  check_eq(c.metadata.find("general.name")->as_string("name"), "x");
  c.release(c.get("t1"));

  check_error([&] { open_checkpoint(dir / name(2)); },
              "is part 2 of 3 of a split model (give the first");
  check_error([&] { open_bytes(dir, part(0, 3, 4).build(), name(1)); },
              "tensors in all parts is 3, expected 4");
  check_error([&] { open_bytes(dir, part(0, 4).build(), name(1)); },
              "does not end in -00001-of-00004");
  check_error([&] { open_bytes(dir, part(0, 3).build(), "renamed.gguf"); }, "does not end in");
  check_error([&] { open_bytes(dir, part(3, 3).build(), name(1)); }, "part number 3 of 3");
  open_bytes(dir, part(0, 3).build(), name(1));
  write_file(dir / name(3), part(1, 3).build());
  check_error([&] { open_checkpoint(dir / name(1)); }, "the split part is 2 of 3, expected 3 of 3");
  write_file(dir / name(3), part(2, 2).build());
  check_error([&] { open_checkpoint(dir / name(1)); }, "part number 2 of 2");
  write_file(dir / name(3), GgufBuilder().build());
  check_error([&] { open_checkpoint(dir / name(1)); }, "the split part is 1 of 1, expected 3 of 3");
  std::filesystem::remove(dir / name(3));
  check_error([&] { open_checkpoint(dir / name(1)); }, "m-00003-of-00003.gguf: cannot open");
}

void whole_file_that_says_split() {
  const TempDir dir;
  check_eq(open_bytes(dir, part(0, 1).build()).tensors.size(), size_t{1});
  check_eq(open_bytes(dir, part(0, 0).build()).tensors.size(), size_t{1});
}

void tiny_model_loads() {
  const TempDir dir;
  const Checkpoint c = open_bytes(dir, tiny_gguf());
  check_eq(c.tensors.size(), size_t{11});
  check_eq(c.get("blk.0.ffn_down.weight").shape_text(), "[32, 64]");
}

void shared_files() {
  const std::string root = shared("data");
  size_t n_files = 0, n_bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".gguf") continue;
    const Checkpoint c = open_checkpoint(entry.path().string());
    check(c.format == FileFormat::gguf);
    check_eq(c.metadata.find("general.architecture")->is_string(), true, entry.path().string());
    for (const TensorView& tensor : c.tensors) n_bytes += tensor.data.size();
    ++n_files;
  }
  check(n_files >= 22, "the folder has at least 22 GGUF files");
  check(n_bytes > 20000000, "most of their bytes are tensors");
}

void shared_stories() {
  const Checkpoint c = open_checkpoint(shared("data/stories260K/stories260K.gguf"));
  check_eq(c.tensors.size(), size_t{1 + 5 * 9 + 1});
  check_eq(c.get("blk.4.ffn_down.weight").shape_text(), "[64, 172]");
  check_eq(c.metadata.find("llama.block_count")->as_int("n"), int64_t{5});
  check_eq(c.metadata.find("tokenizer.ggml.tokens")->as_array("tokens").size(), size_t{512});
  check_eq(c.metadata.find("tokenizer.ggml.tokens")->as_array("tokens")[1].as_string("t"), "<s>");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"versions 2 and 3", both_versions},
              {"metadata of every type", every_value_type},
              {"tensors of every type", every_tensor_type},
              {"types that are refused", refused_types},
              {"versions that are refused", refused_versions},
              {"alignment", alignment},
              {"split files", split_files},
              {"a whole file that says it is split", whole_file_that_says_split},
              {"the tiny model", tiny_model_loads},
              {"all shared GGUF files", shared_files},
              {"shared stories260K", shared_stories}});
}
