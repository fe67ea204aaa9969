#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nibble {

/// The bytes of base64 text (RFC 4648, with or without "=" at the end); nothing if it is none.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace nibble
