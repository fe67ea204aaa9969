// Token by text.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/config.h"

namespace nibble {

/// A hash table of some of the texts of a vocabulary. The hash is keyed by a secret of the object:
/// nobody can choose texts that collide.
class TextIndex {
 public:
  /// `texts` must outlive the index.
  explicit TextIndex(const std::vector<std::string>& texts)
      : texts_(texts), slots_(std::bit_ceil(texts.size() * 2 + 1)) {
    try {
      std::random_device random;
      for (uint64_t& key : key_) key = uint64_t{random()} << 32 | random() | 1;
    } catch (const std::exception&) {  // a system without a source of entropy: an address will do
      for (uint64_t& key : key_) key = reinterpret_cast<uintptr_t>(&key) * 0x9e3779b97f4a7c15u | 1;
    }
  }

  /// Of equal texts the first that was added counts.
  void add(Token id) {
    const std::string& text = texts_[static_cast<size_t>(id)];
    Slot& slot = slots_[slot_of(text)];
    if (slot.id >= 0) return;
    slot = {tag_of(hash(text)), id};
    max_bytes_ = std::max(max_bytes_, text.size());
  }

  /// -1 if there is none.
  Token find(std::string_view text) const {
    return text.size() <= max_bytes_ ? slots_[slot_of(text)].id : -1;
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    Token id = -1;
  };

  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  uint64_t hash(std::string_view text) const {
    uint64_t state = key_[0] ^ text.size();
    for (size_t pos = 0; pos < text.size(); pos += 8) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + pos, std::min<size_t>(8, text.size() - pos));
      state = (state ^ word) * key_[1];
      state = (state ^ (state >> 32)) * 0xd6e8feb86659fd93u;
      state ^= state >> 32;
    }
    return state;
  }

  // Where the text is, or would be: at least half of the slots are free.
  size_t slot_of(std::string_view text) const {
    const uint64_t h = hash(text);
    for (size_t i = static_cast<size_t>(h);; ++i) {
      const size_t at = i & (slots_.size() - 1);
      const Slot& slot = slots_[at];
      if (slot.id < 0) return at;
      if (slot.tag == tag_of(h) && texts_[static_cast<size_t>(slot.id)] == text) return at;
    }
  }

  const std::vector<std::string>& texts_;
  std::vector<Slot> slots_;  // a power of two
  size_t max_bytes_ = 0;
  uint64_t key_[2];
};

}  // namespace nibble
