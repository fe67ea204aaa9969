#pragma once

#include <sys/types.h>

#include <string>

namespace nibble {

/// What is written beside a file and renamed to it when it is complete.
struct PartFile {
  std::string path;
  int fd = -1;  // -1: it could not be created, errno says why
};

/// Creates "PATH.part-PID-N", open for writing, with the first N that no file has: none that was
/// there before is touched. `mode` as of open().
PartFile create_part(const std::string& path, mode_t mode);

}  // namespace nibble
