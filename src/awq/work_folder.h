// The layers that a run has finished, on disk: what --resume goes on with.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "load/checkpoint.h"

namespace nibble {

/// One piece of a finished layer: the bytes of a packed matrix, or the floats of a vector.
struct LayerPiece {
  std::string name;
  std::span<const std::byte> bytes;
};

/// A folder with one file per finished layer. Each file appears when it is complete. The folder
/// stays until remove(), but not without a finished layer. One process has it at a time.
class WorkFolder {
 public:
  /// Makes the folder, or with `resume` opens the one that is there if it was made with the same
  /// `recipe`. Throws Error that says what to do if a folder is in the way or in use, or the recipe
  /// differs.
  WorkFolder(std::string path, const std::string& recipe, bool resume);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  bool has(int layer) const;
  void save(int layer, std::span<const LayerPiece> pieces) const;
  /// The pieces of a layer as tensors of bytes. Throws Error.
  Checkpoint load(int layer) const;
  /// One of them. Throws Error if it has another size.
  static std::span<const std::byte> piece(const Checkpoint& layer, const std::string& name,
                                          uint64_t bytes);
  std::string file(const std::string& name) const;
  std::string layer_file(int layer) const;
  void remove() const noexcept;

 private:
  struct Lock {
    ~Lock();
    int fd = -1;
  };
  void lock();
  void write_recipe(const std::string& recipe) const;
  std::string path_;
  Lock lock_;  // on the recipe
};

}  // namespace nibble
