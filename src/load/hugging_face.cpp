#include "load/hugging_face.h"

#include <algorithm>
#include <filesystem>

#include "load/checkpoint.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::string_view kWeightsEnding = ".safetensors";
constexpr std::string_view kIndexEnding = ".safetensors.index.json";

std::string in_directory(const std::string& directory, std::string_view name) {
  return (std::filesystem::path(directory) / name).string();
}

std::string read_text(const std::string& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Json read_json(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

// --- Models of text and images: their text part

// Such a config.json describes each part in an object of its own.
const Json* text_config(const Json& config) {
  const Json* text = config.find("text_config");
  const Json* own = config.find("hidden_size");
  return text && text->is_object() && (!own || own->is_null()) ? text : nullptr;
}

// The text part, and what is said of the whole model that holds for it too.
Json flat_config(const Json& config) {
  const Json* text = text_config(config);
  Json::Object out = text->as_object(kConfig);
  for (const char* key : {"quantization_config", "compression_config", "eos_token_id",
                          "bos_token_id", "pad_token_id", "tie_word_embeddings"})
    if (const Json* value = config.find(key); value && !text->find(key))
      out.emplace_back(key, *value);
  return out;
}

// Drops the tensors of the other parts; those of the text get the names that they have in a model
// of text alone.
void keep_text_tensors(std::vector<TensorView>& tensors) {
  constexpr std::string_view kOthers[] = {"vision_tower.", "vision_model.", "visual.",
                                          "multi_modal_projector."};
  constexpr std::string_view kModel = "model.", kText = "language_model.";
  std::erase_if(tensors, [&](const TensorView& tensor) {
    std::string_view name = tensor.name;
    if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
    return std::ranges::any_of(kOthers, [&](auto other) { return name.starts_with(other); });
  });
  for (TensorView& tensor : tensors) {
    if (tensor.name.starts_with(kText))
      tensor.name.erase(0, kText.size());
    else if (tensor.name.substr(0, kModel.size()) == kModel &&
             tensor.name.substr(kModel.size()).starts_with(kText))
      tensor.name.erase(kModel.size(), kText.size());
  }
}

// A shard's name comes from a file: it must stay inside the directory.
void check_shard_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain) throw Error(where, "the shard name " + printable(name) + " is no plain file name");
}

// `path`: an index, which says which tensor is in which of several files.
void read_shards(const std::string& directory, const std::string& path, Checkpoint& out) {
  const Json index = read_json(path);
  const Json* map = index.find("weight_map");
  if (!map) throw Error(path, "its \"weight_map\" is missing");
  const Json::Object& weights = map->as_object(path);

  std::vector<std::string> shards;
  for (const auto& [tensor, shard] : weights) shards.push_back(shard.as_string(path));
  std::ranges::sort(shards);
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  std::vector<size_t> ends;  // [n_shards]: index behind the last tensor of each
  for (const std::string& shard : shards) {
    check_shard_name(shard, path);
    if (!file_exists(in_directory(directory, shard)))
      throw Error(path, "the shard " + printable(shard) + " is missing",
                  "the download may be incomplete");
    read_safetensors(in_directory(directory, shard), out);
    ends.push_back(out.tensors.size());
  }
  out.index_tensors();

  for (const auto& [name, shard] : weights) {
    const auto position = [](auto begin, auto at) { return static_cast<size_t>(at - begin); };
    const TensorView* tensor = out.find(name);
    const size_t expected =
        position(shards.begin(), std::ranges::lower_bound(shards, shard.as_string(path)));
    if (!tensor ||
        position(ends.begin(),
                 std::ranges::upper_bound(ends, position(out.tensors.data(), tensor))) != expected)
      throw Error(path, "the tensor " + printable(name) + " is not in the shard " +
                            printable(shards[expected]));
  }
}

// The files of a directory that end so; none if they cannot be listed.
std::vector<std::string> files_ending(const std::string& directory, std::string_view ending) {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error))
    if (at->path().native().ends_with(ending)) found.push_back(at->path().string());
  if (error) found.clear();
  std::ranges::sort(found);
  return found;
}

void read_weights(const std::string& path, Checkpoint& out) {
  read_safetensors(path, out);
  out.index_tensors();
}

// Weights under names of their own ("gptq_model-4bit-128g.safetensors"): by the only index, else
// the only file.
void read_weights_by_ending(const std::string& directory, Checkpoint& out) {
  const std::vector<std::string> indices = files_ending(directory, kIndexEnding);
  if (indices.size() > 1) {
    const auto name = [](const std::string& path) {
      return printable(std::filesystem::path(path).filename().string());
    };
    throw Error(directory,
                "has more than one index: " + name(indices[0]) + " and " + name(indices[1]),
                "keep the one to use");
  }
  if (!indices.empty()) return read_shards(directory, indices[0], out);
  const std::vector<std::string> weights = files_ending(directory, kWeightsEnding);
  if (weights.size() == 1) return read_weights(weights[0], out);
  throw Error(directory, std::string("has neither ") + kWeights + " nor " + kIndex,
              "weights in PyTorch's own format are not read");
}

}  // namespace

Json read_hugging_face_metadata(const std::string& directory, bool& is_text_part) {
  Json::Object metadata;
  const auto file = [&](const std::string& name) { return in_directory(directory, name); };
  const auto add_json = [&](const std::string& key) {
    const std::string path = file(key + ".json");
    if (!file_exists(path)) return;
    Json json = read_json(path);
    json.as_object(path);
    metadata.emplace_back(key, std::move(json));
  };
  for (const char* key : {"config", "generation_config", "tokenizer_config", "tokenizer",
                          "quant_config", "quantize_config"})
    add_json(key);
  is_text_part = false;
  if (!metadata.empty() && metadata.front().first == "config") {
    Json& config = metadata.front().second;
    is_text_part = text_config(config) != nullptr;
    if (is_text_part) config = flat_config(config);
  }
  if (file_exists(file("chat_template.jinja")))
    metadata.emplace_back("chat_template", read_text(file("chat_template.jinja")));
  else
    add_json("chat_template");
  if (!file_exists(file("tokenizer.json")) && file_exists(file("tokenizer.model"))) {
    metadata.emplace_back("tokenizer_model", read_text(file("tokenizer.model")));
    add_json("added_tokens");
  }
  return metadata;
}

Checkpoint open_hugging_face(const std::string& directory) {
  Checkpoint checkpoint;
  checkpoint.format = FileFormat::hugging_face;
  checkpoint.path = directory;
  if (!file_exists(in_directory(directory, kConfig)))
    throw Error(directory, std::string("is a directory without ") + kConfig,
                "a Hugging Face model has one");
  bool is_text_part = false;
  checkpoint.metadata = read_hugging_face_metadata(directory, is_text_part);
  const std::string single = in_directory(directory, kWeights);
  const std::string index = in_directory(directory, kIndex);
  if (file_exists(single))
    read_weights(single, checkpoint);
  else if (file_exists(index))
    read_shards(directory, index, checkpoint);
  else
    read_weights_by_ending(directory, checkpoint);
  checkpoint.description = "Hugging Face safetensors";
  if (is_text_part) {
    keep_text_tensors(checkpoint.tensors);
    checkpoint.index_tensors();
    checkpoint.description += ", its text part";
  }
  if (checkpoint.files.size() > 1)
    checkpoint.description += ", " + std::to_string(checkpoint.files.size()) + " files";
  return checkpoint;
}

}  // namespace nibble
