// Texts that commands read, from files or standard input.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace nibble::tools {

/// The whole of a file, or of standard input for "-". Throws Error.
std::string read_text_file(const std::string& path);

/// Calls `line` with each line of a file, or of standard input for "-", as soon as it is there,
/// without its line break. Throws Error.
void read_lines(const std::string& path, const std::function<void(std::string_view)>& line);

}  // namespace nibble::tools
