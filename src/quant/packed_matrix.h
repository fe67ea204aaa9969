// Packed matrices that own or borrow their bytes, and the ways to make them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "kernels.h"
#include "packed.h"
#include "quant/matrix_source.h"

namespace nibble {

// Names of the enumerators in a .nib file, in their order.
inline constexpr std::array<const char*, 15> kCodesNames = {
    "f32",     "f16",   "bf16", "q2",  "q3", "iq1", "iq2", "q4",
    "iq3_xxs", "iq3_s", "fp4",  "iq4", "q5", "q6",  "q8"};
inline constexpr std::array<const char*, 9> kSchemeNames = {
    "none", "f16", "f16_zero", "f32_zero", "f16_min", "k6", "k8", "k8_min", "k4_min"};

/// Bytes and strides that follow from a shape. `codes_bytes` and `scales_bytes` are multiples
/// of 64.
struct PackedLayout {
  uint32_t n_panels = 0;
  uint32_t cols_padded = 0;
  size_t code_stride = 0;
  size_t scale_stride = 0;
  size_t codes_bytes = 0;
  size_t scales_bytes = 0;
  size_t total_bytes() const { return codes_bytes + scales_bytes; }
};

/// Error naming `where` if the shape is not one that kernels know (group, scheme, sizes).
PackedLayout packed_layout(const PackedShape& shape, const std::string& where);

/// A matrix in panel order; its bytes are codes, then scales, as packed_layout() says.
struct PackedMatrix {
  std::string name;
  std::string source_type;  // "Q4_K", "BF16": what it was made of, for people
  PackedView view;
  size_t bytes = 0;

  /// Packed column c multiplies column column_order[c] of the input; empty: column c.
  std::vector<uint32_t> column_order;
  /// Which form of its input it reads: 0 as it is, else permuted. Matrices that share an input have
  /// the same number if they have the same order.
  uint8_t input_form = 0;

  bool empty() const { return view.codes == nullptr; }
};

/// The view of a matrix whose bytes lie at `data` (64-byte aligned, total_bytes() long; checked).
PackedView packed_view(const PackedShape& shape, std::span<const std::byte> data,
                       const std::string& where);

/// "q4 g32", "q4 g32 zero", "q4 g32 zero f32", "q4 g32 min", "q6 g16 k", "q4 g16 k min", "f16".
std::string format_name(const PackedShape& shape);
/// Bits of codes and scales per weight, padding left out.
double bits_per_weight(const PackedShape& shape);

/// Row `row` of the matrix as f32: out [cols]. Used for embeddings.
void unpack_row(const PackedView& w, size_t row, float* out);

/// Where row n of a packed matrix lies in its source, which may hold the rows of other matrices,
/// too. The default is row n. Kernels pair the rows (i, i + rope_dim / 2) of a head for RoPE; files
/// with interleaved RoPE pair (2i, 2i + 1).
struct RowMap {
  uint32_t first = 0;         // row of the first row
  uint32_t head_dim = 0;      // rows of a head; 0: there are no heads
  uint32_t rope_dim = 0;      // interleaved: rows of a head that are rotated, else 0
  uint32_t group = 0;         // consecutive heads of this matrix in the source; 0: all of them
  uint32_t source_group = 0;  // heads from where they start to where the next ones do
  uint32_t source_row(uint32_t n) const;
};

/// What to make of a tensor.
struct PackTarget {
  enum class Kind : uint8_t {
    keep,  // the codes and scales of a quantized GGUF type, exactly; f32, f16 and bf16 as they are
    q4,    // round to nearest, 4 bits
    q8,    // round to nearest, 8 bits, symmetric
    q4_k,  // the format of Q4_K, that of Q6_K: pack_panels() does not round to these, awq/ does
    q6_k,
    f16,
    f32,
  };
  Kind kind = Kind::keep;
  uint16_t group = 32;     // q4, q8
  bool symmetric = false;  // q4
};

/// The shape that `source` packs into. A matrix with a grid of its own keeps it (Codes and Scheme:
/// Q4_0 -> q4 f16, Q4_1 -> q4 f16_min, Q4_K -> q4 k6, Q2_K -> q2 k4_min, Q3_K -> q3 k8, Q5_0 ->
/// q5 f16, Q5_1 -> q5 f16_min, Q5_K -> q5 k6, Q6_K -> q6 k8, Q8_0 -> q8 f16, IQ1_S, IQ1_M -> iq1
/// k8, IQ2_XXS, IQ2_XS, IQ2_S -> iq2 k8, IQ3_XXS -> iq3_xxs k8, IQ3_S -> iq3_s k8, MXFP4 -> fp4
/// f16, IQ4_NL -> iq4 f16, IQ4_XS -> iq4 k8), unless `target` asks for f16 or f32, which widens a
/// tensor of blocks. Throws Error for groups and sizes that panels cannot hold.
PackedShape packed_shape_of(const MatrixSource& source, const PackTarget& target);

/// Packs the rows of panels panel_begin..panel_end-1 into `out`, the bytes of the whole matrix.
/// Packed row n is row `rows`.source_row(n) of the source. Safe to call from several threads on
/// disjoint panels. `out` is zero before. Throws nothing but std::bad_alloc:
/// everything else was checked by packed_shape_of(). What is written does not depend on the
/// kernels, only how fast.
void pack_panels(const MatrixSource& source, const PackedShape& shape, const RowMap& rows,
                 size_t panel_begin, size_t panel_end, std::byte* out, const Kernels& kernels);

/// Widens `n` elements of a tensor of floats or of blocks, from the beginning of a block on, to
/// f32.
void dequantize(DType type, const std::byte* data, size_t n, float* out);

}  // namespace nibble
