// What a rendering may use, and where it is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

#include "nibble/error.h"
#include "text/jinja_text.h"

namespace nibble::jinja {

/// Bounds of one rendering.
struct Limits {
  uint64_t steps = 5'000'000;            // nodes evaluated, and 64 bytes looked at count as one
  uint64_t bytes = uint64_t{256} << 20;  // of all values and text made, freed ones included
  int depth = 400;                       // of nodes and macro calls inside one another
};

/// Counts what a rendering uses and ends it with an Error that names the line.
class Context {
 public:
  explicit Context(const Limits& limits)
      : steps_(limits.steps), bytes_(limits.bytes), depth_(limits.depth) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Throws Error("chat template", "line N: why").
  [[noreturn]] void fail(const std::string& why) const;

  void step(uint64_t n = 1) {
    if (n > steps_) fail("it takes too many steps");
    steps_ -= n;
  }
  void scan(uint64_t n_bytes) { step(n_bytes / 64); }
  /// To be called before the memory is asked for.
  void allocate(uint64_t n_bytes) {
    if (n_bytes > bytes_) fail("it makes too much text");
    bytes_ -= n_bytes;
  }

  /// Counts the levels of recursion while it lives.
  class Level {
   public:
    explicit Level(Context& context) : context_(context) {
      if (context.depth_ <= 0) context.fail("it nests too deep");
      --context.depth_;
    }
    ~Level() { ++context_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Context& context_;
  };

  int line = 0;      // of the template, from 1; 0: none yet
  std::tm now = {};  // what strftime_now says

 private:
  uint64_t steps_, bytes_;
  int depth_;
};

/// Text under construction, with its memory charged.
class Builder {
 public:
  explicit Builder(Context& context) : context_(context) {}
  void add(std::string_view bytes, bool from_template) {
    context_.allocate(bytes.size() + sizeof(Text::Run));
    text_.append(bytes, from_template);
  }
  void add(const Text& other, size_t from = 0, size_t n = std::string_view::npos) {
    const size_t bytes = std::min(n, other.size() - std::min(from, other.size()));
    context_.allocate(bytes + (1 + std::min(bytes, other.runs().size())) * sizeof(Text::Run));
    text_.append(other, from, n);
  }
  /// `n` times the same.
  void fill(std::string_view bytes, uint64_t n, bool from_template);
  size_t size() const { return text_.size(); }
  Text take() { return std::move(text_); }

 private:
  Context& context_;
  Text text_;
};

}  // namespace nibble::jinja
