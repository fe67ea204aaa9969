// Control groups, versions 1 and 2: the limits of a container. Linux only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// The whole of a small system file, or "" if it cannot be read.
std::string read_system_file(const std::string& path);

/// The number that `text` begins with, blanks skipped.
std::optional<uint64_t> leading_number(std::string_view text);

/// The folders that may hold the limits of this process, the group's own and all above it.
/// `controller` is "cpu" or "memory"; `root` is as in cpu_topology.h.
struct CgroupFolders {
  std::vector<std::string> v1;
  std::vector<std::string> v2;
};
CgroupFolders cgroup_folders(const std::string& root, std::string_view controller);

}  // namespace nibble
