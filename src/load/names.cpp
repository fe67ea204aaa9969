#include "load/names.h"

#include <algorithm>

#include "base/utf8.h"

namespace nibble {

std::string printable(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string out = "\"";
  for (size_t pos = 0; pos < name.size();) {
    if (out.size() > kLongest) {
      out += "...";
      break;
    }
    const DecodedChar c = decode_utf8(name, pos);
    append_utf8(out, is_control(c.code_point) ? uint32_t{'?'} : c.code_point);
    pos += c.length;
  }
  return out + "\"";
}

std::optional<std::string_view> find_duplicate(std::vector<std::string_view> names) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return std::nullopt;
  return *twice;
}

}  // namespace nibble
