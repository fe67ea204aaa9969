#include "text/tokenizer_impl.h"

#include <algorithm>
#include <functional>

#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/token_text.h"
#include "text/unicode.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

constexpr const char* kWhere = "tokenizer";
constexpr size_t kSpareBytes = size_t{1} << 16;
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

// Those that are looked for in the text as it is, or those that are looked for in the normalized
// one.
std::vector<SpecialMatcher::Entry> special_entries(const Vocabulary& v,
                                                   const Normalizer& normalizer,
                                                   bool in_normalized) {
  const std::vector<bool> single_word = flags(v.single_word, v.tokens.size());
  const std::vector<bool> normalized = flags(v.normalized, v.tokens.size());
  std::vector<SpecialMatcher::Entry> entries;
  NormalizerScratch scratch;
  size_t before = 0, after = 0;  // bytes of all tokens that are normalized
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const TokenKind kind = v.kinds[i];
    const bool user_defined = kind == TokenKind::user_defined;
    if (!user_defined && kind != TokenKind::control && kind != TokenKind::unknown) continue;
    if ((user_defined && normalized[i]) != in_normalized) continue;
    SpecialMatcher::Entry entry = {v.tokens[i], static_cast<Token>(i), user_defined,
                                   single_word[i]};
    if (in_normalized) {
      entry.text = normalizer.run({.text = v.tokens[i]}, scratch);
      before += v.tokens[i].size();
      after += entry.text.size();
      if (after > 4 * before + kSpareBytes)
        throw Error(kWhere, "its added tokens become too long when they are normalized");
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Whether U+2581 begins every token that has it: no merge joins what stands on both sides of one.
bool marks_begin_tokens(const Vocabulary& v) {
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (!merges_make(v.kinds[i])) continue;
    std::string_view text = v.tokens[i];
    while (text.starts_with(kSpaceMark)) text.remove_prefix(kSpaceMark.size());
    if (text.find(kSpaceMark) != std::string_view::npos) return false;
  }
  return true;
}

// The end of the word at `begin`: the next U+2581 behind another character.
size_t end_of_marked_word(std::string_view text, size_t begin) {
  size_t pos = begin;
  while (text.substr(pos).starts_with(kSpaceMark)) pos += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, pos), text.size());
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
  PairCache pairs;
  std::vector<Symbol> symbols;
  UnigramModel::Scratch unigram;
  NormalizerScratch normalizer;
  std::vector<SpecialMatcher::Match> specials, normalized_specials;
  WordScratch words;
};

TokenizerImpl::TokenizerImpl(Vocabulary v)
    : vocabulary(checked(std::move(v))),
      normalizer_(vocabulary.normalizers, kWhere),
      pre_tokenizer_(vocabulary.splits, kWhere),
      specials_(special_entries(vocabulary, normalizer_, false)),
      normalized_specials_(special_entries(vocabulary, normalizer_, true)),
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
  cuts_at_marks_ = marks_begin_tokens(vocabulary);
  if (vocabulary.kind == TokenizerKind::unigram)
    unigram_ = UnigramModel(vocabulary, kWhere);
  else if (vocabulary.kind == TokenizerKind::byte_bpe || !vocabulary.merges.empty())
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

// Puts out the tokens that were found in `text`, and gives what lies between them to `between`:
// with the tokens on both sides, -1 at the ends.
template <class Fn>
void TokenizerImpl::cut_out(const std::vector<SpecialMatcher::Match>& found, std::string_view text,
                            std::vector<Token>& out, const Fn& between) const {
  size_t begin = 0;
  Token before = -1;
  for (const SpecialMatcher::Match& match : found) {
    if (match.begin < begin) continue;  // begins in white space that the last one swallowed
    std::string_view fragment = text.substr(begin, match.begin - begin);
    if (strip_left_[index(match.id)]) fragment = strip_right(fragment);
    between(fragment, before, match.id);
    out.push_back(match.id);
    before = match.id;
    begin = match.end;
    if (strip_right_[index(match.id)]) begin = text.size() - strip_left(text.substr(begin)).size();
  }
  between(text.substr(begin), before, Token{-1});
}

void TokenizerImpl::encode_run(const Run& run, Scratch& scratch, std::vector<Token>& out) const {
  const auto is_user_defined = [&](Token token) {
    return token >= 0 && vocabulary.kinds[index(token)] == TokenKind::user_defined;
  };
  specials_.find_all(run.text, run.special, scratch.specials);
  cut_out(scratch.specials, run.text, out, [&](std::string_view text, Token before, Token behind) {
    const Normalizer::Input input = {text, is_user_defined(before), is_user_defined(behind)};
    encode_fragment(input, run.first && before < 0, scratch, out);
  });
}

void TokenizerImpl::encode_fragment(const Normalizer::Input& input, bool first, Scratch& scratch,
                                    std::vector<Token>& out) const {
  if (normalizer_.ignores(input)) return;
  const std::string_view text = normalizer_.run(input, scratch.normalizer);
  normalized_specials_.find_all(text, {}, scratch.normalized_specials);
  cut_out(scratch.normalized_specials, text, out, [&](std::string_view part, Token before, Token) {
    for (const std::string_view word :
         pre_tokenizer_.words(part, first && before < 0, scratch.words))
      encode_word(word, scratch, out);
  });
}

void TokenizerImpl::encode_word(std::string_view word, Scratch& scratch,
                                std::vector<Token>& out) const {
  bool after_unknown = false;
  switch (vocabulary.kind) {
    case TokenizerKind::byte_bpe:
      return merge_bytes(word, scratch, out);
    case TokenizerKind::unigram:
      unigram_.cut(word, scratch.unigram);
      for (const UnigramModel::Piece& piece : scratch.unigram.pieces)
        put(piece.id, word.substr(piece.begin, piece.length), after_unknown, out);
      return;
    case TokenizerKind::sentencepiece_bpe:
      break;
  }
  if (vocabulary.ignore_merges) {
    const Token whole = by_text_.find(word);
    if (whole >= 0) return out.push_back(whole);
  }
  for (size_t begin = 0; begin < word.size();) {
    const size_t end = cuts_at_marks_ ? end_of_marked_word(word, begin) : word.size();
    merge_chars(word.substr(begin, end - begin), after_unknown, scratch, out);
    begin = end;
  }
}

void TokenizerImpl::run_merges(Scratch& scratch) const {
  scratch.merger.run(scratch.symbols, [&](const Symbol& a, const Symbol& b) {
    return scratch.pairs.find(a.id, b.id, [&] { return pairs_.find(a.id, b.id); });
  });
}

void TokenizerImpl::merge_chars(std::string_view word, bool& after_unknown, Scratch& scratch,
                                std::vector<Token>& out) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t pos = 0; pos < word.size();) {
    const size_t length = decode_utf8(word, pos).length;
    append_symbol(symbols, by_text_.find(word.substr(pos, length)), static_cast<uint32_t>(pos),
                  static_cast<uint32_t>(length));
    pos += length;
  }
  // By the text of both, as tokens or not, if there are no merges.
  const auto by_score = [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
    const Token id = by_text_.find(word.substr(a.begin, a.length + b.length));
    if (id < 0) return std::nullopt;
    return Merge{score_ranks_[index(id)], id};
  };
  if (score_ranks_.empty())
    run_merges(scratch);
  else
    scratch.merger.run(symbols, [&](const Symbol& a, const Symbol& b) {
      if (a.id < 0 || b.id < 0) return by_score(a, b);
      return scratch.pairs.find(a.id, b.id, [&] { return by_score(a, b); });
    });
  for (const Symbol& symbol : symbols)
    if (symbol.length > 0)
      put(symbol.id, word.substr(symbol.begin, symbol.length), after_unknown, out);
}

// A character that is no token becomes its bytes if all of them are tokens, else "unknown".
void TokenizerImpl::put(Token id, std::string_view bytes, bool& after_unknown,
                        std::vector<Token>& out) const {
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  const bool known = id >= 0 || std::ranges::all_of(bytes, [&](char b) { return id_of(b) >= 0; });
  if (id >= 0)
    out.push_back(id);
  else if (known)
    for (const char byte : bytes) out.push_back(id_of(byte));
  else if (vocabulary.unk >= 0 && !(after_unknown && vocabulary.fuse_unk))
    out.push_back(vocabulary.unk);
  after_unknown = !known;
}

void TokenizerImpl::merge_bytes(std::string_view word, Scratch& scratch,
                                std::vector<Token>& out) const {
  if (vocabulary.ignore_merges) {
    const Token whole = by_text_.find(byte_alphabet().encode(word));
    if (whole >= 0) return out.push_back(whole);
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t i = 0; i < word.size(); ++i)
    append_symbol(symbols, byte_ids_[static_cast<uint8_t>(word[i])], static_cast<uint32_t>(i), 1);
  run_merges(scratch);
  bool after_unknown = false;
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    const bool unknown = symbol.id < 0;
    const Token id = unknown ? vocabulary.unk : symbol.id;
    if (id >= 0 && !(unknown && after_unknown && vocabulary.fuse_unk)) out.push_back(id);
    after_unknown = unknown;
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
  return plain_text(token, false);
}

// Of a token that is no special one. `first`: no other one stands before it.
std::string TokenizerImpl::plain_text(Token token, bool first) const {
  const std::string& text = vocabulary.tokens[index(token)];
  const TokenKind of = vocabulary.kinds[index(token)];
  if (of == TokenKind::byte) return std::string(1, static_cast<char>(*parse_byte_token(text)));
  if (vocabulary.kind != TokenizerKind::byte_bpe)
    return decode_token(vocabulary.decoders, text, first);
  return of == TokenKind::user_defined ? text : bytes_of(text);
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
  bool first = true;
  for (const Token token : tokens) {
    const TokenKind of = kind(token);
    const bool special = of == TokenKind::control || of == TokenKind::unknown;
    if (special && !with_special) continue;
    out += special ? vocabulary.tokens[index(token)] : plain_text(token, first);
    first = false;
  }
  return decode_whole(vocabulary.decoders, std::move(out));
}

Token TokenizerImpl::find(std::string_view text) const {
  const Token special = specials_.find(text);
  if (special >= 0) return special;
  if (vocabulary.kind == TokenizerKind::byte_bpe)
    return by_text_.find(byte_alphabet().encode(text));
  return by_text_.find(replace_all(text, " ", kSpaceMark));
}

}  // namespace nibble
