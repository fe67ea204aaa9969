#pragma once

#include <cstdint>
#include <string>

namespace nibble {

/// available_memory() of base/mapped_file.h as Linux tells it; `root` as in base/cpu_topology.h.
uint64_t available_memory_linux(const std::string& root);

}  // namespace nibble
