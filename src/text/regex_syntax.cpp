#include "text/regex_syntax.h"

#include <algorithm>
#include <optional>

#include "base/ascii.h"
#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/regex_properties.h"

namespace nibble {
namespace {

using Node = RegexNode;
constexpr int kMaxDepth = 40;
constexpr uint32_t kMaxCount = 1000;  // of a {n,m}
constexpr size_t kMaxPatternBytes = size_t{1} << 16;

Node set_node(CharSet set) {
  Node node;
  node.type = Node::Type::set;
  node.set = std::move(set);
  return node;
}
Node anchor_node(Anchor anchor) {
  Node node;
  node.type = Node::Type::anchor;
  node.anchor = anchor;
  return node;
}
Node joined(Node::Type type, std::vector<Node> children) {
  if (children.size() == 1) return std::move(children[0]);
  Node node;
  node.type = children.empty() ? Node::Type::empty : type;
  node.children = std::move(children);
  return node;
}

class Parser {
 public:
  Parser(std::string_view pattern, const std::string& where) : text_(pattern), where_(where) {
    if (text_.size() > kMaxPatternBytes) fail("is longer than 65536 bytes");
    if (!is_valid_utf8(text_)) fail("is no UTF-8");
  }

  Node parse() {
    Node node = alternatives(0);
    if (pos_ < text_.size()) fail("has a \")\" without a \"(\"");
    return node;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(where_, "the pattern " + printable(text_) + " " + why + ", at byte " +
                            std::to_string(pos_));
  }
  bool at_end() const { return pos_ == text_.size(); }
  bool take(std::string_view token) {
    if (!text_.substr(pos_).starts_with(token)) return false;
    pos_ += token.size();
    return true;
  }
  bool next_is(std::string_view token) const { return text_.substr(pos_).starts_with(token); }
  uint32_t next_char() {
    if (at_end()) fail("ends too early");
    const DecodedChar c = decode_utf8(text_, pos_);
    pos_ += c.length;
    return c.code_point;
  }

  CharSet literal(uint32_t code_point) const {
    CharSet set = CharSet::one(code_point);
    if (ignore_case_) set.ignore_case();
    return set;
  }

  Node alternatives(int depth) {
    if (depth > kMaxDepth) fail("nests too deeply");
    const bool ignore_case = ignore_case_;
    std::vector<Node> choices;
    do choices.push_back(sequence(depth));
    while (take("|"));
    ignore_case_ = ignore_case;  // an option ends with its group
    return joined(Node::Type::choice, std::move(choices));
  }

  Node sequence(int depth) {
    std::vector<Node> items;
    while (!at_end() && !next_is("|") && !next_is(")")) {
      Node item = atom(depth);
      int quantifiers = depth;
      while (quantify(item, quantifiers)) {
      }
      // What becomes no instruction is dropped here: repeated in one another it would take for
      // ever.
      if (item.type != Node::Type::empty) items.push_back(std::move(item));
    }
    return joined(Node::Type::sequence, std::move(items));
  }

  // Wraps `item` by the quantifier that follows, if one does.
  bool quantify(Node& item, int& depth) {
    uint32_t min = 0, max = Node::kEndless;
    bool interval = false;
    if (take("*")) {
    } else if (take("+")) {
      min = 1;
    } else if (take("?")) {
      max = 1;
    } else if (counts(min, max)) {
      interval = true;
    } else {
      return false;
    }
    if (++depth > kMaxDepth) fail("nests too deeply");
    if (item.type == Node::Type::anchor || item.type == Node::Type::look ||
        item.type == Node::Type::empty)
      fail("repeats what matches no character");
    if (max == 0) {
      item = {};
      return true;
    }
    Node repeat;
    repeat.type = Node::Type::repeat;
    repeat.min = min;
    repeat.max = max;
    if (take("?"))
      repeat.greed = Greed::lazy;
    else if (!interval && take("+"))  // after {n,m} a "+" repeats once more
      repeat.greed = Greed::possessive;
    repeat.children.push_back(std::move(item));
    item = std::move(repeat);
    return true;
  }

  // {n} {n,} {,m} {n,m}; anything else is plain text.
  bool counts(uint32_t& min, uint32_t& max) {
    const size_t begin = pos_;
    if (!take("{")) return false;
    const std::optional<uint32_t> low = count();
    std::optional<uint32_t> high = low;
    const bool comma = take(",");
    if (comma) high = count();
    if (!take("}") || (!low && !high)) {
      pos_ = begin;
      return false;
    }
    min = low.value_or(0);
    max = high.value_or(Node::kEndless);
    if (min > max) fail("has a {n,m} with n above m");
    return true;
  }
  std::optional<uint32_t> count() {
    std::optional<uint32_t> value;
    while (!at_end() && text_[pos_] >= '0' && text_[pos_] <= '9') {
      value = value.value_or(0) * 10 + static_cast<uint32_t>(text_[pos_++] - '0');
      if (*value > kMaxCount) fail("repeats more than 1000 times");
    }
    return value;
  }

  Node atom(int depth) {
    if (take("(")) return group(depth + 1);
    if (take("[")) return set_node(char_class(depth + 1));
    if (take(".")) {
      CharSet set = CharSet::one('\n');
      set.negate();
      return set_node(std::move(set));
    }
    if (take("^")) return anchor_node(Anchor::line_begin);
    if (take("$")) return anchor_node(Anchor::line_end);
    if (take("\\")) return escape();
    if (next_is("*") || next_is("+") || next_is("?")) fail("repeats nothing");
    return set_node(literal(next_char()));
  }

  Node group(int depth) {
    Node node;
    if (!take("?")) {
      node = alternatives(depth);
    } else if (take(":")) {
      node = alternatives(depth);
    } else if (take(">")) {
      node.type = Node::Type::atomic;
      node.children.push_back(alternatives(depth));
    } else if (next_is("=") || next_is("!") || next_is("<=") || next_is("<!")) {
      node.type = Node::Type::look;
      node.behind = take("<");
      node.negative = take("!");
      if (!node.negative) take("=");
      node.children.push_back(alternatives(depth));
      if (node.behind && node.children[0].type != Node::Type::set)
        fail("looks behind at more than one character, which is not supported");
    } else if (take("<") || take("P<")) {
      const size_t end = text_.find('>', pos_);
      if (end == std::string_view::npos) fail("has a group that does not end");
      pos_ = end + 1;
      node = alternatives(depth);
    } else if (next_is("i") || next_is("-i")) {
      const bool before = ignore_case_;
      ignore_case_ = !take("-");
      take("i");
      if (take(")")) {  // for what follows in the group around
        Node rest = alternatives_after_option(depth);
        return rest;
      }
      if (!take(":")) fail("has options that are not supported");
      node = alternatives(depth);
      ignore_case_ = before;
    } else {
      fail("has a kind of group that is not supported");
    }
    if (!take(")")) fail("has a group that does not end");
    return node;
  }

  // (?i) holds up to the end of the group around it, across its alternatives.
  Node alternatives_after_option(int depth) {
    std::vector<Node> choices;
    if (depth > kMaxDepth) fail("nests too deeply");
    do choices.push_back(sequence(depth));
    while (take("|"));
    return joined(Node::Type::choice, std::move(choices));
  }

  Node escape() {
    const size_t begin = pos_;
    const uint32_t c = next_char();
    switch (c) {
      case 'A':
        return anchor_node(Anchor::text_begin);
      case 'z':
        return anchor_node(Anchor::text_end);
      case 'Z':
        return anchor_node(Anchor::text_end_or_break);
      case 'b':
        return anchor_node(Anchor::word_border);
      case 'B':
        return anchor_node(Anchor::no_word_border);
      case 'R':
        return line_break();
      default:
        pos_ = begin;
        if (std::optional<CharSet> set = class_escape(false)) return set_node(std::move(*set));
        return set_node(literal(char_escape()));
    }
  }

  // \R: (?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}])
  static Node line_break() {
    CharSet breaks;
    breaks.add({'\n', '\r'});
    breaks.add({0x85, 0x85});
    breaks.add({0x2028, 0x2029});
    std::vector<Node> both;
    both.push_back(set_node(CharSet::one('\r')));
    both.push_back(set_node(CharSet::one('\n')));
    std::vector<Node> choices;
    choices.push_back(joined(Node::Type::sequence, std::move(both)));
    choices.push_back(set_node(std::move(breaks)));
    Node node;
    node.type = Node::Type::atomic;
    node.children.push_back(joined(Node::Type::choice, std::move(choices)));
    return node;
  }

  // \s \d \w \h \p{...} and their opposites; nothing if it is another escape.
  std::optional<CharSet> class_escape(bool in_class) {
    const size_t begin = pos_;
    const uint32_t c = next_char();
    CharSet set;
    switch (c) {
      case 's':
      case 'S':
        set = CharSet(space_ranges());
        break;
      case 'd':
      case 'D':
        set = CharSet(ranges_of(Category::nd));
        break;
      case 'w':
      case 'W':
        set = in_class ? CharSet(word_ranges()) : bare_word_set();
        break;
      case 'h':
      case 'H':
        set.add({'0', '9'});
        set.add({'a', 'f'});
        set.add({'A', 'F'});
        break;
      case 'p':
      case 'P':
        set = property();
        break;
      default:
        pos_ = begin;
        return std::nullopt;
    }
    if (c >= 'A' && c <= 'Z') set.negate();
    return set;
  }

  CharSet property() {
    std::string_view name = text_.substr(pos_, 1);
    if (take("{")) {
      const size_t end = text_.find('}', pos_);
      if (end == std::string_view::npos) fail("has a property that does not end");
      name = text_.substr(pos_, end - pos_);
      pos_ = end + 1;
    } else if (!name.empty()) {
      ++pos_;
    }
    const bool negative = name.starts_with('^');
    if (negative) name.remove_prefix(1);
    std::optional<CharSet> set = find_property(name);
    if (!set) fail("asks for the property " + printable(name) + ", which is not supported");
    if (negative) set->negate();
    return std::move(*set);
  }

  uint32_t char_escape() {
    const uint32_t c = next_char();
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1b;
      case '0':
        return 0;
      case 'x':
        return take("{") ? hexadecimal(1, 8, true) : hexadecimal(1, 2, false);
      case 'u':
        return hexadecimal(4, 4, false);
      default:
        if (is_letter(c) || is_digit(c))
          fail("has the escape \"\\" + std::string(1, static_cast<char>(c)) +
               "\", which is not supported");
        return c;
    }
  }

  uint32_t hexadecimal(int min_digits, int max_digits, bool braced) {
    uint32_t value = 0;
    int digits = 0;
    for (; digits < max_digits && !at_end(); ++digits, ++pos_) {
      const int digit = hex_value(text_[pos_]);
      if (digit < 0) break;
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (digits < min_digits || (braced && !take("}")) || value > kMaxCodePoint)
      fail("has a bad hexadecimal escape");
    return value;
  }

  // What follows "[".
  CharSet char_class(int depth) {
    if (depth > kMaxDepth) fail("nests too deeply");
    const bool negative = take("^");
    CharSet set;
    std::optional<CharSet> left;  // of the last &&
    bool first = true;
    const auto intersect_left = [&] {
      if (left) set.intersect(*left);
    };
    while (first || !next_is("]")) {
      if (take("&&")) {
        intersect_left();
        left = std::move(set);
        set = CharSet();
      } else {
        class_item(set, depth);
      }
      first = false;
    }
    take("]");
    intersect_left();
    if (ignore_case_) set.ignore_case();
    if (negative) set.negate();
    return set;
  }

  void class_item(CharSet& set, int depth) {
    if (take("[:")) {
      const size_t end = text_.find(":]", pos_);
      const std::string_view name =
          end == std::string_view::npos ? std::string_view() : text_.substr(pos_, end - pos_);
      if (name != "digit" && name != "space" && name != "word")
        fail("has a POSIX class that is not supported");
      pos_ = end + 2;
      return set.add(*find_property(name));
    }
    if (take("[")) return set.add(char_class(depth + 1));
    const std::optional<CharSet> escaped = next_is("\\") ? escaped_class() : std::nullopt;
    if (escaped) return set.add(*escaped);
    const uint32_t first = class_char();
    const size_t dash = pos_;
    if (!take("-") || next_is("]")) {
      pos_ = dash;
      return set.add({first, first});
    }
    if (next_is("[") || next_is("&&")) {  // the dash is plain
      pos_ = dash;
      return set.add({first, first});
    }
    const size_t second = pos_;
    if (next_is("\\") && escaped_class()) {  // so is this one
      pos_ = dash + 1;
      set.add({'-', '-'});
      return set.add({first, first});
    }
    pos_ = second;
    const uint32_t last = class_char();
    if (last < first) fail("has a range in a class that goes backwards");
    set.add({first, last});
  }

  std::optional<CharSet> escaped_class() {
    const size_t begin = pos_;
    take("\\");
    std::optional<CharSet> set = class_escape(true);
    if (!set) pos_ = begin;
    return set;
  }
  uint32_t class_char() {
    if (!take("\\")) return next_char();
    return take("b") ? '\b' : char_escape();
  }

  std::string_view text_;
  const std::string& where_;
  size_t pos_ = 0;
  bool ignore_case_ = false;
};

}  // namespace

RegexNode parse_regex(std::string_view pattern, const std::string& where) {
  return Parser(pattern, where).parse();
}

}  // namespace nibble
