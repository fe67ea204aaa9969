#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nibble/error.h"

namespace nibble {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string last_error() { return std::strerror(errno); }

// madvise over the whole pages that touch (`inner` false) or lie inside (true) a range.
void advise(const std::byte* begin, size_t size, int advice, bool inner) noexcept {
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  uintptr_t a = reinterpret_cast<uintptr_t>(begin), b = a + size;
  a = inner ? (a + page - 1) / page * page : a / page * page;
  b = inner ? b / page * page : (b + page - 1) / page * page;
  if (a < b) ::madvise(reinterpret_cast<void*>(a), b - a, advice);
}

}  // namespace

bool file_exists(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw Error(path, "cannot open the file: " + last_error());
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) throw Error(path, "cannot open the file: " + last_error());
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) throw Error(path, "cannot read its size: " + last_error());
  if (!S_ISREG(status.st_mode)) throw Error(path, "is not a regular file");
  if (status.st_size <= 0) throw Error(path, "is empty");
  size_ = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) throw Error(path, "cannot map the file: " + last_error());
  data_ = static_cast<const std::byte*>(data);
#ifdef MADV_HUGEPAGE
  // Where the file system has large pages, Linux then reads ahead by them, however little it reads
  // ahead elsewhere, and maps them whole.
  advise(data_, size_, MADV_HUGEPAGE, false);
#endif
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> range) const noexcept {
  advise(range.data(), range.size(), MADV_DONTNEED, true);
}

void MappedFile::lock() const {
  if (::mlock(data_, size_) != 0)
    throw Error(path_, "cannot lock the weights in memory: " + last_error(),
                "raise the limit, see ulimit -l");
}

AnonymousMemory::AnonymousMemory(size_t size, size_t small_pages) {
  if (size == 0) return;
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (size > SIZE_MAX / 2) throw Error("memory", "cannot have " + std::to_string(size) + " bytes");
  size = (size + page - 1) / page * page;
  small_pages = std::min(small_pages, size) / page * page;
  // Room to begin at a huge page: the system can then use them for the whole range.
  const bool large = size - small_pages >= 4 * kHugePage;
  const size_t slack = large ? kHugePage : 0;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* base = ::mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (base == MAP_FAILED)
    throw Error("memory", "cannot have " + std::to_string(size >> 20) + " MB: " + last_error());
  auto* begin = static_cast<std::byte*>(base);
  if (large) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(begin);
    const size_t skip = (kHugePage - at % kHugePage) % kHugePage;
    if (skip > 0) ::munmap(begin, skip);
    if (slack > skip) ::munmap(begin + skip + size, slack - skip);
    begin += skip;
#ifdef MADV_HUGEPAGE
    ::madvise(begin + small_pages, size - small_pages, MADV_HUGEPAGE);
#endif
  }
  data_ = begin;
  size_ = size;
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AnonymousMemory::~AnonymousMemory() {
  if (data_) ::munmap(data_, size_);
}

void AnonymousMemory::lock() const {
  if (data_ && ::mlock(data_, size_) != 0)
    throw Error("memory", "cannot lock the weights in memory: " + last_error(),
                "raise the limit, see ulimit -l");
}

}  // namespace nibble
