// From the source of a template to tokens, white space control done.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::jinja {

struct Token {
  enum class Kind : uint8_t {
    data,         // text outside of tags
    print_begin,  // {{
    print_end,    // }}
    block_begin,  // {%
    block_end,    // %}
    name,
    string,
    integer,
    number,
    op,
    end
  };

  Kind kind = Kind::end;
  int line = 1;
  std::string text;  // of data, names, operators and numbers; the value of a string
};

inline constexpr size_t kMaxTemplateBytes =
    size_t{1} << 18;  // many times the longest known; a tree takes 200 times as much

/// Tokens as Jinja 3 makes them with trim_blocks and lstrip_blocks, which is how chat templates are
/// written. Comments and raw blocks are done here. The last token is `end`. Throws Error naming the
/// line.
std::vector<Token> tokenize(std::string_view source);

/// Throws Error("chat template", "line N: why"), without control characters and invalid bytes of
/// the template, which may be written to a terminal. Line 0: none.
[[noreturn]] void fail_at(int line, std::string_view why);

}  // namespace nibble::jinja
