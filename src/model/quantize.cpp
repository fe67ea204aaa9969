#include "nibble/quantize.h"

#include <chrono>
#include <filesystem>

#include "model/config_reader.h"
#include "model/model_loader.h"
#include "model/nib_format.h"
#include "nibble/error.h"
#include "text/vocabulary.h"

namespace nibble {

QuantizeResult quantize(const std::string& in, const std::string& out,
                        const QuantizeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  std::error_code ignored;
  if (std::filesystem::equivalent(in, out, ignored))
    throw Error(out, "is the input", "write to another file");
  if (std::filesystem::is_directory(out, ignored))
    throw Error(out, "is a directory", "name a file");
  ModelOptions machine;
  machine.threads = options.threads;
  const auto tools = make_model_impl(machine);
  const Checkpoint checkpoint = open_checkpoint(in);
  if (checkpoint.format == FileFormat::nib)
    throw Error(in, "is a .nib file already", "quantize the original");
  const Config config = read_config(checkpoint);
  Weights weights;
  const WeightPlan plan =
      plan_weights(checkpoint, config,
                   {options.weights, checked_group(options.group), options.symmetric}, weights);
  const std::string vocabulary =
      has_vocabulary(checkpoint) ? vocabulary_to_json(read_vocabulary(checkpoint)) : "";
  write_nib(out, checkpoint, config, read_sampling(checkpoint), plan, vocabulary, *tools->pool,
            options.progress);
  QuantizeResult result;
  result.info = Model(out, machine).info();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace nibble
