#include "awq/awq_directory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "awq/layer_plan.h"
#include "base/half.h"
#include "load/safetensors_writer.h"
#include "model/tensor_names.h"
#include "nibble/error.h"
#include "quant/awq_format.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kShardBytes = uint64_t{5} << 30;
constexpr std::string_view kWeight = ".weight", kBias = ".bias";
constexpr std::string_view kFactors = ".act.scales";

// What a Hugging Face directory holds beside the weights and config.json.
constexpr const char* kCopied[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "USE_POLICY.md",
};

std::vector<uint16_t> to_halves(std::span<const float> values) {
  std::vector<uint16_t> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), float_to_half);
  return out;
}

// Tensors that are written together, and how to make their bytes, in order.
struct Unit {
  std::vector<SafetensorsWriter::Entry> entries;
  std::function<void(SafetensorsWriter&)> write;
  uint64_t size() const {
    uint64_t total = 0;
    for (const auto& entry : entries) total += entry.bytes;
    return total;
  }
};

using PackedBytes = std::function<std::span<const std::byte>(const PlannedMatrix&)>;
using Fused = std::vector<const PlannedMatrix*>;  // the matrices of one tensor

// The codes, scales and zeros of a tensor, rows in its order.
struct Grid {
  size_t cols, groups;
  std::vector<uint8_t> codes, zeros;
  std::vector<uint16_t> scales;
  Grid(size_t rows, size_t n_cols, size_t group)
      : cols(n_cols),
        groups(n_cols / group),
        codes(rows * cols),
        zeros(rows * groups),
        scales(rows * groups) {}

  void add(const PlannedMatrix& m, const PackedView& view, ThreadPool& pool) {
    const bool zero = m.shape.scheme == Scheme::f16_zero;
    pool.run(m.shape.rows, [&](size_t n, int) {
      const size_t panel = n / kPanelRows, r = n % kPanelRows;
      const size_t row = m.rows.source_row(static_cast<uint32_t>(n));
      const uint8_t* lines = view.codes + panel * view.code_stride + 4 * r;
      for (size_t c = 0; c < cols; ++c)
        codes[row * cols + c] =
            (lines[c * 8 / kLineBytes * kLineBytes + c % 4] >> (c % 8 < 4 ? 0 : 4)) & 15;
      const uint8_t* from = view.scales + panel * view.scale_stride;
      for (size_t g = 0; g < groups; ++g) {
        scales[row * groups + g] = zero ? reinterpret_cast<const ScaleF16Zero*>(from)[g].s[r]
                                        : reinterpret_cast<const ScaleF16*>(from)[g].s[r];
        zeros[row * groups + g] =
            zero ? reinterpret_cast<const ScaleF16Zero*>(from)[g].z[r] : m.shape.zero;
      }
    });
  }
};

// The values of a tensor that is no matrix, as it was and with what calibration made of it.
struct ChangedVector {
  std::vector<float> before, after;
  explicit ChangedVector(const TensorView& tensor) : before(tensor.n_elements()) {
    dequantize(tensor.type, tensor.data.data(), before.size(), before.data());
    after = before;
  }
  /// fp16, but for values that it does not hold.
  DType type() const {
    const bool fits = std::all_of(after.begin(), after.end(),
                                  [](float v) { return half_to_float(float_to_half(v)) == v; });
    return fits ? DType::f16 : DType::f32;
  }
};

std::string file_name(const PlannedMatrix& m) { return m.source.tensors.front()->name; }

// "blk.3.attn_norm.weight" -> "model.layers.3.input_layernorm.weight"
std::string hugging_face_name(const TensorNames& names, const std::string& name) {
  const std::string found = names.name_of(name);
  if (found.empty()) throw Error(name, "has no name in a Hugging Face directory");
  return found;
}

class DirectoryWriter {
 public:
  DirectoryWriter(const Checkpoint& checkpoint, const ModelImpl& model, const WeightPlan& plan,
                  const PackedBytes& packed)
      : checkpoint_(checkpoint),
        model_(model),
        packed_(packed),
        names_(checkpoint, family_of(checkpoint, model.config)) {
    std::vector<Fused> tensors;
    std::map<const TensorView*, size_t> index;
    for (const PlannedMatrix& m : plan.matrices) {
      if (layer_of(m.name) < 0) continue;
      const auto [at, is_new] = index.emplace(m.source.tensors.front(), tensors.size());
      if (is_new) tensors.emplace_back();
      tensors[at->second].push_back(&m);
      rows_.emplace(m.name.substr(0, m.name.size() - kWeight.size()), &m.rows);
    }
    for (const Fused& tensor : tensors)
      is_rounded(*tensor.front()) ? rounded(tensor) : plain_matrix(tensor);
    vectors(plan);
    for (const TensorView& tensor : checkpoint.tensors)
      if (!replaced_.contains(tensor.name)) copy(tensor);
  }

  /// Names of linear layers that are not quantized.
  const std::vector<std::string>& unquantized() const { return unquantized_; }

  void write(const std::string& directory) const {
    std::vector<std::vector<const Unit*>> shards(1);
    uint64_t size = 0;
    for (const Unit& unit : units_) {
      if (size > 0 && size + unit.size() > kShardBytes) {
        shards.emplace_back();
        size = 0;
      }
      shards.back().push_back(&unit);
      size += unit.size();
    }
    if (shards.size() == 1) return write_shard(directory + "/model.safetensors", shards.front());
    Json::Object map;
    uint64_t total = 0;
    for (size_t i = 0; i < shards.size(); ++i) {
      const auto padded = [](size_t n) {
        const std::string digits = std::to_string(n);
        return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
      };
      const std::string name =
          "model-" + padded(i + 1) + "-of-" + padded(shards.size()) + ".safetensors";
      write_shard(directory + "/" + name, shards[i]);
      for (const Unit* unit : shards[i])
        for (const auto& entry : unit->entries) {
          map.emplace_back(entry.name, Json(name));
          total += entry.bytes;
        }
    }
    Json::Object meta{{"total_size", Json(static_cast<int64_t>(total))}};
    write_text(directory + "/model.safetensors.index.json",
               write_json(Json::Object{{"metadata", Json(std::move(meta))},
                                       {"weight_map", Json(std::move(map))}},
                          2));
  }

  static void write_text(const std::string& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary);
    out << text << '\n';
    out.close();
    if (!out) throw Error(path, "cannot be written");
  }

 private:
  void rounded(const Fused& parts) {
    const PlannedMatrix& m = *parts.front();
    const std::string name = file_name(m), prefix = name.substr(0, name.size() - kWeight.size());
    replaced_.insert(name);
    const uint64_t rows = m.source.rows, cols = m.shape.cols, groups = cols / m.shape.group;
    Unit unit;
    const auto entry = [&](const char* suffix, DType type, uint64_t n, uint64_t width) {
      unit.entries.push_back(
          {prefix + suffix, type, {n, width}, n * width * dtype_info(type).block_bytes});
    };
    entry(".qweight", DType::i32, cols, rows / 8);
    entry(".qzeros", DType::i32, groups, rows / 8);
    entry(".scales", DType::f16, groups, rows);
    unit.write = [this, parts, &m](SafetensorsWriter& writer) {
      Grid grid(m.source.rows, m.shape.cols, m.shape.group);
      for (const PlannedMatrix* part : parts)
        grid.add(*part, packed_view(part->shape, packed_(*part), part->name), *model_.pool);
      const AwqTensors tensors = pack_awq(
          {m.source.rows, m.shape.cols, m.shape.group, grid.codes, grid.scales, grid.zeros},
          m.source.where);
      writer.write(std::as_bytes(std::span(tensors.qweight)));
      writer.write(std::as_bytes(std::span(tensors.qzeros)));
      writer.write(std::as_bytes(std::span(tensors.scales)));
    };
    units_.push_back(std::move(unit));
  }

  // A matrix of a layer that stays in 16 bits (routers in 32); scales may have been folded into it.
  void plain_matrix(const Fused& parts) {
    const PlannedMatrix& m = *parts.front();
    const std::string name = file_name(m);
    replaced_.insert(name);
    unquantized_.push_back(name.substr(0, name.size() - kWeight.size()));
    const uint64_t rows = m.source.rows, cols = m.shape.cols;
    const DType type = m.shape.codes == Codes::f32 ? DType::f32 : DType::f16;
    Unit unit;
    unit.entries.push_back({name, type, {rows, cols}, rows * cols * dtype_info(type).block_bytes});
    unit.write = [this, parts, rows, cols, type](SafetensorsWriter& writer) {
      std::vector<float> values(rows * cols);
      for (const PlannedMatrix* part : parts) {
        const PackedView view = packed_view(part->shape, packed_(*part), part->name);
        for (uint32_t n = 0; n < part->shape.rows; ++n)
          unpack_row(view, n, values.data() + part->rows.source_row(n) * cols);
      }
      write_values(writer, values, type);
    };
    units_.push_back(std::move(unit));
  }

  static void write_values(SafetensorsWriter& writer, std::span<const float> values, DType type) {
    if (type == DType::f32) return writer.write(std::as_bytes(values));
    const std::vector<uint16_t> halves = to_halves(values);
    writer.write(std::as_bytes(std::span(halves)));
  }

  // Norms, biases and factors that calibration changed; others are copied.
  void vectors(const WeightPlan& plan) {
    for (const auto& [name, values] : plan.vectors)
      if (layer_of(name) >= 0) change(name, *values);
    for (auto& [tensor, values] : changed_) {
      if (values.after == values.before) continue;
      replaced_.insert(tensor->name);
      const DType type = values.type();
      Unit unit;
      unit.entries.push_back(
          {tensor->name, type, tensor->shape, values.after.size() * dtype_info(type).block_bytes});
      unit.write = [&after = values.after, type](SafetensorsWriter& writer) {
        write_values(writer, after, type);
      };
      units_.push_back(std::move(unit));
    }
  }

  // Biases lie in their tensor as the rows of their matrix do.
  void change(const std::string& name, const std::vector<float>& values) {
    for (const char* no_scale : {"_q_norm.weight", "_k_norm.weight"})  // and in an order of ours
      if (name.ends_with(no_scale)) return;
    const TensorView& tensor = checkpoint_.get(hugging_face_name(names_, name));
    const auto rows = name.ends_with(kBias) ? rows_.find(name.substr(0, name.size() - kBias.size()))
                                            : rows_.end();
    ChangedVector& to = changed_.try_emplace(&tensor, tensor).first->second;
    const bool factors = name.ends_with(kFactors);
    const bool unit_norm =
        names_.layout().unit_norms && name.ends_with(std::string("_norm") += kWeight);
    for (uint32_t i = 0; i < values.size(); ++i) {
      const size_t at = rows == rows_.end() ? i : rows->second->source_row(i);
      const float before = to.before[at];
      if (values[i] != (factors ? 1.0f / before : unit_norm ? before + 1.0f : before))
        to.after[at] = factors ? 1.0f / values[i] : unit_norm ? values[i] - 1.0f : values[i];
    }
  }

  void copy(const TensorView& tensor) {
    Unit unit;
    unit.entries.push_back({tensor.name, tensor.type, tensor.shape, tensor.data.size()});
    unit.write = [&tensor](SafetensorsWriter& writer) { writer.write(tensor.data); };
    units_.push_back(std::move(unit));
  }

  void write_shard(const std::string& path, const std::vector<const Unit*>& units) const {
    std::vector<SafetensorsWriter::Entry> entries;
    for (const Unit* unit : units)
      entries.insert(entries.end(), unit->entries.begin(), unit->entries.end());
    SafetensorsWriter writer(path, {{"format", "pt"}}, std::move(entries), 1);
    for (const Unit* unit : units) unit->write(writer);
    writer.finish();
  }

  const Checkpoint& checkpoint_;
  const ModelImpl& model_;
  const PackedBytes& packed_;
  const TensorNames names_;
  std::map<std::string, const RowMap*, std::less<>> rows_;  // of matrices, by name without suffix
  std::map<const TensorView*, ChangedVector> changed_;
  std::vector<Unit> units_;
  std::set<std::string, std::less<>> replaced_;
  std::vector<std::string> unquantized_;
};

// The class that transformers and vLLM know a model of text by. That of a model that sees, whose
// text part this is, is of the whole: "gemma3_text" -> "Gemma3ForCausalLM".
std::string class_of(std::string_view model_type) {
  constexpr std::string_view kText = "_text";
  if (model_type.ends_with(kText)) model_type.remove_suffix(kText.size());
  std::string out;
  bool begins_word = true;
  for (const char c : model_type) {
    const bool lower = c >= 'a' && c <= 'z';
    if (c != '_') out += begins_word && lower ? static_cast<char>(c - 'a' + 'A') : c;
    begins_word = c == '_';
  }
  return out + "ForCausalLM";
}

std::string config_text(const Checkpoint& checkpoint, const QuantizeOptions& options,
                        const std::vector<std::string>& unquantized) {
  Json::Object config;
  for (const auto& [key, value] : checkpoint.metadata.find("config")->as_object(checkpoint.path)) {
    if (key == "quantization_config") continue;
    config.emplace_back(key, key == "torch_dtype" || key == "dtype" ? Json("float16") : value);
  }
  const Json whole(config);
  if (const Json* type = whole.find("model_type"); type && !whole.find("architectures"))
    config.emplace_back("architectures",
                        Json::Array{Json(class_of(type->as_string("model_type")))});
  Json::Array names;
  for (const std::string& name : unquantized) names.emplace_back(name);
  config.emplace_back(
      "quantization_config",
      Json::Object{{"quant_method", Json("awq")},
                   {"bits", Json(4)},
                   {"group_size", Json(options.group)},
                   {"zero_point", Json(true)},
                   {"version", Json("gemm")},
                   {"modules_to_not_convert", names.empty() ? Json() : Json(std::move(names))}});
  return write_json(Json(std::move(config)), 2);
}

}  // namespace

void check_awq_source(const Checkpoint& checkpoint, const WeightPlan& plan) {
  if (checkpoint.format != FileFormat::hugging_face)
    throw Error(checkpoint.path, "is no Hugging Face directory, which --format awq needs",
                "--format nib");
  for (const PlannedMatrix& m : plan.matrices) {
    if (layer_of(m.name) < 0) continue;
    const bool whole = m.source.tensors.size() == 1 && file_name(m).ends_with(kWeight) &&
                       m.source.data.size() == m.source.tensors.front()->data.size();
    if (!whole || m.source.transposed)
      throw Error(m.source.where,
                  whole ? "is stored transposed, and AutoAWQ quantizes no such layers"
                        : "is no tensor of its own, which --format awq needs",
                  "--format nib");
  }
}

void write_awq_directory(const std::string& out, const std::string& temporary,
                         const Checkpoint& checkpoint, const ModelImpl& model,
                         const WeightPlan& plan, const QuantizeOptions& options,
                         const PackedBytes& packed) {
  std::error_code error;
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) throw Error(temporary, "cannot be created: " + error.message());
  const DirectoryWriter writer(checkpoint, model, plan, packed);
  writer.write(temporary);
  for (const char* name : kCopied) {
    const fs::path from = fs::path(checkpoint.path) / name;
    if (!fs::is_regular_file(from, error)) continue;
    fs::copy_file(from, fs::path(temporary) / name, error);
    if (error) throw Error(from.string(), "cannot be copied: " + error.message());
  }
  DirectoryWriter::write_text(temporary + "/config.json",
                              config_text(checkpoint, options, writer.unquantized()));
  fs::rename(temporary, out, error);
  if (error) throw Error(out, "cannot be renamed to: " + error.message());
}

}  // namespace nibble
