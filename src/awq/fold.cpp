#include "awq/fold.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace nibble {
namespace {

constexpr float kLargestFactor = 1024;
constexpr float kLargestInput = 0.25f * 65504;  // of fp16: room for what a layer adds up

// fp16 normal numbers: those below lose bits.
bool is_normal_half(float x) {
  const float magnitude = std::abs(x);
  return magnitude >= 0x1p-14f && magnitude <= 65504;
}

// Every query head reads the values of its KV head.
ScaleSharing heads_sharing(const Config& c) {
  ScaleSharing out;
  const int rep = c.n_heads / c.n_kv_heads;
  for (int h = 0; h < c.n_heads; ++h)
    for (int d = 0; d < c.head_dim; ++d)
      out.source.push_back(static_cast<uint32_t>(h / rep * c.head_dim + d));
  out.n_sources = static_cast<size_t>(c.n_kv_heads) * static_cast<size_t>(c.head_dim);
  return out;
}

// The row of the preceding matrix that makes channel c.
size_t row_of(const Fold& fold, size_t c) {
  return fold.sharing.source.empty() ? c : fold.sharing.source[c];
}

// The scale of each row of the preceding matrix.
std::vector<float> row_scale(const Fold& fold, const std::vector<float>& s) {
  if (fold.sharing.source.empty()) return s;
  std::vector<float> out(fold.sharing.n_sources, 1.0f);
  for (size_t c = 0; c < s.size(); ++c) out[row_of(fold, c)] = s[c];
  return out;
}

// Whether a sublayer reads a norm of its own, not the residual stream.
bool reads_norm(const Config& c) {
  return c.norm_placement == NormPlacement::before || c.norm_placement == NormPlacement::around;
}

void add_bias(Fold& fold, std::vector<float>& bias) {
  if (!bias.empty()) fold.biases.push_back(&bias);
}

// Multiplies the columns of W by s.
void scale_columns(const Compute& compute, const FloatPanels& w, const std::vector<float>& s) {
  compute.pool.run(w.n_panels(), [&](size_t p, int) {
    float* panel = w.panel(p);
    for (size_t c = 0; c < w.cols; ++c)
      for (size_t r = 0; r < kLanes; ++r) panel[c * kLanes + r] *= s[c];
  });
}

// Divides the rows of W by s.
void divide_rows(const Compute& compute, const FloatPanels& w, const std::vector<float>& s) {
  compute.pool.run(w.n_panels(), [&](size_t p, int) {
    float by[kLanes] = {};
    for (size_t r = 0; r < kLanes && p * kLanes + r < w.rows; ++r) by[r] = 1.0f / s[p * kLanes + r];
    float* panel = w.panel(p);
    for (size_t c = 0; c < w.cols; ++c)
      for (size_t r = 0; r < kLanes; ++r) panel[c * kLanes + r] *= by[r];
  });
}

// All that read the input of the feed-forward network; the router is one of them.
void add_ffn_readers(LayerWeights& layer, Fold& fold) {
  const auto add = [&](PackedMatrix& m) {
    if (!m.empty()) fold.readers.push_back(&m);
  };
  for (PackedMatrix* m : {&layer.gate, &layer.up, &layer.router}) add(*m);
  for (ExpertWeights& expert : layer.experts)
    for (PackedMatrix* m : {&expert.gate, &expert.up}) add(*m);
}

void add_attention_folds(const Config& config, LayerWeights& layer, std::vector<Fold>& out) {
  if (reads_norm(config)) {
    Fold input{.name = "attn_norm -> q, k, v", .readers = {&layer.q, &layer.k, &layer.v}};
    input.vector = &layer.attn_norm;
    add_bias(input, layer.attn_norm_bias);
    if (config.residual == Residual::parallel_one_norm) add_ffn_readers(layer, input);
    out.push_back(std::move(input));
  }
  if (config.qkv_clip != 0.0f) return;  // values are no longer linear
  Fold values{.name = "v -> o", .readers = {&layer.o}};
  values.matrix = &layer.v;
  add_bias(values, layer.v_bias);
  values.sharing = heads_sharing(config);
  out.push_back(std::move(values));
}

// act(gate(x)) * up(x) is linear in up unless that is clamped, and ReLU(s x) = s ReLU(x); after
// another activation only factors of its output can take a scale.
void add_down_fold(const Config& config, LayerWeights& layer, PackedMatrix& up,
                   std::vector<float>& up_bias, PackedMatrix& down, std::vector<Fold>& out) {
  Fold fold{.name = "up -> down", .readers = {&down}};
  if (!layer.act_factors.empty()) {
    fold.vector = &layer.act_factors;
  } else if (config.activation == Activation::relu ||
             (config.gated_ffn && config.activation != Activation::swiglu_oai)) {
    fold.matrix = &up;
    add_bias(fold, up_bias);
  } else {
    return;
  }
  out.push_back(std::move(fold));
}

}  // namespace

std::vector<Fold> folds_of(const Config& config, LayerWeights& layer) {
  std::vector<Fold> out;
  add_attention_folds(config, layer, out);
  const bool own_norm = reads_norm(config) && config.residual != Residual::parallel_one_norm;
  if (own_norm) {
    Fold ffn{.name = "ffn_norm -> gate, up"};
    ffn.vector = &layer.ffn_norm;
    add_bias(ffn, layer.ffn_norm_bias);
    add_ffn_readers(layer, ffn);
    out.push_back(std::move(ffn));
  }
  for (ExpertWeights& expert : layer.experts)
    add_down_fold(config, layer, expert.up, expert.up_bias, expert.down, out);
  if (layer.experts.empty()) add_down_fold(config, layer, layer.up, layer.up_bias, layer.down, out);
  return out;
}

void limit_scale(const Fold& fold, std::span<const float> max_abs, std::vector<float>& s) {
  for (size_t c = 0; c < s.size(); ++c) {
    s[c] = std::clamp(s[c], 1 / kLargestFactor, kLargestFactor);
    float largest = max_abs[c];
    for (const std::vector<float>* bias : fold.biases)
      largest = std::max(largest, std::abs((*bias)[row_of(fold, c)]));
    s[c] = std::max(s[c], std::min(1.0f, largest / kLargestInput));
    if (!fold.vector) continue;
    const float weight = (*fold.vector)[c];
    const float folded = half_to_float(float_to_half(weight / s[c]));
    s[c] = is_normal_half(folded) ? weight / folded : 1.0f;
  }
  if (fold.vector) return;
  // Channels that share a row share its scale, the largest of what each may have.
  std::vector<float> rows(fold.sharing.n_sources, 0.0f);
  for (size_t c = 0; c < fold.sharing.source.size(); ++c)
    rows[fold.sharing.source[c]] = std::max(rows[fold.sharing.source[c]], s[c]);
  for (size_t c = 0; c < fold.sharing.source.size(); ++c) s[c] = rows[fold.sharing.source[c]];
}

void apply_fold(const Compute& compute, const Fold& fold, const std::vector<float>& s) {
  const std::vector<float> rows = row_scale(fold, s);
  if (fold.vector)
    for (size_t c = 0; c < s.size(); ++c)
      if (s[c] != 1.0f) (*fold.vector)[c] = half_to_float(float_to_half((*fold.vector)[c] / s[c]));
  if (fold.matrix) divide_rows(compute, panels_of(*fold.matrix), rows);
  for (std::vector<float>* bias : fold.biases)
    for (size_t c = 0; c < bias->size(); ++c)
      if (rows[c] != 1.0f) (*bias)[c] = half_to_float(float_to_half((*bias)[c] / rows[c]));
  for (const PackedMatrix* reader : fold.readers) scale_columns(compute, panels_of(*reader), s);
}

FloatPanels panels_of(const PackedMatrix& m) {
  // The bytes are the caller's own, packed for this purpose.
  auto* data = reinterpret_cast<float*>(const_cast<uint8_t*>(m.view.codes));
  return {data, m.view.shape.rows, m.view.shape.cols};
}

}  // namespace nibble
