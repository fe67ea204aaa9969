// The test harness: a table of named functions, checks that report where they failed.
#pragma once

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

[[noreturn]] void fail(const std::string& text, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE());

void check(bool ok, const std::string& what = "check failed", const char* file = __builtin_FILE(),
           int line = __builtin_LINE());

template <class A, class B>
void check_eq(const A& found, const B& expected, const std::string& what = {},
              const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (found == expected) return;
  std::ostringstream text;
  text << what << (what.empty() ? "" : ": ") << "found " << found << ", expected " << expected;
  fail(text.str(), file, line);
}

/// |found - expected| <= tolerance; fails on NaN.
void check_near(double found, double expected, double tolerance, const std::string& what = {},
                const char* file = __builtin_FILE(), int line = __builtin_LINE());

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

[[noreturn]] void skip(const std::string& reason);

/// A file of the shared test data, see tests/README.md; skips the case if it is absent.
std::string shared(const std::string& name);

/// A new empty folder that is removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Case {
  const char* name;
  std::function<void()> run;
};

/// Runs the cases (those named on the command line, or all) and returns the exit status: 1 if one
/// failed, 77 (CTest: skipped) if all were skipped.
int run(int argc, char** argv, const std::vector<Case>& cases);

}  // namespace nibble::test
