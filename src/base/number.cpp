#include "base/number.h"

#include <charconv>

#ifndef __cpp_lib_to_chars
#include <locale.h>  // NOLINT: newlocale() is no part of <clocale>
#include <stdlib.h>  // NOLINT: neither is strtod_l() of <cstdlib>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include <cerrno>
#include <cmath>
#include <string>
#endif

namespace nibble {

#ifdef __cpp_lib_to_chars

std::optional<double> parse_double(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

#else  // libc++ has no std::from_chars for a double

std::optional<double> parse_double(std::string_view text) {
  // Of what strtod() takes: no white space, no +, no hexadecimal digits.
  if (text.empty() || text.find_first_of(" \t\n\v\f\rxX") != text.npos || text[0] == '+')
    return std::nullopt;
  static const locale_t classic = ::newlocale(LC_ALL_MASK, "C", nullptr);
  const std::string terminated(text);
  char* stop = nullptr;
  const int saved = errno;
  errno = 0;
  const double value = ::strtod_l(terminated.c_str(), &stop, classic);
  const bool out_of_range = errno == ERANGE && (value == 0 || std::isinf(value));
  errno = saved;
  if (out_of_range || stop != terminated.c_str() + terminated.size()) return std::nullopt;
  return value;
}

#endif

}  // namespace nibble
