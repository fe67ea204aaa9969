// The classes of code points that the pre-tokenizer rules distinguish.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nibble {

/// General categories L, N and P, the property White_Space, and the rest. They do not overlap.
enum class CharClass : uint8_t { other, letter, number, punctuation, space };

CharClass char_class(uint32_t code_point);

/// `text` without white space at both ends, as Python's str.strip() does it.
std::string_view strip(std::string_view text);

}  // namespace nibble
