// What is done to a text before its tokens are looked for, and to tokens to make a text of them, as
// data. The names and meanings are those of Hugging Face's tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// How many bytes steps may make of a text: hostile replacements could fill any memory. The normal
/// form of one character has up to eleven times its bytes.
constexpr size_t longest_result(size_t bytes) { return bytes * 32 + 4096; }

/// Changes the text, before it is cut into words.
struct NormalizeStep {
  enum class Type : uint8_t {
    nfc,
    nfd,
    nfkc,
    nfkd,
    lowercase,
    strip_accents,    // drops all marks
    strip,            // white space at the ends: `left`, `right`
    prepend,          // `content`, unless there is no text
    replace,          // each `pattern`, plain text, by `content`
    replace_matches,  // the same; `pattern` is a regular expression
    charsmap,         // by the SentencePiece map `content`, see text/charsmap.h
    squeeze           // of spaces one remains, at the ends of the text none (nor U+2581 at its end)
  };
  Type type = Type::nfc;
  std::string pattern = {}, content = {};
  bool left = true, right = true;
  /// prepend, squeeze: an end of the text where a user-defined token stands is none.
  bool joins = false;

  bool operator==(const NormalizeStep&) const = default;
};

/// What becomes of the matches of a split: words of their own, dropped, joined to the word before
/// or behind, or joined with matches next to them.
enum class SplitBehavior : uint8_t { isolated, removed, previous, next, contiguous };

struct SplitStep {
  enum class Type : uint8_t {
    split,         // at what `pattern` matches
    space_prefix,  // each word starts with a space, if it does not already
    metaspace      // each word's spaces become U+2581, and it starts with one
  };
  Type type = Type::split;
  std::string pattern = {};  // split: a regular expression
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;      // split: what does not match is taken for what does
  bool never = false;       // metaspace: no word gets a U+2581 at its start
  bool first_only = false;  // metaspace: only the first of the text does
  bool on_bytes = false;    // split: the pattern sees each byte as a character of GPT-2's alphabet

  bool operator==(const SplitStep&) const = default;
};

/// Makes text of the texts of tokens: of each by itself, from `fuse` on of all together.
struct DecodeStep {
  enum class Type : uint8_t {
    replace,    // each `pattern`, plain text, by `content`
    metaspace,  // U+2581 becomes a space, in the first token nothing if `first`
    strip,      // up to `start` times `content`, one character, at the beginning, `stop` at the end
    fuse
  };
  Type type = Type::fuse;
  std::string pattern = {}, content = {};
  uint32_t start = 0, stop = 0;
  bool first = false;

  bool operator==(const DecodeStep&) const = default;
};

/// A regular expression that matches `text` and nothing else.
std::string literal_pattern(std::string_view text);

/// A published way to cut texts into words.
struct SplitRule {
  std::string_view name;
  std::vector<std::string_view> patterns;  // each isolates what it matches
};

/// The rule with this name, as steps. Nothing if there is none (see has_split_rule).
std::vector<SplitStep> split_rule(std::string_view name);
bool has_split_rule(std::string_view name);
/// The name of the rule that has these steps, or kOwnRule.
inline constexpr std::string_view kOwnRule = "own";
std::string_view split_rule_name(const std::vector<SplitStep>& steps);

/// What a GGUF file's tokenizer.ggml.pre stands for, and what it implies unless a key says
/// otherwise. Null for an unknown name.
struct GgufRule {
  std::string_view name, rule;
  bool ignore_merges = false, add_bos = false;
};
const GgufRule* find_gguf_rule(std::string_view name);

}  // namespace nibble
