#pragma once

#include <cstdint>
#include <string>

namespace nibble::tools {

/// What reading memory reaches, in GB/s (1e9 bytes): a plain sum by `threads` threads over a
/// buffer of at least 512 MiB and twice the last cache (less if memory is short), the median of
/// several passes.
double measure_read_bandwidth(int threads);

/// Bytes of the largest cache; 0 if unknown.
uint64_t last_cache_bytes();

/// What the system calls its processor; never empty.
std::string cpu_name();

}  // namespace nibble::tools
