// What the batch tools share: lists of numbers, choices by name, numbers for people, progress.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "load/json.h"
#include "nibble/nibble.h"

namespace nibble::tools {

/// The texts between the characters of `separators`, empty ones left out.
std::vector<std::string> split_list(std::string_view text, std::string_view separators);

/// Whole numbers within [low, high], separated by commas or white space. Throws UsageError.
std::vector<int> parse_ints(std::string_view text, int low, int high);

// Setters for Flag::set, see args.h.
std::function<void(const std::string&)> to_int_list(std::vector<int>& target, int low, int high);
std::function<void(const std::string&)> to_group(int& target);

template <class E>
using Choices = std::vector<std::pair<const char*, E>>;

[[noreturn]] void refuse_choice(const std::string& found, const std::vector<const char*>& names);

/// A setter that takes one of the names.
template <class E>
std::function<void(const std::string&)> to_choice(E& target, Choices<E> choices) {
  return [&target, choices = std::move(choices)](const std::string& value) {
    std::vector<const char*> names;
    for (const auto& [name, choice] : choices) {
      if (value == name) {
        target = choice;
        return;
      }
      names.push_back(name);
    }
    refuse_choice(value, names);
  };
}

std::string format(const char* pattern, double value);  // printf of one double
std::string bytes_text(uint64_t bytes);                 // "3.56 GiB"
std::string count_text(uint64_t count);                 // "6.74 B"

/// A text of a file without control characters: none may drive a terminal.
std::string printable(std::string text);

/// A bar on standard error if that is a terminal, else nothing.
Progress progress_bar(const std::string& label);

/// Writes all of `text` to standard output. Throws Error if it cannot.
void write_stdout(std::string_view text);

/// Adds a member; Json cannot be copied, so objects are built one by one.
inline void put(Json::Object& object, const char* key, Json value) {
  object.emplace_back(key, std::move(value));
}
inline Json json_count(uint64_t value) { return Json(static_cast<int64_t>(value)); }

}  // namespace nibble::tools
