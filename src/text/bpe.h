// Byte-pair encoding: merges neighbours, the best pair first, until none can be merged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "nibble/config.h"

namespace nibble {

/// What two neighbours would become. Lower ranks go first; of equal ranks, the leftmost.
struct Merge {
  uint32_t rank = 0;
  Token id = -1;
};

/// A stretch of the text in a list linked by indices. A symbol that was merged into its left
/// neighbour has length 0.
struct Symbol {
  static constexpr uint32_t kNoMerge = UINT32_MAX;

  Token id = -1;  // -1: no token has this text
  uint32_t begin = 0, length = 0;
  int32_t previous = -1, next = -1;
  Merge merge = {kNoMerge, -1};  // with its right neighbour
};

/// Appends a symbol at the end of the list.
inline void append_symbol(std::vector<Symbol>& symbols, Token id, uint32_t begin, uint32_t length) {
  const auto index = static_cast<int32_t>(symbols.size());
  if (index > 0) symbols.back().next = index;
  symbols.push_back({id, begin, length, index - 1, -1, {}});
}

/// Remembers what pairs of tokens become: texts ask for the same few pairs again and again.
class PairCache {
 public:
  /// The merge of two tokens; compute() finds it when it is not remembered.
  template <class Compute>
  std::optional<Merge> find(Token left, Token right, const Compute& compute) {
    const uint64_t pair =
        uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
    Slot& slot = slots_[pair * 0x9e3779b97f4a7c15u >> kShift];
    if (slot.pair != pair) {
      const std::optional<Merge> found = compute();
      slot = {pair, found.value_or(Merge{Symbol::kNoMerge, -1})};
    }
    if (slot.merge.rank == Symbol::kNoMerge) return std::nullopt;
    return slot.merge;
  }

 private:
  static constexpr int kShift = 64 - 12;
  struct Slot {
    uint64_t pair = UINT64_MAX;  // of two that are no tokens, which become nothing
    Merge merge = {Symbol::kNoMerge, -1};
  };
  std::vector<Slot> slots_ = std::vector<Slot>(size_t{1} << (64 - kShift));
};

/// Merges in place. Lookup: std::optional<Merge> lookup(const Symbol& left, const Symbol& right),
/// of ranks below Symbol::kNoMerge. Time O(n log n), so that no word is too long. Reuse an object:
/// it keeps its memory.
class BpeMerger {
 public:
  template <class Lookup>
  void run(std::span<Symbol> symbols, const Lookup& lookup) {
    queue_.clear();
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      if (find_merge(symbols, static_cast<int32_t>(i), lookup))
        queue_.push_back(key(symbols, static_cast<int32_t>(i)));
    std::ranges::make_heap(queue_, std::greater<>());
    while (!queue_.empty()) {
      std::ranges::pop_heap(queue_, std::greater<>());
      const auto at = static_cast<int32_t>(queue_.back() & UINT32_MAX);
      const auto rank = static_cast<uint32_t>(queue_.back() >> 32);
      queue_.pop_back();
      Symbol& left = symbols[static_cast<size_t>(at)];
      if (left.merge.rank != rank) continue;  // its neighbour has changed since
      Symbol& right = symbols[static_cast<size_t>(left.next)];
      left.id = left.merge.id;
      left.length += right.length;
      left.next = right.next;
      right.length = 0;
      right.merge.rank = Symbol::kNoMerge;
      if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = at;
      if (left.previous >= 0) consider(symbols, left.previous, lookup);
      consider(symbols, at, lookup);
    }
  }

 private:
  static uint64_t key(std::span<const Symbol> symbols, int32_t at) {
    return uint64_t{symbols[static_cast<size_t>(at)].merge.rank} << 32 | static_cast<uint32_t>(at);
  }

  // Looks up what a symbol and its right neighbour would become; false if nothing.
  template <class Lookup>
  static bool find_merge(std::span<Symbol> symbols, int32_t at, const Lookup& lookup) {
    Symbol& symbol = symbols[static_cast<size_t>(at)];
    symbol.merge.rank = Symbol::kNoMerge;
    if (symbol.next < 0) return false;
    const std::optional<Merge> found = lookup(symbol, symbols[static_cast<size_t>(symbol.next)]);
    if (found) symbol.merge = *found;
    return found.has_value();
  }

  template <class Lookup>
  void consider(std::span<Symbol> symbols, int32_t at, const Lookup& lookup) {
    if (!find_merge(symbols, at, lookup)) return;
    queue_.push_back(key(symbols, at));
    std::ranges::push_heap(queue_, std::greater<>());
  }

  std::vector<uint64_t> queue_;  // a heap of ranks and places, the first merge on top
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
