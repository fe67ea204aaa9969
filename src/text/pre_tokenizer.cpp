// The published rules are regular expressions; here each alternative is a function that says how
// far it matches. The alternatives of a rule are tried in order, the first that matches wins.
#include "text/pre_tokenizer.h"

#include <array>
#include <utility>

#include "base/utf8.h"
#include "text/unicode.h"

namespace nibble {
namespace {

struct Char {
  uint32_t code_point = 0;
  CharClass cls = CharClass::other;
  size_t end = 0;  // position behind it; its own position at the end of the text
};

Char char_at(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {0, CharClass::other, pos};
  const DecodedChar c = decode_utf8(text, pos);
  return {c.code_point, char_class(c.code_point), pos + c.length};
}

bool at_end(const Char& c, size_t pos) { return c.end == pos; }
bool is_newline(const Char& c) { return c.code_point == '\r' || c.code_point == '\n'; }

// Behind the run of characters of class `cls` at `pos`, of `limit` characters at most.
size_t skip(std::string_view text, size_t pos, CharClass cls, size_t limit = SIZE_MAX) {
  for (size_t n = 0; n < limit; ++n) {
    const Char c = char_at(text, pos);
    if (at_end(c, pos) || c.cls != cls) break;
    pos = c.end;
  }
  return pos;
}

bool is_symbol(const Char& c) {  // [^\s\p{L}\p{N}]
  return c.cls == CharClass::other || c.cls == CharClass::punctuation;
}

size_t skip_symbols(std::string_view text, size_t pos) {
  for (Char c = char_at(text, pos); !at_end(c, pos) && is_symbol(c); c = char_at(text, pos))
    pos = c.end;
  return pos;
}

// How a rule cuts a text into words.
struct WordRule {
  bool any_case = false;  // contractions: 'S as well as 's
  bool any_lead = false;  // letters may follow any one symbol or space; else a space
  size_t max_digits = 0;  // numbers of a word; 0: any number of them, and a space before
  bool newlines = false;  // line breaks follow symbols, and end white space
};

constexpr WordRule kGpt2{};
constexpr WordRule kLlama3{.any_case = true, .any_lead = true, .max_digits = 3, .newlines = true};
constexpr WordRule kQwen2{.any_case = true, .any_lead = true, .max_digits = 1, .newlines = true};

// The letter of a contraction; 0 for what none contains. U+017F is a long s, which equals s when
// case does not matter.
char contraction_letter(uint32_t code_point, bool any_case) {
  if (any_case && code_point == 0x17f) return 's';
  if (any_case && code_point >= 'A' && code_point <= 'Z') code_point += 'a' - 'A';
  return code_point >= 'a' && code_point <= 'z' ? static_cast<char>(code_point) : '\0';
}

// All matchers below: the position behind the match at `pos`, or `pos` if there is none.

// 's 't 're 've 'm 'll 'd
size_t match_contraction(std::string_view text, size_t pos, bool any_case) {
  if (text[pos] != '\'') return pos;
  const Char first = char_at(text, pos + 1);
  const char a = contraction_letter(first.code_point, any_case);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return first.end;
  const Char second = char_at(text, first.end);
  const char b = contraction_letter(second.code_point, any_case);
  const bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
  return two ? second.end : pos;
}

// [^\r\n\p{L}\p{N}]?\p{L}+ or  ?\p{L}+
size_t match_letters(std::string_view text, size_t pos, bool any_lead) {
  const Char lead = char_at(text, pos);
  size_t start = pos;
  if (lead.cls != CharClass::letter) {
    const bool may_lead =
        any_lead ? !is_newline(lead) && lead.cls != CharClass::number : lead.code_point == ' ';
    if (!may_lead) return pos;
    start = lead.end;
  }
  const size_t end = skip(text, start, CharClass::letter);
  return end > start ? end : pos;
}

// \p{N}{1,max} or  ?\p{N}+
size_t match_numbers(std::string_view text, size_t pos, size_t max_digits) {
  if (max_digits > 0) return skip(text, pos, CharClass::number, max_digits);
  const size_t start = pos + (text[pos] == ' ' ? 1 : 0);
  const size_t end = skip(text, start, CharClass::number);
  return end > start ? end : pos;
}

//  ?[^\s\p{L}\p{N}]+ and, with `newlines`, [\r\n]*
size_t match_symbols(std::string_view text, size_t pos, bool newlines) {
  const size_t start = pos + (text[pos] == ' ' ? 1 : 0);
  size_t end = skip_symbols(text, start);
  if (end == start) return pos;
  while (newlines && end < text.size() && (text[end] == '\r' || text[end] == '\n')) ++end;
  return end;
}

// \s*[\r\n]+ (with `newlines`), \s+(?!\S), \s+
size_t match_spaces(std::string_view text, size_t pos, bool newlines) {
  size_t end = pos, last = pos;  // of the run of white space: its end, its last character
  size_t behind_newline = pos;
  for (Char c = char_at(text, end); !at_end(c, end) && c.cls == CharClass::space;
       c = char_at(text, end)) {
    last = end;
    end = c.end;
    if (is_newline(c)) behind_newline = end;
  }
  if (newlines && behind_newline > pos) return behind_newline;
  if (end == text.size() || last == pos) return end;
  return last;  // the last space belongs to the word behind it
}

size_t match_word(const WordRule& rule, std::string_view text, size_t pos) {
  size_t end = match_contraction(text, pos, rule.any_case);
  if (end == pos) end = match_letters(text, pos, rule.any_lead);
  if (end == pos) end = match_numbers(text, pos, rule.max_digits);
  if (end == pos) end = match_symbols(text, pos, rule.newlines);
  if (end == pos) end = match_spaces(text, pos, rule.newlines);
  return end > pos ? end : pos + 1;  // every character is in one of the classes above
}

// Runs that some rules isolate before or after cutting words.
using Matcher = size_t (*)(std::string_view text, size_t pos);

// [\p{P}...]+ with the ASCII symbols that C calls punctuation
size_t match_punctuation(std::string_view text, size_t pos, std::string_view symbols) {
  for (;;) {
    const Char c = char_at(text, pos);
    const bool symbol = c.code_point < 0x80 &&
                        symbols.find(static_cast<char>(c.code_point)) != std::string_view::npos;
    if (at_end(c, pos) || (c.cls != CharClass::punctuation && !symbol)) return pos;
    pos = c.end;
  }
}
size_t match_falcon_punctuation(std::string_view text, size_t pos) {
  return match_punctuation(text, pos, "$+<=>^~|`");
}
size_t match_generic_punctuation(std::string_view text, size_t pos) {
  return match_punctuation(text, pos, "$+<=>^~|");
}
size_t match_one_number(std::string_view text, size_t pos) {
  return skip(text, pos, CharClass::number, 1);
}
size_t match_number_run(std::string_view text, size_t pos) {
  return skip(text, pos, CharClass::number);
}
size_t match_three_digits(std::string_view text, size_t pos) {
  if (text.size() - pos < 3) return pos;
  for (const char c : text.substr(pos, 3))
    if (c < '0' || c > '9') return pos;
  return pos + 3;
}

struct Rule {
  Matcher before = nullptr;
  WordRule words;
  std::array<Matcher, 2> after = {};
};

Rule find_rule(PreTokenizer pre) {
  switch (pre) {
    case PreTokenizer::llama3:
      return {nullptr, kLlama3, {}};
    case PreTokenizer::qwen2:
      return {nullptr, kQwen2, {}};
    case PreTokenizer::falcon:
      return {match_falcon_punctuation, kGpt2, {match_three_digits}};
    case PreTokenizer::starcoder:
      return {match_one_number, kGpt2, {}};
    case PreTokenizer::generic:
      return {match_generic_punctuation, kGpt2, {match_number_run, match_three_digits}};
    case PreTokenizer::none:
    case PreTokenizer::gpt2:
    case PreTokenizer::mpt:
      break;
  }
  return {nullptr, kGpt2, {}};
}

using Words = std::vector<std::string_view>;

// Cuts every piece into what `matcher` matches and what lies between.
Words isolate(Words pieces, Matcher matcher) {
  if (!matcher) return pieces;
  Words out;
  for (const std::string_view piece : pieces) {
    size_t begin = 0;  // of the text since the last match
    for (size_t pos = 0; pos < piece.size();) {
      const size_t end = matcher(piece, pos);
      if (end == pos) {
        pos = char_at(piece, pos).end;
        continue;
      }
      if (pos > begin) out.push_back(piece.substr(begin, pos - begin));
      out.push_back(piece.substr(pos, end - pos));
      begin = pos = end;
    }
    if (begin < piece.size()) out.push_back(piece.substr(begin));
  }
  return out;
}

}  // namespace

std::vector<std::string_view> split_words(PreTokenizer pre, std::string_view text) {
  if (text.empty()) return {};
  if (pre == PreTokenizer::none) return {text};
  const Rule rule = find_rule(pre);
  Words words;
  for (const std::string_view piece : isolate({text}, rule.before)) {
    for (size_t pos = 0; pos < piece.size();) {
      const size_t end = match_word(rule.words, piece, pos);
      words.push_back(piece.substr(pos, end - pos));
      pos = end;
    }
  }
  for (const Matcher matcher : rule.after) words = isolate(std::move(words), matcher);
  return words;
}

}  // namespace nibble
