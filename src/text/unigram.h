// Unigram tokenization: of all ways to cut a text into pieces, the one of the highest probability.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/vocabulary.h"

namespace nibble {

class UnigramModel {
 public:
  struct Piece {
    uint32_t begin = 0, length = 0;
    Token id = -1;  // -1: a character that no piece covers well
  };
  /// Memory that calls share. Reuse an object.
  struct Scratch {
    std::vector<Piece> pieces;  // of the last call
   private:
    friend class UnigramModel;
    struct Best {
      double score = 0;
      uint32_t begin = kNone;  // of the last piece
      Token id = -1;
    };
    static constexpr uint32_t kNone = UINT32_MAX;
    std::vector<Best> best_;  // [n_bytes + 1], the best way to cut the text up to each place
  };

  UnigramModel() = default;
  /// Throws Error(where, ...) if a piece is too long: their length bounds the time.
  UnigramModel(const Vocabulary& vocabulary, const std::string& where);

  /// Cuts `text` into scratch.pieces. Scores are logarithms; of equal sums the way whose pieces
  /// were found first counts. An unknown character costs ten more than the worst piece.
  void cut(std::string_view text, Scratch& scratch) const;

 private:
  ByteTrie trie_;
  std::vector<float> scores_;
  double unknown_score_ = 0;
};

}  // namespace nibble
