#include "text/token_text.h"

#include <algorithm>

#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

using Type = DecodeStep::Type;

std::string stripped(const std::string& text, const DecodeStep& step) {
  std::string_view rest = text;
  for (uint32_t i = 0; i < step.start && rest.starts_with(step.content); ++i)
    rest.remove_prefix(step.content.size());
  for (uint32_t i = 0; i < step.stop && rest.ends_with(step.content); ++i)
    rest.remove_suffix(step.content.size());
  return std::string(rest);
}

std::string run_step(const DecodeStep& step, std::string text, bool first) {
  switch (step.type) {
    case Type::replace:
      return replace_all(text, step.pattern, step.content);
    case Type::metaspace:
      return replace_all(text, kSpaceMark, first && step.first ? "" : " ");
    case Type::strip:
      return stripped(text, step);
    case Type::fuse:
      break;
  }
  return text;
}

std::string run(std::span<const DecodeStep> steps, std::string text, bool first) {
  const size_t limit = longest_result(text.size());
  for (const DecodeStep& step : steps) {
    text = run_step(step, std::move(text), first);
    if (text.size() > limit) throw Error("token", "its text becomes too long when decoded");
  }
  return text;
}

// How many steps see each token by itself.
size_t n_token_steps(std::span<const DecodeStep> steps) {
  return static_cast<size_t>(std::ranges::find(steps, Type::fuse, &DecodeStep::type) -
                             steps.begin());
}

}  // namespace

std::string decode_token(std::span<const DecodeStep> steps, std::string text, bool first) {
  return run(steps.first(n_token_steps(steps)), std::move(text), first);
}

std::string decode_whole(std::span<const DecodeStep> steps, std::string text) {
  return run(steps.subspan(n_token_steps(steps)), std::move(text), true);
}

}  // namespace nibble
