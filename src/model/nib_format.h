// The .nib file: a safetensors file whose tensors are packed panels, ready to map.
//
//   __metadata__   "nibble.format": "1"; "nibble.version": of the library that wrote it;
//                  "nibble.config": JSON, see config_reader.h; "nibble.matrices": JSON object, for
//                  each packed tensor its rows, cols, codes, scheme, group, zero and source type
//   tensors        matrices as U8 [bytes] (codes, then scales: packed.h), vectors as F32 [n], and
//                  "nibble.vocabulary" as U8: JSON, see vocabulary.h; each at a multiple of 64
//                  bytes. A matrix NAME whose columns are not in the order of its input has it
//                  beside it: NAME.order, U32 [cols], see PackedMatrix::column_order
//
// The number of the format stays while all files of before load to the same logits. Names of codes
// and schemes may be added: a version that does not know one refuses the matrix by its name. So
// came iq4, q5 and q6, in files of before which Q5_0, Q5_1, Q5_K, Q6_K, IQ4_NL and IQ4_XS are q8,
// and q2, q3 and k4_min, before which Q2_K was q4 with k8_min and Q3_K q4.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "load/checkpoint.h"
#include "model/weights.h"
#include "nibble/quantize.h"

namespace nibble {

inline constexpr const char* kNibVocabulary = "nibble.vocabulary";
inline constexpr const char* kNibOrder = ".order";

struct NibMatrix {
  PackedShape shape;
  std::string source_type;
};
using NibMatrices = std::map<std::string, NibMatrix, std::less<>>;

/// The table of matrices of a .nib checkpoint. Throws Error.
NibMatrices read_nib_matrices(const Checkpoint& checkpoint);

/// Writes the bytes of one planned matrix into `out` (total_bytes() of its layout, zero before).
using MatrixWriter = std::function<void(const PlannedMatrix&, std::span<std::byte> out)>;

/// Writes the file, one matrix in memory at a time: `pack` gives its bytes.
/// `vocabulary` is the JSON text to store; empty: none.
void write_nib(const std::string& path, const Config& config, const SamplerOptions& sampling,
               const WeightPlan& plan, const std::string& vocabulary, const MatrixWriter& pack,
               const Progress& progress);

}  // namespace nibble
