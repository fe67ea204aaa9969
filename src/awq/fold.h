// Where a scale can go: which matrices read an input, and what precedes it and can take the
// inverse.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "awq/products.h"
#include "awq/scale_search.h"
#include "model/weights.h"

namespace nibble {

/// Matrices that share an input, and the vector or the matrix that makes it. Their columns are
/// multiplied by a scale, what precedes is divided by it: the function stays.
struct Fold {
  const char* name = "";                          // "attn_norm -> q, k, v"
  std::vector<const PackedMatrix*> readers = {};  // all that read the input, quantized or not
  std::vector<float>* vector = nullptr;           // [channels]: a norm's weights, or factors; or
  const PackedMatrix* matrix = nullptr;           // the matrix whose rows are the channels
  std::vector<std::vector<float>*> biases = {};   // of the norm or matrix
  ScaleSharing sharing = {};                      // how rows of `matrix` feed the channels
};

/// The folds of a layer: those that the arithmetic of the family allows. What reads an input that
/// nothing in front can be divided for (the residual stream itself, a GELU, clipped values) has
/// none and is rounded unscaled. Pointers are into `layer`.
std::vector<Fold> folds_of(const Config& config, LayerWeights& layer);

/// Changes s [channels] to what can be folded and kept in fp16: factors within 2^-10..2^10, no
/// input of magnitude `max_abs` / s near the end of fp16, and for vectors such that value / s is a
/// fp16 value exactly; 1 where there is none.
void limit_scale(const Fold& fold, std::span<const float> max_abs, std::vector<float>& s);

/// Divides what precedes by s and multiplies the readers' columns. All matrices are f32 panels.
void apply_fold(const Compute& compute, const Fold& fold, const std::vector<float>& s);

/// The panels of an f32 matrix, to be changed.
FloatPanels panels_of(const PackedMatrix& m);

}  // namespace nibble
