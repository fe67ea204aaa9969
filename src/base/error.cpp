#include "nibble/error.h"

#include <string_view>
#include <utility>

#include "base/utf8.h"

namespace nibble {
namespace {

// Names in errors come from files: they must neither reach the terminal as commands nor fill it.
std::string shown(std::string text) {
  constexpr size_t kLongest = 8000;  // bytes
  if (text.size() > kLongest) {
    text.resize(complete_utf8_prefix(std::string_view(text).substr(0, kLongest)));
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
