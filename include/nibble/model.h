#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/config.h"
#include "nibble/export.h"
#include "nibble/sampler.h"
#include "nibble/tokenizer.h"

namespace nibble {

/// What the unquantized weights of a checkpoint become; a file's own quantized grid is kept.
/// automatic: linear layers q4, embeddings and output head q8.
enum class WeightType : uint8_t { automatic, q4, q8, f16, f32 };

/// What a quantized matrix multiplies: int8 (fast; bf16 where the CPU has AMX) or f32 (exact, slow,
/// for checking; the KV cache is then f32 too). automatic: int8.
enum class Activations : uint8_t { automatic, int8, f32 };

/// Called with the share done (0..1), never falling, in the thread that asked for the operation,
/// and by it alone; returning false cancels, and the operation throws Error. What it throws is
/// passed on.
using Progress = std::function<bool(double done)>;

struct ModelOptions {
  int threads = 0;        // decode; 0: the performance cores this process may use
  int threads_batch = 0;  // prefill; 0: as threads
  WeightType weights = WeightType::automatic;
  int group = 32;  // columns per scale where weights are quantized at load: 32, 64, 128
  Activations activations = Activations::automatic;
  std::string isa = {};    // "", or a name of kernel set: scalar, avx2, avx512, neon, ...
  bool mlock = false;      // lock the weights in memory; Error if the system refuses
  Progress progress = {};  // of loading; never called for .nib files, which are only mapped
};

/// What was understood of a file.
struct ModelInfo {
  std::string format;  // "GGUF v3", "Hugging Face safetensors", "nib 1", "llama2.c"
  uint64_t n_params = 0;
  uint64_t file_bytes = 0;
  uint64_t weight_bytes = 0;   // packed, as decode reads them
  uint64_t decode_bytes = 0;   // bytes of weights that one decoded token reads
  double bits_per_weight = 0;  // weight_bytes * 8 / n_params
  std::string kernels;         // name of the kernel set in use
  int threads = 0;
  int threads_batch = 0;
  double load_seconds = 0;  // that the construction took; 0 for models from no file
  /// The name of chat_template_names() that the model's own template renders like, "custom", "not
  /// usable" (see notes), or "none".
  std::string chat_template;
  std::vector<std::string> notes;  // what a user should know, one line each
  struct Tensor {
    std::string name;
    uint32_t rows = 0, cols = 0;
    std::string type;  // "q4 g32", "q6 g16 k (Q6_K)", "f32"
    uint64_t bytes = 0;
  };
  std::vector<Tensor> tensors;
};

struct ModelImpl;

/// Weights, tokenizer and kernels of one model. Immutable after construction; copies share it; all
/// methods may be called from many threads at once. Sessions of one model share its thread pool
/// and take turns.
class NIBBLE_API Model {
 public:
  /// Loads a .nib or .gguf file (or the first of a split set), a llama2.c .bin file or a Hugging
  /// Face directory. Throws Error.
  explicit Model(const std::string& path, const ModelOptions& options = {});

  const Config& config() const;
  const Tokenizer& tokenizer() const;
  bool has_tokenizer() const;  // false for a file without one; tokenizer() then throws Error
  const ModelInfo& info() const;
  /// The sampling the model's authors recommend, or the defaults.
  const SamplerOptions& default_sampling() const;

  // For the library itself: ModelImpl is not public.
  const std::shared_ptr<const ModelImpl>& impl() const { return impl_; }
  explicit Model(std::shared_ptr<const ModelImpl> impl);

 private:
  std::shared_ptr<const ModelImpl> impl_;
};

}  // namespace nibble
