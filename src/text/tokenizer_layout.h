// What a tokenizer.json does to a text before merging: its normalizer and pre-tokenizer.
#pragma once

#include <string>

#include "text/vocabulary.h"

namespace nibble {

/// Sets kind, pre and the space prefix of `out`. Throws Error(where, ...) that shows the part of
/// `tokenizer` (the whole file) that is not known.
void read_layout(const Json& tokenizer, const std::string& where, Vocabulary& out);

/// The member `key`; null if there is none, if it is null, or if `object` is null.
const Json* member(const Json* object, std::string_view key);
/// The text, or the truth, of a member of that type; the default for any other.
std::string text_member(const Json* object, std::string_view key);
bool flag_member(const Json* object, std::string_view key, bool otherwise);

}  // namespace nibble
