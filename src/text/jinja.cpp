#include "text/jinja.h"

#include "text/jinja_interpreter.h"
#include "text/jinja_parser.h"

namespace nibble::jinja {

Template::Template(std::string_view source)
    : program_(std::make_unique<const Program>(parse(source))) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

std::vector<Span> Template::render(std::span<const Variable> variables, const std::tm& now,
                                   const Limits& limits) const {
  Context context(limits);
  context.now = now;
  Interpreter interpreter(*program_, context);
  for (const Variable& variable : variables)
    interpreter.set_variable(variable.name,
                             from_json(context, variable.value, variable.from_template));
  const Text text = interpreter.run();
  std::vector<Span> spans;
  size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    spans.push_back({std::string(text.view().substr(begin, run.end - begin)), run.from_template});
    begin = run.end;
  }
  return spans;
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out = {};
  localtime_r(&now, &out);
  return out;
}

}  // namespace nibble::jinja
