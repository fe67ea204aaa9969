#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <type_traits>

#include "base/checked.h"
#include "model/nib_format.h"
#include "model/pack_queue.h"
#include "model/tensor_names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

// Calls matrix(place, rows, cols, destination) and vector(place, n, destination) for every tensor
// of the model: the one list of what a transformer is made of.
template <class Matrix, class Vector>
class Parts {
 public:
  Parts(const Config& config, Matrix& matrix, Vector& vector)
      : c_(config), matrix_(matrix), vector_(vector) {}

  void model(Weights& w) {
    const int64_t width = c_.embedding_dim > 0 ? c_.embedding_dim : c_.dim;
    matrix_({Slot::embedding}, c_.vocab_size, width, w.embedding);
    if (c_.positions == Positions::learned)
      matrix_({Slot::positions}, int64_t{c_.context_length} + c_.position_offset, c_.dim,
              w.positions);
    if (c_.embedding_norm) norm(Slot::embedding_norm, 0, w.embedding_norm, w.embedding_norm_bias);
    if (width != c_.dim) {
      matrix_({Slot::project_in}, c_.dim, width, w.project_in);
      matrix_({Slot::project_out}, width, c_.dim, w.project_out);
    }
    if (c_.output_norm) norm(Slot::output_norm, 0, w.output_norm, w.output_norm_bias);
    if (!c_.tied_embeddings) matrix_({Slot::output}, c_.vocab_size, width, w.output);
    for (int i = 0; i < c_.n_layers; ++i) {
      attention(i, w.layers[static_cast<size_t>(i)]);
      ffn(i, w.layers[static_cast<size_t>(i)]);
    }
  }

 private:
  void attention(int i, LayerWeights& layer) {
    const int64_t q_dim = int64_t{c_.n_heads} * c_.head_dim;
    const int64_t kv_dim = int64_t{c_.n_kv_heads} * c_.head_dim;
    if (c_.norm_placement != NormPlacement::after)
      norm(Slot::attn_norm, i, layer.attn_norm, layer.attn_norm_bias);
    matrix_({Slot::q, i}, q_dim, c_.dim, layer.q);
    matrix_({Slot::k, i}, kv_dim, c_.dim, layer.k);
    matrix_({Slot::v, i}, kv_dim, c_.dim, layer.v);
    matrix_({Slot::o, i}, c_.dim, q_dim, layer.o);
    if (c_.qkv_bias) {
      bias(Slot::q, i, q_dim, layer.q_bias);
      bias(Slot::k, i, kv_dim, layer.k_bias);
      bias(Slot::v, i, kv_dim, layer.v_bias);
    }
    if (c_.o_bias) bias(Slot::o, i, c_.dim, layer.o_bias);
    if (c_.qk_norm != QkNorm::none) {
      const bool one_head = c_.qk_norm == QkNorm::head;
      vector_({Slot::q_norm, i}, one_head ? c_.head_dim : q_dim, layer.q_norm);
      vector_({Slot::k_norm, i}, one_head ? c_.head_dim : kv_dim, layer.k_norm);
    }
    if (c_.attention_sinks) vector_({Slot::sinks, i}, c_.n_heads, layer.sinks);
    if (has_post_norms())
      norm(Slot::attn_post_norm, i, layer.attn_post_norm, layer.attn_post_norm_bias);
  }

  void ffn(int i, LayerWeights& layer) {
    if (c_.norm_placement != NormPlacement::after && c_.residual != Residual::parallel_one_norm)
      norm(Slot::ffn_norm, i, layer.ffn_norm, layer.ffn_norm_bias);
    if (has_post_norms())
      norm(Slot::ffn_post_norm, i, layer.ffn_post_norm, layer.ffn_post_norm_bias);
    if (c_.n_experts > 0) return experts(i, layer);
    if (c_.gated_ffn) matrix_({Slot::gate, i}, c_.ffn_dim, c_.dim, layer.gate);
    matrix_({Slot::up, i}, c_.ffn_dim, c_.dim, layer.up);
    matrix_({Slot::down, i}, c_.dim, c_.ffn_dim, layer.down);
    if (c_.activation_scales) vector_({Slot::act_scales, i}, c_.ffn_dim, layer.act_factors);
    if (!c_.ffn_bias) return;
    if (c_.gated_ffn) bias(Slot::gate, i, c_.ffn_dim, layer.gate_bias);
    bias(Slot::up, i, c_.ffn_dim, layer.up_bias);
    bias(Slot::down, i, c_.dim, layer.down_bias);
  }

  void experts(int i, LayerWeights& layer) {
    matrix_({Slot::router, i}, c_.n_experts, c_.dim, layer.router);
    if (c_.ffn_bias) bias(Slot::router, i, c_.n_experts, layer.router_bias);
    layer.experts.resize(static_cast<size_t>(c_.n_experts));  // pointers into it are kept
    for (int e = 0; e < c_.n_experts; ++e) {
      ExpertWeights& expert = layer.experts[static_cast<size_t>(e)];
      if (c_.gated_ffn) matrix_({Slot::expert_gate, i, e}, c_.ffn_dim, c_.dim, expert.gate);
      matrix_({Slot::expert_up, i, e}, c_.ffn_dim, c_.dim, expert.up);
      matrix_({Slot::expert_down, i, e}, c_.dim, c_.ffn_dim, expert.down);
      if (!c_.ffn_bias) continue;
      if (c_.gated_ffn) vector_({Slot::expert_gate, i, e, true}, c_.ffn_dim, expert.gate_bias);
      vector_({Slot::expert_up, i, e, true}, c_.ffn_dim, expert.up_bias);
      vector_({Slot::expert_down, i, e, true}, c_.dim, expert.down_bias);
    }
  }

  bool has_post_norms() const {
    return c_.norm_placement == NormPlacement::after || c_.norm_placement == NormPlacement::around;
  }
  void norm(Slot slot, int layer, std::vector<float>& weight, std::vector<float>& added) {
    vector_({slot, layer}, c_.dim, weight);
    if (c_.norm_bias) bias(slot, layer, c_.dim, added);
  }
  void bias(Slot slot, int layer, int64_t n, std::vector<float>& out) {
    vector_({slot, layer, 0, true}, n, out);
  }

  const Config& c_;
  Matrix& matrix_;
  Vector& vector_;
};

template <class Matrix, class Vector>
void for_each_tensor(const Config& c, Weights& weights, Matrix&& matrix, Vector&& vector) {
  Parts<std::remove_reference_t<Matrix>, std::remove_reference_t<Vector>>(c, matrix, vector)
      .model(weights);
}

bool is_norm(Slot slot) {
  switch (slot) {
    case Slot::embedding_norm:
    case Slot::output_norm:
    case Slot::attn_norm:
    case Slot::q_norm:
    case Slot::k_norm:
    case Slot::attn_post_norm:
    case Slot::ffn_norm:
    case Slot::ffn_post_norm:
      return true;
    default:
      return false;
  }
}

// Where the rows of a place lie in its tensor, and how many rows that tensor has.
struct SourceRows {
  RowMap map;
  int64_t total = 0;
};

SourceRows source_rows(const Layout& layout, const Config& c, const Place& place, int64_t rows) {
  const auto head_dim = static_cast<uint32_t>(c.head_dim);
  const auto q_rows = static_cast<uint32_t>(c.n_heads) * head_dim;
  const auto kv_rows = static_cast<uint32_t>(c.n_kv_heads) * head_dim;
  const auto queries = static_cast<uint32_t>(c.n_heads / c.n_kv_heads);  // of a KV head
  SourceRows out{{}, rows};
  const bool is_q = place.slot == Slot::q, is_k = place.slot == Slot::k;
  const bool is_qkv = is_q || is_k || place.slot == Slot::v;
  const bool rotated = is_q || is_k || place.slot == Slot::q_norm || place.slot == Slot::k_norm;
  if (layout.interleaved_rope && rotated && c.positions == Positions::rope) {
    out.map.head_dim = head_dim;
    out.map.rope_dim = static_cast<uint32_t>(c.rope_dim);
  }
  if (is_qkv && layout.qkv == QkvOrder::concatenated) {
    out.map.first = is_q ? 0 : is_k ? q_rows : q_rows + kv_rows;
  } else if (is_qkv && layout.qkv == QkvOrder::grouped) {
    out.map.head_dim = head_dim;
    out.map.first = is_q ? 0 : (is_k ? queries : queries + 1) * head_dim;
    out.map.group = is_q ? queries : 1;
    out.map.source_group = queries + 2;
  }
  if (is_qkv && layout.qkv != QkvOrder::separate)
    out.total = int64_t{q_rows} + 2 * int64_t{kv_rows};
  if (layout.expert_pairs && (place.slot == Slot::expert_gate || place.slot == Slot::expert_up)) {
    out.map = {.first = place.slot == Slot::expert_gate ? 0u : 1u,
               .head_dim = 1,
               .group = 1,
               .source_group = 2};
    out.total = 2 * rows;
  }
  const bool is_gate = place.slot == (layout.expert_gate_up ? Slot::expert_gate : Slot::gate);
  const bool is_up = place.slot == (layout.expert_gate_up ? Slot::expert_up : Slot::up);
  if ((layout.gate_up || layout.expert_gate_up) && (is_gate || is_up)) {
    out.map.first = is_gate ? 0 : static_cast<uint32_t>(rows);
    out.total = 2 * rows;
  }
  return out;
}

// `found`: a MatrixSource or a PackedShape.
template <class Found>
void require_shape(const std::string& where, const Found& found, int64_t rows, int64_t cols) {
  if (found.rows == rows && found.cols == cols) return;
  const auto text = [](int64_t r, int64_t c) {
    return "[" + std::to_string(r) + ", " + std::to_string(c) + "]";
  };
  throw Error::mismatch(where, "shape", text(rows, cols), text(found.rows, found.cols));
}

void require_shape(const std::string& path, const TensorView& tensor,
                   std::initializer_list<int64_t> shape) {
  const std::vector<uint64_t> expected(shape.begin(), shape.end());
  if (tensor.shape == expected) return;
  throw Error::mismatch(path + ": " + tensor.name, "shape", shape_text(expected),
                        tensor.shape_text());
}

// Error unless the tensors, one after the other, are `n` values.
void require_values(const std::string& path, const std::vector<TensorView>& tensors, int64_t n) {
  const uint64_t total = static_cast<uint64_t>(n), part = total / tensors.size();
  for (const TensorView& tensor : tensors) {
    const std::string where = path + ": " + tensor.name;
    if (tensor.type != DType::f32 && tensor.type != DType::f16 && tensor.type != DType::bf16)
      throw Error::mismatch(where, "type", "F32, F16 or BF16", dtype_info(tensor.type).name);
    if (tensor.n_elements() != part || part * tensors.size() != total)
      throw Error::mismatch(where, "shape", "[" + std::to_string(part) + "]", tensor.shape_text());
  }
}

// The values of such tensors. Error if they are not finite.
std::vector<float> read_values(const std::string& path, const std::vector<TensorView>& tensors,
                               int64_t n) {
  require_values(path, tensors, n);
  std::vector<float> values(static_cast<size_t>(n));
  uint64_t done = 0;
  for (const TensorView& tensor : tensors) {
    dequantize(tensor.type, tensor.data.data(), tensor.n_elements(), values.data() + done);
    done += tensor.n_elements();
  }
  for (const float v : values)
    if (!std::isfinite(v))
      throw Error(path + ": " + tensors.front().name, "holds a value that is not finite");
  return values;
}

// Files have what the activations are divided by.
void invert(std::vector<float>& scales, const std::string& path) {
  for (float& s : scales) {
    s = 1.0f / s;
    if (!std::isfinite(s)) throw Error(path, "a scale of an activation is 0");
  }
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
  number({&weights.project_in});
  number({&weights.project_out});
  for (LayerWeights& layer : weights.layers) {
    number({&layer.q, &layer.k, &layer.v});
    number({&layer.o});
    number({&layer.gate, &layer.up});
    number({&layer.down});
    number({&layer.router});
    for (ExpertWeights& expert : layer.experts) {
      number({&expert.gate, &expert.up});
      number({&expert.down});
    }
  }
}

// Not the embedding, from which rows are taken, nor the head, which is the same matrix if tied.
bool is_linear(Slot slot) { return slot != Slot::embedding && slot != Slot::output; }

// What a matrix becomes: its own grid if it has one, else what the rule asks for. Positions and
// routers are small and stay as they are.
PackTarget target_of(const MatrixSource& source, const QuantizeRule& rule, Slot slot) {
  PackTarget target;
  target.group = rule.group;
  target.symmetric = rule.symmetric;
  if (source.has_grid() || slot == Slot::positions || slot == Slot::router) return target;
  const bool linear = is_linear(slot);
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

// Calls fn(begin, end) for ranges of panels of a matrix, on all threads.
template <class Fn>
void for_panels(const PackedLayout& layout, ThreadPool& pool, Fn&& fn) {
  const size_t panels = panels_of_piece(layout);
  pool.run(ceil_div(layout.n_panels, panels), [&](size_t piece, int) {
    fn(piece * panels, std::min<size_t>((piece + 1) * panels, layout.n_panels));
  });
}

}  // namespace

WeightPlan plan_weights(const Checkpoint& checkpoint, const Config& config,
                        const QuantizeRule& rule, Weights& weights) {
  TensorNames names(checkpoint, family_of(checkpoint, config));
  const Layout& layout = names.layout();
  WeightPlan plan;
  weights.layers.resize(static_cast<size_t>(config.n_layers));  // pointers into it are kept
  for (const Slot slot : {Slot::rope_factors, Slot::rope_short_factors, Slot::rope_long_factors})
    names.find({slot});
  for_each_tensor(
      config, weights,
      [&](const Place& place, int64_t rows, int64_t cols, PackedMatrix& out) {
        const SourceRows source = source_rows(layout, config, place, rows);
        PlannedMatrix planned;
        planned.name = TensorNames::nib_name(place);
        planned.source = names.matrix(place, config.n_experts);
        // Quantizers store the matrices of a Conv1D as they store all others.
        if (layout.transposed && place.slot >= Slot::attn_norm && !planned.source.has_grid())
          transpose(planned.source);
        require_shape(planned.source.where, planned.source, source.total, cols);
        planned.target = target_of(planned.source, rule, place.slot);
        planned.shape = packed_shape_of(planned.source, planned.target);
        planned.shape.rows = static_cast<uint32_t>(rows);
        const bool is_table = place.slot == Slot::embedding || place.slot == Slot::positions;
        if (is_table && !planned.source.column_order().empty())
          throw Error(planned.source.where,
                      "has an activation order, which embeddings cannot have");
        planned.rows = source.map;
        planned.destination = &out;
        plan.matrices.push_back(std::move(planned));
      },
      [&](const Place& place, int64_t n, std::vector<float>& out) {
        const SourceRows source = source_rows(layout, config, place, n);
        const bool of_heads = place.slot == Slot::q_norm || place.slot == Slot::k_norm;
        const int end = of_heads ? static_cast<int>(n / config.head_dim) : place.expert + 1;
        const float added = layout.unit_norms && is_norm(place.slot) && !place.bias ? 1.0f : 0.0f;
        std::vector<TensorView> tensors = names.vector(place, end, config.n_experts);
        require_values(checkpoint.path, tensors, source.total);
        plan.reads.push_back([&checkpoint, &out, n, source, added, tensors = std::move(tensors),
                              inverted = place.slot == Slot::act_scales] {
          const std::vector<float> values = read_values(checkpoint.path, tensors, source.total);
          out.resize(static_cast<size_t>(n));
          for (uint32_t i = 0; i < out.size(); ++i)
            out[i] = values[source.map.source_row(i)] + added;
          if (inverted) invert(out, checkpoint.path);
        });
        plan.vectors.emplace_back(TensorNames::nib_name(place), &out);
      });
  names.refuse_unknown(config.tied_embeddings);
  return plan;
}

void WeightPlan::read_vectors() const {
  for (const auto& read : reads) read();
}

void pack_weights(const Checkpoint& checkpoint, const WeightPlan& plan, Weights& weights,
                  const Kernels& kernels, ThreadPool& pool, ReadAhead& reader,
                  const Progress& progress) {
  uint64_t total = 0;
  for (const PlannedMatrix& m : plan.matrices)
    total = checked_add(total, packed_layout(m.shape, m.name).total_bytes(), m.name);
  weights.packed = weight_memory(total, checkpoint.path);
  PackQueue queue(checkpoint, kernels, reader, plan.matrices.size());
  uint64_t done = 0;
  for (const PlannedMatrix& m : plan.matrices) {
    const size_t bytes = packed_layout(m.shape, m.name).total_bytes();
    const std::span<std::byte> out{weights.packed->data() + done, bytes};
    queue.add(m, out.data());
    m.destination->name = m.name;
    m.destination->source_type = m.source.type_name;
    m.destination->view = packed_view(m.shape, out, m.name);
    m.destination->bytes = bytes;
    const std::span<const uint32_t> order = m.source.column_order();
    m.destination->column_order.assign(order.begin(), order.end());
    done += bytes;
  }
  queue.sort();
  // Many pieces at a time, so that threads wait for each other seldom; not all, so that the caller
  // hears of it.
  constexpr size_t kTogether = 128;
  const size_t n = queue.pieces().size();
  for (size_t i = 0; i < n; i += kTogether) {
    if (progress && !progress(static_cast<double>(i) / static_cast<double>(n)))
      throw Error(checkpoint.path, "loading was cancelled");
    pool.run(std::min(kTogether, n - i), [&](size_t k, int) { queue.pack(i + k); });
  }
  number_input_forms(weights);
  if (progress) progress(1.0);
}

void pack_matrix(const PlannedMatrix& m, std::byte* out, const Kernels& kernels, ThreadPool& pool) {
  require_finite(m.source, pool);
  for_panels(packed_layout(m.shape, m.name), pool, [&](size_t begin, size_t end) {
    pack_panels(m.source, m.shape, m.rows, begin, end, out, kernels);
  });
}

void map_weights(const Checkpoint& checkpoint, const Config& config, Weights& weights) {
  TensorNames names(checkpoint, family_of(checkpoint, config));
  const NibMatrices matrices = read_nib_matrices(checkpoint);
  weights.layers.resize(static_cast<size_t>(config.n_layers));
  names.find({Slot::rope_factors});
  for_each_tensor(
      config, weights,
      [&](const Place& place, int64_t rows, int64_t cols, PackedMatrix& out) {
        const TensorView tensor = names.vector(place, place.expert + 1, 0).front();
        const std::string where = checkpoint.path + ": " + tensor.name;
        const auto entry = matrices.find(tensor.name);
        if (entry == matrices.end()) throw Error(where, "is not in nibble.matrices");
        const PackedShape& shape = entry->second.shape;
        require_shape(where, shape, rows, cols);
        out.name = tensor.name;
        out.source_type = entry->second.source_type;
        out.view = packed_view(shape, tensor.data, where);
        out.bytes = tensor.data.size();
        const bool is_table = place.slot == Slot::embedding || place.slot == Slot::positions;
        const TensorView* order = is_table ? nullptr : names.find_beside(tensor, kNibOrder);
        if (order) out.column_order = read_order(checkpoint.path, *order, cols);
      },
      [&](const Place& place, int64_t n, std::vector<float>& out) {
        out = read_values(checkpoint.path, names.vector(place, place.expert + 1, 0), n);
      });
  names.refuse_unknown(config.tied_embeddings);
  number_input_forms(weights);
}

void generate_weights(const Config& config, const WeightGenerator& generator, Weights& weights,
                      ThreadPool& pool) {
  weights.layers.resize(static_cast<size_t>(config.n_layers));
  std::vector<std::pair<PackedMatrix*, PackedShape>> matrices;
  uint64_t total = 0;
  for_each_tensor(
      config, weights,
      [&](const Place& place, int64_t rows, int64_t cols, PackedMatrix& out) {
        matrices.emplace_back(&out,
                              generator.shape(is_linear(place.slot), static_cast<uint32_t>(rows),
                                              static_cast<uint32_t>(cols)));
        total += packed_layout(matrices.back().second, config.name).total_bytes();
      },
      [&](const Place& place, int64_t n, std::vector<float>& out) {
        out.assign(static_cast<size_t>(n), place.bias ? 0.0f : 1.0f);
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
