#include "quant/round_panel.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/half.h"

namespace nibble {
namespace {

// Loops over lanes have a constant length, and bodies of several columns without a loop, so that
// compilers make vectors of them; what is clamped is stored before it is used, as they make
// branches of constant bounds else.

constexpr float kSmallestScale = 0x1p-24f;  // of fp16
constexpr float kLargestScale = 65504.0f;
/// Added to x, it leaves round(x), ties to even, in the low bits of the sum, for |x| < 2^22.
constexpr float kRounder = 0x1.8p23f;

/// x within low..high; NaN becomes low.
float clamp(float x, float low, float high) {
  const float above = x > low ? x : low;
  return above < high ? above : high;
}

/// Of the weights and zero; NaN is passed over.
struct Ranges {
  float min[kPanelRows] = {};
  float max[kPanelRows] = {};
};

Ranges ranges_of(const float* w, size_t n) {
  Ranges range;
  for (size_t c = 0; c < n; c += 4, w += 4 * kPanelRows)
    for (size_t r = 0; r < kPanelRows; ++r) {
      float min = range.min[r], max = range.max[r];
      const auto see = [&](float x) {
        min = x < min ? x : min;
        max = x > max ? x : max;
      };
      see(w[r]);
      see(w[r + kPanelRows]);
      see(w[r + 2 * kPanelRows]);
      see(w[r + 3 * kPanelRows]);
      range.min[r] = min;
      range.max[r] = max;
    }
  return range;
}

/// The grids of a group.
struct Grids {
  uint16_t scale[kPanelRows];  // fp16
  float s[kPanelRows];
  uint32_t zero[kPanelRows];
  float low[kPanelRows], high[kPanelRows];  // bounds of w / s
};

/// The scales next to what is wanted.
void set_scales(const float (&wanted)[kPanelRows], Grids& g) {
  float usable[kPanelRows];
  for (size_t r = 0; r < kPanelRows; ++r)
    usable[r] = clamp(wanted[r], kSmallestScale, kLargestScale);
  for (size_t r = 0; r < kPanelRows; ++r) g.scale[r] = float_to_half(usable[r]);
  for (size_t r = 0; r < kPanelRows; ++r) g.s[r] = half_to_float(g.scale[r]);
}

/// Codes 0..15, the zero where it fits.
Grids asymmetric_grids(const Ranges& range) {
  Grids g;
  float scales[kPanelRows], zeros[kPanelRows];
  for (size_t r = 0; r < kPanelRows; ++r) scales[r] = (range.max[r] - range.min[r]) / 15;
  set_scales(scales, g);
  for (size_t r = 0; r < kPanelRows; ++r) zeros[r] = clamp(-range.min[r] / g.s[r], 0, 15);
  for (size_t r = 0; r < kPanelRows; ++r) {
    const float zero = zeros[r] + kRounder;
    g.zero[r] = std::bit_cast<uint32_t>(zero) - std::bit_cast<uint32_t>(kRounder);
    g.low[r] = kRounder - zero;
    g.high[r] = 15 + kRounder - zero;
  }
  return g;
}

/// Codes zero - most .. zero + most.
Grids symmetric_grids(const Ranges& range, uint32_t zero, float most) {
  Grids g;
  float scales[kPanelRows];
  for (size_t r = 0; r < kPanelRows; ++r) {
    const float max = range.max[r], below = -range.min[r];
    scales[r] = (max > below ? max : below) / most;
  }
  set_scales(scales, g);
  std::fill_n(g.zero, kPanelRows, zero);
  std::fill_n(g.low, kPanelRows, -most);
  std::fill_n(g.high, kPanelRows, most);
  return g;
}

/// One line of codes: 8 columns of 4 bits or 4 columns of 8, w [columns][16].
template <Codes kCodes>
void round_line(const float* w, const Grids& g, const uint32_t* present, uint8_t* out) {
  uint32_t line[kPanelRows];
  for (size_t r = 0; r < kPanelRows; ++r) {
    const uint32_t base = std::bit_cast<uint32_t>(kRounder) - g.zero[r];
    const auto code = [&](size_t column) {
      const float x = clamp(w[column * kPanelRows + r] / g.s[r], g.low[r], g.high[r]);
      return std::bit_cast<uint32_t>(x + kRounder) - base;
    };
    uint32_t word = code(0) + (code(1) << 8) + (code(2) << 16) + (code(3) << 24);
    if constexpr (kCodes == Codes::q4)
      word += (code(4) << 4) + (code(5) << 12) + (code(6) << 20) + (code(7) << 28);
    line[r] = word & present[r];
  }
  std::memcpy(out, line, sizeof line);
}

template <Codes kCodes>
void round_group(const float* w, size_t n, const Grids& grids, const uint32_t* present,
                 uint8_t* out) {
  constexpr size_t kCols = kCodes == Codes::q4 ? 8 : 4;
  for (size_t c = 0; c < n; c += kCols, out += kLineBytes)
    round_line<kCodes>(w + c * kPanelRows, grids, present, out);
}

}  // namespace

void round_panel(const PackedShape& shape, const float* w, size_t n, size_t n_rows, uint8_t* codes,
                 uint8_t* scales) {
  const bool q8 = shape.codes == Codes::q8, symmetric = shape.scheme == Scheme::f16;
  const float most = q8 ? 127 : symmetric ? 7 : 0;
  uint32_t present[kPanelRows] = {};
  for (size_t r = 0; r < n_rows; ++r) present[r] = ~0u;
  for (size_t c = 0; c < n; c += shape.group, w += shape.group * kPanelRows) {
    const Ranges range = ranges_of(w, shape.group);
    const Grids g = symmetric ? symmetric_grids(range, shape.zero, most) : asymmetric_grids(range);
    if (q8)
      round_group<Codes::q8>(w, shape.group, g, present, codes);
    else
      round_group<Codes::q4>(w, shape.group, g, present, codes);
    codes += shape.group * (q8 ? 16 : 8);
    ScaleF16Zero out{};
    for (size_t r = 0; r < n_rows; ++r) {
      out.s[r] = g.scale[r];
      out.z[r] = static_cast<uint8_t>(g.zero[r]);
    }
    const size_t size = symmetric ? sizeof(ScaleF16) : sizeof(ScaleF16Zero);
    std::memcpy(scales, &out, size);
    scales += size;
  }
}

}  // namespace nibble
