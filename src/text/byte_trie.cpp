#include "text/byte_trie.h"

#include <algorithm>

namespace nibble {
namespace {

// The entries that begin as the path to a node does.
struct Entries {
  uint32_t begin = 0, end = 0, depth = 0;
};

}  // namespace

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::ranges::sort(entries);
  std::vector<Entries> ranges = {{0, static_cast<uint32_t>(entries.size()), 0}};
  bytes_ = {0};
  for (size_t node = 0; node < ranges.size(); ++node) {
    uint32_t begin = ranges[node].begin;
    const uint32_t end = ranges[node].end, depth = ranges[node].depth;
    first_.push_back(static_cast<uint32_t>(ranges.size()));
    const bool ends = begin < end && entries[begin].first.size() == depth;
    tokens_.push_back(ends ? entries[begin].second : -1);
    while (begin < end && entries[begin].first.size() == depth) ++begin;
    while (begin < end) {
      const auto byte = static_cast<uint8_t>(entries[begin].first[depth]);
      const auto same = [&](const Entry& entry) {
        return static_cast<uint8_t>(entry.first[depth]) == byte;
      };
      const auto last = std::partition_point(entries.begin() + begin, entries.begin() + end, same);
      const auto next = static_cast<uint32_t>(last - entries.begin());
      ranges.push_back({begin, next, depth + 1});
      bytes_.push_back(byte);
      begin = next;
    }
  }
  first_.push_back(static_cast<uint32_t>(ranges.size()));
}

}  // namespace nibble
