// The test harness: a table of named functions, checks that report where they failed.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/error.h"

namespace nibble::test {

/// Thrown by skip(): what the case needs is absent.
struct Skip {
  std::string reason;
};
struct Failure {
  std::string text;
};

[[noreturn]] inline void fail(const std::string& text, const char* file = __builtin_FILE(),
                              int line = __builtin_LINE()) {
  throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + text};
}

inline void check(bool ok, const std::string& what = "check failed",
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (!ok) fail(what, file, line);
}

template <class A, class B>
void check_eq(const A& found, const B& expected, const std::string& what = {},
              const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (found == expected) return;
  std::ostringstream text;
  text << what << (what.empty() ? "" : ": ") << "found " << found << ", expected " << expected;
  fail(text.str(), file, line);
}

/// |found - expected| <= tolerance; fails on NaN.
inline void check_near(double found, double expected, double tolerance,
                       const std::string& what = {}, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
  if (std::abs(found - expected) <= tolerance) return;
  std::ostringstream text;
  text.precision(9);
  text << what << (what.empty() ? "" : ": ") << "found " << found << ", expected " << expected
       << " +- " << tolerance;
  fail(text.str(), file, line);
}

/// fn must throw nibble::Error whose message contains `part`.
template <class Fn>
void check_error(Fn&& fn, std::string_view part, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
  try {
    fn();
  } catch (const Error& e) {
    if (std::string_view(e.what()).find(part) == std::string_view::npos)
      fail("the error is \"" + std::string(e.what()) + "\", expected it to say \"" +
               std::string(part) + "\"",
           file, line);
    return;
  }
  fail("no error; expected one that says \"" + std::string(part) + "\"", file, line);
}

[[noreturn]] inline void skip(const std::string& reason) { throw Skip{reason}; }

/// A file of the shared test data, see tests/README.md; skips the case if it is absent.
inline std::string shared(const std::string& name) {
  const char* root = std::getenv("NIBBLE_SHARED");
  const std::filesystem::path path =
      (root ? std::filesystem::path(root)
            : std::filesystem::path(NIBBLE_SOURCE_DIR) / "../shared") /
      name;
  if (!std::filesystem::exists(path)) skip("needs shared/" + name);
  return path.string();
}

/// A new empty folder that is removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
    if (!mkdtemp(name.data())) fail("mkdtemp failed");
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

struct Case {
  const char* name;
  std::function<void()> run;
};

/// Runs the cases (those named on the command line, or all) and returns the exit status: 1 if one
/// failed, 77 (CTest: skipped) if all were skipped.
inline int run(int argc, char** argv, const std::vector<Case>& cases) {
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
