// What the batch tools share: lists of numbers, numbers for people, printing.
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

/// The items of a list, separated by commas or white space; none in a blank text. Throws UsageError
/// if there is none before or behind a comma.
std::vector<std::string> split_list(std::string_view text);

/// Whole numbers within [low, high], separated by commas or white space. Throws UsageError.
std::vector<int> parse_ints(std::string_view text, int low, int high);

/// The same with ranges: "4-8", "0-512+128" (a step), "1-64*2" (a factor).
std::vector<int> parse_ranges(std::string_view text, int low, int high);

/// A setter for Flag::set, see args.h.
std::function<void(const std::string&)> to_ranges(std::vector<int>& target, int low, int high);

std::string format(const char* pattern, double value);  // printf of one double
std::string bytes_text(uint64_t bytes);                 // "3.56 GiB"
std::string count_text(uint64_t count);                 // "6.74 B"

/// Writes all of `text` to standard output. Throws Error if it cannot.
void write_stdout(std::string_view text);

/// Adds a member.
inline void put(Json::Object& object, const char* key, Json value) {
  object.emplace_back(key, std::move(value));
}
inline Json json_count(uint64_t value) { return Json(static_cast<int64_t>(value)); }

}  // namespace nibble::tools
