#include "nibble/model.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/checked.h"
#include "base/clock.h"
#include "base/read_ahead.h"
#include "base/thread_pool.h"
#include "model/config_reader.h"
#include "model/model_loader.h"
#include "model/nib_format.h"
#include "nibble/error.h"
#include "text/chat_template.h"
#include "text/tokenizer_impl.h"
#include "text/vocabulary.h"

namespace nibble {
namespace {

int thread_count(int asked, int fallback, const char* what) {
  if (asked < 0 || asked > kMaxThreads)
    throw Error(what,
                "is " + std::to_string(asked) + ", expected 0 to " + std::to_string(kMaxThreads));
  return asked > 0 ? asked : fallback;
}

void read_tokenizer(const Checkpoint& checkpoint, ModelImpl& model) {
  if (!has_vocabulary(checkpoint)) {
    model.no_tokenizer = no_vocabulary(checkpoint);  // for who asks for one
    return;
  }
  Vocabulary vocabulary = read_vocabulary(checkpoint);
  // Embeddings may have more rows than there are tokens: such an id is a token without text.
  pad_vocabulary(vocabulary, static_cast<size_t>(model.config.vocab_size));
  model.info.notes = std::move(vocabulary.notes);
  model.tokenizer = make_tokenizer(std::move(vocabulary));
}

void describe_template(ModelImpl& model) {
  model.info.chat_template = "none";
  if (!model.tokenizer || model.tokenizer->impl().vocabulary.chat_template.empty()) return;
  try {
    model.info.chat_template = ChatTemplate(*model.tokenizer).description();
  } catch (const Error& e) {
    model.info.chat_template = "not usable";
    model.info.notes.push_back("the model's chat template cannot be used: " + e.why());
  }
}

// Says which weights were not kept as the file has them.
void note_rounding(const WeightPlan& plan, ModelInfo& info) {
  std::set<std::string> rounded;
  for (const PlannedMatrix& m : plan.matrices)
    if (m.target.kind == PackTarget::Kind::q4 || m.target.kind == PackTarget::Kind::q8)
      rounded.insert(m.source.type_name + " to " + format_name(m.shape));
  for (const std::string& change : rounded)
    info.notes.push_back("weights rounded to nearest: " + change);
}

std::vector<std::span<const std::byte>> mapped_bytes(const Checkpoint& checkpoint) {
  std::vector<std::span<const std::byte>> bytes;
  for (const MappedFile& file : checkpoint.files) bytes.push_back(file.bytes());
  return bytes;
}

std::shared_ptr<const ModelImpl> load_model(const std::string& path, const ModelOptions& options) {
  const auto start = Clock::now();
  auto model = make_model_impl(options);
  QuantizeRule rule;
  rule.weights = options.weights;
  rule.group = checked_group(options.group);
  Checkpoint checkpoint = open_checkpoint(path);
  std::optional<ReadAhead> reader;
  if (checkpoint.format != FileFormat::nib) reader.emplace(mapped_bytes(checkpoint));
  read_metadata(checkpoint, *model);
  if (checkpoint.format == FileFormat::nib) {
    map_weights(checkpoint, model->config, model->weights);
    describe_model(*model, checkpoint.description, checkpoint.file_bytes());
    model->weights.files =
        std::make_shared<const std::vector<MappedFile>>(std::move(checkpoint.files));
    if (options.mlock)
      for (const MappedFile& file : *model->weights.files) file.lock();
  } else {
    const WeightPlan plan = plan_weights(checkpoint, model->config, rule, model->weights);
    pack_weights(checkpoint, plan, model->weights, *model->kernels, *model->pool, *reader,
                 options.progress);
    plan.read_vectors();
    describe_model(*model, checkpoint.description, checkpoint.file_bytes());
    note_rounding(plan, model->info);
    if (options.mlock) model->weights.packed->lock();
  }
  model->info.load_seconds = seconds_since(start);
  return model;
}

}  // namespace

const Kernels* choose_kernels(const std::string& name) {
  if (const Kernels* kernels = find_kernels(name.c_str())) return kernels;
  std::string known;
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  for (size_t i = 0; i < count; ++i)
    if (sets[i].supported())
      known += (known.empty() ? "" : ", ") + std::string(sets[i].kernels->name);
  throw Error("isa", "\"" + name + "\" is not available on this machine", "available: " + known);
}

uint16_t checked_group(int group) {
  if (group != 32 && group != 64 && group != 128)
    throw Error("group", "is " + std::to_string(group) + ", expected 32, 64 or 128");
  return static_cast<uint16_t>(group);
}

std::shared_ptr<ModelImpl> make_model_impl(const ModelOptions& options) {
  auto model = std::make_shared<ModelImpl>();
  model->kernels = choose_kernels(options.isa);
  model->int8_activations = options.activations != Activations::f32;
  model->threads = thread_count(options.threads, default_thread_count(), "threads");
  model->threads_batch = thread_count(options.threads_batch, model->threads, "threads_batch");
  model->pool = std::make_unique<ThreadPool>(std::max(model->threads, model->threads_batch));
  return model;
}

void read_metadata(const Checkpoint& checkpoint, ModelImpl& model) {
  model.config = read_config(checkpoint);
  model.sampling = read_sampling(checkpoint);
  read_tokenizer(checkpoint, model);
}

void describe_model(ModelImpl& model, const std::string& format, uint64_t file_bytes) {
  ModelInfo& info = model.info;
  info.format = format;
  info.file_bytes = file_bytes;
  info.kernels = model.kernels->name;
  info.threads = model.threads;
  info.threads_batch = model.threads_batch;
  describe_template(model);
  const auto add = [&](const PackedMatrix& m) {
    if (m.empty()) return;
    const PackedShape& s = m.view.shape;
    info.n_params += uint64_t{s.rows} * s.cols;
    info.weight_bytes += m.bytes;
    std::string type = format_name(s);
    if (!m.source_type.empty() && m.source_type != type) type += " (" + m.source_type + ")";
    info.tensors.push_back({m.name, s.rows, s.cols, std::move(type), m.bytes});
  };
  const auto add_vector = [&](const std::vector<float>& v) {
    info.n_params += v.size();
    info.weight_bytes += v.size() * sizeof(float);
  };
  const Weights& w = model.weights;
  add(w.embedding);
  add(w.positions);
  add(w.project_in);
  uint64_t expert_bytes = 0;
  for (const LayerWeights& layer : w.layers) {
    for_each_matrix(layer, add);
    for_each_vector(layer, add_vector);
    for (const ExpertWeights& expert : layer.experts)
      expert_bytes += expert.gate.bytes + expert.up.bytes + expert.down.bytes;
  }
  add(w.project_out);
  add(w.output);
  for (const std::vector<float>* v :
       {&w.embedding_norm, &w.embedding_norm_bias, &w.output_norm, &w.output_norm_bias})
    add_vector(*v);
  // A token reads one row of the embedding, unless that is the head as well, one of the positions,
  // and the experts that it uses.
  info.decode_bytes =
      info.weight_bytes - (w.output.empty() ? 0 : w.embedding.bytes) - w.positions.bytes;
  if (const Config& c = model.config; c.n_experts > 0)
    info.decode_bytes -= expert_bytes / static_cast<uint64_t>(c.n_experts) *
                         static_cast<uint64_t>(c.n_experts - c.n_experts_used);
  info.bits_per_weight =
      8.0 * static_cast<double>(info.weight_bytes) / static_cast<double>(info.n_params);
}

Model model_with(const Model& model, const ModelOptions& options, int n_layers) {
  const auto other = make_model_impl(options);
  const ModelImpl& impl = *model.impl();
  other->config = impl.config;
  other->config.n_layers = n_layers;
  other->weights = impl.weights;
  other->weights.layers.resize(static_cast<size_t>(n_layers));
  describe_model(*other, impl.info.format, impl.info.file_bytes);
  return Model(std::shared_ptr<const ModelImpl>(other));
}

Model::Model(const std::string& path, const ModelOptions& options)
    : impl_(load_model(path, options)) {}
Model::Model(std::shared_ptr<const ModelImpl> impl) : impl_(std::move(impl)) {}

const Config& Model::config() const { return impl_->config; }
const ModelInfo& Model::info() const { return impl_->info; }
const SamplerOptions& Model::default_sampling() const { return impl_->sampling; }
bool Model::has_tokenizer() const { return impl_->tokenizer.has_value(); }

const Tokenizer& Model::tokenizer() const {
  if (impl_->no_tokenizer) throw *impl_->no_tokenizer;
  if (!impl_->tokenizer) throw Error("model", "has no tokenizer");
  return *impl_->tokenizer;
}

}  // namespace nibble
