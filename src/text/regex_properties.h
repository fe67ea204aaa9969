// The sets of characters that patterns ask for by name.
#pragma once

#include <optional>
#include <string_view>

#include "text/char_set.h"

namespace nibble {

/// What \p{name} matches: a general category by its short or long name, one of the scripts that are
/// known, white space, letters of words. Case, spaces, "_" and "-" do not matter.
std::optional<CharSet> find_property(std::string_view name);

/// What \w and \b ask for outside of a class: Oniguruma then also takes the superscript digits and
/// fractions of Latin-1 for letters of words.
CharSet bare_word_set();

}  // namespace nibble
