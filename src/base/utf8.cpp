#include "base/utf8.h"

namespace nibble {
namespace {

// Bytes of the character that `lead` begins, by its lead byte alone; 0 if it cannot begin one.
size_t sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  if (lead >= 0xf0 && lead < 0xf5) return 4;
  return 0;
}

// Whether `byte` may stand at index `i` (1..3) of a character that begins with `lead`: excludes
// overlong forms, surrogates and values above U+10FFFF.
bool continues(uint8_t lead, size_t i, uint8_t byte) {
  if (i == 1) {
    if (lead == 0xe0) return byte >= 0xa0 && byte < 0xc0;
    if (lead == 0xed) return byte >= 0x80 && byte < 0xa0;
    if (lead == 0xf0) return byte >= 0x90 && byte < 0xc0;
    if (lead == 0xf4) return byte >= 0x80 && byte < 0x90;
  }
  return byte >= 0x80 && byte < 0xc0;
}

}  // namespace

DecodedChar decode_utf8(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[pos + i]); };
  const uint8_t lead = byte(0);
  const size_t length = sequence_length(lead);
  if (length == 1) return {lead, 1, true};
  if (length == 0 || text.size() - pos < length) return {kReplacementChar, 1, false};
  uint32_t code_point = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (!continues(lead, i, byte(i))) return {kReplacementChar, 1, false};
    code_point = (code_point << 6) | (byte(i) & 0x3fu);
  }
  return {code_point, static_cast<uint8_t>(length), true};
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = kReplacementChar;
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | (c >> 6));
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3f));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    if (!c.valid) return false;
    pos += c.length;
  }
  return true;
}

size_t complete_utf8_prefix(std::string_view text) {
  const size_t first = text.size() > 3 ? text.size() - 3 : 0;
  for (size_t pos = text.size(); pos-- > first;) {
    const uint8_t lead = static_cast<uint8_t>(text[pos]);
    const size_t length = sequence_length(lead);
    const size_t have = text.size() - pos;
    if (length <= 1) continue;
    bool unfinished = have < length;
    for (size_t i = 1; i < have && unfinished; ++i)
      unfinished = continues(lead, i, static_cast<uint8_t>(text[pos + i]));
    return unfinished ? pos : text.size();
  }
  return text.size();
}

std::string without_controls(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if (byte < 0x20 || byte == 0x7f) text[i] = ' ';
    if (byte == 0xc2 && next >= 0x80 && next < 0xa0) text[i] = text[i + 1] = ' ';
  }
  return text;
}

std::string terminal_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    const bool breaks = c.code_point == '\n' || c.code_point == '\t';
    // Bytes that are invalid alone must not stay: they could meet, and be a control character.
    if (breaks || !is_control(c.code_point)) append_utf8(out, c.code_point);
    pos += c.length;
  }
  return out;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    if (c.valid)
      out.append(text, pos, c.length);
    else
      append_utf8(out, kReplacementChar);
    pos += c.length;
  }
  return out;
}

}  // namespace nibble
