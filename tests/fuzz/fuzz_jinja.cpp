#include "fuzz/fuzz.h"
#include "text/jinja.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// Every string of the conversation holds a byte that no template writes but by an escape.
constexpr std::string_view kMark = "\x01";

std::vector<jinja::Variable> variables() {
  return {{"messages", parse_json(R"([{"role": "system", "content": "\u0001Be\u0001 \u0001"},
             {"role": "user", "content": "\u0001a b\u0001\n c\u0001"}, {"role": "assistant",
             "content": "\u0001\u00e9", "tool_calls": [{"function": {"name": "\u0001",
             "arguments": {"\u0001": [1, 2.5, null, true]}}}]}])",
                                  "fuzz")},
          {"bos_token", Json("<s>"), true},
          {"eos_token", Json("</s>"), true},
          {"add_generation_prompt", Json(true)}};
}

}  // namespace

// A template is parsed and rendered, or refused with an Error; the same way each time; and what
// users wrote does not become text of the template.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<jinja::Variable> kVariables = variables();
  const std::string_view source = as_text(data, size);
  jinja::Limits limits;
  limits.steps = 100'000;
  limits.bytes = 4 << 20;
  std::string texts[2];
  for (std::string& text : texts) {
    try {
      for (const jinja::Span& span : jinja::Template(source).render(kVariables, {}, limits)) {
        if (span.text.empty()) std::abort();
        const bool written = source.find('\\') != source.npos || source.find(kMark) != source.npos;
        if (span.from_template && !written && span.text.find(kMark) != std::string::npos)
          std::abort();
        text += span.text;
      }
    } catch (const Error& e) {
      text = e.what();
    }
  }
  if (texts[0] != texts[1]) std::abort();
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + "
      "message['content'] | trim + eos_token }}{% endfor %}{% if add_generation_prompt %}<|a|>{% "
      "endif %}",
      "{%- set ns = namespace(n=0, x=[]) -%}{%- for m in messages[1:] if m.role != 'tool' -%}\n  "
      "{%- "
      "set ns.n = ns.n + loop.index0 * 2 % 3 -%}{{ loop.previtem.content[::-1] ~ "
      "m['content'].split("
      ")[-1] }}\n{%- else -%} none {%- endfor -%}{{ ns.n // 2 }}",
      "{% macro call(name, args={}, *rest) %}{% endmacro %}",
      "{% macro call(name, args={}) %}{{ name }}{{ args | tojson(indent=2) }}{% endmacro %}{% for "
      "c in "
      "messages[2].tool_calls %}{{ call(c.function.name, args=c.function.arguments) }}{% endfor %}",
      "{% set x %}{{ messages | map(attribute='content') | join('-') | upper }}{% endset %}{{ "
      "x.strip("
      ").replace('a', 'b')[2:-2] if x is string and 'b' in x else 'none' }}{# c #}{% raw %}{{ }}{% "
      "endraw %}",
      "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ '%5s|%d' % ('a', "
      "3) }}"
      "{{ '{:>5} {}'.format(1, messages[0].content) }}{{ messages | string | title }}{{ "
      "messages[0] | "
      "dictsort | first | reverse | list }}",
      "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% elif loop.last %}{% break "
      "%}{% "
      "else %}{{ m.content.partition(' ') }}{{ m.content | indent(2, true) | e | truncate(9) }}{% "
      "endif "
      "%}{% endfor %}{% generation %}{% filter lower %}A{% endfilter %}{% endgeneration %}"};
}
