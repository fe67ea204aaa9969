#include "base/part_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace nibble {

PartFile create_part(const std::string& path, mode_t mode) {
  constexpr int kAttempts = 100;
  PartFile part;
  for (int attempt = 0; attempt <= kAttempts; ++attempt) {
    part.path = path + ".part-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
    part.fd = ::open(part.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (part.fd >= 0 || errno != EEXIST) break;
  }
  return part;
}

}  // namespace nibble
