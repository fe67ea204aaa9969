// Lists of cases that damage a file and open it.
#pragma once

#include <deque>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "tiny_files.h"

namespace nibble::test {

/// Everything that is done with a model file before the first token. Defined by the test.
void exercise(const std::string& path);

/// Bytes of the largest request so far; one above the test's limit throws std::bad_alloc.
size_t largest_allocation();

/// Ends in Error, or loads; returns whether it loaded.
inline bool survives(const std::string& path) try {
  exercise(path);
  return true;
} catch (const Error&) {
  return false;
} catch (const std::bad_alloc&) {
  fail(path + ": an allocation of " + std::to_string(largest_allocation()) + " bytes");
}

// What a case damages: a file at `path`, and what is opened because of it.
struct Target {
  std::string path, model;
};

inline void refused(const Target& target, const std::string& bytes, std::string_view why) {
  write_file(target.path, bytes);
  try {
    check_error([&] { exercise(target.model); }, why);
  } catch (const std::bad_alloc&) {
    fail("an allocation of " + std::to_string(largest_allocation()) + " bytes");
  }
}

// --- The list of cases

using Body = std::function<void(const TempDir&)>;

class Cases {
 public:
  void add(const std::string& name, Body body) {
    names_.push_back(name);
    cases_.push_back({names_.back().c_str(), [body = std::move(body)] {
                        const TempDir dir;
                        body(dir);
                      }});
  }

  /// A crafted file: opening it must fail and say `why`.
  void crafted(const std::string& name, const std::string& bytes, std::string_view why) {
    add(name, [=, text = std::string(why)](const TempDir& dir) {
      refused({dir / "model", dir / "model"}, bytes, text);
    });
  }
  void crafted(const std::string& name, const GgufBuilder& gguf, std::string_view why) {
    crafted("gguf: " + name, gguf.build(), why);
  }

  const std::vector<Case>& list() const { return cases_; }

 private:
  std::deque<std::string> names_;  // a deque: the cases point to them
  std::vector<Case> cases_;
};

using Place = std::function<Target(const TempDir&)>;

inline Target alone(const TempDir& dir) { return {dir / "model", dir / "model"}; }

// A valid Hugging Face directory with one file to be damaged.
inline Place in_directory(const std::string& file) {
  return [file](const TempDir& dir) {
    write_tiny_hugging_face(dir.path());
    return Target{dir / file, dir.path()};
  };
}

// Every length in steps, `group` of them a case; each must be refused.
inline void add_truncations(Cases& cases, const std::string& name, const std::string& bytes,
                            size_t step, const Place& place, size_t group = 32) {
  for (size_t begin = 0; begin < bytes.size(); begin += step * group) {
    const size_t end = std::min(bytes.size(), begin + step * group);
    cases.add(name + ": cut at " + std::to_string(begin) + " to " + std::to_string(end - 1),
              [=](const TempDir& dir) {
                const Target target = place(dir);
                for (size_t n = begin; n < end; n += step) {
                  write_file(target.path, std::string_view(bytes).substr(0, n));
                  check(!survives(target.model), "cut at " + std::to_string(n) + " it loads");
                }
              });
  }
}

// Every byte of the first `n_bytes` with one bit flipped, the highest bit flipped, and with the
// least and the greatest value, `group` bytes a case.
inline void add_damage(Cases& cases, const std::string& name, const std::string& bytes,
                       size_t n_bytes, const Place& place, size_t group = 16) {
  for (size_t begin = 0; begin < n_bytes; begin += group) {
    const size_t end = std::min(n_bytes, begin + group);
    cases.add(
        name + ": damage in bytes " + std::to_string(begin) + " to " + std::to_string(end - 1),
        [=](const TempDir& dir) {
          const Target target = place(dir);
          for (size_t i = begin; i < end; ++i) {
            const auto old = static_cast<unsigned char>(bytes[i]);
            for (const unsigned value : {old ^ (1u << i % 8), old ^ 0x80u, 0u, 0xffu}) {
              std::string damaged = bytes;
              damaged[i] = static_cast<char>(value);
              write_file(target.path, damaged);
              survives(target.model);
            }
          }
        });
  }
}

}  // namespace nibble::test
