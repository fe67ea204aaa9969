// Conversations in files, as /save writes and /load reads them: a line of JSON of the form that
// `nibble perplexity` and `nibble quantize --calibration` read.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/chat.h"

namespace nibble::tools {

/// Writes a file that only the user may read, and which takes its name when it is complete.
/// Replaces none but an earlier conversation. `file`: a path, which may begin with ~/ and have
/// quotes around it. Throws Error.
void save_chat(const std::string& file, std::span<const Message> messages);
std::vector<Message> load_chat(const std::string& file);

}  // namespace nibble::tools
