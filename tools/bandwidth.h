#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels.h"

namespace nibble::tools {

/// Measures what reading memory reaches: a plain sum by `threads` threads, with the loads of
/// `kernels`, over a buffer of at least 512 MiB and twice the last cache (less if memory is short).
/// A shared machine's memory changes its speed within seconds, so this is cheap enough to be asked
/// again and again.
class MemoryMeter {
 public:
  MemoryMeter(const Kernels& kernels, int threads);
  /// GB/s (1e9 bytes), the median of a few passes.
  double read();

 private:
  uint32_t (*sum_)(const uint8_t* memory, size_t bytes);
  std::vector<uint32_t> sums_;  // [n_chunks]
  AnonymousMemory buffer_;
  ThreadPool pool_;
};

/// GOP/s (1e9 additions and multiplications) of the kernels' dot products on registers by `threads`
/// threads, the median of several passes; 0 where the set has no such loop.
double measure_peak(const Kernels& kernels, int threads);

/// Bytes of the largest cache; 0 if unknown.
uint64_t last_cache_bytes();

/// What the system calls its processor; never empty.
std::string cpu_name();

}  // namespace nibble::tools
