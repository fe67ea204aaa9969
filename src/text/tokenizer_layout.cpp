#include "text/tokenizer_layout.h"

#include <algorithm>
#include <array>
#include <vector>

#include "load/names.h"
#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

// The regular expressions of the rules, exactly as the published files have them.
struct KnownRegex {
  std::string_view regex;
  PreTokenizer rule;
};
constexpr std::array kKnownRegexes = {
    KnownRegex{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
               R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               PreTokenizer::llama3},
    KnownRegex{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
               R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               PreTokenizer::qwen2},
    KnownRegex{R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
               PreTokenizer::gpt2},
};

using Steps = std::vector<const Json*>;

// The steps of a normalizer or pre-tokenizer: of a sequence, or one, or none.
Steps steps_of(const Json* part, std::string_view list) {
  if (!part) return {};
  if (text_member(part, "type") != "Sequence") return {part};
  Steps steps;
  if (const Json* inner = member(part, list); inner && inner->is_array())
    for (const Json& step : inner->as_array({})) steps.push_back(&step);
  return steps;
}

bool is(const Json* step, std::string_view type) { return text_member(step, "type") == type; }

std::string pattern(const Json* step, std::string_view kind) {
  return text_member(member(step, "pattern"), kind);
}

class LayoutReader {
 public:
  LayoutReader(const Json& tokenizer, const std::string& where, Vocabulary& out)
      : normalizer_(member(&tokenizer, "normalizer")),
        pre_tokenizer_(member(&tokenizer, "pre_tokenizer")),
        normalizers_(steps_of(normalizer_, "normalizers")),
        steps_(steps_of(pre_tokenizer_, "pretokenizers")),
        where_(where),
        out_(out) {}

  void read() {
    const auto is_byte_level = [](const Json* step) { return is(step, "ByteLevel"); };
    if (std::ranges::any_of(steps_, is_byte_level))
      read_byte_level();
    else
      read_sentencepiece();
  }

 private:
  [[noreturn]] void refuse(const char* what, const Json* part) const {
    throw Error(where_, std::string("its ") + what + " is not known: " +
                            (part ? printable(write_json(*part)) : std::string("none")));
  }

  void read_byte_level() {
    out_.kind = TokenizerKind::byte_bpe;
    if (normalizers_.size() > 1 || (normalizers_.size() == 1 && !is(normalizers_[0], "NFC")))
      refuse("normalizer", normalizer_);
    const Json* last = steps_.back();
    const Json* first = steps_.size() == 2 ? steps_[0] : nullptr;
    const bool cuts = flag_member(last, "use_regex", true);
    if (!is(last, "ByteLevel") || flag_member(last, "add_prefix_space", false))
      refuse("pre-tokenizer", pre_tokenizer_);
    if (steps_.size() == 1 && cuts) {
      out_.pre = PreTokenizer::gpt2;
    } else if (is(first, "Digits") && flag_member(first, "individual_digits", false) && cuts) {
      out_.pre = PreTokenizer::starcoder;
    } else if (is(first, "Split") && keeps_all(first) && !cuts) {
      const auto* known =
          std::ranges::find(kKnownRegexes, pattern(first, "Regex"), &KnownRegex::regex);
      if (known == kKnownRegexes.end()) refuse("pre-tokenizer", pre_tokenizer_);
      out_.pre = known->rule;
    } else {
      refuse("pre-tokenizer", pre_tokenizer_);
    }
  }

  // The known expressions match every character, so that to isolate what matches and to remove
  // what does not are the same.
  static bool keeps_all(const Json* split) {
    const bool invert = flag_member(split, "invert", false);
    return text_member(split, "behavior") == (invert ? "Removed" : "Isolated");
  }

  void read_sentencepiece() {
    out_.kind = TokenizerKind::sentencepiece_bpe;
    bool marks_spaces = false;
    for (const Json* step : normalizers_) {
      if (is(step, "Prepend") && text_member(step, "prepend") == kSpaceMark && !marks_spaces) {
        out_.add_space_prefix = true;
      } else if (is(step, "Replace") && pattern(step, "String") == " " &&
                 text_member(step, "content") == kSpaceMark) {
        marks_spaces = true;
      } else {
        refuse("normalizer", normalizer_);
      }
    }
    if (steps_.size() > 1) refuse("pre-tokenizer", pre_tokenizer_);
    for (const Json* step : steps_) {
      if (is(step, "Metaspace"))
        read_metaspace(step);
      else if (!is(step, "Split") || !marks_spaces || pattern(step, "String") != " ")
        refuse("pre-tokenizer", pre_tokenizer_);  // a split at spaces finds none after the marking
      marks_spaces = true;
    }
    if (!marks_spaces) refuse("pre-tokenizer", pre_tokenizer_);
  }

  void read_metaspace(const Json* step) {
    const std::string scheme = text_member(step, "prepend_scheme");
    const bool known =
        scheme.empty() || scheme == "always" || scheme == "first" || scheme == "never";
    if (!known || text_member(step, "replacement") != kSpaceMark ||
        flag_member(step, "split", true))
      refuse("pre-tokenizer", pre_tokenizer_);
    if (out_.add_space_prefix) refuse("normalizer", normalizer_);
    out_.add_space_prefix =
        scheme.empty() ? flag_member(step, "add_prefix_space", true) : scheme != "never";
    out_.prefix_first_only = scheme == "first";
    out_.prefix_unless_space = true;
  }

  const Json* normalizer_;
  const Json* pre_tokenizer_;
  Steps normalizers_, steps_;
  const std::string& where_;
  Vocabulary& out_;
};

}  // namespace

const Json* member(const Json* object, std::string_view key) {
  const Json* value = object ? object->find(key) : nullptr;
  return value && !value->is_null() ? value : nullptr;
}

std::string text_member(const Json* object, std::string_view key) {
  const Json* value = member(object, key);
  return value && value->is_string() ? value->as_string({}) : std::string();
}

bool flag_member(const Json* object, std::string_view key, bool otherwise) {
  const Json* value = member(object, key);
  return value && value->is_bool() ? value->as_bool({}) : otherwise;
}

void read_layout(const Json& tokenizer, const std::string& where, Vocabulary& out) {
  LayoutReader(tokenizer, where, out).read();
}

}  // namespace nibble
