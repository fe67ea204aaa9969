#include "text/charsmap.h"

#include <algorithm>

#include "base/utf8.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr size_t kMaxKeyBytes = 128;

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i)
    value |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }
uint32_t label(uint32_t unit) { return unit & 0x800000ffu; }
bool has_value(uint32_t unit) { return (unit & 0x100) != 0; }
uint32_t value(uint32_t unit) { return unit & 0x7fffffffu; }

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& where) {
  const size_t trie_bytes = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
  if (bytes.size() < 4 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4)
    throw Error(where, "its map of characters is cut short or damaged");
  for (size_t at = 4; at < 4 + trie_bytes; at += 4) units_.push_back(little_endian(bytes, at));
  replacements_ = bytes.substr(4 + trie_bytes);
  if (units_.empty()) return;
  for (uint32_t byte = 1; byte < 256; ++byte) {
    const uint64_t child = offset(units_[0]) ^ byte;
    begins_[byte] = child < units_.size() && label(units_[child]) == byte;
  }
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
  Match match;
  uint32_t at = offset(units_[0]);
  for (size_t i = 0; i < std::min(text.size(), kMaxKeyBytes); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) break;
    const uint32_t unit = units_[at];
    at ^= offset(unit);
    if (!has_value(unit)) continue;
    const size_t begin = at < units_.size() ? value(units_[at]) : replacements_.size();
    if (begin >= replacements_.size()) continue;
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    match = {i + 1, rest.substr(0, rest.find('\0'))};
  }
  return match;
}

void Charsmap::apply(std::string& out, std::string_view text, size_t limit) const {
  for (size_t pos = 0; pos < text.size() && out.size() <= limit;) {
    const bool begins = begins_[static_cast<uint8_t>(text[pos])];
    const Match match = begins ? longest(text.substr(pos)) : Match();
    if (match.length > 0) {
      out += match.replacement;
      pos += match.length;
    } else {
      const size_t length = decode_utf8(text, pos).length;
      out += text.substr(pos, length);
      pos += length;
    }
  }
}

}  // namespace nibble
