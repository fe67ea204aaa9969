// Reading of cold files while others compute.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

namespace nibble {

/// A thread that reads mapped files from the disk before they are needed: one reader in the order
/// of the file, as disks and systems like it, who starts before anybody needs a byte and waits for
/// nobody, except that it keeps within a window, so that small memories need not read twice.
class ReadAhead {
 public:
  static constexpr size_t kWindow = size_t{128} << 20;

  /// The ranges in the order of their addresses; they must outlive it.
  explicit ReadAhead(std::vector<std::span<const std::byte>> ranges, size_t window = kWindow);
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead();

  /// What lies before `at`, in that order, is needed no more. From any thread.
  void consumed(const std::byte* at) noexcept;
  /// Bytes that were read or passed over.
  size_t position() const noexcept { return position_; }

 private:
  void run();

  const std::vector<std::span<const std::byte>> ranges_;
  const size_t window_;
  std::atomic<size_t> consumed_ = 0;
  std::atomic<size_t> position_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace nibble
