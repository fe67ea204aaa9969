#include "nibble/quantize.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "awq/awq_directory.h"
#include "awq/layer_by_layer.h"
#include "awq/quantize_options.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/hash.h"
#include "model/config_reader.h"
#include "model/model_loader.h"
#include "model/nib_format.h"
#include "nibble/error.h"
#include "nibble/version.h"
#include "text/vocabulary.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

ModelOptions machine_of(const QuantizeOptions& options) {
  ModelOptions machine;
  machine.threads = options.threads;
  machine.isa = options.isa;
  return machine;
}

void check_output(const std::string& out, const QuantizeOptions& options) {
  if (out.empty()) throw Error("output", "the path is empty");
  if (out.ends_with('/')) throw Error(out, "ends with a slash", "leave it out");
  std::error_code ignored;
  if (options.format == QuantizeFormat::nib && fs::is_directory(out, ignored))
    throw Error(out, "is a directory", "name a file");
  // The finished file takes the place of what has its name: never that of a device.
  if (fs::exists(out, ignored) && fs::is_other(out, ignored))
    throw Error(out, "is not a regular file", "name a file");
  if (options.format == QuantizeFormat::awq && fs::exists(out, ignored))
    throw Error(out, "exists already", "name a directory that does not exist");
}

// Error if writing `out` would destroy what is read or belongs to it.
void refuse_overwriting(const Checkpoint& in, const std::string& out,
                        const QuantizeOptions& options) {
  std::error_code ignored;
  if (in.has_file(out)) throw Error(out, "is the input itself", "name another file");
  if (options.needs_calibration() && fs::equivalent(options.calibration, out, ignored))
    throw Error(out, "is the calibration text", "name another file");
  // The configuration and the tokenizer lie beside the weights; a .nib file there is of an earlier
  // run.
  const bool beside = in.format == FileFormat::hugging_face || in.format == FileFormat::llama2c;
  if (!beside || out.ends_with(".nib")) return;
  const fs::path folder = in.format == FileFormat::hugging_face
                              ? fs::path(in.path)
                              : fs::absolute(in.path, ignored).parent_path();
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end;
       at.increment(ignored)) {
    std::error_code other;
    if (fs::equivalent(at->path(), out, other))
      throw Error(out, "lies beside the weights of the input and may belong to it",
                  "name another file");
  }
}

// Why matrices cannot share the scales of their groups, if they cannot.
std::optional<Error> why_not_shared(const QuantizeOptions& options) {
  const std::string where = "weights as Q4_K";
  if (options.weights != WeightType::automatic && options.weights != WeightType::q4)
    return Error(where, "are for 4-bit weights");
  if (options.group != 32)
    return Error(where, "have groups of 32, not of " + std::to_string(options.group), "--group 32");
  if (options.symmetric)
    return Error(where, "have minima, which symmetric groups have not", "leave out --sym");
  if (options.format == QuantizeFormat::awq)
    return Error(where, "are unknown to format awq", "--format nib, or --weights q4_awq");
  if (options.rounding == Rounding::clip)
    return Error(where, "are not searched by clipping", "--method awq+importance or awq+gptq");
  return std::nullopt;
}

// What the automatic choice is.
GroupScales chosen_scales(const QuantizeOptions& options) {
  if (options.group_scales != GroupScales::automatic) return options.group_scales;
  const bool mixed = options.needs_calibration() && options.weights == WeightType::automatic &&
                     !why_not_shared(options);
  return mixed ? GroupScales::shared_mix : GroupScales::own;
}

void check_options(const QuantizeOptions& options) {
  if (options.format == QuantizeFormat::awq && options.weights != WeightType::automatic &&
      options.weights != WeightType::q4)
    throw Error("format awq", "has 4-bit weights only", "--weights auto");
  if (options.group_scales != GroupScales::own)
    if (const std::optional<Error> why = why_not_shared(options)) throw *why;
  if (!options.needs_calibration()) return;
  if (options.weights != WeightType::automatic && options.weights != WeightType::q4)
    throw Error("weights", "are not 4-bit, so there is nothing to calibrate", "--weights auto");
  if (options.calibration.empty())
    throw Error("calibration", "no text is named", "--calibration FILE");
  if (options.window < 2 || options.window > 4096)
    throw Error("window", "is " + std::to_string(options.window) + ", expected 2 to 4096");
  if (options.samples < 1)
    throw Error("samples", "is " + std::to_string(options.samples) + ", expected 1 or more");
}

// Everything that the result of a layer depends on.
std::string recipe_of(const Checkpoint& checkpoint, const ModelImpl& tools,
                      const std::string& vocabulary, const QuantizeOptions& options) {
  std::string text = std::string("nibble ") + version() + " " + tools.kernels->name + "\n";
  const auto line = [&](const char* name, const auto& value) {
    text += name + (" " + std::to_string(value)) + "\n";
  };
  for (const MappedFile& file : checkpoint.files) {
    std::error_code ignored;
    text += fs::absolute(file.path(), ignored).string() + " ";
    const auto time =  // of 128 bits in some libraries
        static_cast<int64_t>(fs::last_write_time(file.path(), ignored).time_since_epoch().count());
    text += std::to_string(file.bytes().size()) + " " + std::to_string(time) + "\n";
  }
  text += config_to_json(tools.config, tools.sampling) + "\n";
  line("group", options.group);
  line("symmetric", options.symmetric);
  line("group_scales", static_cast<int>(options.group_scales));
  line("scales", options.scales);
  line("rounding", static_cast<int>(options.rounding));
  line("format", static_cast<int>(options.format));
  if (options.needs_calibration()) {
    line("calibration", hash_of(MappedFile(options.calibration).bytes()));
    line("vocabulary", hash_of(std::as_bytes(std::span(vocabulary))));
    line("samples", options.samples);
    line("window", options.window);
  }
  return text;
}

// A format whose groups must be whole leaves what does not divide in 16 bits.
void keep_indivisible(WeightPlan& plan, QuantizeResult& result) {
  for (PlannedMatrix& m : plan.matrices) {
    if (!is_rounded(m) || (m.shape.cols % m.shape.group == 0 && m.source.rows % 8 == 0)) continue;
    result.notes.push_back(m.name + " stays in 16 bits: its " + std::to_string(m.source.rows) +
                           " outputs are no multiple of 8, or its " + std::to_string(m.shape.cols) +
                           " inputs none of the group");
    retarget(m, PackTarget::Kind::f16);
  }
}

// The matrices that llama.cpp's Q4_K_M gives six bits: v and down of the first and the last eighth
// of the layers, and of every third between.
bool deserves_six_bits(const Weights& weights, const PackedMatrix* m, int layer) {
  const auto n = static_cast<int>(weights.layers.size());
  if (layer >= n / 8 && layer < 7 * n / 8 && (layer - n / 8) % 3 != 2) return false;
  const LayerWeights& of = weights.layers[static_cast<size_t>(layer)];
  return m == &of.v || m == &of.down ||
         std::any_of(of.experts.begin(), of.experts.end(),
                     [&](const ExpertWeights& expert) { return m == &expert.down; });
}

// 256 columns have one scale: where the last ones are few, that is more bytes than it saves.
void share_scales(WeightPlan& plan, const Weights& weights, bool mix, QuantizeResult& result) {
  using Kind = PackTarget::Kind;
  const auto bytes = [](const PlannedMatrix& m) {
    return packed_layout(m.shape, m.name).total_bytes();
  };
  size_t n_larger = 0;
  for (PlannedMatrix& m : plan.matrices) {
    if (!is_rounded(m)) continue;
    PlannedMatrix shared = m;
    retarget(shared, Kind::q4_k);
    const bool larger = bytes(shared) > bytes(m);
    n_larger += larger ? 1 : 0;
    if (larger) continue;
    const bool six = mix && deserves_six_bits(weights, m.destination, layer_of(m.name));
    retarget(m, six ? Kind::q6_k : Kind::q4_k);
  }
  if (n_larger > 0)
    result.notes.push_back(std::to_string(n_larger) +
                           " matrices keep a scale for each group: their inputs are no multiple of "
                           "256, and shared scales would take more bytes");
}

// A router reads scaled inputs, so its columns are scaled, too. That must not change which experts
// it chooses.
void widen_routers(WeightPlan& plan) {
  for (PlannedMatrix& m : plan.matrices) {
    if (layer_of(m.name) < 0 || m.target.kind != PackTarget::Kind::keep || m.source.has_grid())
      continue;
    retarget(m, PackTarget::Kind::f32);
  }
}

void refuse_quantized_input(const WeightPlan& plan) {
  for (const PlannedMatrix& m : plan.matrices)
    if (layer_of(m.name) >= 0 && m.source.has_grid())
      throw Error(
          m.source.where, "is quantized already (" + m.source.type_name + ")",
          "quantize the original; --method rtn --weights auto --format nib keeps the codes");
}

// Gives the pieces of finished layers: vectors at once, matrices when asked for.
class FinishedLayers {
 public:
  FinishedLayers(const WorkFolder& folder, const WeightPlan& plan, int n_layers) {
    for (int i = 0; i < n_layers; ++i) layers_.push_back(folder.load(i));
    for (const auto& [name, values] : plan.vectors) {
      const int layer = layer_of(name);
      if (layer < 0) continue;
      const auto bytes = piece(layer, name, values->size() * sizeof(float));
      std::memcpy(values->data(), bytes.data(), bytes.size());
    }
  }

  std::span<const std::byte> matrix(const PlannedMatrix& m) const {
    return piece(layer_of(m.name), m.name, packed_layout(m.shape, m.name).total_bytes());
  }

 private:
  std::span<const std::byte> piece(int layer, const std::string& name, uint64_t bytes) const {
    return WorkFolder::piece(layers_[static_cast<size_t>(layer)], name, bytes);
  }
  std::vector<Checkpoint> layers_;
};

// What all ways of quantizing begin with.
struct Job {
  Checkpoint checkpoint;
  std::shared_ptr<ModelImpl> impl;
  WeightPlan plan;  // points into both

  Job(const std::string& in, const std::string& out, const QuantizeOptions& options)
      : checkpoint(open_checkpoint(in)) {
    refuse_overwriting(checkpoint, out, options);
    if (checkpoint.format == FileFormat::nib)
      throw Error(in, "is a .nib file already", "quantize the original");
    ModelOptions machine = machine_of(options);
    machine.activations = Activations::f32;
    impl = make_model_impl(machine);
    if (options.cancelled) impl->pool->cancel_when(options.cancelled);
    read_metadata(checkpoint, *impl);
    plan = plan_weights(checkpoint, impl->config,
                        {options.weights, checked_group(options.group), options.symmetric},
                        impl->weights);
    plan.read_vectors();
  }

  std::string vocabulary() const {
    return has_vocabulary(checkpoint) ? vocabulary_to_json(read_vocabulary(checkpoint)) : "";
  }
  void write(const std::string& out, const MatrixWriter& pack, const Progress& progress) const {
    write_nib(out, impl->config, impl->sampling, plan, vocabulary(), pack, progress);
  }
  void pack(const PlannedMatrix& m, std::span<std::byte> bytes) const {
    pack_matrix(m, bytes.data(), *impl->kernels, *impl->pool);
    release(checkpoint, m.source);
  }
};

void quantize_by_layer(Job& job, const std::string& out, const QuantizeOptions& options,
                       QuantizeResult& result) {
  refuse_quantized_input(job.plan);
  if (options.format == QuantizeFormat::awq) {
    check_awq_source(job.checkpoint, job.plan);
    keep_indivisible(job.plan, result);
  }
  if (options.group_scales != GroupScales::own)
    share_scales(job.plan, job.impl->weights, options.group_scales == GroupScales::shared_mix,
                 result);
  widen_routers(job.plan);
  const std::string vocabulary = options.needs_calibration() ? job.vocabulary() : "";
  const WorkFolder folder(out + ".part", recipe_of(job.checkpoint, *job.impl, vocabulary, options),
                          options.resume);
  LayerByLayer(job.checkpoint, *job.impl, job.plan, folder, options).run();
  const int n_layers = job.impl->config.n_layers;
  const FinishedLayers finished(folder, job.plan, n_layers);
  const auto progress = [&](double part) {
    return (!options.cancelled || !options.cancelled()) &&
           (!options.progress || options.progress((n_layers + part) / (n_layers + 1)));
  };
  if (options.format == QuantizeFormat::awq) {
    write_awq_directory(out, folder.file("directory"), job.checkpoint, *job.impl, job.plan, options,
                        [&](const PlannedMatrix& m) { return finished.matrix(m); });
    progress(1);
  } else {
    job.write(
        out,
        [&](const PlannedMatrix& m, std::span<std::byte> bytes) {
          if (layer_of(m.name) < 0) return job.pack(m, bytes);
          const auto from = finished.matrix(m);
          std::memcpy(bytes.data(), from.data(), from.size());
        },
        progress);
  }
  folder.remove();
}

}  // namespace

void check_quantize_options(const QuantizeOptions& options) {
  QuantizeOptions chosen = options;
  chosen.group_scales = chosen_scales(options);
  check_options(chosen);
}

QuantizeResult quantize(const std::string& in, const std::string& out,
                        const QuantizeOptions& chosen) {
  QuantizeOptions options = chosen;
  options.group_scales = chosen_scales(options);
  const Clock::time_point start = Clock::now();
  check_output(out, options);
  check_options(options);
  QuantizeResult result;
  {
    Job job(in, out, options);
    result.notes = job.impl->info.notes;  // which the file that is written does not have
    if (options.works_by_layer())
      quantize_by_layer(job, out, options, result);
    else
      job.write(
          out, [&](const PlannedMatrix& m, std::span<std::byte> bytes) { job.pack(m, bytes); },
          options.progress);
  }
  result.info = Model(out, machine_of(options)).info();
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace nibble
