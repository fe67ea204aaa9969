// A whole model, opened and run: an input is a file (GGUF, .nib, llama2.c); or "d", a config.json,
// a zero byte and a model.safetensors, which are a directory; or "n" and the settings of a .nib
// file, which stand in another one. It is refused with an Error, or two tokens go through it.
#include <random>

#include "family_cases.h"
#include "fuzz/fuzz.h"
#include "nibble/nibble.h"
#include "quantized_model.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr char kDirectory = 'd', kNibConfig = 'n';

std::string packed(const std::string& file) {
  const TempDir dir;
  write_file(dir / "model", file);
  quantize(dir / "model", dir / "nib");
  return read_file(dir / "nib");
}

void run_model(const std::string& path) {
  const Model model(path, {.threads = 1});
  Session session(model, {.context = 4});
  const std::vector<Token> tokens = {0, model.config().vocab_size - 1};
  session.eval(tokens);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScratchFile scratch;
  static const TempDir dir;
  const std::string_view input = as_text(data, size);
  try {
    if (input.empty() || (input[0] != kDirectory && input[0] != kNibConfig)) {
      write_file(scratch.path(), input);
      run_model(scratch.path());
    } else if (input[0] == kNibConfig) {
      static const std::string nib = packed(tiny_gguf());
      write_file(scratch.path(), with_nib_config(nib, input.substr(1)));
      run_model(scratch.path());
    } else if (const size_t zero = input.find('\0'); zero != std::string_view::npos) {
      write_file(dir / "config.json", input.substr(1, zero - 1));
      write_file(dir / "model.safetensors", input.substr(zero + 1));
      run_model(dir.path());
    }
  } catch (const Error&) {
  }
  return 0;
}

namespace {

std::string directory(const std::string& config, const std::string& weights) {
  return kDirectory + config + '\0' + weights;
}

std::string quantized_directory(const std::string& quantization, const Store& store) {
  const TempDir dir;
  const std::string path = write_pair(dir, quantization, 4, store, true).quantized;
  return directory(read_file(path + "/config.json"), read_file(path + "/model.safetensors"));
}

std::string published(const FamilyCase& c) {
  const TempDir dir;
  c.publish(dir / "hf", c.config, c.tensors());
  return directory(read_file(dir / "hf/config.json"), read_file(dir / "hf/model.safetensors"));
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  using Layer = test::QuantizedLayer;
  const std::string awq = R"("quant_method":"awq","bits":4,"group_size":32,"version":)";
  const auto shuffled = [](Layer& l) -> Layer& {
    std::mt19937 random(static_cast<unsigned>(l.rows));
    shuffle_groups(random, l);
    return l;
  };
  std::string settings = tiny_nib_config();
  settings.replace(settings.size() - 1, 1,
                   R"(,"positions":"alibi","alibi_max_bias":8.0,"query_growth":0.1,)"
                   R"("rope_original_context":32,"sliding_window":3,"window_layers":[1],)"
                   R"("nope_layers":[1],"activation":"gelu","residual_scale":0.5})");
  const FamilyCase experts = gpt_oss_cases().front();
  return {tiny_gguf(),
          packed(tiny_gguf()),
          experts.gguf(experts.config, experts.tensors()),
          published(experts),
          kNibConfig + tiny_nib_config(),
          kNibConfig + settings,
          tiny_llama2c(),
          directory(tiny_config(), tiny_safetensors()),
          quantized_directory(awq + "\"gemm\"", as_awq_gemm),
          quantized_directory(awq + "\"gemv\"", as_awq_gemv),
          quantized_directory(awq + "\"gemv_fast\"",
                              [](Layer& l, const std::string& p) { return as_awq_fast(l, p); }),
          quantized_directory(
              R"("quant_method":"gptq","bits":4,"group_size":32,"checkpoint_format":"gptq_v2")",
              [&](Layer& l, const std::string& p) { return as_gptq(shuffled(l), p, false); }),
          quantized_directory(R"("quant_method":"compressed-tensors","format":"pack-quantized")",
                              [&](Layer& l, const std::string& p) {
                                return as_compressed(shuffled(l), p, false, true);
                              })};
}
