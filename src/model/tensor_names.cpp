#include "model/tensor_names.h"

#include <algorithm>

#include "base/checked.h"
#include "model/nib_format.h"
#include "nibble/error.h"
#include "quant/hf_mxfp4.h"

namespace nibble {
namespace {

constexpr std::string_view kWeight = "weight", kBlocks = "blocks", kBias = "bias";

std::string fill(std::string name, const Place& place) {
  const auto replace = [&](char mark, int n) {
    if (const size_t at = name.find(mark); at != std::string::npos)
      name.replace(at, 1, std::to_string(n));
  };
  replace('#', place.layer);
  replace('@', place.expert);
  for (const std::string_view part : {kWeight, kBlocks})
    if (place.bias && name.ends_with(part))
      name.replace(name.size() - part.size(), part.size(), kBias);
  return name;
}

// What is neither weights nor arithmetic: tables that older files carry and that follow from the
// config, and what .nib files hold beside tensors.
bool is_extra(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
         name.ends_with(".masked_bias") || name.ends_with(".attention.bias") ||
         name.starts_with("pad.") || name == kNibVocabulary;
}

// Some writers store biases where the model has none.
bool is_zero_bias(const TensorView& tensor) {
  return tensor.name.ends_with(".bias") &&
         std::ranges::all_of(tensor.data, [](std::byte b) { return b == std::byte{0}; });
}

// The head of a tied model, saved all the same.
bool is_head(std::string_view name) {
  return name.starts_with("lm_head.") || name.starts_with("embed_out.");
}

Layout layout_of_gguf(const Family& family, const Checkpoint& checkpoint) {
  Layout layout = family.gguf_layout;
  if (layout.halves_if_sections && has_rope_sections(checkpoint)) layout.interleaved_rope = false;
  layout.expert_gate_up = checkpoint.find("blk.0.ffn_gate_up_exps.weight") != nullptr;
  return layout;
}

Layout layout_of(const Family& family, const Checkpoint& checkpoint) {
  switch (checkpoint.format) {
    case FileFormat::hugging_face:
      return family.hugging_face_layout;
    case FileFormat::gguf:
      return layout_of_gguf(family, checkpoint);
    case FileFormat::llama2c:
      return {.interleaved_rope = true};
    case FileFormat::nib:
      break;
  }
  return {};
}

}  // namespace

TensorNames::TensorNames(const Checkpoint& checkpoint, const Family& family)
    : checkpoint_(checkpoint),
      family_(family),
      quant_(read_quant_config(checkpoint)),
      layout_(layout_of(family, checkpoint)) {
  if (checkpoint.format != FileFormat::hugging_face) return;
  // A checkpoint of the model without its head ("GPT2Model") lacks the first part of all names.
  const std::string embedding = candidates({Slot::embedding}).front();
  const size_t dot = embedding.find('.');
  if (!checkpoint.find(embedding) && checkpoint.find(embedding.substr(dot + 1)))
    prefix_ = embedding.substr(0, dot + 1);
}

std::vector<std::string> TensorNames::candidates(const Place& place) const {
  std::vector<std::string> out;
  if (checkpoint_.format == FileFormat::nib) return {nib_name(place)};
  const bool hugging_face = checkpoint_.format == FileFormat::hugging_face;
  for (const auto names : {layout_.names, hugging_face ? hugging_face_names() : gguf_names()}) {
    for (const SlotName& row : names) {
      if (row.slot != place.slot) continue;
      std::string name = fill(row.name, place);
      if (name.starts_with(prefix_)) name.erase(0, prefix_.size());
      out.push_back(std::move(name));
    }
    if (!out.empty()) break;
  }
  return out;
}

bool TensorNames::has(Slot slot) const {
  const std::vector<std::string> names = candidates({slot});
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return find_matrix(checkpoint_, quant_, name).has_value();
  });
}

const TensorView* TensorNames::find(const Place& place) {
  for (const std::string& name : candidates(place))
    if (const TensorView* tensor = checkpoint_.find(name)) {
      used_.insert(tensor->name);
      return tensor;
    }
  return nullptr;
}

void TensorNames::missing(const Place& place) const {
  const std::vector<std::string> names = candidates(place);
  throw Error(checkpoint_.path,
              "the tensor " + (names.empty() ? nib_name(place) : names.front()) + " is missing");
}

MatrixSource TensorNames::matrix(const Place& place, int64_t n_experts) {
  for (const std::string& name : candidates(place)) {
    const TensorView* tensor = checkpoint_.find(name);
    if (tensor && n_experts > 0 && tensor->shape.size() == 3) {
      used_.insert(tensor->name);
      return expert_of(*tensor, place.expert, n_experts, checkpoint_.path);
    }
    std::optional<MatrixSource> source =
        tensor && name.ends_with(kBlocks)
            ? mxfp4_expert_of(checkpoint_, *tensor, place.expert, n_experts)
            : find_matrix(checkpoint_, quant_, name);
    if (!source) continue;
    for (const TensorView* part : source->tensors) used_.insert(part->name);
    return std::move(*source);
  }
  missing(place);
}

std::vector<TensorView> TensorNames::vector(const Place& place, int end, int64_t n_experts) {
  std::vector<TensorView> out;
  for (Place part = place; part.expert < end; ++part.expert) {
    const TensorView* tensor = find(part);
    if (!tensor) missing(part);
    if (!out.empty() && tensor->data.data() == out.front().data.data()) break;  // one for all parts
    const bool of_all = place.slot >= Slot::expert_gate && tensor->shape.size() == 2;
    out.push_back(of_all ? part_of(*tensor, part.expert, n_experts, checkpoint_.path) : *tensor);
  }
  return out;
}

const TensorView* TensorNames::find_beside(const TensorView& tensor, const char* suffix) {
  const TensorView* found = checkpoint_.find(tensor.name + suffix);
  if (found) used_.insert(found->name);
  return found;
}

std::string TensorNames::name_of(const std::string& nib_name) const {
  Place place{};
  const size_t digit = nib_name.find_first_of("0123456789");
  for (size_t i = digit; i < nib_name.size() && nib_name[i] >= '0' && nib_name[i] <= '9'; ++i)
    place.layer = place.layer * 10 + (nib_name[i] - '0');
  for (const SlotName& row : gguf_names())
    for (const bool bias : {false, true}) {
      place.slot = row.slot;
      place.bias = bias;
      if (TensorNames::nib_name(place) != nib_name) continue;
      for (const std::string& name : candidates(place))
        if (checkpoint_.find(name)) return name;
    }
  return {};
}

void TensorNames::refuse_unknown(bool tied) const {
  for (const TensorView& tensor : checkpoint_.tensors) {
    if (used_.contains(tensor.name) || is_extra(tensor.name)) continue;
    if (tied && is_head(tensor.name)) continue;
    if (is_zero_bias(tensor)) continue;
    throw Error(checkpoint_.path,
                "the tensor " + tensor.name + " is unknown to the architecture " + family_.name);
  }
}

std::string TensorNames::nib_name(const Place& place) {
  return fill(nibble::nib_name(place.slot), place);
}

bool has_rope_sections(const Checkpoint& checkpoint) {
  const Json* architecture = checkpoint.metadata.find("general.architecture");
  if (!architecture || !architecture->is_string()) return false;
  const std::string key = architecture->as_string({}) + ".rope.dimension_sections";
  const Json* sections = checkpoint.metadata.find(key);
  if (!sections || !sections->is_array()) return false;
  return std::ranges::any_of(sections->as_array({}), [&](const Json& pairs) {
    return pairs.as_int(checkpoint.path + ": " + key) > 0;
  });
}

const Family& family_of(const Checkpoint& checkpoint, const Config& config) {
  if (checkpoint.format == FileFormat::hugging_face)
    if (const Json* json = checkpoint.metadata.find("config"))
      if (const Json* type = json->find("model_type"); type && type->is_string())
        if (const Family* family = find_family_hugging_face(type->as_string(checkpoint.path)))
          return *family;
  const Family* family = find_family(config.architecture);
  if (!family) throw Error(config.architecture, "is not an architecture that is implemented");
  return *family;
}

}  // namespace nibble
