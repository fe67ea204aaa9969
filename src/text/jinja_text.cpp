#include "text/jinja_text.h"

#include <algorithm>

#include "text/unicode.h"

namespace nibble::jinja {
namespace {

bool contains_char(std::string_view chars, std::string_view c) {
  for (size_t pos = 0; pos < chars.size();) {
    const size_t length = decode_utf8(chars, pos).length;
    if (chars.substr(pos, length) == c) return true;
    pos += length;
  }
  return false;
}

}  // namespace

bool is_space(uint32_t code_point) {
  return char_class(code_point) == CharClass::space || (code_point >= 0x1c && code_point <= 0x1f);
}

bool Text::from_template_at(size_t pos) const {
  const auto run = std::ranges::upper_bound(runs_, pos, {}, &Run::end);
  if (run != runs_.end()) return run->from_template;
  return runs_.empty() || runs_.back().from_template;
}

void Text::append(std::string_view bytes, bool from_template) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().from_template == from_template)
    runs_.back().end = bytes_.size();
  else
    runs_.push_back({bytes_.size(), from_template});
}

void Text::append(const Text& other, size_t from, size_t n) {
  if (&other == this) return append(Text(other), from, n);
  from = std::min(from, other.size());
  const size_t end = from + std::min(n, other.size() - from);
  auto run = std::ranges::upper_bound(other.runs_, from, {}, &Run::end);
  for (; from < end; ++run) {
    const size_t stop = std::min(end, run->end);
    append(other.view().substr(from, stop - from), run->from_template);
    from = stop;
  }
}

Text Text::slice(size_t from, size_t n) const {
  Text out;
  out.append(*this, from, n);
  return out;
}

size_t count_chars(std::string_view text) {
  size_t n = 0;
  for (size_t pos = 0; pos < text.size(); ++n)
    pos += static_cast<unsigned char>(text[pos]) < 0x80 ? 1 : decode_utf8(text, pos).length;
  return n;
}

size_t char_offset(std::string_view text, size_t n) {
  size_t pos = 0;
  for (; n > 0 && pos < text.size(); --n)
    pos += static_cast<unsigned char>(text[pos]) < 0x80 ? 1 : decode_utf8(text, pos).length;
  return pos;
}

ByteRange strip_range(std::string_view text, const std::string_view* chars, bool left, bool right) {
  const auto dropped = [&](size_t pos, size_t length) {
    if (chars) return contains_char(*chars, text.substr(pos, length));
    const DecodedChar c = decode_utf8(text, pos);
    return c.valid && is_space(c.code_point);
  };
  ByteRange range{0, text.size()};
  while (left && range.begin < range.end) {
    const size_t length = decode_utf8(text, range.begin).length;
    if (!dropped(range.begin, length)) break;
    range.begin += length;
  }
  while (right && range.begin < range.end) {
    const size_t length = last_char_length(text.substr(0, range.end));
    if (!dropped(range.end - length, length)) break;
    range.end -= length;
  }
  return range;
}

}  // namespace nibble::jinja
