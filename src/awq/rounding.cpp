#include "awq/rounding.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "quant/block_scales.h"
#include "quant/ggml_blocks.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

constexpr double kDamping = 0.01;  // GPTQ's percdamp

/// Where a panel of a RoundedMatrix goes.
struct RoundedPanel {
  uint8_t* codes;      // [cols][16]
  LaneGrid* grids;     // [n_groups]
  SuperScale* supers;  // [n_supers], of k schemes
};

float value_of(const LaneGrid& grid, size_t r, uint8_t code) {
  return grid.s[r] * (static_cast<float>(code) - grid.z[r]) + grid.m[r];
}

float* row_of(float* panel, size_t c) { return panel + c * kLanes; }
const float* row_of(const float* panel, size_t c) { return panel + c * kLanes; }

LaneGrid choose_grid(const Compute& compute, const float* w, size_t n, size_t g,
                     const InputStats& stats, const RoundingRule& rule) {
  switch (rule.rounding) {
    case Rounding::clip:
      return clipped_grid(compute.kernels, w, n, stats.group_gram[g], rule.scheme);
    case Rounding::importance:
      return weighted_grid(w, n, stats.mean_square.data() + g * rule.group, rule.scheme);
    case Rounding::nearest:
    case Rounding::compensated:
      break;
  }
  return nearest_grid(w, n, rule.scheme);
}

// What the groups of w [n][16], n <= 256, share in a k scheme, and the grids they wish for.
SuperScale choose_super(const float* w, size_t n, const float* importance, const RoundingRule& rule,
                        LaneGrid* wishes) {
  for (size_t c = 0; c < n; c += rule.group)
    wishes[c / rule.group] =
        weighted_grid(row_of(w, c), std::min(rule.group, n - c), importance + c, rule.scheme);
  return super_scale({wishes, ceil_div(n, rule.group)}, rule.scheme);
}

// One panel of a k scheme without compensation.
void round_k_panel(const float* w, const RoundingRule& rule, const float* importance, size_t cols,
                   const RoundedPanel& out) {
  for (size_t begin = 0; begin < cols; begin += rule.group) {
    SuperScale& super = out.supers[begin / kSuperCols];
    LaneGrid& grid = out.grids[begin / rule.group];
    if (begin % kSuperCols == 0)
      super = choose_super(row_of(w, begin), std::min(kSuperCols, cols - begin), importance + begin,
                           rule, &grid);
    const size_t n = std::min(rule.group, cols - begin);
    grid = stored_grid(row_of(w, begin), n, importance + begin, rule.scheme, super, grid);
    round_lanes(row_of(w, begin), n, grid, rule.scheme, out.codes + begin * kLanes);
  }
}

// moved [end - begin][16] = columns begin..end-1 of w + what the errors of those from `end` on ask
// of them.
void move_columns(const Compute& compute, const float* w, const Feedback& feedback, size_t cols,
                  size_t begin, size_t end, const float* error, float* moved) {
  const size_t n = end - begin;
  if (end < cols)
    compute.kernels.matmul_f32(float_panels(row_of(error, end), 1, cols - end), 0, 1,
                               feedback.upper.row(begin) + end, feedback.upper.cols(), n, moved,
                               kLanes);
  else
    std::fill_n(moved, n * kLanes, 0.0f);
  for (size_t i = 0; i < n * kLanes; ++i) moved[i] += row_of(w, begin)[i];
}

// One panel with compensation. error [cols][16] is scratch.
void compensate_panel(const Compute& compute, const float* w, const RoundingRule& rule,
                      const Feedback& feedback, size_t cols, float* error,
                      const RoundedPanel& out) {
  alignas(64) float moved[kSuperCols * kLanes];
  const float* importance = feedback.remaining.data();
  for (size_t g = ceil_div(cols, rule.group); g-- > 0;) {
    const size_t begin = g * rule.group, end = std::min(cols, begin + rule.group);
    const size_t n = end - begin;
    SuperScale* super = out.supers ? out.supers + begin / kSuperCols : nullptr;
    if (super && (end == cols || end % kSuperCols == 0)) {  // the last group of those that share
      const size_t first = begin / kSuperCols * kSuperCols;
      move_columns(compute, w, feedback, cols, first, end, error, moved);
      *super = choose_super(moved, end - first, importance + first, rule,
                            out.grids + first / rule.group);
    }
    move_columns(compute, w, feedback, cols, begin, end, error, moved);
    LaneGrid& grid = out.grids[g];
    grid = weighted_grid(moved, n, importance + begin, rule.scheme);
    if (super) grid = stored_grid(moved, n, importance + begin, rule.scheme, *super, grid);
    for (size_t k = n; k-- > 0;) {
      float* v = row_of(moved, k);
      const float* factors = feedback.upper.row(begin + k) + begin;
      for (size_t j = k + 1; j < n; ++j)
        for (size_t r = 0; r < kLanes; ++r) v[r] += row_of(error, begin + j)[r] * factors[j];
      uint8_t* code = out.codes + (begin + k) * kLanes;
      round_lanes(v, 1, grid, rule.scheme, code);
      for (size_t r = 0; r < kLanes; ++r)
        row_of(error, begin + k)[r] = row_of(w, begin + k)[r] - value_of(grid, r, code[r]);
    }
  }
}

// x [cols][16] = gram^-1 x, with gram = C C^T and C [cols, cols] as make_feedback() leaves it:
// itself on and below the diagonal of `factor`, its columns divided by their diagonal above it.
void solve_factored(const Kernels& kernels, const FloatMatrix& factor, float* x) {
  constexpr size_t kBlock = 64;
  alignas(64) float known[kBlock * kLanes];  // what the part that is solved gives
  const size_t cols = factor.rows();
  for (size_t begin = 0; begin < cols; begin += kBlock) {
    const size_t end = std::min(cols, begin + kBlock);
    std::fill_n(known, kBlock * kLanes, 0.0f);
    if (begin > 0)
      kernels.matmul_f32(float_panels(x, 1, begin), 0, 1, factor.row(begin), cols, end - begin,
                         known, kLanes);
    for (size_t c = begin; c < end; ++c) {
      float* v = row_of(x, c);
      for (size_t r = 0; r < kLanes; ++r) v[r] -= known[(c - begin) * kLanes + r];
      for (size_t j = begin; j < c; ++j)
        for (size_t r = 0; r < kLanes; ++r) v[r] -= factor.row(c)[j] * row_of(x, j)[r];
      for (size_t r = 0; r < kLanes; ++r) v[r] /= factor.row(c)[c];
    }
  }
  for (size_t end = cols; end > 0;) {
    const size_t begin = (end - 1) / kBlock * kBlock;
    std::fill_n(known, kBlock * kLanes, 0.0f);
    if (end < cols)
      kernels.matmul_f32(float_panels(row_of(x, end), 1, cols - end), 0, 1, factor.row(begin) + end,
                         cols, end - begin, known, kLanes);
    for (size_t c = end; c-- > begin;) {
      float* v = row_of(x, c);
      for (size_t r = 0; r < kLanes; ++r)
        v[r] = v[r] / factor.row(c)[c] - known[(c - begin) * kLanes + r];
      for (size_t j = c + 1; j < end; ++j)
        for (size_t r = 0; r < kLanes; ++r) v[r] -= factor.row(c)[j] * row_of(x, j)[r];
    }
    end = begin;
  }
}

// Sets the code of row r, column c of a panel whose codes are zero, as code_at() reads it.
template <Codes C>
void add_code(uint8_t* panel, size_t c, size_t r, unsigned code) {
  uint8_t* unit = panel + c / kUnitCols<C> * kUnitBytes<C>;
  c %= kUnitCols<C>;
  const size_t byte = 4 * r + c % 4, in_line = c % kLineCols<C>;
  unit[c / kLineCols<C> * kLineBytes + byte] |=
      static_cast<uint8_t>((code & ones(kLowBits<C>)) << (in_line / 4 * kLowBits<C>));
  if constexpr (kUpperBits<C> != 0)
    unit[kUpperOffset<C> + byte] |=
        static_cast<uint8_t>(code >> kLowBits<C> << (c / 4 * kUpperBits<C>));
}

// The scales of a panel, each group's own, in lane r.
void pack_own_scales(const RoundedMatrix& m, Scheme scheme, size_t panel, size_t r,
                     uint8_t* scales) {
  for (size_t g = 0; g < m.n_groups(); ++g) {
    const LaneGrid& grid = m.grids[panel * m.n_groups() + g];
    if (scheme == Scheme::f16) {
      struct_at<ScaleF16>(scales, g).s[r] = grid.stored[r];
    } else {
      struct_at<ScaleF16Zero>(scales, g).s[r] = grid.stored[r];
      struct_at<ScaleF16Zero>(scales, g).z[r] = static_cast<uint8_t>(grid.z[r]);
    }
  }
}

// Those of a k scheme, as the blocks of GGUF have them.
template <class Block>
void pack_k_scales(const RoundedMatrix& m, size_t panel, size_t r, uint8_t* scales) {
  constexpr size_t kGroups = kSuperCols / Block::kForm.group;
  for (size_t s = 0; s < m.n_supers(); ++s) {
    const SuperScale& super = m.supers[panel * m.n_supers() + s];
    BlockScales block;
    block.d = super.d[r];
    block.m = super.dmin[r];
    for (size_t i = 0; i < std::min(kGroups, m.n_groups() - s * kGroups); ++i) {
      const LaneGrid& grid = m.grids[panel * m.n_groups() + s * kGroups + i];
      block.sc[i] = static_cast<int8_t>(grid.stored[r] & 255);
      block.mn[i] = static_cast<uint8_t>(grid.stored[r] >> 8);
    }
    store_scales<Block>(block, s * kSuperCols, r, scales);
  }
}

}  // namespace

Feedback make_feedback(const Compute& compute, FloatMatrix gram) {
  const size_t n = gram.rows();
  std::vector<double> diagonal(n);
  double mean = 0;
  for (size_t i = 0; i < n; ++i) {
    diagonal[i] = static_cast<double>(gram.row(i)[i]);
    mean += diagonal[i] / static_cast<double>(n);
  }
  if (!(mean > 0)) mean = 1;
  // The upper triangle keeps the moments for another try with more damping.
  for (double damping = kDamping;; damping *= 10) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < i; ++j) gram.row(i)[j] = gram.row(j)[i];
      gram.row(i)[i] = static_cast<float>(diagonal[i] + damping * mean);
    }
    if (cholesky(compute, gram)) break;
    if (damping > 1e6) {  // moments that are not finite: no compensation
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j <= i; ++j) gram.row(i)[j] = i == j ? 1.0f : 0.0f;
      break;
    }
  }
  Feedback out{std::move(gram), std::vector<float>(n)};
  constexpr size_t kTile = 64;
  for (size_t i0 = 0; i0 < n; i0 += kTile)
    for (size_t j0 = i0; j0 < n; j0 += kTile)
      for (size_t k = i0; k < std::min(n, i0 + kTile); ++k)
        for (size_t j = std::max(k + 1, j0); j < std::min(n, j0 + kTile); ++j)
          out.upper.row(k)[j] = out.upper.row(j)[k] / out.upper.row(k)[k];
  for (size_t k = 0; k < n; ++k) out.remaining[k] = out.upper.row(k)[k] * out.upper.row(k)[k];
  return out;
}

void correct_drift(const Compute& compute, const FloatPanels& w, const InputStats& stats,
                   const Feedback& feedback, float share) {
  const FloatMatrix& factor = feedback.upper;
  std::vector<FloatMatrix> scratch;  // [threads] of [cols, 16]
  for (int i = 0; i < compute.pool.size(); ++i) scratch.emplace_back(w.cols, kLanes);
  compute.pool.run(w.n_panels(), [&](size_t p, int thread) {
    float* x = scratch[static_cast<size_t>(thread)].row(0);
    compute.kernels.matmul_f32(float_panels(w.panel(p), 1, w.cols), 0, 1, stats.drift.row(0),
                               stats.drift.cols(), w.cols, x, kLanes);
    if (!stats.owed.empty())
      for (size_t c = 0; c < w.cols; ++c)
        for (size_t r = 0; r < kLanes && p * kLanes + r < w.rows; ++r)
          row_of(x, c)[r] += stats.owed.row(c)[p * kLanes + r];
    solve_factored(compute.kernels, factor, x);
    for (size_t i = 0; i < w.cols * kLanes; ++i) w.panel(p)[i] += share * x[i];
  });
}

RoundedMatrix round_matrix(const Compute& compute, const FloatPanels& w, const InputStats& stats,
                           const RoundingRule& rule, const Feedback* feedback) {
  RoundedMatrix out{w.rows, w.cols, rule.group, {}, {}, {}};
  const size_t n_groups = out.n_groups(), panel_codes = w.cols * kLanes;
  const bool k_scheme = is_k_scheme(rule.scheme);
  out.codes.resize(w.n_panels() * panel_codes);
  out.grids.resize(w.n_panels() * n_groups);
  if (k_scheme) out.supers.resize(w.n_panels() * out.n_supers());
  const std::vector<float> flat(w.cols, 1.0f);
  const float* importance =
      rule.rounding == Rounding::nearest ? flat.data() : stats.mean_square.data();
  std::vector<FloatMatrix> error;  // [threads] of [cols, 16]
  for (int i = 0; feedback && i < compute.pool.size(); ++i) error.emplace_back(w.cols, kLanes);
  compute.pool.run(w.n_panels(), [&](size_t p, int thread) {
    const float* panel = w.panel(p);
    const RoundedPanel to{out.codes.data() + p * panel_codes, out.grids.data() + p * n_groups,
                          k_scheme ? out.supers.data() + p * out.n_supers() : nullptr};
    if (feedback)
      return compensate_panel(compute, panel, rule, *feedback, w.cols,
                              error[static_cast<size_t>(thread)].row(0), to);
    if (k_scheme) return round_k_panel(panel, rule, importance, w.cols, to);
    for (size_t g = 0; g < n_groups; ++g) {
      const size_t begin = g * rule.group, n = std::min(rule.group, w.cols - begin);
      to.grids[g] = choose_grid(compute, row_of(panel, begin), n, g, stats, rule);
      round_lanes(row_of(panel, begin), n, to.grids[g], rule.scheme, to.codes + begin * kLanes);
    }
  });
  return out;
}

void panel_values(const RoundedMatrix& m, size_t panel, float* out) {
  const uint8_t* codes = m.codes.data() + panel * m.cols * kLanes;
  const LaneGrid* grids = m.grids.data() + panel * m.n_groups();
  for (size_t c = 0; c < m.cols; ++c)
    for (size_t r = 0; r < kLanes; ++r)
      out[c * kLanes + r] = value_of(grids[c / m.group], r, codes[c * kLanes + r]);
}

void pack_rounded(const RoundedMatrix& m, const PackedShape& shape, std::span<std::byte> out,
                  ThreadPool& pool) {
  const PackedLayout layout = packed_layout(shape, "rounded matrix");
  auto* bytes = reinterpret_cast<uint8_t*>(out.data());
  pool.run(m.n_panels(), [&](size_t p, int) {
    const uint8_t* codes = m.codes.data() + p * m.cols * kLanes;
    const LaneGrid* grids = m.grids.data() + p * m.n_groups();
    uint8_t* lines = bytes + p * layout.code_stride;
    // Columns of the last group beyond the matrix get the code of zero.
    for (size_t c = 0; c < m.n_groups() * m.group; ++c)
      for (size_t r = 0; r < kLanes; ++r) {
        const uint8_t code =
            c < m.cols ? codes[c * kLanes + r] : static_cast<uint8_t>(grids[c / m.group].z[r]);
        shape.codes == Codes::q6 ? add_code<Codes::q6>(lines, c, r, code)
                                 : add_code<Codes::q4>(lines, c, r, code);
      }
    const size_t lanes = std::min(kLanes, m.rows - p * kLanes);  // the others have scale 0
    uint8_t* scales = bytes + layout.codes_bytes + p * layout.scale_stride;
    for (size_t r = 0; r < lanes; ++r) {
      if (shape.scheme == Scheme::k6)
        pack_k_scales<BlockQ4_K>(m, p, r, scales);
      else if (shape.scheme == Scheme::k8)
        pack_k_scales<BlockQ6_K>(m, p, r, scales);
      else
        pack_own_scales(m, shape.scheme, p, r, scales);
    }
  });
}

}  // namespace nibble
