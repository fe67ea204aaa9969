// Conversations in files of JSON lines.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "load/json.h"
#include "nibble/chat.h"

namespace nibble {

/// The text without white space at its ends.
std::string_view stripped(std::string_view text);

/// Calls fn(line, number) for every line that is not blank; numbers count from 1. A byte order mark
/// in front is none of the text.
template <class Fn>
void for_each_line(std::string_view text, Fn&& fn) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  size_t number = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    const std::string_view line = text.substr(pos, end - pos);
    pos = end + 1;
    ++number;
    if (!stripped(line).empty()) fn(line, number);
  }
}

/// "system", "user" or "assistant".
const char* role_name(Role role);

/// The value of "messages": an array of {"role": "system" | "user" | "assistant", "content": TEXT}.
/// Throws Error naming `where`.
std::vector<Message> read_messages(const Json& list, const std::string& where);

/// {"messages": [...]} and a line break: a file of one conversation, and what it says. Throws Error
/// naming `where`.
std::string write_conversation(std::span<const Message> messages);
std::vector<Message> read_conversation(std::string_view text, const std::string& where);

}  // namespace nibble
