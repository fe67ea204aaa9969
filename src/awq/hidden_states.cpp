#include "awq/hidden_states.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checked.h"

namespace nibble {
namespace {

// All bytes of a range of a file, through pread or pwrite.
template <class Call, class Byte>
void whole(Call&& call, int fd, Byte* data, size_t size, uint64_t offset, const std::string& path) {
  while (size > 0) {
    const ssize_t n = call(fd, data, std::min(size, size_t{1} << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      throw Error(path, std::string("the temporary file of activations failed: ") +
                            (n < 0 ? std::strerror(errno) : "it is too short"));
    data += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
}

}  // namespace

HiddenStates::HiddenStates(std::vector<size_t> lengths, size_t dim, uint64_t memory,
                           const std::string& file)
    : lengths_(std::move(lengths)), dim_(dim), path_(file) {
  size_t longest = 0;
  for (const size_t n : lengths_) {
    offsets_.push_back(n_tokens_);
    n_tokens_ += n;
    longest = std::max(longest, n);
  }
  const uint64_t bytes = checked_mul(checked_mul(n_tokens_, dim, file), sizeof(float), file);
  if (bytes <= memory) {
    rows_.resize(n_tokens_ * dim);
    return;
  }
  rows_.resize(longest * dim);  // may throw, and then nobody closes the file
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) throw Error(file, std::string("cannot be created: ") + std::strerror(errno));
  ::unlink(file.c_str());
}

HiddenStates::~HiddenStates() {
  if (fd_ >= 0) ::close(fd_);
}

void HiddenStates::load(size_t window, float* x, size_t stride) {
  const size_t n = lengths_[window];
  const float* from = rows_.data();
  if (fd_ >= 0)
    whole(::pread, fd_, reinterpret_cast<char*>(rows_.data()), n * dim_ * sizeof(float),
          uint64_t{offsets_[window]} * dim_ * sizeof(float), path_);
  else
    from += offsets_[window] * dim_;
  for (size_t t = 0; t < n; ++t) std::copy_n(from + t * dim_, dim_, x + t * stride);
}

void HiddenStates::store(size_t window, const float* x, size_t stride) {
  const size_t n = lengths_[window];
  float* to = rows_.data() + (fd_ >= 0 ? 0 : offsets_[window] * dim_);
  for (size_t t = 0; t < n; ++t) std::copy_n(x + t * stride, dim_, to + t * dim_);
  if (fd_ >= 0)
    whole(::pwrite, fd_, reinterpret_cast<const char*>(rows_.data()), n * dim_ * sizeof(float),
          uint64_t{offsets_[window]} * dim_ * sizeof(float), path_);
}

}  // namespace nibble
