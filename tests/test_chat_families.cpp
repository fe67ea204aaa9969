// Templates in the style of the published families: the prompts that Jinja makes of them.

#include "chat_cases.h"
#include "check.h"
#include "text/jinja.h"

namespace {

using namespace nibble;
using namespace nibble::test;

std::tm some_time() {
  std::tm t = {};
  t.tm_year = 124;
  t.tm_mon = 2;
  t.tm_mday = 5;
  t.tm_wday = 2;
  return t;
}

std::vector<jinja::Variable> variables_of(const ChatCase& c) {
  std::vector<jinja::Variable> out = {{"bos_token", Json("<s>"), true},
                                      {"eos_token", Json("</s>"), true}};
  const Json parsed = parse_json(c.variables, "test");
  for (const auto& [name, value] : parsed.as_object("test")) out.push_back({name, value});
  return out;
}

std::string family_of(const ChatCase& c) {
  const std::string name = c.family;
  return name.substr(0, name.rfind(','));
}

std::string render(const ChatCase& c) {
  std::string text;
  for (const jinja::Span& span : jinja::Template(c.source).render(variables_of(c), some_time()))
    text += span.text;
  return text;
}

void family(const std::string& name) {
  for (const ChatCase& c : kChatCases) {
    if (family_of(c) != name) continue;
    if (c.expected == std::string("!"))
      check_error([&] { render(c); }, "it refuses the conversation");
    else
      check_eq(render(c), std::string(c.expected), c.family);
  }
}

// No byte of a message is text of the template, whatever the template does with it.
void origins() {
  for (const ChatCase& c : kChatCases) {
    if (c.expected == std::string("!")) continue;
    for (const jinja::Span& span : jinja::Template(c.source).render(variables_of(c), some_time())) {
      if (!span.from_template) continue;
      for (const char* said : {"2+2", "Zo", "Bye", "Rain", "Thanks", "greeting", "town"})
        check(span.text.find(said) == std::string::npos, std::string(c.family) + ": " + span.text);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names;
  for (const ChatCase& c : kChatCases)
    if (names.empty() || names.back() != family_of(c)) names.push_back(family_of(c));
  std::vector<Case> cases;
  for (const std::string& name : names) cases.push_back({name.c_str(), [&name] { family(name); }});
  cases.push_back({"origins", origins});
  return run(argc, argv, cases);
}
