#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace nibble {

/// Whether there is a file or folder. Throws Error if that cannot be known: a folder on the way to
/// it may not be entered, or links go in circles.
bool file_exists(const std::string& path);

/// A file mapped read-only; the system reads it ahead. Movable; the bytes stay where they are when
/// it moves. A file that is truncated by another process while mapped can end the process (the
/// operating system's rule).
class MappedFile {
 public:
  /// Throws Error if the file cannot be opened, is not a regular file or is empty.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  /// Lets go of the memory behind a range that has been consumed (it can still be read).
  void release(std::span<const std::byte> range) const noexcept;
  /// Locks all pages in memory. Throws Error if the system refuses.
  void lock() const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Anonymous memory of `size` bytes, zero, 64-byte aligned (page aligned when large), of which only
/// pages that are written take real memory: huge pages from `small_pages` bytes on, where the
/// system gives them. Throws Error if it cannot be had.
class AnonymousMemory {
 public:
  AnonymousMemory() = default;
  explicit AnonymousMemory(size_t size, size_t small_pages = 0);
  AnonymousMemory(AnonymousMemory&& other) noexcept;
  AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;
  ~AnonymousMemory();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }  // what was asked for, rounded up to whole pages
  void lock() const;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Bytes of memory that this process may still take (free and reclaimable, cgroup limit respected);
/// 0 if unknown.
uint64_t available_memory();

}  // namespace nibble
