#include "text/tokenizer_layout.h"

#include <algorithm>
#include <array>
#include <vector>

#include "load/names.h"
#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

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
    for (const Json* step : steps_) read_step(step);
  }

  void read_step(const Json* step) {
    const std::string type = text_member(step, "type");
    if (type == "ByteLevel") {
      if (flag_member(step, "add_prefix_space", true))
        out_.splits.push_back({.type = SplitStep::Type::space_prefix});
      if (flag_member(step, "use_regex", true)) add_split(split_rule("gpt2")[0].pattern);
      bytes_ = true;
    } else if (type == "Split") {
      const std::string regex = pattern(step, "Regex"), text = pattern(step, "String");
      if (regex.empty() && text.empty()) refuse("pre-tokenizer", step);
      add_split(regex.empty() ? literal_pattern(text) : regex, behavior(step, "Removed"),
                flag_member(step, "invert", false));
    } else if (type == "Digits") {
      add_split(R"(\p{N})", flag_member(step, "individual_digits", false)
                                ? SplitBehavior::isolated
                                : SplitBehavior::contiguous);
    } else if (type == "Punctuation") {
      add_split(R"([\p{P}!-/:-@\[-`{-~])", behavior(step, "Isolated"));
    } else if (type == "Whitespace") {
      // The joiners are letters of words in the engine that this step uses.
      add_split(R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)", SplitBehavior::removed, true);
    } else if (type == "WhitespaceSplit") {
      add_split(R"(\s)", SplitBehavior::removed);
    } else if (type == "CharDelimiterSplit") {
      add_split(literal_pattern(text_member(step, "delimiter")), SplitBehavior::removed);
    } else {
      refuse("pre-tokenizer", step);
    }
  }

  void add_split(std::string pattern, SplitBehavior behavior = SplitBehavior::isolated,
                 bool invert = false) {
    SplitStep step;
    step.pattern = std::move(pattern);
    step.behavior = behavior;
    step.invert = invert;
    step.on_bytes = bytes_;
    out_.splits.push_back(std::move(step));
  }

  SplitBehavior behavior(const Json* step, const char* otherwise) const {
    constexpr std::array<std::string_view, 5> kNames = {"Isolated", "Removed", "MergedWithPrevious",
                                                        "MergedWithNext", "Contiguous"};
    std::string name = text_member(step, "behavior");
    if (name.empty()) name = otherwise;
    const auto* it = std::ranges::find(kNames, name);
    if (it == kNames.end()) refuse("pre-tokenizer", step);
    return static_cast<SplitBehavior>(it - kNames.begin());
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
  bool bytes_ = false;  // the steps now see the bytes of the text
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
