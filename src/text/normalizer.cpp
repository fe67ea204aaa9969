#include "text/normalizer.h"

#include <algorithm>

#include "base/utf8.h"
#include "nibble/error.h"
#include "text/normal_forms.h"
#include "text/unicode.h"
#include "text/unicode_case.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

using Type = NormalizeStep::Type;

constexpr size_t kMaxBytes = size_t{3} << 29;

template <class Fn>
void for_each_char(std::string_view text, const Fn& fn) {
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    fn(c, text.substr(pos, c.length));
    pos += c.length;
  }
}

void lower(std::string& out, std::string_view text) {
  for_each_char(text, [&](const DecodedChar& c, std::string_view bytes) {
    if (c.valid)
      append_in_case(out, c.code_point, LetterCase::lower);
    else
      out += bytes;
  });
}

void drop_marks(std::string& out, std::string_view text) {
  for_each_char(text, [&](const DecodedChar& c, std::string_view bytes) {
    const Category of = c.valid && c.code_point >= 0x80 ? category(c.code_point) : Category::lu;
    if (of < Category::mn || of > Category::me) out += bytes;
  });
}

void replace(std::string& out, std::string_view text, const NormalizeStep& step, size_t limit) {
  size_t pos = 0;
  while (out.size() <= limit) {
    const size_t found = text.find(step.pattern, pos);
    out += text.substr(pos, found - pos);
    if (found == std::string_view::npos) return;
    out += step.content;
    pos = found + step.pattern.size();
  }
}

void replace_matches(std::string& out, std::string_view text, const std::string& content,
                     const std::vector<RegexScratch::Match>& matches, size_t limit) {
  size_t pos = 0;
  for (const RegexScratch::Match& match : matches) {
    if (out.size() > limit) return;
    out += text.substr(pos, match.begin - pos);
    out += content;
    pos = match.end;
  }
  out += text.substr(pos);
}

}  // namespace

Normalizer::Normalizer(const std::vector<NormalizeStep>& steps, const std::string& where) {
  for (const NormalizeStep& step : steps) {
    steps_.push_back({step, {}, {}});
    joins_ = joins_ || step.joins;
    if (step.type == Type::replace_matches) steps_.back().regex.emplace(step.pattern, where);
    if (step.type == Type::charsmap) steps_.back().map.emplace(step.content, where);
    if (step.type == Type::replace && step.pattern.empty())
      throw Error(where, "its normalizer replaces the empty text");
  }
}

std::string_view Normalizer::run(const Input& input, NormalizerScratch& scratch) const {
  if (steps_.empty()) return input.text;
  const size_t limit = std::min(longest_result(input.text.size()), kMaxBytes);
  scratch.text = input.text;
  for (const Step& step : steps_) {
    scratch.next.clear();
    Input now = input;
    now.text = scratch.text;
    run_step(step, now, limit, scratch);
    std::swap(scratch.text, scratch.next);
    if (scratch.text.size() > limit)
      throw Error("text", "becomes too long when the tokenizer normalizes it");
  }
  return scratch.text;
}

void Normalizer::run_step(const Step& step, const Input& input, size_t limit,
                          NormalizerScratch& scratch) {
  const std::string_view text = input.text;
  std::string& out = scratch.next;
  switch (step.step.type) {
    case Type::nfc:
      return append_normal_form(out, text, NormalForm::nfc);
    case Type::nfd:
      return append_normal_form(out, text, NormalForm::nfd);
    case Type::nfkc:
      return append_normal_form(out, text, NormalForm::nfkc);
    case Type::nfkd:
      return append_normal_form(out, text, NormalForm::nfkd);
    case Type::lowercase:
      return lower(out, text);
    case Type::strip_accents:
      return drop_marks(out, text);
    case Type::strip:
      out = step.step.left ? strip_left(text) : text;
      out.resize(step.step.right ? strip_right(out).size() : out.size());
      return;
    case Type::prepend:
      if (step.step.joins ? input.begins_text() : !text.empty()) out = step.step.content;
      out += text;
      return;
    case Type::replace:
      return replace(out, text, step.step, limit);
    case Type::replace_matches:
      step.regex->find_all(text, scratch.regex);
      return replace_matches(out, text, step.step.content, scratch.regex.matches, limit);
    case Type::charsmap:
      return step.map->apply(out, text, limit);
    case Type::squeeze:
      return squeeze(out, input, step.step.joins);
  }
}

void Normalizer::squeeze(std::string& out, const Input& input, bool joins) {
  bool after_space = !(joins && input.joins_left);
  for (const char c : input.text) {
    if (c != ' ' || !after_space) out += c;
    after_space = c == ' ';
  }
  if (joins && input.joins_right) return;
  // What stands for a space is one here, too.
  for (;;) {
    if (out.ends_with(' '))
      out.pop_back();
    else if (out.ends_with(kSpaceMark))
      out.resize(out.size() - kSpaceMark.size());
    else
      break;
  }
}

}  // namespace nibble
