#include "awq/loaded_layer.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "nibble/error.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

PackedShape f32_shape(const PlannedMatrix& m) {
  return {.rows = m.shape.rows, .cols = m.shape.cols, .codes = Codes::f32};
}

uint64_t f32_bytes(const PlannedMatrix& m) {
  return packed_layout(f32_shape(m), m.name).total_bytes();
}

// The rows of an f32 matrix as a source, to be packed like any other.
std::vector<float> rows_of(const PackedView& view, ThreadPool& pool) {
  const size_t cols = view.shape.cols;
  std::vector<float> out(size_t{view.shape.rows} * cols);
  pool.run(view.shape.rows, [&](size_t r, int) { unpack_row(view, r, out.data() + r * cols); });
  return out;
}

}  // namespace

uint64_t LoadedLayer::float_bytes(const LayerPlan& plan) {
  uint64_t total = 0;
  for (const PlannedMatrix* m : plan.matrices) total = checked_add(total, f32_bytes(*m), m->name);
  return total;
}

void LoadedLayer::load(const LayerPlan& plan) {
  plan_ = &plan;
  forms_.clear();
  forms_.resize(plan.matrices.size());
  const uint64_t total = float_bytes(plan);
  if (panels_.size() < total) {
    panels_ = {};
    panels_ = AnonymousMemory(total);
  }
  std::byte* at = panels_.data();
  for (size_t i = 0; i < forms_.size(); ++i) {
    const PlannedMatrix& m = *plan.matrices[i];
    const uint64_t bytes = f32_bytes(m);
    std::fill_n(at, bytes, std::byte{0});
    PlannedMatrix as_floats = m;
    retarget(as_floats, PackTarget::Kind::f32);
    pack_matrix(as_floats, at, compute_.kernels, compute_.pool);
    m.destination->name = m.name;
    m.destination->bytes = bytes;
    forms_[i].exact = packed_view(f32_shape(m), {at, bytes}, m.name);
    release(checkpoint_, m.source);
    at += bytes;
  }
  show(/*written=*/false);
}

void LoadedLayer::show(bool written) {
  for (size_t i = 0; i < forms_.size(); ++i) {
    const bool decided = !forms_[i].bytes.empty();
    plan_->matrices[i]->destination->view =
        written && decided ? forms_[i].written : forms_[i].exact;
  }
}

void LoadedLayer::make_written(size_t i) {
  const PlannedMatrix& m = *plan_->matrices[i];
  const uint64_t bytes = packed_layout(m.shape, m.name).total_bytes();
  forms_[i].memory = AnonymousMemory(bytes);
  forms_[i].bytes = {forms_[i].memory.data(), bytes};
  forms_[i].written = packed_view(m.shape, forms_[i].bytes, m.name);
}

void LoadedLayer::write_rounded(const PackedMatrix* matrix, const RoundedMatrix& rounded) {
  for (size_t i = 0; i < forms_.size(); ++i) {
    if (plan_->matrices[i]->destination != matrix) continue;
    make_written(i);
    pack_rounded(rounded, plan_->matrices[i]->shape, forms_[i].bytes, compute_.pool);
  }
}

void LoadedLayer::write_others() {
  for (size_t i = 0; i < forms_.size(); ++i) {
    if (!forms_[i].bytes.empty()) continue;
    make_written(i);
    const std::vector<float> rows = rows_of(forms_[i].exact, compute_.pool);
    PlannedMatrix scaled = *plan_->matrices[i];
    scaled.rows = {};  // in order already
    scaled.source.type = DType::f32;
    scaled.source.data = std::as_bytes(std::span(rows));
    scaled.source.tensors.clear();
    pack_matrix(scaled, forms_[i].bytes.data(), compute_.kernels, compute_.pool);
  }
}

std::vector<LayerPiece> LoadedLayer::pieces() const {
  std::vector<LayerPiece> out;
  for (size_t i = 0; i < forms_.size(); ++i)
    out.push_back({plan_->matrices[i]->name, forms_[i].bytes});
  for (const auto& [name, values] : plan_->vectors)
    out.push_back({name, std::as_bytes(std::span(*values))});
  return out;
}

void LoadedLayer::read_pieces(const Checkpoint& file) {
  const auto take = [&](const std::string& name, std::span<std::byte> to) {
    const auto from = WorkFolder::piece(file, name, to.size());
    std::copy(from.begin(), from.end(), to.begin());
  };
  for (size_t i = 0; i < forms_.size(); ++i) {
    make_written(i);
    take(plan_->matrices[i]->name, forms_[i].bytes);
  }
  for (const auto& [name, values] : plan_->vectors)
    take(name, std::as_writable_bytes(std::span(*values)));
}

}  // namespace nibble
