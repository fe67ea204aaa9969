// Strings that remember who wrote each byte: the template, or the people in the conversation.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"

namespace nibble::jinja {

/// UTF-8 (as far as its sources were valid) with the origin of every byte. All operations of the
/// interpreter keep origins, so that no text of a user can pose as markup.
class Text {
 public:
  /// Bytes up to `end`, from where the run before ends.
  struct Run {
    size_t end = 0;
    bool from_template = false;
  };

  Text() = default;
  Text(std::string_view bytes, bool from_template) { append(bytes, from_template); }

  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  /// What a copy takes.
  size_t memory() const { return bytes_.size() + runs_.size() * sizeof(Run); }
  /// Ends rise, neighbours differ, the last one ends at size().
  std::span<const Run> runs() const { return runs_; }
  bool all_from_template() const {
    return runs_.empty() || (runs_.size() == 1 && runs_[0].from_template);
  }
  /// The origin of the byte at `pos`; that of the last byte from size() on, template if empty.
  bool from_template_at(size_t pos) const;

  void append(std::string_view bytes, bool from_template);
  /// Bytes [from, from + n) of `other`, as far as it has them; `other` may be *this.
  void append(const Text& other, size_t from = 0, size_t n = std::string_view::npos);
  Text slice(size_t from, size_t n = std::string_view::npos) const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

/// Code points of `text`; an invalid byte counts as one.
size_t count_chars(std::string_view text);
/// The byte at which the n-th code point starts; size() if there are fewer.
size_t char_offset(std::string_view text, size_t n);

/// What str.strip(chars) leaves: a range of bytes. Without `chars`, white space is stripped.
struct ByteRange {
  size_t begin = 0, end = 0;
};
ByteRange strip_range(std::string_view text, const std::string_view* chars, bool left, bool right);

bool is_space(uint32_t code_point);  // as Python's str.isspace() has it

}  // namespace nibble::jinja
