#pragma once

#include <cstdint>
#include <string>

#include "kernels.h"

namespace nibble::tools {

/// What reading memory reaches, in GB/s (1e9 bytes): a plain sum by `threads` threads over a
/// buffer of at least 512 MiB and twice the last cache (less if memory is short), the median of
/// several passes.
double measure_read_bandwidth(int threads);

/// GOP/s (1e9 additions and multiplications) of the kernels' dot products on registers by `threads`
/// threads, the median of several passes; 0 where the set has no such loop.
double measure_peak(const Kernels& kernels, int threads);

/// Bytes of the largest cache; 0 if unknown.
uint64_t last_cache_bytes();

/// What the system calls its processor; never empty.
std::string cpu_name();

}  // namespace nibble::tools
