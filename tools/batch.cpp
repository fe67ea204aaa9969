#include "batch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "args.h"

namespace nibble::tools {

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  for (size_t begin = 0, comma = 0; begin <= text.size(); begin = comma + 1) {
    comma = std::min(text.find(',', begin), text.size());
    const size_t n_before = items.size();
    for (size_t pos = begin; (pos = text.find_first_not_of(" \t\r\n", pos)) < comma;) {
      const size_t end = std::min(text.find_first_of(", \t\r\n", pos), text.size());
      items.emplace_back(text.substr(pos, end - pos));
      pos = end;
    }
    const bool blank = begin == 0 && comma == text.size();
    if (items.size() == n_before && !blank) throw UsageError("an item of the list is empty");
  }
  return items;
}

std::vector<int> parse_ints(std::string_view text, int low, int high) {
  std::vector<int> numbers;
  for (const std::string& part : split_list(text)) {
    int number = 0;
    const char* end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data(), end, number);
    if (error != std::errc() || stop != end || number < low || number > high)
      throw UsageError("found \"" + part + "\", expected whole numbers from " +
                       std::to_string(low) + " to " + std::to_string(high) +
                       ", separated by commas");
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<int> parse_ranges(std::string_view text, int low, int high) {
  constexpr size_t kMaxValues = 10000;
  std::vector<int> numbers;
  for (const std::string& part : split_list(text)) {
    const size_t dash = part.find('-', 1);
    if (dash == std::string::npos) {
      numbers.push_back(parse_ints(part, low, high).at(0));
      continue;
    }
    const size_t step_at = std::min(part.find_first_of("+*", dash), part.size());
    const bool factor = step_at < part.size() && part[step_at] == '*';
    const auto number = [&](size_t begin, size_t end, int least) {
      const std::string digits = part.substr(begin, end - begin);
      return parse_ints(digits.empty() ? part : digits, least, high).at(0);
    };
    const int last = number(dash + 1, step_at, low);
    const int step = step_at == part.size() ? 1 : number(step_at + 1, part.size(), factor ? 2 : 1);
    int64_t value = number(0, dash, factor ? std::max(low, 1) : low);
    for (; value <= last; value = factor ? value * step : value + step) {
      if (numbers.size() == kMaxValues) throw UsageError("\"" + part + "\" are too many values");
      numbers.push_back(static_cast<int>(value));
    }
  }
  return numbers;
}

std::function<void(const std::string&)> to_ranges(std::vector<int>& target, int low, int high) {
  return [&target, low, high](const std::string& value) {
    target = parse_ranges(value, low, high);
    if (target.empty()) throw UsageError("the list is empty");
  };
}

std::string format(const char* pattern, double value) {
  std::array<char, 400> buffer{};
  const int n = std::snprintf(buffer.data(), buffer.size(), pattern, value);
  return std::string(buffer.data(), static_cast<size_t>(std::max(n, 0)));
}

std::string bytes_text(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value >= 0x1p30) return format("%.2f GiB", value / 0x1p30);
  if (value >= 0x1p20) return format("%.2f MiB", value / 0x1p20);
  if (value >= 0x1p10) return format("%.2f KiB", value / 0x1p10);
  return format("%.0f B", value);
}

std::string count_text(uint64_t count) {
  const double value = static_cast<double>(count);
  if (value >= 1e9) return format("%.2f B", value / 1e9);
  if (value >= 1e6) return format("%.2f M", value / 1e6);
  if (value >= 1e3) return format("%.2f K", value / 1e3);
  return format("%.0f", value);
}

void write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error("standard output", "cannot be written", "is the disk full?");
}

}  // namespace nibble::tools
