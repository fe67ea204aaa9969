// Whether kernels compute what the scalar ones do: a speed without that is no figure.
#pragma once

#include <string>
#include <vector>

#include "bench_report.h"
#include "nibble/nibble.h"

namespace nibble::tools {

/// Compares sets of kernels with the scalar one on the same weights. So that this takes seconds
/// with the largest model, only its first layers are computed: as many as hold every shape and
/// format of a matrix. The first tokens go one by one, as in generation, and are compared with the
/// scalar kernels; then all go at once, as in a prompt, and are compared with themselves alone.
class BenchGuard {
 public:
  explicit BenchGuard(const Model& model);

  /// `options` as model_with() takes them.
  BenchCheck check(const ModelOptions& options);
  int n_layers() const { return n_layers_; }

 private:
  Model model_;
  int n_layers_;
  std::vector<Token> tokens_;
  // [kScalarTokens, vocab]: the scalar kernels' logits, once known; with int8 and f32 activations.
  std::vector<float> reference_, exact_;
};

}  // namespace nibble::tools
