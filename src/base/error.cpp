#include "nibble/error.h"

#include <utility>

namespace nibble {
namespace {

std::string message(const std::string& where, const std::string& why, const std::string& hint) {
  std::string text = where.empty() ? why : where + ": " + why;
  if (!hint.empty()) text += " (" + hint + ")";
  return text;
}

}  // namespace

Error::Error(std::string where, std::string why, std::string hint)
    : std::runtime_error(message(where, why, hint)),
      where_(std::move(where)),
      why_(std::move(why)),
      hint_(std::move(hint)) {}

Error Error::mismatch(const std::string& where, const std::string& what,
                      const std::string& expected, const std::string& found) {
  return Error(where, what + " is " + found + ", expected " + expected);
}

}  // namespace nibble
