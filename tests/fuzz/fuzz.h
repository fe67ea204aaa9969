// What a fuzz target is made of. Each target file works with libFuzzer as it is
// (clang++ -fsanitize=fuzzer,address,undefined), and with driver.cpp under any compiler.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "files.h"
#include "load/checkpoint.h"
#include "nibble/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

/// Valid inputs to begin with; for driver.cpp.
std::vector<std::string> fuzz_seeds();

namespace nibble::test {

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file of this process that lasts until its end.
class ScratchFile {
 public:
  ScratchFile()
      : path_(std::filesystem::temp_directory_path() /
              ("nibble-fuzz-" + std::to_string(::getpid()))) {}
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// Writes the input to a file and calls open(path, checkpoint), which may throw Error only; then
/// reads every byte of every tensor.
template <class Open>
void fuzz_file(const uint8_t* data, size_t size, Open open) {
  static const ScratchFile file;
  write_file(file.path(), as_text(data, size));
  try {
    const Checkpoint checkpoint = open(file.path());
    unsigned sum = 0;
    for (const TensorView& tensor : checkpoint.tensors)
      for (const std::byte b : tensor.data) sum += static_cast<unsigned>(b);
    volatile unsigned keep = sum;
    (void)keep;
  } catch (const Error&) {
  }
}

}  // namespace nibble::test
