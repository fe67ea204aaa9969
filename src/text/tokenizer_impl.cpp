#include "text/tokenizer_impl.h"

#include <algorithm>
#include <functional>

#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/unicode.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

constexpr const char* kWhere = "tokenizer";
constexpr size_t kMaxTextBytes = size_t{1} << 29;  // 3 times as much still fits int32_t

size_t index(Token token) { return static_cast<size_t>(token); }

// Makes sense of the vocabulary before any table is built from it.
Vocabulary checked(Vocabulary vocabulary) {
  check_vocabulary(vocabulary, kWhere);
  return vocabulary;
}

std::vector<bool> flags(const std::vector<Token>& tokens, size_t vocab_size) {
  std::vector<bool> out(vocab_size);
  for (const Token token : tokens) out[index(token)] = true;
  return out;
}

// Whether merging can end at such a token.
bool merges_make(TokenKind kind) {
  return kind == TokenKind::normal || kind == TokenKind::user_defined;
}

std::vector<SpecialMatcher::Entry> special_entries(const Vocabulary& v) {
  std::vector<bool> single_word = flags(v.single_word, v.tokens.size());
  std::vector<SpecialMatcher::Entry> entries;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const TokenKind kind = v.kinds[i];
    const bool user_defined = kind == TokenKind::user_defined;
    if (user_defined || kind == TokenKind::control || kind == TokenKind::unknown)
      entries.push_back({v.tokens[i], static_cast<Token>(i), user_defined, single_word[i]});
  }
  return entries;
}

// `text` without the white space at its end, or at its beginning.
std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const size_t length = last_char_length(text);
    if (!is_space(decode_utf8(text, text.size() - length).code_point)) break;
    text.remove_suffix(length);
  }
  return text;
}
std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const DecodedChar c = decode_utf8(text, 0);
    if (!is_space(c.code_point)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

}  // namespace

// A text between two tokens that are given by the caller.
struct TokenizerImpl::Run {
  std::string text;
  std::vector<std::pair<size_t, size_t>> special;  // where special tokens are parsed, ascending
  bool first = true;                               // no token was given before

  void add(const PromptSpan& span) {
    if (span.parse_special && !span.text.empty()) {
      if (!special.empty() && special.back().second == text.size())
        special.back().second += span.text.size();
      else
        special.emplace_back(text.size(), text.size() + span.text.size());
    }
    text += span.text;
  }
};

// Memory that all fragments of an encode() share.
struct TokenizerImpl::Scratch {
  BpeMerger merger;
  std::vector<Symbol> symbols;
  std::string normalized;
  std::vector<SpecialMatcher::Match> specials;
  WordScratch words;
};

TokenizerImpl::TokenizerImpl(Vocabulary v)
    : vocabulary(checked(std::move(v))),
      pre_tokenizer_(vocabulary.splits, kWhere),
      specials_(special_entries(vocabulary)),
      by_text_(vocabulary.tokens) {
  const size_t n = vocabulary.tokens.size();
  is_end_ = flags(vocabulary.end_tokens, n);
  strip_left_ = flags(vocabulary.strip_left, n);
  strip_right_ = flags(vocabulary.strip_right, n);
  byte_ids_.fill(-1);
  for (size_t i = 0; i < n; ++i) {
    const TokenKind kind = vocabulary.kinds[i];
    const std::string& text = vocabulary.tokens[i];
    const auto token = static_cast<Token>(i);
    if (kind == TokenKind::byte) {
      Token& id = byte_ids_[*parse_byte_token(text)];
      if (id < 0) id = token;
    } else if (merges_make(kind) && !text.empty()) {
      by_text_.add(token);
    }
  }
  if (vocabulary.kind == TokenizerKind::byte_bpe)
    for (int b = 0; b < 256; ++b)
      byte_ids_[static_cast<size_t>(b)] =
          by_text_.find(byte_alphabet().text(static_cast<uint8_t>(b)));
  if (vocabulary.kind == TokenizerKind::byte_bpe || !vocabulary.merges.empty())
    pairs_ = PairTable(read_merges(), n);
  else
    rank_scores();
}

// Merges that would make a special token are left out: text never becomes one.
std::vector<PairTable::Entry> TokenizerImpl::read_merges() const {
  std::vector<PairTable::Entry> entries;
  entries.reserve(vocabulary.merges.size());
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string& left = vocabulary.merges[rank].first;
    const std::string& right = vocabulary.merges[rank].second;
    bool special = false;
    const auto find_part = [&](const std::string& text) {
      const Token id = by_text_.find(text);
      if (id < 0 && specials_.find(text) >= 0)
        special = true;
      else if (id < 0)
        throw Error(kWhere, "merge " + std::to_string(rank) + " joins " + printable(left) +
                                " and " + printable(right) + ", but " + printable(text) +
                                " is not in the vocabulary");
      return id;
    };
    const PairTable::Entry entry = {
        find_part(left), find_part(right), {static_cast<uint32_t>(rank), find_part(left + right)}};
    if (!special) entries.push_back(entry);
  }
  return entries;
}

void TokenizerImpl::rank_scores() {
  std::vector<float> sorted = vocabulary.scores;
  std::ranges::sort(sorted, std::greater<>());
  for (const float score : vocabulary.scores) {
    const auto it = std::ranges::lower_bound(sorted, score, std::greater<>());
    score_ranks_.push_back(static_cast<uint32_t>(it - sorted.begin()));
  }
}

std::vector<Token> TokenizerImpl::encode(std::span<const PromptSpan> spans) const {
  size_t bytes = 0;
  for (const PromptSpan& span : spans) {
    if (span.text.size() > kMaxTextBytes - bytes)
      throw Error("text", "is too long to be tokenized at once",
                  "give at most " + std::to_string(kMaxTextBytes) + " bytes");
    bytes += span.text.size();
  }
  std::vector<Token> out;
  Scratch scratch;
  Run run;
  for (const PromptSpan& span : spans) {
    if (span.token < 0) {
      run.add(span);
      continue;
    }
    encode_run(run, scratch, out);
    out.push_back(span.token);
    run = {};
    run.first = false;
  }
  encode_run(run, scratch, out);
  return out;
}

void TokenizerImpl::encode_run(const Run& run, Scratch& scratch, std::vector<Token>& out) const {
  const std::string_view text = run.text;
  size_t begin = 0;  // of the text since the last special token
  bool first = run.first;
  specials_.find_all(text, run.special, scratch.specials);
  for (const SpecialMatcher::Match& found : scratch.specials) {
    if (found.begin < begin) continue;  // begins in white space that the last one swallowed
    std::string_view before = text.substr(begin, found.begin - begin);
    if (strip_left_[index(found.id)]) before = strip_right(before);
    encode_fragment(before, first, scratch, out);
    out.push_back(found.id);
    first = false;
    begin = found.end;
    if (strip_right_[index(found.id)]) begin = text.size() - strip_left(text.substr(begin)).size();
  }
  encode_fragment(text.substr(begin), first, scratch, out);
}

void TokenizerImpl::encode_fragment(std::string_view text, bool first, Scratch& scratch,
                                    std::vector<Token>& out) const {
  if (text.empty()) return;
  if (vocabulary.kind == TokenizerKind::sentencepiece_bpe)
    return encode_sentencepiece(text, first, scratch, out);
  for (const std::string_view word : pre_tokenizer_.words(text, first, scratch.words))
    encode_word(word, scratch, out);
}

void TokenizerImpl::encode_sentencepiece(std::string_view text, bool first, Scratch& scratch,
                                         std::vector<Token>& out) const {
  const bool has_space =
      vocabulary.prefix_unless_space && (text.starts_with(' ') || text.starts_with(kSpaceMark));
  const bool prefix =
      vocabulary.add_space_prefix && (first || !vocabulary.prefix_first_only) && !has_space;
  std::string& normalized = scratch.normalized;
  normalized.assign(prefix ? kSpaceMark : std::string_view());
  normalized += replace_all(text, " ", kSpaceMark);
  const std::string_view all = normalized;

  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  const Token whole = vocabulary.ignore_merges ? by_text_.find(all) : -1;
  if (whole >= 0) return out.push_back(whole);
  for (size_t pos = 0; pos < all.size();) {
    const size_t length = decode_utf8(all, pos).length;
    append_symbol(symbols, by_text_.find(all.substr(pos, length)), static_cast<uint32_t>(pos),
                  static_cast<uint32_t>(length));
    pos += length;
  }
  if (score_ranks_.empty()) {
    scratch.merger.run(symbols,
                       [&](const Symbol& a, const Symbol& b) { return pairs_.find(a.id, b.id); });
  } else {
    scratch.merger.run(symbols, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
      const Token id = by_text_.find(all.substr(a.begin, a.length + b.length));
      if (id < 0) return std::nullopt;
      return Merge{score_ranks_[index(id)], id};
    });
  }
  bool after_unknown = false;
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    if (symbol.id < 0) {
      put_bytes(all.substr(symbol.begin, symbol.length), after_unknown, out);
    } else {
      out.push_back(symbol.id);
      after_unknown = false;
    }
  }
}

// A character that is no token: its bytes if all of them are tokens, else "unknown", one for a run
// of such characters.
void TokenizerImpl::put_bytes(std::string_view bytes, bool& after_unknown,
                              std::vector<Token>& out) const {
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (std::ranges::all_of(bytes, [&](char byte) { return id_of(byte) >= 0; })) {
    for (const char byte : bytes) out.push_back(id_of(byte));
    after_unknown = false;
  } else {
    if (vocabulary.unk >= 0 && !after_unknown) out.push_back(vocabulary.unk);
    after_unknown = true;
  }
}

void TokenizerImpl::encode_word(std::string_view word, Scratch& scratch,
                                std::vector<Token>& out) const {
  if (vocabulary.ignore_merges) {
    const Token whole = by_text_.find(byte_alphabet().encode(word));
    if (whole >= 0) return out.push_back(whole);
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t i = 0; i < word.size(); ++i)
    append_symbol(symbols, byte_ids_[static_cast<uint8_t>(word[i])], static_cast<uint32_t>(i), 1);
  scratch.merger.run(symbols,
                     [&](const Symbol& a, const Symbol& b) { return pairs_.find(a.id, b.id); });
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    const Token id = symbol.id >= 0 ? symbol.id : vocabulary.unk;
    if (id >= 0) out.push_back(id);
  }
}

TokenKind TokenizerImpl::kind(Token token) const {
  if (token < 0 || index(token) >= vocabulary.tokens.size())
    throw Error("token " + std::to_string(token),
                "is outside the vocabulary of " + std::to_string(vocabulary.tokens.size()));
  return vocabulary.kinds[index(token)];
}

std::string TokenizerImpl::piece(Token token, bool with_special) const {
  const TokenKind of = kind(token);
  const std::string& text = vocabulary.tokens[index(token)];
  if (of == TokenKind::control || of == TokenKind::unknown)
    return with_special ? text : std::string();
  if (of == TokenKind::user_defined) return text;
  if (of == TokenKind::byte) return std::string(1, static_cast<char>(*parse_byte_token(text)));
  if (vocabulary.kind == TokenizerKind::sentencepiece_bpe)
    return replace_all(text, kSpaceMark, " ");
  return bytes_of(text);
}

// A text with characters outside the alphabet stands for itself.
std::string TokenizerImpl::bytes_of(const std::string& alphabet_text) const {
  std::string out;
  for (size_t pos = 0; pos < alphabet_text.size();) {
    const DecodedChar c = decode_utf8(alphabet_text, pos);
    const int byte = c.valid ? byte_alphabet().byte(c.code_point) : -1;
    if (byte < 0) return alphabet_text;
    out.push_back(static_cast<char>(byte));
    pos += c.length;
  }
  return out;
}

std::string TokenizerImpl::decode(std::span<const Token> tokens, bool with_special) const {
  std::string out;
  bool at_start =
      vocabulary.kind == TokenizerKind::sentencepiece_bpe && vocabulary.add_space_prefix;
  for (const Token token : tokens) {
    const std::string text = piece(token, with_special);
    const bool strip = at_start && kind(token) == TokenKind::normal && text.starts_with(' ');
    out.append(text, strip ? 1 : 0);
    at_start = at_start && text.empty();
  }
  return out;
}

Token TokenizerImpl::find(std::string_view text) const {
  const Token special = specials_.find(text);
  if (special >= 0) return special;
  if (vocabulary.kind == TokenizerKind::byte_bpe)
    return by_text_.find(byte_alphabet().encode(text));
  return by_text_.find(replace_all(text, " ", kSpaceMark));
}

}  // namespace nibble
