#include "awq/work_folder.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "load/safetensors_writer.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr const char* kRecipe = "recipe.txt";
constexpr const char* kLayer = "layer-";
constexpr const char* kComplete = ".safetensors";

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool has_finished_layers(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kLayer) && name.ends_with(kComplete)) return true;
  }
  return false;
}

}  // namespace

WorkFolder::WorkFolder(std::string path, const std::string& recipe, bool resume)
    : path_(std::move(path)) {
  namespace fs = std::filesystem;
  std::error_code error;
  bool exists = fs::exists(path_, error);
  if (exists && !fs::is_regular_file(file(kRecipe), error))
    throw Error(path_, "is in the way, and no folder of unfinished work", "move it away");
  if (exists && !has_finished_layers(path_)) {  // of a run that was killed
    remove();
    exists = false;
  }
  if (exists && !resume)
    throw Error(path_, "holds the finished layers of an earlier run",
                "--resume goes on with them; or remove the folder");
  if (exists) {
    if (read_whole(file(kRecipe)) != recipe)
      throw Error(path_, "was begun with other options, another input or another version",
                  "give the same ones, or remove the folder");
    return;
  }
  fs::create_directory(path_, error);
  if (error) throw Error(path_, "cannot be created: " + error.message());
  std::ofstream out(file(kRecipe), std::ios::binary);
  out << recipe;
  out.close();
  if (out) return;
  remove();
  throw Error(file(kRecipe), "cannot be written (is the disk full?)");
}

WorkFolder::~WorkFolder() {
  if (!has_finished_layers(path_)) remove();
}

std::string WorkFolder::file(const std::string& name) const {
  return (std::filesystem::path(path_) / name).string();
}
std::string WorkFolder::layer_file(int layer) const {
  return file(kLayer + std::to_string(layer) + kComplete);
}

bool WorkFolder::has(int layer) const {
  std::error_code error;
  return std::filesystem::is_regular_file(layer_file(layer), error);
}

void WorkFolder::save(int layer, std::span<const LayerPiece> pieces) const {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const LayerPiece& piece : pieces)
    entries.push_back({piece.name, DType::u8, {piece.bytes.size()}, piece.bytes.size()});
  SafetensorsWriter writer(layer_file(layer), {}, std::move(entries));
  for (const LayerPiece& piece : pieces) writer.write(piece.bytes);
  writer.finish();
}

Checkpoint WorkFolder::load(int layer) const {
  Checkpoint out;
  out.path = layer_file(layer);
  read_safetensors(out.path, out);
  out.index_tensors();
  return out;
}

void WorkFolder::remove() const noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace nibble
