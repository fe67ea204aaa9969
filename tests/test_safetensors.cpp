// load/safetensors.cpp, hugging_face.cpp, nib.cpp and safetensors_writer.cpp.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "check.h"
#include "load/checkpoint.h"
#include "load/safetensors_writer.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// One tensor "t" with the given fields.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

Json read_bytes(const std::string& bytes, Checkpoint& out, const TempDir& dir) {
  write_file(dir / "x.safetensors", bytes);
  return read_safetensors(dir / "x.safetensors", out);
}

void check_refused(const std::string& bytes, std::string_view why,
                   const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const TempDir dir;
  Checkpoint out;
  check_error([&] { read_bytes(bytes, out, dir); }, why, file, line);
}

void reads() {
  const TempDir dir;
  Checkpoint c;
  const Json metadata = read_bytes(
      safetensors(
          R"({"b":{"dtype":"I16","shape":[2,1],"data_offsets":[12,16]},)"
          R"("__metadata__":{"k":"v"},"a":{"shape":[3],"data_offsets":[0,12],"dtype":"F32"}})"
          "  ",
          tiny_f32(3) + "wxyz"),
      c, dir);
  c.index_tensors();
  check_eq(metadata.find("k")->as_string("k"), "v");
  check_eq(text_of(c.get("a").data), tiny_f32(3));
  check_eq(text_of(c.get("b").data), "wxyz");
  check_eq(c.get("b").shape_text(), "[2, 1]");
  check(c.get("b").type == DType::i16);
}

void types() {
  for (const auto& [name, bytes] : {std::pair{"F64", 8},
                                    {"F32", 4},
                                    {"F16", 2},
                                    {"BF16", 2},
                                    {"I64", 8},
                                    {"I32", 4},
                                    {"I16", 2},
                                    {"I8", 1},
                                    {"U64", 8},
                                    {"U32", 4},
                                    {"U16", 2},
                                    {"U8", 1},
                                    {"BOOL", 1}}) {
    const TempDir dir;
    Checkpoint c;
    const std::string end = std::to_string(3 * bytes);
    read_bytes(safetensors(one('"' + std::string(name) + '"', "[3]", "[0," + end + "]"),
                           std::string(static_cast<size_t>(3 * bytes), 'x')),
               c, dir);
    check_eq(std::string(dtype_info(c.tensors[0].type).name), name);
  }
  check_refused(safetensors(one("\"F8_E4M3\"", "[1]", "[0,1]"), "x"),
                "tensor \"t\": the type \"F8_E4M3\" is not supported");
  check_refused(safetensors(one("\"Q4_0\"", "[32]", "[0,18]"), std::string(18, 'x')),
                "not supported");
}

void empty_and_scalar() {
  const TempDir dir;
  Checkpoint c;
  read_bytes(safetensors(R"({"z":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
                         R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                         R"("y":{"dtype":"F32","shape":[7,0],"data_offsets":[0,0]}})",
                         "1234"),
             c, dir);
  c.index_tensors();
  check_eq(c.get("s").n_elements(), uint64_t{1});
  check_eq(c.get("s").shape_text(), "[]");
  check_eq(c.get("z").n_elements(), uint64_t{0});
  Checkpoint none;
  read_bytes(safetensors("{}"), none, dir);
  check(none.tensors.empty());
}

void header_rules() {
  check_refused("1234567", "cut short");
  check_refused(safetensors("{}").substr(0, 9), "the header has 2 bytes, expected at most 1");
  check_refused(raw(~uint64_t{0}) + "{}", "the header has 18446744073709551615 bytes");
  check_refused(raw(uint64_t{100'000'001}) + std::string(100'000'001, ' '), "at most 100000000");
  check_refused(safetensors(" {}"), "does not start with '{'");
  check_refused(safetensors("{}x"), "invalid JSON");
  check_refused(safetensors("{\"\xff\":1}"), "not UTF-8");
  check_refused(safetensors(R"({"t":[]})"), "tensor \"t\": expected an object");
  check_refused(safetensors(R"({"__metadata__":{"a":1}})"),
                "__metadata__: \"a\": expected a string");
  check_refused(safetensors(R"({"__metadata__":{"a":{"b":"c"}}})"), "expected a string");
  check_refused(safetensors(R"({"__metadata__":[]})"), "expected an object");
  check_refused(safetensors(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                            R"("t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
                "\"t\" occurs twice");
}

void entry_rules() {
  check_refused(safetensors(R"({"t":{"shape":[1],"data_offsets":[0,1]}})", "x"),
                "\"dtype\" is missing");
  check_refused(safetensors(R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", "x"),
                "\"shape\" is missing");
  check_refused(safetensors(R"({"t":{"dtype":"U8","shape":[1]}})", "x"),
                "\"data_offsets\" is missing");
  check_refused(safetensors(one("8", "[1]", "[0,1]"), "x"), "expected a string");
  check_refused(safetensors(one("\"U8\"", "1", "[0,1]"), "x"), "expected an array");
  check_refused(safetensors(one("\"U8\"", "[-1]", "[0,1]"), "x"), "-1 is out of range");
  check_refused(safetensors(one("\"U8\"", "[1.5]", "[0,1]"), "x"), "expected an integer");
  check_refused(safetensors(one("\"U8\"", "[1]", "[0,1,2]"), "x"), "expected 2");
  check_refused(safetensors(one("\"U8\"", "[1]", "[-1,0]"), "x"), "out of range");
  check_refused(safetensors(one("\"U8\"", "[1]", "[1,0]"), "x"), "bytes 1 to 0");
  check_refused(safetensors(one("\"U8\"", "[2]", "[0,2]"), "x"), "bytes 0 to 2, the file holds 1");
  check_refused(safetensors(one("\"F32\"", "[2]", "[0,4]"), "1234"),
                "the size of its data is 4, expected 8 for F32 [2]");
  check_refused(safetensors(one("\"F32\"", "[4611686018427387904]", "[0,0]")), "overflows");
  check_refused(safetensors(one("\"U8\"", "[4294967296,4294967296]", "[0,0]")), "overflows");
}

void coverage_rules() {
  const auto two = [](const char* a, const char* b, size_t n) {
    return safetensors(std::string(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)") + a +
                           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}",
                       std::string(n, 'x'));
  };
  const TempDir dir;
  Checkpoint c;
  read_bytes(two("[2,4]", "[0,2]", 4), c, dir);
  check_refused(two("[0,2]", "[1,3]", 3), "tensor \"b\": the start of its data is 1, expected 2");
  check_refused(two("[0,2]", "[0,2]", 2), "the start of its data is 0, expected 2");
  check_refused(two("[0,2]", "[3,5]", 5), "the start of its data is 3, expected 2");
  check_refused(two("[1,3]", "[3,5]", 5), "the start of its data is 1, expected 0");
  check_refused(two("[0,2]", "[2,4]", 5), "the size of the data is 5, expected 4");
}

void hugging_face() {
  const TempDir dir;
  write_tiny_hugging_face(dir.path());
  const Checkpoint c = open_checkpoint(dir.path());
  check(c.format == FileFormat::hugging_face);
  check_eq(c.description, "Hugging Face safetensors");
  check_eq(c.tensors.size(), size_t{11});
  check_eq(c.metadata.find("config")->find("hidden_size")->as_int("n"), int64_t{32});
  check(c.metadata.find("tokenizer")->is_object());
  check(!c.metadata.find("generation_config") && !c.metadata.find("chat_template"));

  write_file(dir / "generation_config.json", R"({"eos_token_id":[2,3]})");
  write_file(dir / "tokenizer_config.json", R"({"add_bos_token":true})");
  write_file(dir / "chat_template.jinja", "{{ x }}");
  write_file(dir / "tokenizer.model", "raw");
  const Checkpoint more = open_checkpoint(dir.path() + "/");
  check(more.metadata.find("generation_config")->find("eos_token_id")->is_array());
  check(more.metadata.find("tokenizer_config")->find("add_bos_token")->as_bool("b"));
  check_eq(more.metadata.find("chat_template")->as_string("t"), "{{ x }}");
  check(!more.metadata.find("tokenizer_model"), "tokenizer.json comes first");
  std::filesystem::remove(dir / "tokenizer.json");
  check_eq(open_checkpoint(dir.path()).metadata.find("tokenizer_model")->as_string("t"), "raw");
}

void hugging_face_refused() {
  const TempDir dir;
  check_error([&] { open_checkpoint(dir / "absent"); }, "there is no such file");
  check_error([&] { open_checkpoint(dir.path()); }, "directory without config.json");
  // What cannot be looked at is not said to be missing.
  std::filesystem::create_symlink("config.json", dir / "config.json");
  check_error([&] { open_checkpoint(dir.path()); }, "config.json: cannot open the file: ");
  check_error([&] { open_checkpoint(dir / "config.json"); }, "cannot open the file: ");
  write_file(dir / "config.json", tiny_config());
  check_error([&] { open_checkpoint(dir.path()); }, "neither model.safetensors nor");
  write_file(dir / "model.safetensors", tiny_safetensors());
  write_file(dir / "tokenizer.json", "[1]");
  check_error([&] { open_checkpoint(dir.path()); }, "tokenizer.json: expected an object");
  write_file(dir / "tokenizer.json", "{");
  check_error([&] { open_checkpoint(dir.path()); }, "tokenizer.json: invalid JSON at line 1");
  check_error([&] { open_checkpoint(dir / "model.safetensors"); }, "give the directory");
}

std::string shard(const std::string& name) {
  return safetensors("{\"" + name + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy");
}

void shards() {
  const TempDir dir;
  const auto index = [&](const std::string& map) {
    write_file(dir / "model.safetensors.index.json", R"({"weight_map":)" + map + "}");
  };
  const auto refused = [&](std::string_view why) {
    check_error([&] { open_checkpoint(dir.path()); }, why);
  };
  write_file(dir / "config.json", "{}");
  write_file(dir / "m-00001-of-00002.safetensors", shard("a"));
  write_file(dir / "m-00002-of-00002.safetensors", shard("b"));
  index(R"({"b":"m-00002-of-00002.safetensors","a":"m-00001-of-00002.safetensors"})");
  const Checkpoint c = open_checkpoint(dir.path());
  check_eq(c.description, "Hugging Face safetensors, 2 files");
  check_eq(text_of(c.get("b").data), "xy");
  c.release(c.get("b"));

  index(R"({"a":"m-00002-of-00002.safetensors","b":"m-00001-of-00002.safetensors"})");
  refused("the tensor \"a\" is not in the shard \"m-00002-of-00002.safetensors\"");
  index(R"({"a":"m-00001-of-00002.safetensors","c":"m-00002-of-00002.safetensors"})");
  refused("the tensor \"c\" is not in the shard");
  index(R"({"a":"m-00001-of-00002.safetensors","b":"absent.safetensors"})");
  refused("the shard \"absent.safetensors\" is missing");
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\\\b", "a\\u0000b"}) {
    index(R"({"a":")" + std::string(name) + "\"}");
    refused("is no plain file name");
  }
  index(R"({"a":1})");
  refused("expected a string");
  index("[]");
  refused("expected an object");
  write_file(dir / "model.safetensors.index.json", "{}");
  refused("\"weight_map\" is missing");
  write_file(dir / "m-00002-of-00002.safetensors", shard("a"));
  index(R"({"a":"m-00001-of-00002.safetensors","b":"m-00002-of-00002.safetensors"})");
  refused("the tensor \"a\" occurs twice");
}

void weights_named_otherwise() {
  const TempDir dir;
  const std::string index = "gptq_model-4bit-128g.safetensors.index.json";
  const auto map = [](const std::string& shard) {
    return R"({"weight_map":{"a":")" + shard + "\"}}";
  };
  const auto refused = [&](std::string_view why) {
    check_error([&] { open_checkpoint(dir.path()); }, why);
  };
  write_file(dir / "config.json", "{}");
  write_file(dir / "gptq_model-4bit-128g-00001-of-00002.safetensors", shard("a"));
  check_eq(open_checkpoint(dir.path()).tensors.size(), size_t{1}, "the only file");
  write_file(dir / "gptq_model-4bit-128g-00002-of-00002.safetensors", shard("b"));
  refused("neither model.safetensors nor");

  write_file(dir / index, R"({"weight_map":{"a":"gptq_model-4bit-128g-00001-of-00002.safetensors",)"
                          R"("b":"gptq_model-4bit-128g-00002-of-00002.safetensors"}})");
  const Checkpoint c = open_checkpoint(dir.path());
  check_eq(c.description, "Hugging Face safetensors, 2 files");
  check_eq(text_of(c.get("b").data), "xy");

  // What it names is checked as that of any index.
  write_file(dir / index, map("../x.safetensors"));
  refused(index + ": the shard name \"../x.safetensors\" is no plain file name");
  write_file(dir / index, map("gptq_model-4bit-128g-00003-of-00002.safetensors"));
  refused("the shard \"gptq_model-4bit-128g-00003-of-00002.safetensors\" is missing");

  // A choice, between names that a terminal would obey, is refused; the usual name is no choice.
  write_file(dir / "\x1b[2J.safetensors.index.json", "{}");
  refused("has more than one index: \"?[2J.safetensors.index.json\" and \"" + index + "\"");
  write_file(dir / "model.safetensors.index.json",
             map("gptq_model-4bit-128g-00001-of-00002.safetensors"));
  check_eq(open_checkpoint(dir.path()).tensors.size(), size_t{1}, "the usual name");
}

using Entry = SafetensorsWriter::Entry;

size_t count_files(const TempDir& dir) {
  const std::filesystem::directory_iterator files(dir.path());
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

void writes() {
  const TempDir dir;
  const std::string path = dir / "out.nib";
  write_file(path, "an older file");
  {
    SafetensorsWriter writer(path, {{"nibble.format", "1"}, {"text", "a\"\n\xc3\xa9"}},
                             {{"a", DType::u8, {5}, 5},
                              {"empty", DType::f32, {0, 3}, 0},
                              {"b", DType::f16, {2, 32}, 128},
                              {"c", DType::i32, {}, 4}});
    writer.write(bytes_of("12"));
    writer.write(bytes_of("345"));
    writer.write(bytes_of(std::string(100, 'b')));
    writer.write(bytes_of(std::string(28, 'b')));
    writer.write(bytes_of("wxyz"));
    check_eq(read_file(path), "an older file", "before finish()");
    writer.finish();
  }
  check_eq(count_files(dir), size_t{1});
  const Checkpoint c = open_checkpoint(path);
  check(c.format == FileFormat::nib);
  check_eq(c.description, "nib 1");
  check_eq(c.metadata.find("text")->as_string("text"), "a\"\n\xc3\xa9");
  check_eq(c.tensors.size(), size_t{4}, "without padding");
  check_eq(text_of(c.get("a").data), "12345");
  check_eq(text_of(c.get("b").data), std::string(128, 'b'));
  check_eq(text_of(c.get("c").data), "wxyz");
  check_eq(c.get("empty").shape_text(), "[0, 3]");
  for (const char* name : {"a", "b", "c"}) {
    const auto offset = c.get(name).data.data() - c.files[0].bytes().data();
    check_eq(offset % 64, std::ptrdiff_t{0}, name);
  }
  Checkpoint plain;
  read_safetensors(path, plain);
  check_eq(plain.tensors.size(), size_t{5}, "one padding entry, behind \"a\"");
}

// Parts larger than the writer's buffer, mixed with smaller ones.
void writes_large() {
  const TempDir dir;
  const uint64_t n = 5'000'001;
  std::string data(n, '\0');
  for (size_t i = 0; i < n; ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
  SafetensorsWriter writer(dir / "x", {}, {{"t", DType::u8, {n}, n}}, 4096);
  size_t at = 0;
  for (const size_t part : {size_t{10}, size_t{3'000'000}, size_t{700'000}, size_t{700'000}, n}) {
    writer.write(bytes_of(std::string_view(data).substr(at, part)));
    at = std::min<size_t>(at + part, n);
  }
  writer.finish();
  Checkpoint c;
  read_safetensors(dir / "x", c);
  check(text_of(c.tensors[0].data) == data, "the bytes come back");
}

void writer_refuses() {
  const TempDir dir;
  const auto refused = [&](std::vector<Entry> entries, std::string_view why,
                           uint64_t alignment = 64) {
    check_error([&] { SafetensorsWriter(dir / "x", {}, entries, alignment); }, why);
  };
  refused({{"a", DType::f32, {3}, 13}}, "its size is 13, expected 12");
  refused({{"a", DType::q4_0, {32}, 18}}, "safetensors has no type Q4_0");
  refused({{"a", DType::u8, {1}, 1}, {"a", DType::u8, {1}, 1}}, "\"a\" occurs twice");
  refused({{"pad.0", DType::u8, {1}, 1}}, "reserved");
  refused({{"__metadata__", DType::u8, {1}, 1}}, "reserved");
  refused({}, "the alignment 0", 0);
  refused({}, "the alignment 48", 48);
  check_error([&] { SafetensorsWriter(dir / "absent/x", {}, {}); },
              "cannot create the file: No such");
  {
    SafetensorsWriter writer(dir / "x", {}, {{"a", DType::u8, {3}, 3}});
    check_eq(count_files(dir), size_t{1}, "the temporary file");
    check_error([&] { writer.write(bytes_of("1234")); }, "its size is 4 or more, expected 3");
    writer.write(bytes_of("12"));
    check_error([&] { writer.finish(); }, "\"a\" is incomplete");
    writer.write(bytes_of("3"));
    check_error([&] { writer.write(bytes_of("4")); }, "more data are written");
  }
  check_eq(count_files(dir), size_t{0}, "nothing is left behind");
}

// A limit on the size of files stands for a full disk.
void disk_full() {
  const TempDir dir;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  {
    const std::string data(3 << 20, 'x');
    SafetensorsWriter writer(dir / "x", {}, {{"a", DType::u8, {3 << 20}, 3 << 20}});
    rlimit small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    check_error([&] { writer.write(bytes_of(data)); }, "x: cannot write the file: ");
    setrlimit(RLIMIT_FSIZE, &before);
  }
  std::signal(SIGXFSZ, handler);
  check_eq(count_files(dir), size_t{0});
}

void shared_directories() {
  const std::string root = shared("data/hf-quant");
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!entry.is_directory()) continue;
    const Checkpoint c = open_checkpoint(entry.path().string());
    check(c.metadata.find("config")->find("quantization_config") != nullptr);
    check(c.metadata.find("tokenizer") && c.metadata.find("tokenizer_config"));
    check(c.find("model.layers.1.mlp.down_proj.qweight") ||
              c.find("model.layers.1.mlp.down_proj.weight_packed"),
          entry.path().string());
    ++n;
  }
  check_eq(n, size_t{7});
}

void shared_chat_model() {
  const Checkpoint c = open_checkpoint(shared("model/nibble-chat"));
  check_eq(c.get("model.embed_tokens.weight").shape_text(), "[4096, 256]");
  check_eq(c.metadata.find("generation_config")->is_object(), true);
}

// The same weights in two formats: rows of the embedding, and of a matrix that RoPE leaves alone.
void shared_formats_agree() {
  const Checkpoint hf = open_checkpoint(shared("data/stories260K/hf"));
  const Checkpoint gguf = open_checkpoint(shared("data/stories260K/stories260K.gguf"));
  const auto same = [&](const char* a, const char* b) {
    check_eq(hf.get(a).shape_text(), gguf.get(b).shape_text(), a);
    check(text_of(hf.get(a).data) == text_of(gguf.get(b).data), a);
  };
  same("model.embed_tokens.weight", "token_embd.weight");
  same("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight");
  same("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"reading", reads},
              {"types", types},
              {"empty tensors and scalars", empty_and_scalar},
              {"rules of the header", header_rules},
              {"rules of an entry", entry_rules},
              {"no overlap and no hole", coverage_rules},
              {"Hugging Face directory", hugging_face},
              {"Hugging Face directories that are refused", hugging_face_refused},
              {"shards", shards},
              {"weights under names of their own", weights_named_otherwise},
              {"writing", writes},
              {"writing much", writes_large},
              {"what the writer refuses", writer_refuses},
              {"full disk", disk_full},
              {"all shared quantized directories", shared_directories},
              {"shared chat model", shared_chat_model},
              {"two shared formats agree", shared_formats_agree}});
}
