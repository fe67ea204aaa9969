#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "nibble/model.h"

namespace nibble {

/// How weights find their codes.
enum class Rounding : uint8_t {
  nearest,      // the grid from the least to the greatest weight of a group
  clip,         // AWQ's: a symmetric limit, by the error of the outputs of each group
  importance,   // scale and zero point by the error weighted with the square of the inputs
  compensated,  // GPTQ: as importance, and the error of a column moves to those not yet rounded
};

/// How 4-bit matrices of layers store the scales of their groups.
enum class GroupScales : uint8_t {
  automatic,   // with a calibration text shared_mix, where it is possible; else own
  own,         // each group an fp16 and, unless symmetric, a zero point
  shared,      // as GGUF's Q4_K: groups of 32 columns, scale and minimum of 6 bits times what 256
               // columns share, 4.5 bits a weight
  shared_mix,  // and `v` and `down` of about half the layers as Q6_K, which llama.cpp's Q4_K_M
               // chooses: about 4.8 bits a weight
};

enum class QuantizeFormat : uint8_t {
  nib,  // one .nib file
  awq,  // a Hugging Face directory as AutoAWQ writes it ("gemm"), for vLLM and transformers
};

/// A layer that has been quantized with calibration.
struct QuantizedLayer {
  int layer = 0, n_layers = 0;
  /// Squared error of the layer's matrix products relative to the products, mean over the matrices:
  /// rounded to nearest with group scales of their own and no others, and as written.
  double error_before = 0, error_after = 0;
  double seconds = 0;       // that it took
  double seconds_left = 0;  // for the other layers, about
};

struct QuantizeOptions {
  WeightType weights = WeightType::automatic;
  int group = 32;          // 32, 64, 128
  bool symmetric = false;  // no zero points: scale = absmax / 7, codes 1..15 around 8
  /// Shared ones are searched, by Rounding::nearest, too, but not by clip; they need groups of 32
  /// that are not symmetric, and QuantizeFormat::nib. A matrix that they would make larger, as its
  /// inputs are no multiple of 256, has its own.
  GroupScales group_scales = GroupScales::automatic;
  int threads = 0;       // 0: the performance cores this process may use
  std::string isa = {};  // as in ModelOptions
  Progress progress = {};
  /// Once it is true, quantize() throws Error within about a second. Asked often, from any thread
  /// and from several at once; what it throws is passed on.
  std::function<bool()> cancelled = {};

  /// Activation-aware scales (AWQ, arXiv 2306.00978) from a calibration text, folded into what
  /// precedes each matrix.
  bool scales = false;
  Rounding rounding = Rounding::nearest;
  QuantizeFormat format = QuantizeFormat::nib;  // awq: with scales or without

  // Of scales, and of any rounding but nearest, which need a calibration text:
  std::string calibration = {};  // a text, or .jsonl of {"messages": [...]} and {"text": ...}
  int samples = 256;             // windows to use at most, >= 1, spread evenly
  /// Tokens of a window at most, 2 to 4096. A text becomes as many windows as it needs; of
  /// {"messages": [...]} only the first tokens are used.
  int window = 512;

  // Of all these, shared group scales and QuantizeFormat::awq, which go layer by layer:
  bool resume = false;  // go on with the finished layers in OUT.part
  /// Called after each layer, in the thread that called quantize(). What it throws is passed on,
  /// and finished layers stay for `resume`.
  std::function<void(const QuantizedLayer&)> on_layer = {};

  bool needs_calibration() const { return scales || rounding != Rounding::nearest; }
  /// Whether it goes layer by layer, and keeps finished ones while it runs.
  bool works_by_layer() const {
    const bool shares =
        group_scales == GroupScales::shared || group_scales == GroupScales::shared_mix;
    return needs_calibration() || format == QuantizeFormat::awq || shares;
  }
};

struct QuantizeResult {
  ModelInfo info;  // of what was written
  double seconds = 0;
  std::vector<std::string> notes;  // what a user should know, one line each
};

/// Reads any model that Model() reads, but for .nib files, and writes it quantized. The output
/// appears under its name only when complete. With calibration, finished layers are kept beside it
/// in the folder OUT.part until then; an interrupted run leaves the folder for `resume`. Throws
/// Error.
NIBBLE_API QuantizeResult quantize(const std::string& in, const std::string& out,
                                   const QuantizeOptions& options = {});

}  // namespace nibble
