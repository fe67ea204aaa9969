#include "check.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>

namespace nibble::test {

void fail(const std::string& text, const char* file, int line) {
  throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + text};
}

void check(bool ok, const std::string& what, const char* file, int line) {
  if (!ok) fail(what, file, line);
}

void check_near(double found, double expected, double tolerance, const std::string& what,
                const char* file, int line) {
  if (std::abs(found - expected) <= tolerance) return;
  std::ostringstream text;
  text.precision(9);
  text << what << (what.empty() ? "" : ": ") << "found " << found << ", expected " << expected
       << " +- " << tolerance;
  fail(text.str(), file, line);
}

void skip(const std::string& reason) { throw Skip{reason}; }

std::string shared(const std::string& name) {
  const char* root = std::getenv("NIBBLE_SHARED");
  const std::filesystem::path path =
      (root ? std::filesystem::path(root)
            : std::filesystem::path(NIBBLE_SOURCE_DIR) / "../shared") /
      name;
  if (!std::filesystem::exists(path)) skip("needs shared/" + name);
  return path.string();
}

TempDir::TempDir() {
  path_ = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
  if (!mkdtemp(path_.data())) fail("mkdtemp failed");
}
TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

int run(int argc, char** argv, const std::vector<Case>& cases) {
  int passed = 0, failed = 0, skipped = 0;
  for (const Case& c : cases) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], c.name) == 0;
    if (!wanted) continue;
    try {
      c.run();
      ++passed;
      std::printf("ok       %s\n", c.name);
    } catch (const Skip& s) {
      ++skipped;
      std::printf("skipped  %s: %s\n", c.name, s.reason.c_str());
    } catch (const Failure& f) {
      ++failed;
      std::printf("FAILED   %s: %s\n", c.name, f.text.c_str());
    } catch (const std::exception& e) {
      ++failed;
      std::printf("FAILED   %s: unexpected exception: %s\n", c.name, e.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  if (failed > 0 || passed + skipped == 0) return 1;
  return passed == 0 ? 77 : 0;
}

}  // namespace nibble::test
