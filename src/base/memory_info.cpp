#include "base/memory_info.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <string_view>

#include "base/cgroup.h"
#include "base/mapped_file.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace nibble {

namespace {

/// The number after `key` at the beginning of one of the lines, or 0.
uint64_t field(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key))
      return leading_number(std::string_view(line).substr(key.size())).value_or(0);
  return 0;
}

/// What a group may still take: its limit less its use, file pages that can be dropped not counted.
uint64_t headroom(std::optional<uint64_t> limit, std::optional<uint64_t> used,
                  uint64_t file_pages) {
  if (!limit || !used) return std::numeric_limits<uint64_t>::max();
  const uint64_t held = *used - std::min(*used, file_pages);
  return *limit - std::min(*limit, held);
}

}  // namespace

uint64_t available_memory_linux(const std::string& root) {
  constexpr uint64_t kKibibyte = 1024;
  const uint64_t machine = field(read_system_file(root + "/proc/meminfo"), "MemAvailable:");
  if (machine == 0) return 0;
  uint64_t available = machine * kKibibyte;
  const auto number = [](const std::string& path) {
    return leading_number(read_system_file(path));
  };
  const CgroupFolders folders = cgroup_folders(root, "memory");
  for (const std::string& folder : folders.v2) {
    const std::string stat = read_system_file(folder + "/memory.stat");
    available = std::min(
        available, headroom(number(folder + "/memory.max"), number(folder + "/memory.current"),
                            field(stat, "inactive_file ") + field(stat, "active_file ")));
  }
  for (const std::string& folder : folders.v1) {
    const std::string stat = read_system_file(folder + "/memory.stat");
    available = std::min(available, headroom(number(folder + "/memory.limit_in_bytes"),
                                             number(folder + "/memory.usage_in_bytes"),
                                             field(stat, "total_inactive_file ") +
                                                 field(stat, "total_active_file ")));
  }
  return available;
}

uint64_t available_memory() {
#if defined(__APPLE__)
  uint64_t bytes = 0;
  size_t size = sizeof bytes;
  return sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
#else
  return available_memory_linux("");
#endif
}

}  // namespace nibble
