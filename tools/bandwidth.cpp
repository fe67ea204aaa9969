#include "bandwidth.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <numeric>
#include <vector>

#include "base/clock.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace nibble::tools {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

#if defined(__APPLE__)
std::string system_text(const char* name) {
  std::array<char, 256> text{};
  size_t size = text.size() - 1;
  if (sysctlbyname(name, text.data(), &size, nullptr, 0) != 0) return {};
  return text.data();
}
#endif

uint64_t buffer_bytes() {
  uint64_t bytes = std::max(uint64_t{512} << 20, 2 * last_cache_bytes());
  if (const uint64_t free = available_memory()) bytes = std::min(bytes, free / 2);
  return std::max(bytes, uint64_t{64} << 20) / kChunkBytes * kChunkBytes;
}

}  // namespace

#if defined(__APPLE__)
uint64_t last_cache_bytes() {
  uint64_t largest = 0;
  for (const char* name : {"hw.l2cachesize", "hw.l3cachesize"}) {
    uint64_t value = 0;
    size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, nullptr, 0) == 0) largest = std::max(largest, value);
  }
  return largest;
}
#else
uint64_t last_cache_bytes() {
  uint64_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    uint64_t value = 0;
    char unit = 0;
    if (!(in >> value)) continue;
    in >> unit;
    const uint64_t scale = unit == 'K' ? 1u << 10 : unit == 'M' ? 1u << 20 : 1u;
    largest = std::max(largest, value * scale);
  }
  return largest;
}
#endif

MemoryMeter::MemoryMeter(const Kernels& kernels, int threads)
    : sum_(kernels.sum_words),
      sums_(buffer_bytes() / kChunkBytes),
      buffer_(sums_.size() * kChunkBytes),
      pool_(std::max(threads, 1)) {
  // Untouched pages would all be the one page of zeros.
  pool_.run(sums_.size(), [&](size_t chunk, int) {
    std::memset(buffer_.data() + chunk * kChunkBytes, static_cast<int>(chunk & 0xff), kChunkBytes);
  });
}

double MemoryMeter::read() {
  constexpr int kPasses = 5;
  const auto* memory = reinterpret_cast<const uint8_t*>(buffer_.data());
  std::array<double, kPasses> rates{};
  for (double& rate : rates) {
    const auto start = Clock::now();
    pool_.run(sums_.size(), [&](size_t chunk, int) {
      sums_[chunk] += sum_(memory + chunk * kChunkBytes, kChunkBytes);
    });
    rate = static_cast<double>(sums_.size() * kChunkBytes) / seconds_since(start) * 1e-9;
  }
  // The sums are looked at, so that no compiler may drop them.
  volatile uint32_t sink = sums_[sums_.size() / 2];
  static_cast<void>(sink);
  std::nth_element(rates.begin(), rates.begin() + kPasses / 2, rates.end());
  return rates[kPasses / 2];
}

double measure_peak(const Kernels& kernels, int threads) {
  constexpr int kPasses = 9;
  if (kernels.peak_operations == nullptr) return 0;
  const auto seconds_of = [](const auto& work) {
    const auto start = Clock::now();
    work();
    return seconds_since(start);
  };
  // Rounds that take a thread some milliseconds: long beside the start of a loop, short beside what
  // else the system may run.
  constexpr double kPassSeconds = 0.01;
  size_t rounds = 1000;
  while (rounds < (size_t{1} << 40) &&
         seconds_of([&] { kernels.peak_operations(rounds); }) < kPassSeconds)
    rounds *= 2;
  const auto n_threads = static_cast<size_t>(std::max(threads, 1));
  ThreadPool pool(static_cast<int>(n_threads));
  std::vector<double> rates;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::vector<uint64_t> operations(n_threads);
    const double seconds = seconds_of([&] {
      pool.run(n_threads, [&](size_t i, int) { operations[i] = kernels.peak_operations(rounds); });
    });
    const uint64_t all = std::accumulate(operations.begin(), operations.end(), uint64_t{0});
    rates.push_back(static_cast<double>(all) / seconds * 1e-9);
  }
  std::nth_element(rates.begin(), rates.begin() + kPasses / 2, rates.end());
  return rates[kPasses / 2];
}

std::string cpu_name() {
#if defined(__APPLE__)
  const std::string name = system_text("machdep.cpu.brand_string");
  return name.empty() ? "unknown CPU" : name;
#else
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.starts_with("model name") || line.starts_with("Model") ||
        line.starts_with("CPU part"))  // all that arm64 tells
      return (line.starts_with("CPU part") ? "arm64, part " : "") + line.substr(colon + 2);
  }
  return "unknown CPU";
#endif
}

}  // namespace nibble::tools
