// SentencePiece's precompiled map of characters.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// A map of strings to replacements: 4 bytes that say how long the trie is, the trie (a double
/// array of 32-bit units, as the library Darts-clone has it), the replacements, each ended by a
/// zero byte. A unit has in bits 0 to 7 the byte that leads to it (or bit 31, if it is a value), in
/// bit 8 whether a string ends there, and in bits 10 to 30 where its children are, times 256 if bit
/// 9 is set. A step by a byte goes to its index xor that offset xor the byte.
class Charsmap {
 public:
  /// Throws Error(where, ...) if the sizes contradict one another. Whatever the trie holds: what
  /// leads out of it matches nothing.
  Charsmap(std::string_view bytes, const std::string& where);

  /// Appends `text` to `out`, at each place the longest string that the map has replaced (of up to
  /// 128 bytes: a damaged trie may go in circles). Stops as soon as `out` is longer than `limit`.
  void apply(std::string& out, std::string_view text, size_t limit) const;

 private:
  struct Match {
    size_t length = 0;  // 0: none
    std::string_view replacement;
  };
  Match longest(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  std::array<bool, 256> begins_ = {};  // whether a string of the map begins with this byte
};

}  // namespace nibble
