// What the system says about its processors. `root` is "" or, in tests, a folder that holds a
// copy of the system's /sys and /proc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// "0-3,8,10-11" as ascending numbers; what cannot be read is left out.
std::vector<int> parse_cpu_list(std::string_view text);

/// Of the CPUs in `allowed`, how many are worth a thread: one per physical core, slow cores left
/// out, and no more than the cgroup's CPU quota. At least 1.
int usable_core_count(const std::string& root, const std::vector<int>& allowed);

/// The CPUs (hardware threads) that this process may run on. At least 1.
int allowed_cpu_count();

}  // namespace nibble
