// What a tokenizer.json does to a text before tokens are looked for, and to tokens to make text of
// them: its normalizer, pre-tokenizer and decoder.
#pragma once

#include <string>

#include "text/vocabulary.h"

namespace nibble {

/// Sets kind and steps of `out`. Throws Error(where, ...) that shows the step of `tokenizer` (the
/// whole file) that is not known.
void read_layout(const Json& tokenizer, const std::string& where, Vocabulary& out);

/// The member `key`; null if there is none, if it is null, or if `object` is null.
const Json* member(const Json* object, std::string_view key);
/// The text, or the truth, of a member of that type; the default for any other.
std::string text_member(const Json* object, std::string_view key);
bool flag_member(const Json* object, std::string_view key, bool otherwise);

}  // namespace nibble
