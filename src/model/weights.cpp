#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <unordered_set>

#include "base/checked.h"
#include "model/families.h"
#include "model/nib_format.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// The name of a tensor in files of a format: "blk.#.attn_q.weight" with the layer's number.
std::string tensor_name(const Family& family, Slot slot, FileFormat format, int layer) {
  for (const SlotName& row : family.slots) {
    if (row.slot != slot) continue;
    std::string name = format == FileFormat::hugging_face ? row.hugging_face : row.gguf;
    if (const size_t at = name.find('#'); at != std::string::npos)
      name.replace(at, 1, std::to_string(layer));
    return name;
  }
  return {};
}

const Family& family_of(const Config& config) {
  const Family* family = find_family_gguf(config.architecture);
  if (!family) throw Error(config.architecture, "is not an architecture that is implemented");
  return *family;
}

// Finds the tensors of one model by slot and layer, and knows which were asked for.
class TensorFinder {
 public:
  TensorFinder(const Checkpoint& checkpoint, const Family& family)
      : checkpoint_(checkpoint), family_(family), quant_(read_quant_config(checkpoint)) {}

  const TensorView* find(Slot slot, int layer = 0) {
    const std::string name = name_of(slot, layer);
    const TensorView* tensor = name.empty() ? nullptr : checkpoint_.find(name);
    if (tensor) used_.insert(tensor->name);
    return tensor;
  }
  const TensorView& get(Slot slot, int layer) {
    if (const TensorView* tensor = find(slot, layer)) return *tensor;
    throw Error(checkpoint_.path, "the tensor " + name_of(slot, layer) + " is missing");
  }
  MatrixSource get_matrix(Slot slot, int layer) {
    const std::string name = name_of(slot, layer);
    std::optional<MatrixSource> source = find_matrix(checkpoint_, quant_, name);
    if (!source) throw Error(checkpoint_.path, "the tensor " + name + " is missing");
    for (const TensorView* tensor : source->tensors) used_.insert(tensor->name);
    return std::move(*source);
  }

  const TensorView* find_beside(const TensorView& tensor, const char* suffix) {
    const TensorView* found = checkpoint_.find(tensor.name + suffix);
    if (found) used_.insert(found->name);
    return found;
  }

  // What the family does not know would be left out of the arithmetic: refuse it, but for tables
  // that older files carry and that follow from the config.
  void refuse_unknown(bool tied) const {
    for (const TensorView& tensor : checkpoint_.tensors) {
      const std::string_view name = tensor.name;
      if (used_.contains(name) || name.ends_with("rotary_emb.inv_freq") ||
          name.starts_with("pad.") || name == kNibVocabulary ||
          (tied && name.starts_with("lm_head.")))
        continue;
      throw Error(checkpoint_.path,
                  "the tensor " + tensor.name + " is unknown to the architecture " + family_.name);
    }
  }

 private:
  std::string name_of(Slot slot, int layer) const {
    return tensor_name(family_, slot, checkpoint_.format, layer);
  }

  const Checkpoint& checkpoint_;
  const Family& family_;
  const QuantConfig quant_;
  std::unordered_set<std::string_view> used_;
};

// Calls matrix(slot, layer, rows, cols, destination) and vector(slot, layer, n, destination) for
// every tensor of the model: the one list of what a transformer is made of.
template <class Matrix, class Vector>
void for_each_tensor(const Config& c, Weights& weights, Matrix&& matrix, Vector&& vector) {
  const int64_t q_dim = int64_t{c.n_heads} * c.head_dim;
  const int64_t kv_dim = int64_t{c.n_kv_heads} * c.head_dim;
  matrix(Slot::embedding, 0, c.vocab_size, c.dim, weights.embedding);
  vector(Slot::output_norm, 0, c.dim, weights.output_norm);
  if (!c.tied_embeddings) matrix(Slot::output, 0, c.vocab_size, c.dim, weights.output);
  for (int i = 0; i < c.n_layers; ++i) {
    LayerWeights& layer = weights.layers[static_cast<size_t>(i)];
    vector(Slot::attn_norm, i, c.dim, layer.attn_norm);
    matrix(Slot::q, i, q_dim, c.dim, layer.q);
    matrix(Slot::k, i, kv_dim, c.dim, layer.k);
    matrix(Slot::v, i, kv_dim, c.dim, layer.v);
    matrix(Slot::o, i, c.dim, q_dim, layer.o);
    if (c.qkv_bias) {
      vector(Slot::q_bias, i, q_dim, layer.q_bias);
      vector(Slot::k_bias, i, kv_dim, layer.k_bias);
      vector(Slot::v_bias, i, kv_dim, layer.v_bias);
    }
    vector(Slot::ffn_norm, i, c.dim, layer.ffn_norm);
    matrix(Slot::gate, i, c.ffn_dim, c.dim, layer.gate);
    matrix(Slot::up, i, c.ffn_dim, c.dim, layer.up);
    matrix(Slot::down, i, c.dim, c.ffn_dim, layer.down);
  }
}

void require_shape(const MatrixSource& source, int64_t rows, int64_t cols) {
  if (source.rows == rows && source.cols == cols) return;
  const auto text = [](int64_t r, int64_t c) {
    return "[" + std::to_string(r) + ", " + std::to_string(c) + "]";
  };
  throw Error::mismatch(source.where, "shape", text(rows, cols), text(source.rows, source.cols));
}

void require_shape(const std::string& path, const TensorView& tensor,
                   std::initializer_list<int64_t> shape) {
  const auto same = [](int64_t expected, uint64_t found) {
    return static_cast<uint64_t>(expected) == found;
  };
  if (std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end(), same))
    return;
  std::string expected = "[";
  for (const int64_t n : shape) expected += (expected.size() > 1 ? ", " : "") + std::to_string(n);
  throw Error::mismatch(path + ": " + tensor.name, "shape", expected + "]", tensor.shape_text());
}

std::vector<float> read_vector(const std::string& path, const TensorView& tensor, int64_t n,
                               const RopeRows& rows) {
  require_shape(path, tensor, {n});
  const std::string where = path + ": " + tensor.name;
  if (tensor.type != DType::f32 && tensor.type != DType::f16 && tensor.type != DType::bf16)
    throw Error::mismatch(where, "type", "F32, F16 or BF16", dtype_info(tensor.type).name);
  std::vector<float> values(static_cast<size_t>(n));
  dequantize(tensor.type, tensor.data.data(), values.size(), values.data());
  for (const float v : values)
    if (!std::isfinite(v)) throw Error(where, "holds a value that is not finite");
  std::vector<float> ordered(values.size());
  for (uint32_t i = 0; i < ordered.size(); ++i) ordered[i] = values[rows.source_row(i)];
  return ordered;
}

// The order of columns that a .nib file has beside a matrix: every column once.
std::vector<uint32_t> read_order(const std::string& path, const TensorView& tensor, int64_t cols) {
  require_shape(path, tensor, {cols});
  const std::string where = path + ": " + tensor.name;
  if (tensor.type != DType::u32)
    throw Error::mismatch(where, "type", "U32", dtype_info(tensor.type).name);
  std::vector<uint32_t> order(static_cast<size_t>(cols));
  std::memcpy(order.data(), tensor.data.data(), tensor.data.size());
  std::vector<bool> seen(order.size());
  for (const uint32_t column : order) {
    if (column >= order.size() || seen[column])
      throw Error(where, "is no order of " + std::to_string(cols) + " columns");
    seen[column] = true;
  }
  return order;
}

// Gives the matrices that share an input and have the same order of columns the same number.
void number_input_forms(Weights& weights) {
  const auto number = [](std::initializer_list<PackedMatrix*> readers) {
    uint8_t next = 1;
    for (PackedMatrix* const* m = readers.begin(); m != readers.end(); ++m) {
      if ((*m)->column_order.empty()) continue;
      const auto* same = std::find_if(readers.begin(), m, [&](const PackedMatrix* other) {
        return other->column_order == (*m)->column_order;
      });
      (*m)->input_form = same == m ? next++ : (*same)->input_form;
    }
  };
  number({&weights.output});
  for (LayerWeights& layer : weights.layers) {
    number({&layer.q, &layer.k, &layer.v});
    number({&layer.o});
    number({&layer.gate, &layer.up});
    number({&layer.down});
  }
}

// What a matrix becomes: its own grid if it has one, else what the rule asks for.
PackTarget target_of(const MatrixSource& source, const QuantizeRule& rule, bool linear) {
  PackTarget target;
  target.group = rule.group;
  target.symmetric = rule.symmetric;
  if (source.has_grid()) return target;
  switch (rule.weights) {
    case WeightType::automatic:
      target.kind = linear ? PackTarget::Kind::q4 : PackTarget::Kind::q8;
      break;
    case WeightType::q4:
      target.kind = PackTarget::Kind::q4;
      break;
    case WeightType::q8:
      target.kind = PackTarget::Kind::q8;
      break;
    case WeightType::f16:
      target.kind = PackTarget::Kind::f16;
      break;
    case WeightType::f32:
      target.kind = PackTarget::Kind::f32;
      break;
  }
  return target;
}

// Memory for packed weights; refused with the numbers, before anything is read, if it cannot be
// had.
std::shared_ptr<AnonymousMemory> weight_memory(uint64_t bytes, const std::string& path) {
  const uint64_t available = available_memory();
  if (available > 0 && bytes > available)
    throw Error(path,
                "its weights need " + std::to_string(bytes >> 20) + " MB of memory, and " +
                    std::to_string(available >> 20) + " MB are available",
                "use a smaller model, or a .nib file of it, which is mapped");
  return std::make_shared<AnonymousMemory>(bytes);
}

// Calls fn(begin, end) for ranges of panels of a matrix, on all threads: enough panels in a range
// that claiming it costs nothing, few enough that threads end together.
template <class Fn>
void for_panels(const PackedLayout& layout, ThreadPool& pool, Fn&& fn) {
  const size_t panels = std::max<size_t>(1, (size_t{1} << 19) / layout.code_stride);
  pool.run(ceil_div(layout.n_panels, panels), [&](size_t piece, int) {
    fn(piece * panels, std::min<size_t>((piece + 1) * panels, layout.n_panels));
  });
}

}  // namespace

WeightPlan plan_weights(const Checkpoint& checkpoint, const Config& config,
                        const QuantizeRule& rule, Weights& weights) {
  const Family& family = family_of(config);
  TensorFinder finder(checkpoint, family);
  const bool interleaved = checkpoint.format == FileFormat::llama2c ||
                           (checkpoint.format == FileFormat::gguf && family.gguf_interleaved_rope);
  const auto row_order = [&](Slot slot) {
    const bool rotated =
        slot == Slot::q || slot == Slot::k || slot == Slot::q_bias || slot == Slot::k_bias;
    if (!interleaved || !rotated) return RopeRows{};
    return RopeRows{RowOrder::rope_interleaved, static_cast<uint32_t>(config.head_dim),
                    static_cast<uint32_t>(config.rope_dim)};
  };
  WeightPlan plan;
  weights.layers.resize(static_cast<size_t>(config.n_layers));  // pointers into it are kept
  finder.find(Slot::rope_factors);
  for_each_tensor(
      config, weights,
      [&](Slot slot, int layer, int64_t rows, int64_t cols, PackedMatrix& out) {
        PlannedMatrix planned;
        planned.name = tensor_name(family, slot, FileFormat::nib, layer);
        planned.source = finder.get_matrix(slot, layer);
        require_shape(planned.source, rows, cols);
        planned.target =
            target_of(planned.source, rule, slot != Slot::embedding && slot != Slot::output);
        planned.shape = packed_shape_of(planned.source, planned.target);
        if (slot == Slot::embedding && !planned.source.column_order().empty())
          throw Error(planned.source.where,
                      "has an activation order, which embeddings cannot have");
        planned.rows = row_order(slot);
        planned.destination = &out;
        plan.matrices.push_back(std::move(planned));
      },
      [&](Slot slot, int layer, int64_t n, std::vector<float>& out) {
        out = read_vector(checkpoint.path, finder.get(slot, layer), n, row_order(slot));
        plan.vectors.emplace_back(tensor_name(family, slot, FileFormat::nib, layer), &out);
      });
  finder.refuse_unknown(config.tied_embeddings);
  return plan;
}

void pack_weights(const Checkpoint& checkpoint, const WeightPlan& plan, Weights& weights,
                  ThreadPool& pool, const Progress& progress) {
  uint64_t total = 0;
  for (const PlannedMatrix& m : plan.matrices)
    total = checked_add(total, packed_layout(m.shape, m.name).total_bytes(), m.name);
  weights.packed = weight_memory(total, checkpoint.path);
  uint64_t done = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    if (progress && !progress(static_cast<double>(done) / static_cast<double>(total)))
      throw Error(checkpoint.path, "loading was cancelled");
    const size_t bytes = packed_layout(m.shape, m.name).total_bytes();
    const std::span<std::byte> out{weights.packed->data() + done, bytes};
    pack_matrix(m, out.data(), pool);
    m.destination->name = m.name;
    m.destination->source_type = m.source.type_name;
    m.destination->view = packed_view(m.shape, out, m.name);
    m.destination->bytes = bytes;
    const std::span<const uint32_t> order = m.source.column_order();
    m.destination->column_order.assign(order.begin(), order.end());
    release(checkpoint, m.source);
    done += bytes;
  }
  number_input_forms(weights);
  if (progress) progress(1.0);
}

void pack_matrix(const PlannedMatrix& m, std::byte* out, ThreadPool& pool) {
  for_panels(packed_layout(m.shape, m.name), pool, [&](size_t begin, size_t end) {
    pack_panels(m.source, m.shape, m.rows, begin, end, out);
  });
}

void map_weights(const Checkpoint& checkpoint, const Config& config, Weights& weights) {
  TensorFinder finder(checkpoint, family_of(config));
  const NibMatrices matrices = read_nib_matrices(checkpoint);
  weights.layers.resize(static_cast<size_t>(config.n_layers));
  finder.find(Slot::rope_factors);
  for_each_tensor(
      config, weights,
      [&](Slot slot, int layer, int64_t rows, int64_t cols, PackedMatrix& out) {
        const TensorView& tensor = finder.get(slot, layer);
        const std::string where = checkpoint.path + ": " + tensor.name;
        const auto entry = matrices.find(tensor.name);
        if (entry == matrices.end()) throw Error(where, "is not in nibble.matrices");
        const PackedShape& shape = entry->second.shape;
        if (shape.rows != rows || shape.cols != cols)
          throw Error::mismatch(
              where, "shape", "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]",
              "[" + std::to_string(shape.rows) + ", " + std::to_string(shape.cols) + "]");
        out.name = tensor.name;
        out.source_type = entry->second.source_type;
        out.view = packed_view(shape, tensor.data, where);
        out.bytes = tensor.data.size();
        const TensorView* order =
            slot == Slot::embedding ? nullptr : finder.find_beside(tensor, kNibOrder);
        if (order) out.column_order = read_order(checkpoint.path, *order, cols);
      },
      [&](Slot slot, int layer, int64_t n, std::vector<float>& out) {
        out = read_vector(checkpoint.path, finder.get(slot, layer), n, RopeRows{});
      });
  finder.refuse_unknown(config.tied_embeddings);
  number_input_forms(weights);
}

void generate_weights(const Config& config, const WeightGenerator& generator, Weights& weights,
                      ThreadPool& pool) {
  weights.layers.resize(static_cast<size_t>(config.n_layers));
  std::vector<std::pair<PackedMatrix*, PackedShape>> matrices;
  uint64_t total = 0;
  for_each_tensor(
      config, weights,
      [&](Slot slot, int, int64_t rows, int64_t cols, PackedMatrix& out) {
        const bool linear = slot != Slot::embedding && slot != Slot::output;
        matrices.emplace_back(&out, generator.shape(linear, static_cast<uint32_t>(rows),
                                                    static_cast<uint32_t>(cols)));
        total += packed_layout(matrices.back().second, config.name).total_bytes();
      },
      [&](Slot slot, int, int64_t n, std::vector<float>& out) {
        const bool bias = slot == Slot::q_bias || slot == Slot::k_bias || slot == Slot::v_bias;
        out.assign(static_cast<size_t>(n), bias ? 0.0f : 1.0f);
      });
  weights.packed = weight_memory(total, config.name);
  size_t done = 0;
  for (const auto& [matrix, shape] : matrices) {
    const PackedLayout layout = packed_layout(shape, config.name);
    const std::span<std::byte> out{weights.packed->data() + done, layout.total_bytes()};
    for_panels(layout, pool, [&, &made = shape](size_t begin, size_t end) {
      generator.fill(made, layout, out.data(), begin, end);
    });
    matrix->view = packed_view(shape, out, config.name);
    matrix->bytes = layout.total_bytes();
    done += layout.total_bytes();
  }
}

}  // namespace nibble
