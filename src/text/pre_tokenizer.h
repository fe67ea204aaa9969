// How byte-level BPE cuts a text into words before merging.
#pragma once

#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace nibble {

/// The words of `text` in order; together they are the text. Time is linear. Bytes that are no
/// UTF-8 count as symbols.
std::vector<std::string_view> split_words(PreTokenizer rule, std::string_view text);

}  // namespace nibble
