// Where models and other files are: as named, or those that come with Nibble.
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "args.h"

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

namespace nibble::tools {
namespace {

namespace fs = std::filesystem;

fs::path executable_path() {
#ifdef __APPLE__
  uint32_t size = 0;
  _NSGetExecutablePath(nullptr, &size);
  std::string path(size, '\0');
  if (_NSGetExecutablePath(path.data(), &size) != 0) return {};
  std::error_code ignored;
  return fs::canonical(path.c_str(), ignored);
#else
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
#endif
}

/// A file of models/, or an empty path.
fs::path find_bundled(const std::string& name) {
  std::vector<fs::path> folders;
  const fs::path executable = executable_path();
  if (!executable.empty()) folders.push_back(executable.parent_path() / "../share/nibble");
  // A build tree lies in the source tree.
  constexpr int kLevels = 4;
  fs::path folder = executable.parent_path();
  for (int level = 0; level < kLevels && folder.has_relative_path(); ++level) {
    folders.push_back(folder);
    folder = folder.parent_path();
  }
#ifdef NIBBLE_SOURCE_DIR
  folders.push_back(NIBBLE_SOURCE_DIR);  // or elsewhere
#endif
  for (const fs::path& place : folders) {
    std::error_code error;
    fs::path file = place / "models" / name;
    if (fs::is_regular_file(file, error)) return file.lexically_normal();
  }
  return {};
}

}  // namespace

std::string resolve_model_path(const CommonOptions& options, std::span<const std::string> arguments,
                               const std::string& hint) {
  const size_t n_paths = options.model_path.empty() ? 1 : 0;
  if (arguments.size() > n_paths)
    throw UsageError("unexpected argument \"" + arguments[n_paths] + "\"" + hint);
  if (!options.model_path.empty()) return options.model_path;
  if (!arguments.empty()) {
    if (arguments[0].empty()) throw UsageError("MODEL: the path is empty");
    return arguments[0];
  }
  if (const char* path = std::getenv("NIBBLE_MODEL"); path && *path) return path;
  const fs::path bundled = find_bundled("nibble-chat.nib");
  if (!bundled.empty()) return bundled.string();
  throw Error("model", "none is given, and the bundled one is not installed",
              "give a path, or set NIBBLE_MODEL");
}

std::string bundled_file(const std::string& name) {
  const fs::path path = find_bundled(name);
  if (path.empty()) throw Error(name, "is not installed with Nibble", "name a file of your own");
  return path.string();
}

}  // namespace nibble::tools
