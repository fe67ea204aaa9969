// Finds the tokens that are cut out of a text before anything else looks at it.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/byte_trie.h"

namespace nibble {

/// For each place of a text, the longest of some strings that begins there. It goes through the
/// text from its end to its beginning, in one state (Aho and Corasick's machine of the strings
/// reversed): no choice of strings and text takes more than a few steps for each byte.
class BackwardMatcher {
 public:
  BackwardMatcher() : BackwardMatcher(std::vector<ByteTrie::Entry>()) {}
  explicit BackwardMatcher(const std::vector<ByteTrie::Entry>& entries);

  bool empty() const { return trie_.n_nodes() == 1; }
  /// The state in front of `byte`, when `state` is the one behind it. 0 is that of no text.
  uint32_t step(uint32_t state, uint8_t byte) const {
    for (;;) {
      if (state == 0) return root_[byte];
      if (const uint32_t child = trie_.child(state, byte)) return child;
      state = fail_[state];
    }
  }
  /// The longest string that begins at the place of a state, or -1.
  Token longest(uint32_t state) const { return longest_[state]; }

 private:
  ByteTrie trie_;                   // of the strings reversed
  std::array<uint32_t, 256> root_;  // children of the root
  std::vector<uint32_t> fail_;      // [n_nodes], the longest node that a node's string ends with
  std::vector<Token> longest_;      // [n_nodes], of the node or of those that it fails to
};

class SpecialMatcher {
 public:
  struct Entry {
    std::string text;
    Token id = -1;
    bool user_defined = false;
    bool single_word = false;  // not beside a letter or digit
  };
  struct Match {
    size_t begin = 0, end = 0;
    Token id = -1;
  };
  using Spans = std::span<const std::pair<size_t, size_t>>;

  /// Of equal texts the lowest id counts. Empty texts are no tokens.
  explicit SpecialMatcher(std::vector<Entry> entries);

  bool empty() const { return entries_.empty(); }
  /// The tokens of a text from left to right, the longest where several begin: user-defined ones
  /// anywhere, the others within one of `special` (ascending stretches that do not touch).
  void find_all(std::string_view text, Spans special, std::vector<Match>& matches) const;
  /// The token with exactly this text, or -1.
  Token find(std::string_view text) const;

 private:
  size_t length(Token entry) const { return entries_[static_cast<size_t>(entry)].text.size(); }

  std::vector<Entry> entries_;             // by text, no two alike
  BackwardMatcher anywhere_, in_special_;  // their tokens are numbers of entries
};

}  // namespace nibble
