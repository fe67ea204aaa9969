// The .nib file: a safetensors file whose tensors are packed panels, ready to map.
//
//   __metadata__   "nibble.format": "1"; "nibble.version": of the library that wrote it;
//                  "nibble.config": JSON, see config_reader.h; "nibble.matrices": JSON object, for
//                  each packed tensor its rows, cols, codes, scheme, group, zero and source type
//   tensors        matrices as U8 [bytes] (codes, then scales: packed.h), vectors as F32 [n], and
//                  "nibble.vocabulary" as U8: JSON, see vocabulary.h; each at a multiple of 64
//                  bytes. A matrix NAME whose columns are not in the order of its input has it
//                  beside it: NAME.order, U32 [cols], see PackedMatrix::column_order
#pragma once

#include <map>
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

/// Packs every matrix of `plan` and writes the file, one matrix in memory at a time.
/// `vocabulary` is the JSON text to store; empty: none.
void write_nib(const std::string& path, const Checkpoint& source, const Config& config,
               const SamplerOptions& sampling, const WeightPlan& plan,
               const std::string& vocabulary, ThreadPool& pool, const Progress& progress);

}  // namespace nibble
