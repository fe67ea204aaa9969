#include "nibble/error.h"

#include <utility>

#include "base/utf8.h"

namespace nibble {
namespace {

// Names in errors come from files: they must neither reach the terminal as commands nor fill it.
std::string shown(std::string text) {
  constexpr size_t kLongest = 8000;  // bytes
  if (text.size() > kLongest) {
    size_t end = kLongest;
    while (end > kLongest - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  return without_controls(std::move(text));
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
