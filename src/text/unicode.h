// What Unicode says of code points: categories, white space, case folding, scripts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

inline constexpr uint32_t kMaxCodePoint = 0x10ffff;

/// General categories, in the order of the generated tables.
enum class Category : uint8_t {
  // clang-format off
  lu, ll, lt, lm, lo, mn, mc, me, nd, nl, no, pc, pd, ps, pe, pi, pf, po, sm, sc, sk, so,
  zs, zl, zp, cc, cf, cs, co, cn
  // clang-format on
};

/// General categories L, N and P, the property White_Space, and the rest. They do not overlap.
enum class CharClass : uint8_t { other, letter, number, punctuation, space };

enum class Script : uint8_t { none, han, hiragana, katakana, hangul };

/// A run of code points, both ends included.
struct CodeRange {
  uint32_t first = 0, last = 0;
};

Category category(uint32_t code_point);
CharClass char_class(uint32_t code_point);
bool is_space(uint32_t code_point);  // White_Space
/// What \w matches: letters, marks, decimal digits, connectors, and the rest of Alphabetic.
bool is_word(uint32_t code_point);

/// All code points that simple case folding changes, each with its image (one code point).
std::vector<std::pair<uint32_t, uint32_t>> fold_pairs();

/// Ascending runs of the code points of a category, of a script, of White_Space, of \w.
std::vector<CodeRange> ranges_of(Category category);
std::vector<CodeRange> ranges_of(Script script);
std::vector<CodeRange> space_ranges();
std::vector<CodeRange> word_ranges();

/// Reads the numbers of a generated table, see tools/make_unicode_tables.py.
class TableReader {
 public:
  explicit TableReader(std::string_view table) : rest_(table) {}
  bool done() const { return rest_.empty(); }
  uint32_t number();
  int32_t signed_number();

 private:
  std::string_view rest_;
};

/// Bytes of the last character of `text`: 1 for what is no UTF-8, 0 for no text.
size_t last_char_length(std::string_view text);

/// `text` without White_Space at its beginning, or at its end.
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

/// `text` without white space at both ends, as Python's str.strip() does it.
std::string_view strip(std::string_view text);

}  // namespace nibble
