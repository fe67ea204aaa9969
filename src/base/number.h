#pragma once

#include <optional>
#include <string_view>

namespace nibble {

/// The number that is the whole of `text`, decimal, inf or nan, whatever the locale; nothing if it
/// is none or a double cannot hold it. As std::from_chars: no white space and no + before it.
std::optional<double> parse_double(std::string_view text);

}  // namespace nibble
