// Panels of 2, 3, 5 and 6 bits and of tables in .nib files: they keep the logits of the GGUF
// file, as do files from before these codes, which hold four or eight bits a weight; others are
// refused by name.
#include <array>
#include <random>
#include <span>

#include "check.h"
#include "gguf_builder.h"
#include "kernel_check.h"
#include "load/json.h"
#include "load/safetensors_writer.h"
#include "logits.h"
#include "nibble/nibble.h"
#include "small_codes.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct GgufType {
  const char* name;
  uint32_t id;
  uint64_t cols, bytes;        // of a block
  std::vector<size_t> halves;  // where its fp16 are
  const char* format;          // as it is packed
  const char* old_format;      // as it was before; null: there was nothing before
  size_t exponent = 0;         // the byte with the upper bits of a scale that is no fp16, and those
  uint8_t top = 0;             // that must be 0
};

const std::vector<GgufType>& types() {
  static const std::vector<GgufType> all = {
      {"Q2_K", 10, 256, 84, {80, 82}, "q2 g16 k min", "q4 g16 k min"},
      {"Q3_K", 11, 256, 110, {108}, "q3 g16 k", "q4 g16 k"},
      {"Q5_0", 6, 32, 22, {0}, "q5 g32", "q8 g32"},
      {"Q5_1", 7, 32, 24, {0, 2}, "q5 g32 min", "q8 g32 min"},
      {"Q5_K", 13, 256, 176, {0, 2}, "q5 g32 k", "q8 g32 k"},
      {"Q6_K", 14, 256, 210, {208}, "q6 g16 k", "q8 g16 k"},
      {"IQ4_NL", 20, 32, 18, {0}, "iq4 g32", "q8 g32"},
      {"IQ4_XS", 23, 256, 136, {0}, "iq4 g32 k", "q8 g32 k"},
      {"IQ1_S", 19, 256, 50, {0}, "iq1 g16 k", nullptr},
      {"IQ1_M", 29, 256, 56, {}, "iq1 g16 k", nullptr, 55, 0x60},
      {"IQ2_XXS", 16, 256, 66, {0}, "iq2 g16 k", nullptr},
      {"IQ2_XS", 17, 256, 74, {0}, "iq2 g16 k", nullptr},
      {"IQ2_S", 22, 256, 82, {0}, "iq2 g16 k", nullptr},
      {"IQ3_XXS", 18, 256, 98, {0}, "iq3_xxs g32 k", nullptr},
      {"IQ3_S", 21, 256, 110, {0}, "iq3_s g32 k", nullptr},
      {"MXFP4", 39, 32, 17, {}, "fp4 g32", nullptr, 0, 0x80}};
  return all;
}

/// A LLaMA of one layer whose matrices all have the type. 24 tokens: a panel and a half.
std::string gguf_of(const GgufType& type) {
  constexpr uint64_t kDim = 256, kKvDim = 64, kFfn = 256, kVocab = 24;
  std::mt19937 random(type.id);
  GgufBuilder gguf;
  gguf.string("general.architecture", "llama")
      .u32("llama.context_length", 64)
      .u32("llama.embedding_length", kDim)
      .u32("llama.block_count", 1)
      .u32("llama.feed_forward_length", kFfn)
      .u32("llama.attention.head_count", 4)
      .u32("llama.attention.head_count_kv", 1)
      .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  const auto matrix = [&](const char* name, uint64_t rows, uint64_t cols) {
    std::string data;
    for (uint64_t i = 0; i < rows * cols / type.cols; ++i) {
      std::string block(type.bytes, '\0');
      for (char& byte : block) byte = static_cast<char>(random());
      block[type.exponent] = static_cast<char>(block[type.exponent] & ~type.top);
      for (const size_t at : type.halves)  // 2^-13 to 2^-10
        block.replace(at, 2, raw(static_cast<uint16_t>(0x0800 + random() % 0x0c00)));
      data += block;
    }
    gguf.tensor(name, type.id, {cols, rows}, data);
  };
  const auto norm = [&](const char* name) {
    std::string data;
    for (uint64_t i = 0; i < kDim; ++i) data += raw(0.5f + static_cast<float>(i % 7) * 0.2f);
    gguf.tensor(name, 0, {kDim}, data);
  };
  matrix("token_embd.weight", kVocab, kDim);
  norm("blk.0.attn_norm.weight");
  matrix("blk.0.attn_q.weight", kDim, kDim);
  matrix("blk.0.attn_k.weight", kKvDim, kDim);
  matrix("blk.0.attn_v.weight", kKvDim, kDim);
  matrix("blk.0.attn_output.weight", kDim, kDim);
  norm("blk.0.ffn_norm.weight");
  matrix("blk.0.ffn_gate.weight", kFfn, kDim);
  matrix("blk.0.ffn_up.weight", kFfn, kDim);
  matrix("blk.0.ffn_down.weight", kDim, kFfn);
  norm("output_norm.weight");
  matrix("output.weight", kVocab, kDim);
  return gguf.build();
}

/// A .nib file in parts.
struct Nib {
  Json::Object metadata;
  Json::Object matrices;
  struct Tensor {
    std::string name;
    DType type = DType::u8;
    std::string bytes;
  };
  std::vector<Tensor> tensors;

  explicit Nib(const std::string& file) {
    uint64_t size = 0;
    std::memcpy(&size, file.data(), sizeof size);
    const std::string_view data = std::string_view(file).substr(8 + size);
    const Json header = parse_json(std::string_view(file).substr(8, size), "header");
    for (const auto& [name, entry] : header.as_object("header")) {
      if (name == "__metadata__") metadata = entry.as_object(name);
      if (name == "__metadata__" || name.starts_with("pad.")) continue;
      const auto& range = entry.find("data_offsets")->as_array(name);
      const auto begin = static_cast<size_t>(range[0].as_int(name));
      const auto end = static_cast<size_t>(range[1].as_int(name));
      const bool vector = entry.find("dtype")->as_string(name) == "F32";
      tensors.push_back(
          {name, vector ? DType::f32 : DType::u8, std::string(data.substr(begin, end - begin))});
    }
    for (const auto& [key, value] : metadata)
      if (key == "nibble.matrices") matrices = parse_json(value.as_string(key), key).as_object(key);
  }

  void write(const std::string& path) const {
    std::vector<std::pair<std::string, std::string>> texts;
    for (const auto& [key, value] : metadata)
      texts.emplace_back(
          key, key == "nibble.matrices" ? write_json(Json(matrices)) : value.as_string(key));
    std::vector<SafetensorsWriter::Entry> entries;
    for (const Tensor& t : tensors) {
      const uint64_t n = t.bytes.size() / (t.type == DType::f32 ? 4 : 1);
      entries.push_back({t.name, t.type, {n}, t.bytes.size()});
    }
    SafetensorsWriter writer(path, texts, entries);
    for (const Tensor& t : tensors) writer.write(std::as_bytes(std::span(t.bytes)));
    writer.finish();
  }
};

void set(Json& entry, const std::string& key, const Json& value) {
  Json::Object members = entry.as_object(key);
  for (auto& [name, old] : members)
    if (name == key) old = value;
  entry = Json(members);
}

/// What stood for a weight's code before: row r, column c of a panel as packed.h draws them.
uint8_t code_of(const std::string& codes, const uint8_t* panel, size_t r, size_t c) {
  if (codes == "q2" || codes == "q3")
    return static_cast<uint8_t>(small_code(codes == "q3", panel, r, c));
  constexpr std::array<int, 16> kTable = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
  const size_t cols = codes == "q5" ? 32 : codes == "q6" ? 16 : 8;
  const size_t lines = codes == "q5" ? 5 : codes == "q6" ? 3 : 1;
  const uint8_t* unit = panel + c / cols * lines * 64 + 4 * r + c % 4;
  const size_t four = c % cols / 4;
  const unsigned low = (unit[four / 2 * 64] >> (four % 2 * 4)) & 15u;
  if (codes == "iq4") return static_cast<uint8_t>(kTable[low] + 128);
  const unsigned last = unit[(lines - 1) * 64];
  const unsigned upper = codes == "q5" ? (last >> four) & 1u : (last >> (2 * four)) & 3u;
  return static_cast<uint8_t>(low | upper << 4);
}

/// Scales of Q2_K with a byte for each scale and minimum, not half a byte.
std::string widened_scales(std::string_view scales) {
  std::string wide;
  for (size_t at = 0; at < scales.size(); at += 320) {
    wide += scales.substr(at, 64);
    for (const int shift : {0, 4})
      for (const char both : scales.substr(at + 64, 256))
        wide += static_cast<char>((static_cast<uint8_t>(both) >> shift) & 15);
  }
  return wide;
}

/// The file as it was written when these types were widened: to q4 or q8, everything else the same
/// but the scales of Q2_K.
void widen(Nib& nib) {
  for (auto& [name, entry] : nib.matrices) {
    const std::string codes = entry.find("codes")->as_string(name);
    const auto cols = static_cast<size_t>(entry.find("cols")->as_int(name));
    const auto rows = static_cast<size_t>(entry.find("rows")->as_int(name));
    const size_t n_panels = (rows + 15) / 16;
    const bool to_q4 = codes == "q2" || codes == "q3";
    const size_t bits = codes[0] == 'q' ? static_cast<size_t>(codes[1] - '0') : 4;
    const size_t stride = cols * 2 * bits;
    for (Nib::Tensor& t : nib.tensors) {
      if (t.name != name) continue;
      std::string wide(n_panels * cols * (to_q4 ? 8 : 16), '\0');
      const auto* bytes = reinterpret_cast<const uint8_t*>(t.bytes.data());
      for (size_t p = 0; p < n_panels; ++p)
        for (size_t c = 0; c < cols; ++c)
          for (size_t r = 0; r < 16; ++r) {
            const uint8_t code = code_of(codes, bytes + p * stride, r, c);
            if (to_q4)
              wide[(p * cols + c / 8 * 8) * 8 + 4 * r + c % 4] |=
                  static_cast<char>(c % 8 < 4 ? code : code << 4);
            else
              wide[(p * cols + c / 4 * 4) * 16 + 4 * r + c % 4] = static_cast<char>(code);
          }
      std::string scales = t.bytes.substr(n_panels * stride);
      if (codes == "q2") scales = widened_scales(scales);
      t.bytes = wide + scales;
    }
    set(entry, "codes", to_q4 ? "q4" : "q8");
    if (codes == "q2") set(entry, "scheme", "k8_min");
  }
}

void check_formats(const Model& model, const std::string& format, const GgufType& type) {
  const std::string expected = format + " (" + type.name + ")";
  for (const ModelInfo::Tensor& t : model.info().tensors) check_eq(t.type, expected, t.name);
}

void same_logits() {
  std::vector<Token> tokens;
  for (int i = 0; i < 12; ++i) tokens.push_back(i * 5 % 24);
  for (const GgufType& type : types()) {
    const TempDir dir;
    write_file(dir / "m.gguf", gguf_of(type));
    quantize(dir / "m.gguf", dir / "new.nib");
    check_formats(Model(dir / "new.nib"), type.format, type);
    if (type.old_format) {
      Nib old(read_file(dir / "new.nib"));
      widen(old);
      old.write(dir / "old.nib");
      check_formats(Model(dir / "old.nib"), type.old_format, type);
    }
    for (const Kernels* kernels : sets_under_test())
      for (const Activations activations : {Activations::int8, Activations::f32}) {
        ModelOptions o;
        o.isa = kernels->name;
        o.activations = activations;
        o.threads = 1;
        const std::string what = std::string(type.name) + " on " + o.isa;
        const std::vector<float> expected = logits_of(Model(dir / "m.gguf", o), tokens);
        check(logits_of(Model(dir / "new.nib", o), tokens) == expected, what + ": .nib");
        if (!type.old_format) continue;
        const std::vector<float> found = logits_of(Model(dir / "old.nib", o), tokens);
        // Tiles of bf16 round the weights of other codes differently.
        const bool rounds = kernels->activations == ActivationCode::bf16;
        check(rounds ? relative_norm(found, expected) < 2.5e-2 : found == expected,
              what + ": .nib of before");
      }
  }
}

/// The first files of these types have the zero of a table that stood for the same weights.
void zeros_of_before() {
  const std::vector<Token> tokens = {1, 2, 3};
  for (const GgufType& type : types()) {
    const std::string_view name = type.name;
    if (name != "IQ3_XXS" && name != "IQ3_S" && name != "MXFP4") continue;
    const TempDir dir;
    write_file(dir / "m.gguf", gguf_of(type));
    quantize(dir / "m.gguf", dir / "new.nib");
    Nib old(read_file(dir / "new.nib"));
    for (auto& [matrix, entry] : old.matrices) {
      check_eq(entry.find("zero")->as_int(matrix), int64_t{32}, matrix);
      set(entry, "zero", 64);
    }
    old.write(dir / "old.nib");
    check(logits_of(Model(dir / "old.nib"), tokens) == logits_of(Model(dir / "new.nib"), tokens),
          type.name);
  }
}

/// A change to one matrix of the table.
struct Change {
  const char* type;
  std::vector<Json::Member> members;
  const char* message;
};

void refused() {
  const std::string name = "blk.0.attn_k.weight";
  const std::vector<Change> changes = {
      {"Q6_K", {{"scheme", "f16"}}, "q6 g16 (scheme f16), expected"},
      {"Q6_K", {{"scheme", "k6"}}, "q6 g16 k (scheme k6), expected"},
      {"Q6_K", {{"scheme", "k8_min"}}, "q6 g16 k min (scheme k8_min), expected"},
      {"Q6_K", {{"group", 32}}, "q6 g32 k (scheme k8), expected"},
      {"Q6_K", {{"codes", "q5"}}, "q5 g16 k (scheme k8), expected"},
      {"Q6_K", {{"codes", "q7"}}, "\"q7\" is unknown to this version"},
      {"Q6_K", {{"codes", "q8"}}, "the size of the packed matrix"},
      {"Q6_K", {{"zero", 256}}, "256 is out of range"},
      {"Q6_K", {{"rows", 63}}, "shape is [63, 256]"},
      {"Q6_K", {{"cols", 255}}, "shape is [64, 255]"},
      {"Q5_K", {{"scheme", "k8"}}, "q5 g32 k (scheme k8), expected"},
      {"Q5_K", {{"scheme", "k8_min"}}, "q5 g32 k min (scheme k8_min), expected"},
      {"Q5_K", {{"scheme", "none"}, {"group", 0}}, "q5 (scheme none), expected"},
      {"Q5_0", {{"scheme", "f16_zero"}}, "q5 g32 zero (scheme f16_zero), expected"},
      {"Q5_0", {{"group", 64}}, "q5 g64 (scheme f16), expected"},
      {"IQ4_NL", {{"scheme", "f16_zero"}}, "iq4 g32 zero (scheme f16_zero), expected"},
      {"IQ4_NL", {{"scheme", "k8"}}, "the size of the packed matrix"},
      {"IQ4_XS", {{"group", 16}}, "iq4 g16 k (scheme k8), expected"},
      {"IQ2_S", {{"group", 32}}, "iq2 g32 k (scheme k8), expected"},
      {"IQ2_S", {{"codes", "iq3_s"}}, "iq3_s g16 k (scheme k8), expected"},
      {"IQ3_S", {{"scheme", "k6"}}, "iq3_s g32 k (scheme k6), expected"},
      {"Q2_K", {{"scheme", "k8_min"}}, "q2 g16 k min (scheme k8_min), expected"},
      {"Q2_K", {{"scheme", "k8"}}, "q2 g16 k (scheme k8), expected"},
      {"Q2_K", {{"group", 32}}, "q2 g32 k min (scheme k4_min), expected"},
      {"Q2_K", {{"codes", "q3"}}, "q3 g16 k min (scheme k4_min), expected"},
      {"Q2_K", {{"codes", "q4"}}, "q4 g16 k min (scheme k4_min), expected"},
      {"Q3_K", {{"scheme", "f16"}}, "q3 g16 (scheme f16), expected"},
      {"Q3_K", {{"group", 32}}, "q3 g32 k (scheme k8), expected"},
      {"Q3_K", {{"codes", "q4"}}, "the size of the packed matrix"},
      {"Q3_K", {{"codes", "q2"}}, "q2 g16 k (scheme k8), expected"}};
  for (const GgufType& type : types()) {
    const TempDir dir;
    write_file(dir / "m.gguf", gguf_of(type));
    quantize(dir / "m.gguf", dir / "m.nib");
    const std::string file = read_file(dir / "m.nib");
    for (const Change& change : changes) {
      if (std::string_view(change.type) != type.name) continue;
      Nib nib(file);
      for (auto& [matrix, entry] : nib.matrices)
        if (matrix == name)
          for (const auto& [key, value] : change.members) set(entry, key, value);
      nib.write(dir / "bad.nib");
      check_error([&] { Model(dir / "bad.nib"); }, name);
      check_error([&] { Model(dir / "bad.nib"); }, change.message);
    }
    Nib nib(file);  // a line of codes is missing
    for (Nib::Tensor& t : nib.tensors)
      if (t.name == name) t.bytes.resize(t.bytes.size() - 64);
    nib.write(dir / "bad.nib");
    check_error([&] { Model(dir / "bad.nib"); }, name);
    check_error([&] { Model(dir / "bad.nib"); }, "the size of the packed matrix");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"the logits of GGUF, of .nib and of .nib of before", same_logits},
              {"zeros of .nib of before", zeros_of_before},
              {"codes, schemes and groups that no kernel has", refused}});
}
