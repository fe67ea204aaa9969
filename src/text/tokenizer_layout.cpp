#include "text/tokenizer_layout.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/base64.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

using Steps = std::vector<const Json*>;
constexpr size_t kMaxSteps = 100;

std::string pattern(const Json* step, std::string_view kind) {
  return text_member(member(step, "pattern"), kind);
}

class LayoutReader {
 public:
  LayoutReader(const Json& tokenizer, const std::string& where, Vocabulary& out)
      : tokenizer_(tokenizer), where_(where), out_(out) {}

  void read() {
    const Steps cuts = steps_of("pre_tokenizer", "pretokenizers");
    const auto is_byte_level = [](const Json* step) {
      return text_member(step, "type") == "ByteLevel";
    };
    const bool byte_level = std::ranges::any_of(cuts, is_byte_level);
    const bool unigram = text_member(member(&tokenizer_, "model"), "type") == "Unigram";
    if (unigram && byte_level) refuse("pre_tokenizer");
    out_.kind = unigram      ? TokenizerKind::unigram
                : byte_level ? TokenizerKind::byte_bpe
                             : TokenizerKind::sentencepiece_bpe;
    for (const Json* step : steps_of("normalizer", "normalizers")) read_normalizer(step);
    for (const Json* step : cuts) read_cut(step);
    const Steps decoders = steps_of("decoder", "decoders");
    for (const Json* step : decoders) read_decoder(step);
    if (decoders.empty() && !byte_level) out_.decoders = {{.type = DecodeStep::Type::metaspace}};
  }

 private:
  [[noreturn]] void refuse(const char* part, const Json* step = nullptr) const {
    if (!step) step = member(&tokenizer_, part);
    throw Error(where_, "its " + std::string(part) + " is not known: " +
                            (step ? printable(write_json(*step)) : std::string("none")));
  }

  // The steps of a part of the file: of a sequence (of sequences), or one, or none.
  Steps steps_of(const char* part, std::string_view list) const {
    Steps steps, rest;
    if (const Json* whole = member(&tokenizer_, part)) rest = {whole};
    while (!rest.empty()) {
      const Json* step = rest.back();
      rest.pop_back();
      if (text_member(step, "type") != "Sequence") {
        steps.push_back(step);
        if (steps.size() > kMaxSteps)
          throw Error(where_, std::string(part) + " has too many steps");
        continue;
      }
      const Json* inner = member(step, list);
      if (!inner || !inner->is_array()) refuse(part, step);
      const Json::Array& items = inner->as_array(where_);
      for (size_t i = items.size(); i-- > 0;) rest.push_back(&items[i]);
    }
    return steps;
  }

  // ---- normalizer ----

  void read_normalizer(const Json* step) {
    using Type = NormalizeStep::Type;
    constexpr std::pair<std::string_view, Type> kPlain[] = {
        {"NFC", Type::nfc},         {"NFD", Type::nfd},
        {"NFKC", Type::nfkc},       {"NFKD", Type::nfkd},
        {"Strip", Type::strip},     {"StripAccents", Type::strip_accents},
        {"Prepend", Type::prepend}, {"Lowercase", Type::lowercase},
        {"Replace", Type::replace}, {"Precompiled", Type::charsmap}};
    const std::string type = text_member(step, "type");
    const auto* found = std::ranges::find(kPlain, type, &std::pair<std::string_view, Type>::first);
    if (found == std::end(kPlain)) refuse("normalizer", step);
    NormalizeStep out;
    out.type = found->second;
    if (out.type == Type::strip) {
      out.left = flag_member(step, "strip_left", false);
      out.right = flag_member(step, "strip_right", false);
    } else if (out.type == Type::prepend) {
      out.content = text_member(step, "prepend");
    } else if (out.type == Type::replace) {
      read_replacement(step, "normalizer", out.pattern, out.content);
      if (!pattern(step, "Regex").empty()) out.type = Type::replace_matches;
    } else if (out.type == Type::charsmap) {
      const std::optional<std::string> map =
          decode_base64(text_member(step, "precompiled_charsmap"));
      if (!map) throw Error(where_, "the map of its normalizer is not base64");
      if (map->empty()) return;
      out.content = *map;
    }
    out_.normalizers.push_back(std::move(out));
  }

  void read_replacement(const Json* step, const char* part, std::string& from,
                        std::string& to) const {
    const std::string regex = pattern(step, "Regex");
    from = regex.empty() ? pattern(step, "String") : regex;
    to = text_member(step, "content");
    if (from.empty()) refuse(part, step);
  }

  // ---- pre-tokenizer ----

  void read_cut(const Json* step) {
    const std::string type = text_member(step, "type");
    if (type == "ByteLevel") {
      if (flag_member(step, "add_prefix_space", true))
        out_.splits.push_back({.type = SplitStep::Type::space_prefix});
      if (flag_member(step, "use_regex", true)) add_split(split_rule("gpt2")[0].pattern);
      bytes_ = true;
    } else if (type == "Split") {
      const std::string regex = pattern(step, "Regex"), text = pattern(step, "String");
      if (regex.empty() && text.empty()) refuse("pre_tokenizer", step);
      add_split(regex.empty() ? literal_pattern(text) : regex, behavior(step, "Removed"),
                flag_member(step, "invert", false));
    } else if (type == "Digits") {
      add_split(R"(\p{N})", flag_member(step, "individual_digits", false)
                                ? SplitBehavior::isolated
                                : SplitBehavior::contiguous);
    } else if (type == "Punctuation") {
      add_split(kPunctuation, behavior(step, "Isolated"));
    } else if (type == "Whitespace") {
      // The joiners are letters of words in the engine that this step uses.
      add_split(R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)", SplitBehavior::removed, true);
    } else if (type == "WhitespaceSplit") {
      add_split(R"(\s)", SplitBehavior::removed);
    } else if (type == "BertPreTokenizer") {
      add_split(R"(\s)", SplitBehavior::removed);
      add_split(kPunctuation);
    } else if (type == "CharDelimiterSplit") {
      add_split(literal_pattern(text_member(step, "delimiter")), SplitBehavior::removed);
    } else if (type == "Metaspace" && !bytes_) {
      read_metaspace(step);
    } else {
      refuse("pre_tokenizer", step);
    }
  }

  static constexpr const char* kPunctuation = R"([\p{P}!-/:-@\[-`{-~])";

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
    if (it == kNames.end()) refuse("pre_tokenizer", step);
    return static_cast<SplitBehavior>(it - kNames.begin());
  }

  // Older files say add_prefix_space instead of a scheme.
  std::string prepend_scheme(const Json* step, const char* part) const {
    std::string scheme = text_member(step, "prepend_scheme");
    if (scheme.empty()) scheme = flag_member(step, "add_prefix_space", true) ? "always" : "never";
    if (text_member(step, "replacement") != kSpaceMark ||
        (scheme != "always" && scheme != "first" && scheme != "never"))
      refuse(part, step);
    return scheme;
  }

  void read_metaspace(const Json* step) {
    const std::string scheme = prepend_scheme(step, "pre_tokenizer");
    SplitStep out;
    out.type = SplitStep::Type::metaspace;
    out.never = scheme == "never";
    out.first_only = scheme == "first";
    out_.splits.push_back(std::move(out));
    if (flag_member(step, "split", true)) add_split(std::string(kSpaceMark), SplitBehavior::next);
  }

  // ---- decoder ----

  void read_decoder(const Json* step) {
    const std::string type = text_member(step, "type");
    DecodeStep out;
    if (out_.kind == TokenizerKind::byte_bpe) {  // its bytes become text in any case
      if (type != "ByteLevel" && type != "Fuse") refuse("decoder", step);
      return;
    }
    if (type == "ByteFallback") return;  // the kind of a token says whether it is a byte
    if (type == "Fuse") {
      out.type = DecodeStep::Type::fuse;
    } else if (type == "Replace" && pattern(step, "Regex").empty()) {
      out.type = DecodeStep::Type::replace;
      read_replacement(step, "decoder", out.pattern, out.content);
    } else if (type == "Metaspace") {
      out.type = DecodeStep::Type::metaspace;
      out.first = prepend_scheme(step, "decoder") != "never";
    } else if (type == "Strip") {
      out.type = DecodeStep::Type::strip;
      out.content = text_member(step, "content");
      out.start = count(step, "start");
      out.stop = count(step, "stop");
    } else {
      refuse("decoder", step);
    }
    out_.decoders.push_back(std::move(out));
  }

  uint32_t count(const Json* step, const char* key) const {
    const Json* number = member(step, key);
    return number ? checked_cast<uint32_t>(number->as_int(where_), where_) : 0;
  }

  const Json& tokenizer_;
  const std::string& where_;
  Vocabulary& out_;
  bool bytes_ = false;  // the steps now see the bytes of the text
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
