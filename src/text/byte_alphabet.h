// The alphabet of byte-level tokenizers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble {

/// The alphabet of byte-level BPE: every byte as a printable character.
class ByteAlphabet {
 public:
  ByteAlphabet();
  std::string_view text(uint8_t byte) const { return texts_[byte]; }
  std::string encode(std::string_view bytes) const;
  /// The byte of a character, or -1.
  int byte(uint32_t code_point) const { return code_point < 324 ? bytes_[code_point] : -1; }

 private:
  std::array<std::string, 256> texts_;
  std::array<int16_t, 324> bytes_;  // by code point: 256 bytes and the 68 that are moved behind
};
const ByteAlphabet& byte_alphabet();

}  // namespace nibble
