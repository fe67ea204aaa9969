// Byte-pair encoding: merges neighbours, the best pair first, until none can be merged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nibble/config.h"

namespace nibble {

/// A stretch of the text in a list linked by indices. A symbol that was merged into its left
/// neighbour has length 0.
struct Symbol {
  Token id = -1;  // -1: no token has this text
  uint32_t begin = 0, length = 0;
  int32_t previous = -1, next = -1;
};

/// What two neighbours would become. Lower ranks go first; of equal ranks, the leftmost.
struct Merge {
  uint32_t rank = 0;
  Token id = -1;
};

/// Appends a symbol at the end of the list.
inline void append_symbol(std::vector<Symbol>& symbols, Token id, uint32_t begin, uint32_t length) {
  const auto index = static_cast<int32_t>(symbols.size());
  if (index > 0) symbols.back().next = index;
  symbols.push_back({id, begin, length, index - 1, -1});
}

/// Merges in place. Lookup: std::optional<Merge> lookup(const Symbol& left, const Symbol& right).
/// Time O(n log n), so that no word is too long. Reuse an object: it keeps its memory.
class BpeMerger {
 public:
  template <class Lookup>
  void run(std::span<Symbol> symbols, const Lookup& lookup) {
    queue_.clear();
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      consider(symbols, static_cast<int32_t>(i), lookup);
    while (!queue_.empty()) {
      std::ranges::pop_heap(queue_, later);
      const Candidate best = queue_.back();
      queue_.pop_back();
      Symbol& left = symbols[static_cast<size_t>(best.left)];
      // Lengths only grow: equal sums mean that neither side has changed since.
      if (left.length == 0 || left.next != best.right) continue;
      Symbol& right = symbols[static_cast<size_t>(best.right)];
      if (left.length + right.length != best.length) continue;
      left.id = best.id;
      left.length = best.length;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.left;
      if (left.previous >= 0) consider(symbols, left.previous, lookup);
      consider(symbols, best.left, lookup);
    }
  }

 private:
  struct Candidate {
    uint32_t rank = 0;
    int32_t left = 0, right = 0;  // indices of symbols
    uint32_t length = 0;          // of both together when it was found
    Token id = -1;
  };
  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }

  // Queues the pair of a symbol and its right neighbour, if it can be merged.
  template <class Lookup>
  void consider(std::span<Symbol> symbols, int32_t left, const Lookup& lookup) {
    const Symbol& a = symbols[static_cast<size_t>(left)];
    if (a.next < 0) return;
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    const std::optional<Merge> merge = lookup(a, b);
    if (!merge) return;
    queue_.push_back({merge->rank, left, a.next, a.length + b.length, merge->id});
    std::ranges::push_heap(queue_, later);
  }

  std::vector<Candidate> queue_;  // a heap, the first merge on top
};

/// Merges by the ids of their halves, grouped by the left one: no choice of merges makes it slow.
class PairTable {
 public:
  struct Entry {
    Token left = -1, right = -1;
    Merge merge;
  };

  PairTable() = default;
  /// Of entries with equal halves the one of lowest rank counts. Ids are below `vocab_size`.
  PairTable(std::vector<Entry> entries, size_t vocab_size) : first_(vocab_size + 1) {
    std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
      if (a.left != b.left) return a.left < b.left;
      return a.right != b.right ? a.right < b.right : a.merge.rank < b.merge.rank;
    });
    const auto same_pair = [](const Entry& a, const Entry& b) {
      return a.left == b.left && a.right == b.right;
    };
    entries.erase(std::unique(entries.begin(), entries.end(), same_pair), entries.end());
    for (const Entry& entry : entries) ++first_[static_cast<size_t>(entry.left) + 1];
    for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
    entries_ = std::move(entries);
  }

  std::optional<Merge> find(Token left, Token right) const {
    if (left < 0 || right < 0) return std::nullopt;
    const auto begin = entries_.begin() + first_[static_cast<size_t>(left)];
    const auto end = entries_.begin() + first_[static_cast<size_t>(left) + 1];
    const auto it = std::lower_bound(begin, end, right,
                                     [](const Entry& entry, Token id) { return entry.right < id; });
    if (it == end || it->right != right) return std::nullopt;
    return it->merge;
  }

 private:
  std::vector<Entry> entries_;   // by left, then right
  std::vector<uint32_t> first_;  // [vocab_size + 1], into entries_, by left
};

}  // namespace nibble
