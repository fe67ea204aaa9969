#include "text/byte_alphabet.h"

#include "base/utf8.h"

namespace nibble {

// Bytes that are printable Latin-1 characters stand for themselves; the other 68 become U+0100 and
// following, in order.
ByteAlphabet::ByteAlphabet() {
  bytes_.fill(-1);
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    const uint32_t code_point = printable ? byte : next++;
    append_utf8(texts_[byte], code_point);
    bytes_[code_point] = static_cast<int16_t>(byte);
  }
}

std::string ByteAlphabet::encode(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) out += text(static_cast<uint8_t>(c));
  return out;
}

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

}  // namespace nibble
