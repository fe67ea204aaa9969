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

// The scale of each row of the preceding matrix.
std::vector<float> row_scale(const Fold& fold, const std::vector<float>& s) {
  if (fold.sharing.source.empty()) return s;
  std::vector<float> out(fold.sharing.n_sources, 1.0f);
  for (size_t c = 0; c < s.size(); ++c) out[fold.sharing.source[c]] = s[c];
  return out;
}

}  // namespace

std::vector<Fold> folds_of(const Config& config, LayerWeights& layer) {
  std::vector<Fold> out;
  Fold attention{.name = "attn_norm -> q, k, v", .readers = {&layer.q, &layer.k, &layer.v}};
  attention.norm = &layer.attn_norm;
  out.push_back(std::move(attention));

  Fold values{.name = "v -> o", .readers = {&layer.o}};
  values.matrix = &layer.v;
  if (!layer.v_bias.empty()) values.biases.push_back(&layer.v_bias);
  values.sharing = heads_sharing(config);
  out.push_back(std::move(values));

  Fold ffn{.name = "ffn_norm -> gate, up", .readers = {&layer.gate, &layer.up}};
  ffn.norm = &layer.ffn_norm;
  out.push_back(std::move(ffn));

  Fold down{.name = "up -> down", .readers = {&layer.down}};
  down.matrix = &layer.up;
  out.push_back(std::move(down));
  return out;
}

void limit_scale(const Fold& fold, std::span<const float> max_abs, std::vector<float>& s) {
  for (size_t c = 0; c < s.size(); ++c) {
    s[c] = std::clamp(s[c], 1 / kLargestFactor, kLargestFactor);
    s[c] = std::max(s[c], std::min(1.0f, max_abs[c] / kLargestInput));
    if (!fold.norm) continue;
    const float weight = (*fold.norm)[c];
    const float folded = half_to_float(float_to_half(weight / s[c]));
    s[c] = is_normal_half(folded) ? weight / folded : 1.0f;
  }
  if (fold.norm) return;
  // Channels that share a row share its scale, the largest of what each may have.
  std::vector<float> rows(fold.sharing.n_sources, 0.0f);
  for (size_t c = 0; c < fold.sharing.source.size(); ++c)
    rows[fold.sharing.source[c]] = std::max(rows[fold.sharing.source[c]], s[c]);
  for (size_t c = 0; c < fold.sharing.source.size(); ++c) s[c] = rows[fold.sharing.source[c]];
}

void apply_fold(const Compute& compute, const Fold& fold, const std::vector<float>& s) {
  const std::vector<float> rows = row_scale(fold, s);
  if (fold.norm)
    for (size_t c = 0; c < s.size(); ++c)
      if (s[c] != 1.0f) (*fold.norm)[c] = half_to_float(float_to_half((*fold.norm)[c] / s[c]));
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
