#include "base/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace nibble {

namespace {

/// mount + group, then its parents up to the mount itself (in a container the group's path may be
/// the host's, and only the mount exists).
void append_ancestors(std::vector<std::string>& folders, const std::string& mount,
                      std::string_view group) {
  constexpr size_t kMaxDepth = 64;
  for (size_t depth = 0; group.size() > 1 && depth < kMaxDepth; ++depth) {
    folders.push_back(mount + std::string(group));
    group = group.substr(0, group.rfind('/'));
  }
  folders.push_back(mount);
}

/// Whether the comma-separated `list` names `controller`.
bool lists(std::string_view list, std::string_view controller) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == controller) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

std::string read_system_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::optional<uint64_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc())
    return std::nullopt;
  return number;
}

CgroupFolders cgroup_folders(const std::string& root, std::string_view controller) {
  const std::string mount = root + "/sys/fs/cgroup";
  CgroupFolders folders;
  // Lines are "ID:CONTROLLERS:/PATH"; version 2 has the id 0 and no controllers.
  std::istringstream lines(read_system_file(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (!group.starts_with('/')) continue;
    if (controllers.empty())
      append_ancestors(folders.v2, mount, group);
    else if (lists(controllers, controller))
      append_ancestors(folders.v1, mount + '/' + std::string(controller), group);
  }
  return folders;
}

}  // namespace nibble
