#include "nibble/error.h"

#include <utility>

namespace nibble {
namespace {

// Names in errors come from files: they must neither reach the terminal as commands (of one byte,
// or U+0080 to U+009F) nor fill it.
std::string shown(std::string text) {
  constexpr size_t kLongest = 8000;  // bytes
  if (text.size() > kLongest) {
    size_t end = kLongest;
    while (end > kLongest - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if (byte < 0x20 || byte == 0x7f) text[i] = ' ';
    if (byte == 0xc2 && next >= 0x80 && next < 0xa0) text[i] = text[i + 1] = ' ';
  }
  return text;
}

std::string message(const std::string& where, const std::string& why, const std::string& hint) {
  std::string text = where.empty() ? why : where + ": " + why;
  if (!hint.empty()) text += " (" + hint + ")";
  return text;
}

}  // namespace

Error::Error(std::string where, std::string why, std::string hint)
    : std::runtime_error(shown(message(where, why, hint))),
      where_(shown(std::move(where))),
      why_(shown(std::move(why))),
      hint_(std::move(hint)) {}

Error Error::mismatch(const std::string& where, const std::string& what,
                      const std::string& expected, const std::string& found) {
  return Error(where, what + " is " + found + ", expected " + expected);
}

}  // namespace nibble
