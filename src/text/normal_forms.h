// Unicode's normal forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble {

/// Composed or decomposed, canonically or with compatibility mappings.
enum class NormalForm : uint8_t { nfc, nfd, nfkc, nfkd };

/// Appends `text` in that form. Bytes that are no UTF-8 stay as they are, and nothing moves or
/// composes across them. Time is O(n log n) in a run of combining marks, else linear.
void append_normal_form(std::string& out, std::string_view text, NormalForm form);

}  // namespace nibble
