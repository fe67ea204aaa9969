// Names that come from files: shown in errors, checked for duplicates.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// `name` as errors show it: quoted, cut when long, without control characters or invalid bytes, so
/// that a hostile file cannot write to a terminal through a message.
std::string printable(std::string_view name);

/// A name that occurs twice, if any. Sorts instead of hashing: no choice of names makes it slow.
std::optional<std::string_view> find_duplicate(std::vector<std::string_view> names);

}  // namespace nibble
