// A tree of byte strings.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "nibble/config.h"

namespace nibble {

/// Nodes are numbered level by level, so that the children of a node lie side by side, and those of
/// the next node follow. Node 0 is the root, the empty string.
class ByteTrie {
 public:
  using Entry = std::pair<std::string_view, Token>;

  ByteTrie() : ByteTrie(std::vector<Entry>()) {}
  /// Of entries with equal texts the one of the lowest id counts. Texts are only read here.
  explicit ByteTrie(std::vector<Entry> entries);

  size_t n_nodes() const { return tokens_.size(); }
  /// The node that `byte` leads to; 0 if there is none.
  uint32_t child(uint32_t node, uint8_t byte) const {
    const uint32_t begin = first_[node];
    const void* found = std::memchr(bytes_.data() + begin, byte, first_[node + 1] - begin);
    return found ? static_cast<uint32_t>(static_cast<const uint8_t*>(found) - bytes_.data()) : 0;
  }
  /// The children of a node: from the first number to the one before the second.
  std::pair<uint32_t, uint32_t> children(uint32_t node) const {
    return {first_[node], first_[node + 1]};
  }
  uint8_t byte(uint32_t node) const { return bytes_[node]; }  // that leads to the node
  Token token(uint32_t node) const { return tokens_[node]; }  // -1: none ends here

 private:
  std::vector<uint8_t> bytes_;   // [n_nodes]
  std::vector<uint32_t> first_;  // [n_nodes + 1], the first child of each node
  std::vector<Token> tokens_;    // [n_nodes]
};

}  // namespace nibble
