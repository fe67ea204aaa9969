// The bytes of a packed matrix: sizes, views, names, and one row back as f32.
#include <algorithm>

#include "affine.h"
#include "base/checked.h"
#include "base/half.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

const char* scheme_name(Scheme scheme) {
  switch (scheme) {
    case Scheme::none:
    case Scheme::f16:
      return "";
    case Scheme::f16_zero:
      return " zero";
    case Scheme::f32_zero:
      return " zero f32";
    case Scheme::f16_min:
      return " min";
    case Scheme::k6:
    case Scheme::k8:
      return " k";
    case Scheme::k8_min:
    case Scheme::k4_min:
      return " k min";
  }
  return " ?";
}

/// Columns and bytes of one of the scheme's structs, which hold the scales of 16 rows.
struct ScaleStruct {
  size_t cols = 0;
  size_t bytes = 0;
};

ScaleStruct scale_struct(const PackedShape& shape) {
  switch (shape.scheme) {
    case Scheme::none:
      break;
    case Scheme::f16:
      return {shape.group, sizeof(ScaleF16)};
    case Scheme::f16_zero:
      return {shape.group, sizeof(ScaleF16Zero)};
    case Scheme::f32_zero:
      return {shape.group, sizeof(ScaleF32Zero)};
    case Scheme::f16_min:
      return {shape.group, sizeof(ScaleF16Min)};
    case Scheme::k6:
      return {kSuperCols, sizeof(ScaleK6)};
    case Scheme::k8:
      return {kSuperCols, shape.group == 16 ? sizeof(ScaleK8x16) : sizeof(ScaleK8x32)};
    case Scheme::k8_min:
      return {kSuperCols, sizeof(ScaleK8Min)};
    case Scheme::k4_min:
      return {kSuperCols, sizeof(ScaleK4Min)};
  }
  return {};
}

bool group_is_legal(const PackedShape& shape) {
  const auto g = shape.group;
  if (only_group(shape.codes) != 0 && g != only_group(shape.codes)) return false;
  switch (shape.scheme) {
    case Scheme::none:
      return g == 0;
    case Scheme::f16:
    case Scheme::f16_zero:
    case Scheme::f32_zero:
    case Scheme::f16_min:
      return g == 16 || g == 32 || g == 64 || g == 128;
    case Scheme::k6:
      return g == 32;
    case Scheme::k8:
      return g == 16 || g == 32;
    case Scheme::k8_min:
    case Scheme::k4_min:
      return g == 16;
  }
  return false;  // a value that is no Scheme: a file may hold any byte
}

void check_shape(const PackedShape& shape, const std::string& where) {
  if (code_bits(shape.codes) == 0)
    throw Error(where, "unknown code of weights: " + std::to_string(unsigned(shape.codes)));
  if (shape.rows == 0 || shape.cols == 0)
    throw Error::mismatch(
        where, "the shape of the matrix", "at least [1, 1]",
        "[" + std::to_string(shape.rows) + ", " + std::to_string(shape.cols) + "]");
  if (codes_fit(shape.codes, shape.scheme) && group_is_legal(shape)) return;
  const auto scheme = static_cast<size_t>(shape.scheme);  // several have one name for people
  throw Error::mismatch(
      where, "the weight format",
      "f32, f16 or bf16 without groups, or q4 or q8 in groups of 16, 32, 64 or 128 columns (k6, "
      "k8: 32; k8, q4 k8_min: 16), or q2 g16 (k4_min), q3, iq1, iq2 g16 (k8), iq3_xxs, iq3_s, fp4, "
      "iq4 g32 (f16, k8), q5 g32 (f16, f16_min, k6) or q6 g16 (k8)",
      format_name(shape) + " (scheme " +
          (scheme < kSchemeNames.size() ? kSchemeNames[scheme] : std::to_string(scheme)) + ")");
}

void unpack_quantized(const PackedView& w, const uint8_t* codes, const uint8_t* scales, size_t r,
                      float* out) {
  for (size_t c0 = 0; c0 < w.shape.cols; c0 += w.shape.group) {
    const auto [s, z, m] = affine_at(w.shape, scales, c0 / w.shape.group, r);
    const size_t end = std::min<size_t>(c0 + w.shape.group, w.shape.cols);
    for (size_t c = c0; c < end; ++c)
      out[c] = s * static_cast<float>(code_at(w.shape.codes, codes, c, r) - z) + m;
  }
}

}  // namespace

PackedLayout packed_layout(const PackedShape& shape, const std::string& where) {
  check_shape(shape, where);
  const ScaleStruct scale = scale_struct(shape);
  const uint64_t unit = scale.cols == 0 ? 1 : scale.cols;
  const uint64_t cols = round_up(shape.cols, unit);  // cols < 2^33: nothing below wraps but totals
  const uint64_t codes = round_up(cols * column_bytes(shape.codes), kLineBytes);
  const uint64_t scales = round_up(cols / unit * scale.bytes, kLineBytes);

  PackedLayout out;
  out.n_panels = static_cast<uint32_t>(ceil_div(shape.rows, kPanelRows));
  out.cols_padded = checked_cast<uint32_t>(cols, where);
  const uint64_t codes_bytes = checked_mul(out.n_panels, codes, where);
  const uint64_t scales_bytes = checked_mul(out.n_panels, scales, where);
  checked_cast<size_t>(checked_add(codes_bytes, scales_bytes, where), where);  // so all fit
  out.code_stride = static_cast<size_t>(codes);
  out.scale_stride = static_cast<size_t>(scales);
  out.codes_bytes = static_cast<size_t>(codes_bytes);
  out.scales_bytes = static_cast<size_t>(scales_bytes);
  return out;
}

PackedView packed_view(const PackedShape& shape, std::span<const std::byte> data,
                       const std::string& where) {
  const PackedLayout layout = packed_layout(shape, where);
  if (data.size() != layout.total_bytes())
    throw Error::mismatch(where, "the size of the packed matrix",
                          std::to_string(layout.total_bytes()) + " bytes",
                          std::to_string(data.size()) + " bytes");
  const size_t offset = reinterpret_cast<uintptr_t>(data.data()) % kLineBytes;
  if (offset != 0)
    throw Error::mismatch(where, "the address of the packed matrix", "a multiple of 64",
                          "64 n + " + std::to_string(offset));
  PackedView view{.shape = shape,
                  .cols_padded = layout.cols_padded,
                  .code_stride = layout.code_stride,
                  .scale_stride = layout.scale_stride};
  view.codes = reinterpret_cast<const uint8_t*>(data.data());
  if (layout.scales_bytes != 0) view.scales = view.codes + layout.codes_bytes;
  return view;
}

std::string format_name(const PackedShape& shape) {
  std::string name = kCodesNames[static_cast<size_t>(shape.codes)];
  if (shape.group != 0) name += " g" + std::to_string(shape.group);
  return name + scheme_name(shape.scheme);
}

double bits_per_weight(const PackedShape& shape) {
  const ScaleStruct scale = scale_struct(shape);
  const double codes = static_cast<double>(code_bits(shape.codes));
  if (scale.cols == 0) return codes;
  return codes +
         8 * static_cast<double>(scale.bytes) / static_cast<double>(kPanelRows * scale.cols);
}

void unpack_row(const PackedView& w, size_t row, float* out) {
  const size_t panel = row / kPanelRows, r = row % kPanelRows;
  const uint8_t* codes = w.codes + panel * w.code_stride;
  const auto half = [&](size_t c) {
    return reinterpret_cast<const uint16_t*>(codes)[c * kPanelRows + r];
  };
  switch (w.shape.codes) {
    case Codes::f32:
      for (size_t c = 0; c < w.shape.cols; ++c)
        out[c] = reinterpret_cast<const float*>(codes)[c * kPanelRows + r];
      break;
    case Codes::f16:
      for (size_t c = 0; c < w.shape.cols; ++c) out[c] = half_to_float(half(c));
      break;
    case Codes::bf16:
      for (size_t c = 0; c < w.shape.cols; ++c) out[c] = bf16_to_float(half(c));
      break;
    default:
      unpack_quantized(w, codes, w.scales + panel * w.scale_stride, r, out);
      break;
  }
}

}  // namespace nibble
