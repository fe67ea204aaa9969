#include "base/read_ahead.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace nibble {
namespace {

using Ranges = std::vector<std::span<const std::byte>>;

Ranges in_order(Ranges ranges) {
  std::ranges::sort(ranges, {}, [](const auto& range) { return range.data(); });
  return ranges;
}

}  // namespace

ReadAhead::ReadAhead(Ranges ranges, size_t window)
    : ranges_(in_order(std::move(ranges))), window_(window) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    // Without a thread the files are read when they are needed.
  }
}

ReadAhead::~ReadAhead() {
  stop_ = true;
  consumed_ = SIZE_MAX;
  consumed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ReadAhead::consumed(const std::byte* at) noexcept {
  size_t bytes = 0;
  for (const auto& range : ranges_) {
    if (at < range.data()) break;
    bytes += std::min(range.size(), static_cast<size_t>(at - range.data()));
  }
  size_t before = consumed_;
  while (before < bytes && !consumed_.compare_exchange_weak(before, bytes)) {
  }
  if (before < bytes) consumed_.notify_one();
}

void ReadAhead::run() {
  // The system reads ahead of every page that is touched, 128 KB or more.
  constexpr size_t kStep = size_t{128} << 10;
  size_t before = 0;  // the ranges before
  for (const auto& range : ranges_) {
    for (size_t at = 0; at < range.size(); at += kStep) {
      size_t done = consumed_;
      while (done < before + at && before + at - done >= window_) {
        consumed_.wait(done);
        done = consumed_;
      }
      if (stop_) return;
      if (done <= before + at) {
        const volatile std::byte* page = range.data() + at;
        static_cast<void>(*page);
      }
      position_ = before + std::min(at + kStep, range.size());
    }
    before += range.size();
  }
}

}  // namespace nibble
