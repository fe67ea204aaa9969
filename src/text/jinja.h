// The template language of chat templates: the part of Jinja 3 that they use, in a sandbox.
#pragma once

#include <ctime>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "load/json.h"
#include "text/jinja_context.h"

namespace nibble::jinja {

/// A part of what was rendered. What came from the conversation, in whatever way, is not
/// from_template.
struct Span {
  std::string text;
  bool from_template = false;
};

struct Variable {
  std::string name;
  Json value;
  bool from_template = false;  // its strings count as the template's: bos_token and the like
};

struct Program;

/// A parsed template. Immutable: render() may be called from many threads at once.
///
/// Spaces are trimmed as transformers does it (trim_blocks, lstrip_blocks). Besides Jinja's own
/// there are tojson as transformers has it, raise_exception, strftime_now, break and continue, and
/// {% generation %}. Not there: include, import, extends, block, recursive loops, and whatever
/// changes a list or a dict. A namespace is all that can change.
class Template {
 public:
  /// Throws Error("chat template", "line N: ...").
  explicit Template(std::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  /// Neighbouring spans differ in their origin. `now` is what strftime_now says. Throws Error if
  /// the template refuses, errs or goes beyond the limits.
  std::vector<Span> render(std::span<const Variable> variables, const std::tm& now,
                           const Limits& limits = {}) const;

 private:
  std::unique_ptr<const Program> program_;
};

std::tm local_time();

}  // namespace nibble::jinja
