// The form in which a .nib file stores a vocabulary.
//
// {"kind": "sentencepiece_bpe" | "byte_bpe" | "unigram", "pre": the name of a rule, or "own" with
//    "splits": [{"type", "pattern", "behavior", "invert", "never", "first_only", "on_bytes"}],
//  "normalizers": [{"type", "pattern", "content", "left", "right", "joins"}],
//  "decoders": [{"type", "pattern", "content", "start", "stop", "first"}],
//  "tokens": [text],
//  "kinds": a digit of enum TokenKind for each token, "scores": [number], "merges": [text],
//  "bos", "eos", "unk": ids, "end_tokens", "strip_left", "strip_right", "single_word",
//  "normalized": [ids], "add_bos", "add_eos", "fuse_unk", "ignore_merges", "chat_template": text}
// A text that is no UTF-8 is {"bytes": hexadecimal digits}; a merge is "a b", or [a, b] if one of
// the two texts has a space or is no UTF-8. What is left out has the value of a new Vocabulary.
// Files of SentencePiece tokenizers that have no "normalizers" are older: their flags
// "add_space_prefix", "prefix_first_only" and "prefix_unless_space" say what those do.
#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

constexpr std::array<std::string_view, 3> kSplitTypes = {"split", "space_prefix", "metaspace"};
constexpr std::array<std::string_view, 5> kBehaviors = {"isolated", "removed", "previous", "next",
                                                        "contiguous"};
constexpr std::array<std::string_view, 12> kNormalizeTypes = {
    "nfc",           "nfd",    "nfkc",    "nfkd",    "lowercase",
    "strip_accents", "strip",  "prepend", "replace", "replace_matches",
    "charsmap",      "squeeze"};
constexpr std::array<std::string_view, 4> kDecodeTypes = {"replace", "metaspace", "strip", "fuse"};
constexpr std::array<std::string_view, 3> kTokenizerKinds = {"sentencepiece_bpe", "byte_bpe",
                                                             "unigram"};
constexpr char kLastKind = '0' + static_cast<char>(TokenKind::byte);
constexpr std::string_view kDigits = "0123456789abcdef";

// The members that are plain values: one list for both directions.
template <class V, class Fn>
void for_each_flag(V& v, const Fn& fn) {
  fn("add_bos", v.add_bos);
  fn("add_eos", v.add_eos);
  fn("fuse_unk", v.fuse_unk);
  fn("ignore_merges", v.ignore_merges);
}
template <class Fn>
void for_each_flag(SplitStep& step, const Fn& fn) {
  fn("invert", step.invert);
  fn("never", step.never);
  fn("first_only", step.first_only);
  fn("on_bytes", step.on_bytes);
}
template <class Fn>
void for_each_flag(NormalizeStep& step, const Fn& fn) {
  fn("left", step.left);
  fn("right", step.right);
  fn("joins", step.joins);
}
template <class Fn>
void for_each_flag(DecodeStep& step, const Fn& fn) {
  fn("first", step.first);
}
template <class V, class Fn>
void for_each_id(V& v, const Fn& fn) {
  fn("bos", v.bos);
  fn("eos", v.eos);
  fn("unk", v.unk);
}
template <class V, class Fn>
void for_each_id_list(V& v, const Fn& fn) {
  fn("end_tokens", v.end_tokens);
  fn("strip_left", v.strip_left);
  fn("strip_right", v.strip_right);
  fn("single_word", v.single_word);
  fn("normalized", v.normalized);
}

Json text_to_json(const std::string& text) {
  if (is_valid_utf8(text)) return text;
  std::string digits;
  for (const char c : text) {
    digits += kDigits[static_cast<uint8_t>(c) >> 4];
    digits += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return Json::Object{{"bytes", digits}};
}

std::string text_from_json(const Json& json, const std::string& where) {
  if (json.is_string()) return json.as_string(where);
  const Json* bytes = json.find("bytes");
  if (!bytes) throw Error(where, "a token is neither a text nor an object with \"bytes\"");
  const std::string& digits = bytes->as_string(where);
  std::string text;
  if (digits.size() % 2 != 0) throw Error(where, "the bytes of a token are cut short");
  for (size_t i = 0; i < digits.size(); i += 2) {
    const size_t high = kDigits.find(digits[i]), low = kDigits.find(digits[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos)
      throw Error(where, "the bytes of a token are not hexadecimal");
    text += static_cast<char>(high * 16 + low);
  }
  return text;
}

template <class Step>
void flags_to_json(Step step, Json::Object& members) {
  for_each_flag(step, [&](const char* key, bool flag) { members.emplace_back(key, flag); });
}

Json splits_to_json(const std::vector<SplitStep>& steps) {
  Json::Array out;
  for (const SplitStep& step : steps) {
    Json::Object members;
    members.emplace_back("type", std::string(kSplitTypes[static_cast<size_t>(step.type)]));
    members.emplace_back("pattern", step.pattern);
    members.emplace_back("behavior", std::string(kBehaviors[static_cast<size_t>(step.behavior)]));
    flags_to_json(step, members);
    out.emplace_back(std::move(members));
  }
  return out;
}

Json normalizers_to_json(const std::vector<NormalizeStep>& steps) {
  Json::Array out;
  for (const NormalizeStep& step : steps) {
    Json::Object members;
    members.emplace_back("type", std::string(kNormalizeTypes[static_cast<size_t>(step.type)]));
    members.emplace_back("pattern", text_to_json(step.pattern));
    members.emplace_back("content", text_to_json(step.content));
    flags_to_json(step, members);
    out.emplace_back(std::move(members));
  }
  return out;
}

Json decoders_to_json(const std::vector<DecodeStep>& steps) {
  Json::Array out;
  for (const DecodeStep& step : steps) {
    Json::Object members;
    members.emplace_back("type", std::string(kDecodeTypes[static_cast<size_t>(step.type)]));
    members.emplace_back("pattern", text_to_json(step.pattern));
    members.emplace_back("content", text_to_json(step.content));
    members.emplace_back("start", int64_t{step.start});
    members.emplace_back("stop", int64_t{step.stop});
    flags_to_json(step, members);
    out.emplace_back(std::move(members));
  }
  return out;
}

Json merge_to_json(const std::pair<std::string, std::string>& merge) {
  const auto plain = [](const std::string& text) {
    return !text.empty() && text.find(' ') == std::string::npos && is_valid_utf8(text);
  };
  if (plain(merge.first) && plain(merge.second)) return merge.first + ' ' + merge.second;
  return Json::Array{text_to_json(merge.first), text_to_json(merge.second)};
}

std::pair<std::string, std::string> merge_from_json(const Json& json, const std::string& where) {
  if (json.is_string()) return split_merge(json.as_string(where), where);
  const Json::Array& pair = json.as_array(where);
  if (pair.size() != 2)
    throw Error::mismatch(where, "the number of texts of a merge", "2",
                          std::to_string(pair.size()));
  return {text_from_json(pair[0], where), text_from_json(pair[1], where)};
}

class JsonReader {
 public:
  JsonReader(const Json& json, const std::string& where) : json_(json), where_(where) {
    json.as_object(where);
  }

  Vocabulary read() {
    read_names();
    for (const Json& token : list("tokens")) v_.tokens.push_back(text_from_json(token, where_));
    for (const Json& score : list("scores"))
      v_.scores.push_back(static_cast<float>(score.as_number(where_)));
    for (const Json& merge : list("merges")) v_.merges.push_back(merge_from_json(merge, where_));
    read_kinds();
    for_each_id(v_, [&](const char* key, Token& id) {
      if (const Json* found = json_.find(key)) id = read_id(*found);
    });
    for_each_id_list(v_, [&](const char* key, std::vector<Token>& ids) {
      for (const Json& id : list(key)) ids.push_back(read_id(id));
    });
    for_each_flag(v_, [&](const char* key, bool& flag) {
      if (const Json* found = json_.find(key)) flag = found->as_bool(where_);
    });
    if (const Json* found = json_.find("chat_template"))
      v_.chat_template = text_from_json(*found, where_);
    check_vocabulary(v_, where_);
    return std::move(v_);
  }

 private:
  const Json& require(const char* key) const {
    if (const Json* found = json_.find(key)) return *found;
    throw Error(where_, std::string("its \"") + key + "\" is missing");
  }
  const Json::Array& list(const char* key) const {
    static const Json::Array kNone;
    const Json* found = json_.find(key);
    return found ? found->as_array(where_) : kNone;
  }
  Token read_id(const Json& json) const { return checked_cast<Token>(json.as_int(where_), where_); }

  void read_names() {
    require("kind");
    v_.kind = static_cast<TokenizerKind>(number_of(json_, "kind", kTokenizerKinds));
    if (!json_.find("fuse_unk")) v_.fuse_unk = v_.kind != TokenizerKind::byte_bpe;
    const std::string& pre = require("pre").as_string(where_);
    if (pre != kOwnRule && !has_split_rule(pre))
      throw Error(where_, "the pre-tokenizer " + printable(pre) + " is not known");
    v_.splits = split_rule(pre);
    for (const Json& step : list("splits")) v_.splits.push_back(read_split(step));
    for (const Json& step : list("normalizers")) v_.normalizers.push_back(read_normalizer(step));
    for (const Json& step : list("decoders")) v_.decoders.push_back(read_decoder(step));
    if (v_.kind == TokenizerKind::sentencepiece_bpe && !json_.find("normalizers")) read_old_flags();
  }

  void read_old_flags() {
    const auto flag = [&](const char* key) {
      const Json* found = json_.find(key);
      return found && found->as_bool(where_);
    };
    const bool prefix = flag("add_space_prefix"), metaspace = flag("prefix_unless_space");
    set_sentencepiece_steps(v_, {.prefix = prefix && !metaspace});
    if (!metaspace) return;
    v_.splits = {{.type = SplitStep::Type::metaspace,
                  .never = !prefix,
                  .first_only = flag("prefix_first_only")}};
    v_.decoders = {{.type = DecodeStep::Type::metaspace, .first = prefix}};
  }

  template <class Step>
  void read_flags(const Json& json, Step& step) const {
    for_each_flag(step, [&](const char* key, bool& flag) {
      if (const Json* found = json.find(key)) flag = found->as_bool(where_);
    });
  }
  std::string text_of(const Json& json, const char* key) const {
    const Json* found = json.find(key);
    return found ? text_from_json(*found, where_) : std::string();
  }
  uint32_t count_of(const Json& json, const char* key) const {
    const Json* found = json.find(key);
    return found ? checked_cast<uint32_t>(found->as_int(where_), where_) : 0;
  }

  NormalizeStep read_normalizer(const Json& json) const {
    NormalizeStep step;
    step.type = static_cast<NormalizeStep::Type>(number_of(json, "type", kNormalizeTypes));
    step.pattern = text_of(json, "pattern");
    step.content = text_of(json, "content");
    read_flags(json, step);
    return step;
  }

  DecodeStep read_decoder(const Json& json) const {
    DecodeStep step;
    step.type = static_cast<DecodeStep::Type>(number_of(json, "type", kDecodeTypes));
    step.pattern = text_of(json, "pattern");
    step.content = text_of(json, "content");
    step.start = count_of(json, "start");
    step.stop = count_of(json, "stop");
    read_flags(json, step);
    return step;
  }

  SplitStep read_split(const Json& json) const {
    SplitStep step;
    step.type = static_cast<SplitStep::Type>(number_of(json, "type", kSplitTypes));
    step.behavior = static_cast<SplitBehavior>(number_of(json, "behavior", kBehaviors));
    if (const Json* pattern = json.find("pattern")) step.pattern = pattern->as_string(where_);
    read_flags(json, step);
    return step;
  }

  // Which of `names` the member is; the first if there is no such member.
  template <size_t n>
  size_t number_of(const Json& json, const char* key,
                   const std::array<std::string_view, n>& names) const {
    json.as_object(where_);
    const Json* found = json.find(key);
    if (!found) return 0;
    const std::string& name = found->as_string(where_);
    const auto* it = std::ranges::find(names, name);
    if (it == names.end())
      throw Error(where_, std::string("the ") + key + " " + printable(name) + " is not known");
    return static_cast<size_t>(it - names.begin());
  }

  void read_kinds() {
    for (const char digit : require("kinds").as_string(where_)) {
      if (digit < '0' || digit > kLastKind)
        throw Error(where_, "the kind of a token is not known: " + printable({&digit, 1}));
      v_.kinds.push_back(static_cast<TokenKind>(digit - '0'));
    }
  }

  const Json& json_;
  const std::string& where_;
  Vocabulary v_;
};

}  // namespace

std::string vocabulary_to_json(const Vocabulary& v) {
  Json::Array tokens, scores, merges;
  std::string kinds;
  for (const std::string& token : v.tokens) tokens.push_back(text_to_json(token));
  for (const float score : v.scores) scores.emplace_back(double{score});
  for (const auto& merge : v.merges) merges.push_back(merge_to_json(merge));
  for (const TokenKind kind : v.kinds) kinds += static_cast<char>('0' + static_cast<char>(kind));

  Json::Object out;
  out.emplace_back("kind", std::string(kTokenizerKinds[static_cast<size_t>(v.kind)]));
  const std::string_view rule = split_rule_name(v.splits);
  out.emplace_back("pre", std::string(rule));
  if (rule == kOwnRule) out.emplace_back("splits", splits_to_json(v.splits));
  out.emplace_back("normalizers", normalizers_to_json(v.normalizers));
  out.emplace_back("decoders", decoders_to_json(v.decoders));
  for_each_id(v, [&](const char* key, Token id) { out.emplace_back(key, int64_t{id}); });
  for_each_id_list(v, [&](const char* key, const std::vector<Token>& ids) {
    Json::Array list;
    for (const Token id : ids) list.emplace_back(int64_t{id});
    out.emplace_back(key, std::move(list));
  });
  for_each_flag(v, [&](const char* key, bool flag) { out.emplace_back(key, flag); });
  out.emplace_back("chat_template", text_to_json(v.chat_template));
  out.emplace_back("kinds", std::move(kinds));
  out.emplace_back("tokens", std::move(tokens));
  out.emplace_back("scores", std::move(scores));
  out.emplace_back("merges", std::move(merges));
  return write_json(Json(std::move(out)));
}

Vocabulary vocabulary_from_json(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  return JsonReader(json, where).read();
}

}  // namespace nibble
