// Makes text of tokens, as a list of steps says.
#pragma once

#include <span>
#include <string>

#include "text/text_steps.h"

namespace nibble {

/// Of one token's text: the steps before the first `fuse`. `first`: no other token comes before.
std::string decode_token(std::span<const DecodeStep> steps, std::string text, bool first);

/// Of all tokens' texts together: the steps behind the first `fuse`.
std::string decode_whole(std::span<const DecodeStep> steps, std::string text);

}  // namespace nibble
