#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "load/checkpoint.h"

namespace nibble {

/// How the names of padding entries begin; no tensor's may.
inline constexpr std::string_view kPaddingPrefix = "pad.";

/// Writes a safetensors file, tensor by tensor, under a temporary name beside `path`; finish()
/// renames it. If it is destroyed before, the temporary file is removed.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType type = DType::u8;
    std::vector<uint64_t> shape;
    uint64_t bytes = 0;
  };

  /// All entries are known in advance. Each tensor starts at a multiple of `alignment` from the
  /// start of the file; the gaps are filled by entries named "pad.N" of zero bytes, so that the
  /// file keeps the rule of no holes. Throws Error if the file cannot be created.
  SafetensorsWriter(const std::string& path,
                    std::vector<std::pair<std::string, std::string>> metadata,
                    std::vector<Entry> entries, uint64_t alignment = 64);
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  ~SafetensorsWriter();

  /// Writes the bytes of the next entry, in the order given; may be called several times for one
  /// entry. Throws Error if the disk is full or more bytes come than announced.
  void write(std::span<const std::byte> data);
  /// Checks that everything was written, flushes to disk and renames.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble
