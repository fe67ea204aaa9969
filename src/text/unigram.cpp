#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr size_t kMaxPieceBytes = 1024;
constexpr double kUnknownPenalty = 10;

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& v, const std::string& where) : scores_(v.scores) {
  std::vector<ByteTrie::Entry> entries;
  float worst = std::numeric_limits<float>::max();
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    // A user-defined token with a score is an added one that was a piece before.
    const bool is_piece = v.kinds[i] == TokenKind::normal ||
                          (v.kinds[i] == TokenKind::user_defined && v.scores[i] != 0);
    if (!is_piece || v.tokens[i].empty()) continue;
    if (v.tokens[i].size() > kMaxPieceBytes)
      throw Error(where, "the token " + printable(v.tokens[i]) + " has " +
                             std::to_string(v.tokens[i].size()) + " bytes, expected " +
                             std::to_string(kMaxPieceBytes) + " at most");
    entries.emplace_back(v.tokens[i], static_cast<Token>(i));
    worst = std::min(worst, v.scores[i]);
  }
  unknown_score_ = (entries.empty() ? 0 : double{worst}) - kUnknownPenalty;
  trie_ = ByteTrie(std::move(entries));
}

void UnigramModel::cut(std::string_view text, Scratch& scratch) const {
  std::vector<Scratch::Best>& best = scratch.best_;
  best.assign(text.size() + 1, {});
  const auto offer = [&](size_t begin, size_t end, double score, Token id) {
    Scratch::Best& old = best[end];
    const double sum = best[begin].score + score;
    if (old.begin == Scratch::kNone || sum > old.score)
      old = {sum, static_cast<uint32_t>(begin), id};
  };
  for (size_t pos = 0; pos < text.size();) {
    const size_t next = pos + decode_utf8(text, pos).length;
    bool has_char = false;
    uint32_t node = 0;
    for (size_t end = pos; end < text.size();) {
      node = trie_.child(node, static_cast<uint8_t>(text[end++]));
      if (node == 0) break;
      const Token id = trie_.token(node);
      if (id < 0) continue;
      offer(pos, end, double{scores_[static_cast<size_t>(id)]}, id);
      has_char = has_char || end == next;
    }
    if (!has_char) offer(pos, next, unknown_score_, -1);
    pos = next;
  }
  scratch.pieces.clear();
  for (size_t end = text.size(); end > 0; end = best[end].begin) {
    const uint32_t begin = best[end].begin;
    scratch.pieces.push_back({begin, static_cast<uint32_t>(end) - begin, best[end].id});
  }
  std::ranges::reverse(scratch.pieces);
}

}  // namespace nibble
