// Text as Python's str methods treat it; every byte keeps its origin.
#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/unicode_case.h"

namespace nibble::jinja {
namespace {

/// Appends text.substr(pos, length) of one character, in a case, with its origin.
class CaseWriter {
 public:
  CaseWriter(Context& context, const Text& text) : text_(text), out_(context) {
    context.step(text.size() / 8);
  }

  /// change(code point) says which case, or nothing to keep it.
  template <class Change>
  Text run(Change change) {
    for (size_t pos = 0; pos < text_.size();) {
      const DecodedChar c = decode_utf8(text_.view(), pos);
      const bool from_template =
          text_.from_template_at(pos) && text_.from_template_at(pos + c.length - 1);
      if (!buffer_.empty() && from_template != from_template_) flush();
      from_template_ = from_template;
      const std::optional<LetterCase> to = change(c.code_point);
      if (c.valid && to)
        append_in_case(buffer_, c.code_point, *to);
      else
        buffer_ += text_.view().substr(pos, c.length);
      pos += c.length;
    }
    flush();
    return out_.take();
  }

 private:
  void flush() {
    out_.add(buffer_, from_template_);
    buffer_.clear();
  }

  const Text& text_;
  Builder out_;
  std::string buffer_;
  bool from_template_ = true;
};

/// Knuth, Morris and Pratt: no text is slow to search.
size_t find_long(std::string_view text, std::string_view part, size_t from) {
  std::vector<size_t> border(part.size(), 0);
  for (size_t i = 1, n = 0; i < part.size(); ++i) {
    while (n > 0 && part[i] != part[n]) n = border[n - 1];
    if (part[i] == part[n]) ++n;
    border[i] = n;
  }
  for (size_t i = from, n = 0; i < text.size(); ++i) {
    while (n > 0 && text[i] != part[n]) n = border[n - 1];
    if (text[i] == part[n]) ++n;
    if (n == part.size()) return i + 1 - n;
  }
  return std::string_view::npos;
}

// "" is found between all characters.
Text replaced_between(Context& context, const Text& text, const Text& to, int64_t count) {
  Builder out(context);
  for (size_t pos = 0; pos < text.size();) {
    if (count != 0) {
      out.add(to);
      --count;
    }
    const size_t length = decode_utf8(text.view(), pos).length;
    out.add(text, pos, length);
    pos += length;
  }
  if (count != 0) out.add(to);
  return out.take();
}

}  // namespace

size_t find_text(Context& context, std::string_view text, std::string_view part, size_t from) {
  constexpr size_t kShort = 64, kLong = size_t{1} << 16;
  if (part.size() <= kShort || part.size() > text.size()) return text.find(part, from);
  if (part.size() > kLong) context.allocate(part.size() * sizeof(size_t));
  return find_long(text, part, from);
}

Text to_case(Context& context, const Text& text, bool upper) {
  const LetterCase to = upper ? LetterCase::upper : LetterCase::lower;
  return CaseWriter(context, text).run([to](uint32_t) { return std::optional(to); });
}

Text capitalized(Context& context, const Text& text) {
  bool first = true;
  return CaseWriter(context, text).run([&](uint32_t) {
    return std::optional(std::exchange(first, false) ? LetterCase::title : LetterCase::lower);
  });
}

Text title_case(Context& context, const Text& text) {
  bool in_word = false;
  return CaseWriter(context, text).run([&](uint32_t c) {
    const bool after = std::exchange(in_word, is_cased(c));
    return std::optional(after ? LetterCase::lower : LetterCase::title);
  });
}

Text stripped(Context& context, const Text& text, const Value* chars, bool left, bool right) {
  const bool given = chars && !chars->is_none();
  const std::string_view set =
      given ? string_argument(context, chars, "what is stripped").view() : std::string_view();
  context.step((text.size() / 16 + 1) * (set.size() + 1));
  const ByteRange range = strip_range(text.view(), given ? &set : nullptr, left, right);
  context.allocate(text.memory());
  return text.slice(range.begin, range.end - range.begin);
}

Text replaced(Context& context, const Text& text, const Text& from, const Text& to, int64_t count) {
  count = std::max<int64_t>(count, -1);  // counts down, without end
  if (from.empty()) return replaced_between(context, text, to, count);
  context.scan(4 * text.size());
  Builder out(context);
  size_t pos = 0;
  for (; count != 0; --count) {
    const size_t found = find_text(context, text.view(), from.view(), pos);
    if (found == std::string_view::npos) break;
    context.step();
    out.add(text, pos, found - pos);
    out.add(to);
    pos = found + from.size();
  }
  out.add(text, pos);
  return out.take();
}

Text padded(Context& context, const Text& text, int64_t width, char align, std::string_view fill) {
  context.scan(text.size());
  const auto length = static_cast<int64_t>(count_chars(text.view()));
  const uint64_t missing = width > length ? static_cast<uint64_t>(width - length) : 0;
  uint64_t left = align == '>' ? missing : 0;
  // Python's center() puts the odd one to the left if the width is odd, format() to the right.
  if (align == '^') left = missing / 2;
  if (align == 'c') left = missing / 2 + (missing & static_cast<uint64_t>(width) & 1);
  Builder out(context);
  out.fill(fill, left, true);
  out.add(text);
  out.fill(fill, missing - left, true);
  return out.take();
}

Text joined(Context& context, const std::vector<Value>& parts, const Text& separator) {
  Builder out(context);
  for (size_t i = 0; i < parts.size(); ++i) {
    context.step();
    if (i > 0) out.add(separator);
    if (parts[i].is_string())
      out.add(parts[i].text());
    else
      out.add(to_text(context, parts[i]));
  }
  return out.take();
}

}  // namespace nibble::jinja
