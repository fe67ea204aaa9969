#include "text/pre_tokenizer.h"

#include <algorithm>

#include "nibble/error.h"
#include "text/byte_alphabet.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

// Words as they come from a split, one after another. Joins some of them.
class WordJoiner {
 public:
  WordJoiner(SplitBehavior behavior, size_t offset, std::vector<size_t>& ends)
      : behavior_(behavior), offset_(offset), ends_(ends) {}

  void add(size_t begin, size_t end, bool match) {
    if (begin == end && behavior_ == SplitBehavior::isolated) return;
    bool join = false;
    switch (behavior_) {
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::removed:
        if (match) return;
        break;
      case SplitBehavior::contiguous:
        join = any_ && match == last_match_;
        break;
      case SplitBehavior::previous:  // a match behind a match stands alone
        join = any_ && match && !last_match_;
        break;
      case SplitBehavior::next:
        join = any_ && !match && last_match_;
        break;
    }
    any_ = true;
    last_match_ = match;
    if (join)
      ends_.back() = offset_ + end;
    else
      ends_.insert(ends_.end(), {offset_ + begin, offset_ + end});
  }

 private:
  SplitBehavior behavior_;
  size_t offset_;
  std::vector<size_t>& ends_;
  bool any_ = false, last_match_ = false;
};

// A match in the alphabet of bytes, as one in the bytes.
void find_in_bytes(const Regex& regex, std::string_view text, WordScratch& scratch) {
  std::vector<size_t> byte_at;  // of the character that begins at a place of the alphabet's text
  scratch.bytes.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    scratch.bytes += byte_alphabet().text(static_cast<uint8_t>(text[i]));
    byte_at.resize(scratch.bytes.size(), i);
  }
  byte_at.push_back(text.size());
  regex.find_all(scratch.bytes, scratch.regex);
  for (RegexScratch::Match& match : scratch.regex.matches)
    match = {byte_at[match.begin], byte_at[match.end]};
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where) {
  for (const SplitStep& step : steps) {
    steps_.push_back({step, {}});
    if (step.type == SplitStep::Type::split) steps_.back().regex.emplace_back(step.pattern, where);
  }
}

// A word that is dropped is cut out of the list but not out of the text: the list holds begins and
// ends by turns.
const std::vector<std::string_view>& PreTokenizer::words(std::string_view text, bool first,
                                                         WordScratch& scratch) const {
  scratch.words.clear();
  scratch.ends.clear();
  if (text.empty()) return scratch.words;
  scratch.ends.assign({0, text.size()});
  const size_t limit = longest_result(text.size());
  for (const Step& step : steps_) {
    scratch.next_ends.clear();
    if (step.regex.empty()) {
      rewrite(step.step, text, first, scratch);
      if (scratch.rewritten.size() > limit)
        throw Error("text", "becomes too long when the tokenizer cuts it into words");
      std::swap(scratch.text, scratch.rewritten);
      text = scratch.text;
    } else {
      for (size_t i = 0; i < scratch.ends.size(); i += 2) {
        const size_t begin = scratch.ends[i];
        cut(step, text.substr(begin, scratch.ends[i + 1] - begin), begin, scratch);
      }
    }
    std::swap(scratch.ends, scratch.next_ends);
  }
  for (size_t i = 0; i < scratch.ends.size(); i += 2)
    scratch.words.push_back(text.substr(scratch.ends[i], scratch.ends[i + 1] - scratch.ends[i]));
  return scratch.words;
}

void PreTokenizer::cut(const Step& step, std::string_view text, size_t begin,
                       WordScratch& scratch) {
  if (step.step.on_bytes)
    find_in_bytes(step.regex[0], text, scratch);
  else
    step.regex[0].find_all(text, scratch.regex);
  const size_t before = scratch.next_ends.size();
  WordJoiner joiner(step.step.behavior, begin, scratch.next_ends);
  size_t end = 0;  // of the last match
  for (const RegexScratch::Match& match : scratch.regex.matches) {
    if (match.begin > end) joiner.add(end, match.begin, step.step.invert);
    joiner.add(match.begin, match.end, !step.step.invert);
    end = match.end;
  }
  if (end < text.size()) joiner.add(end, text.size(), step.step.invert);
  if (step.step.behavior == SplitBehavior::isolated) return;
  // Empty words took part in joining, but are none.
  std::vector<size_t>& ends = scratch.next_ends;
  size_t kept = before;
  for (size_t i = before; i < ends.size(); i += 2) {
    if (ends[i] == ends[i + 1]) continue;
    ends[kept] = ends[i];
    ends[kept + 1] = ends[i + 1];
    kept += 2;
  }
  ends.resize(kept);
}

void PreTokenizer::rewrite(const SplitStep& step, std::string_view text, bool first,
                           WordScratch& scratch) {
  const bool marks = step.type == SplitStep::Type::metaspace;
  std::string& out = scratch.rewritten;
  out.clear();
  for (size_t i = 0; i < scratch.ends.size(); i += 2) {
    const size_t begin = scratch.ends[i];
    const std::string_view word = text.substr(begin, scratch.ends[i + 1] - begin);
    scratch.next_ends.push_back(out.size());
    const bool has_one = word.starts_with(' ') || (marks && word.starts_with(kSpaceMark));
    const bool at_start = first && begin == 0;
    if (!has_one && !step.never && (!step.first_only || at_start))
      out += marks ? kSpaceMark : std::string_view(" ");
    if (marks)
      out += replace_all(word, " ", kSpaceMark);
    else
      out += word;
    scratch.next_ends.push_back(out.size());
  }
}

}  // namespace nibble
