#include "awq/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
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
  std::filesystem::directory_iterator at(path, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(kLayer) && name.ends_with(kComplete)) return true;
  }
  return static_cast<bool>(error);  // what cannot be read is not to be removed
}

}  // namespace

WorkFolder::WorkFolder(std::string path, const std::string& recipe, bool resume)
    : path_(std::move(path)) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool exists = fs::exists(path_, error);
  const bool is_ours = fs::is_directory(path_, error) &&
                       (fs::is_regular_file(file(kRecipe), error) || fs::is_empty(path_, error));
  if (exists && !is_ours)
    throw Error(path_, "is in the way, and no folder of unfinished work", "move it away");
  if (!exists) fs::create_directory(path_, error);
  if (!exists && error) throw Error(path_, "cannot be created: " + error.message());
  lock();
  if (!has_finished_layers(path_)) {  // new, or of a run that was killed
    write_recipe(recipe);
    return;
  }
  if (!resume)
    throw Error(path_, "holds the finished layers of an earlier run",
                "--resume goes on with them; or remove the folder");
  if (read_whole(file(kRecipe)) != recipe)
    throw Error(path_, "was begun with other options, another input or another version",
                "give the same ones, or remove the folder");
}

WorkFolder::~WorkFolder() {
  if (!has_finished_layers(path_)) remove();
}

WorkFolder::Lock::~Lock() {
  if (fd >= 0) ::close(fd);
}

void WorkFolder::lock() {
  lock_.fd = ::open(file(kRecipe).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_.fd < 0)
    throw Error(file(kRecipe), std::string("cannot be opened: ") + std::strerror(errno));
  // File systems without locks do without.
  const bool taken = ::flock(lock_.fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct stat now = {};
  const bool removed = ::fstat(lock_.fd, &now) == 0 && now.st_nlink == 0;  // a moment ago
  if (taken || removed)
    throw Error(path_, "is in use by another run", "wait for its end, or give another name");
}

void WorkFolder::write_recipe(const std::string& recipe) const {
  std::ofstream out(file(kRecipe), std::ios::binary | std::ios::trunc);
  out << recipe;
  out.close();
  if (out) return;
  remove();
  throw Error(file(kRecipe), "cannot be written", "is the disk full?");
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

std::span<const std::byte> WorkFolder::piece(const Checkpoint& layer, const std::string& name,
                                             uint64_t bytes) {
  const auto data = layer.get(name).data;
  if (data.size() != bytes)
    throw Error::mismatch(layer.path + ": " + name, "its size", std::to_string(bytes),
                          std::to_string(data.size()));
  return data;
}

void WorkFolder::remove() const noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace nibble
