// How a Hugging Face checkpoint says that its weights are quantized.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "load/checkpoint.h"

namespace nibble {

enum class QuantMethod : uint8_t { none, awq, gptq, compressed_tensors };
enum class AwqVersion : uint8_t { gemm, gemv, gemv_fast };

struct QuantConfig {
  QuantMethod method = QuantMethod::none;
  std::string where;  // for errors: "DIR/config.json: quantization_config"
  int bits = 4;       // 4 or 8
  /// Columns that share a scale; 0: all of a row. Without a value the shapes of the tensors tell.
  std::optional<uint32_t> group;
  /// Every zero is the middle of the codes, so that no tensor need hold them.
  bool symmetric = false;
  std::optional<AwqVersion> awq_version;  // without a value the shapes of the tensors tell
  bool gptq_zeros_minus_one = false;      // the first format of GPTQ stores z - 1
  bool gptq_ordered = false;              // only g_idx tells which columns share a scale
  /// Matrices of GPTQ may differ from `bits` and `group`; the shapes of their tensors tell.
  bool mixed = false;
};

/// Reads quantization_config of config.json, quant_config.json or quantize_config.json, whichever
/// there is; method `none` without any. Throws Error naming what is not implemented: methods, bit
/// widths, versions, quantized activations or KV caches, rotations, sparsity.
/// Sources: AutoAWQ models/_config.py, AutoGPTQ quantization/config.py, GPTQModel
/// quantization/config.py, AutoRound inference/convert_model.py and backend.py, compressed-tensors
/// quantization/quant_config.py and quant_args.py.
QuantConfig read_quant_config(const Checkpoint& checkpoint);

}  // namespace nibble
