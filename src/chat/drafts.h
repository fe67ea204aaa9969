#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "nibble/config.h"

namespace nibble {

/// Guesses how a text goes on, so that several tokens are computed while the weights are read once:
/// where its last tokens stood before, it may go on as it did there (prompt lookup decoding, A.
/// Saxena 2023). A guess costs or saves time and never changes the text. One thread at a time.
class Drafts {
 public:
  static constexpr size_t kMaxRows = 8;  // a token and its guesses

  /// The text is now this one.
  void reset(std::span<const Token> text);
  /// The text went on with `token`.
  void push(Token token);
  /// What may follow, at most `most` tokens: as many as are likely to save time, often none. Valid
  /// until the text changes.
  std::span<const Token> guess(size_t most) const;
  /// To evaluate `n_rows` tokens at once took so long.
  void measured(size_t n_rows, double seconds);

 private:
  // Kernels take these numbers of rows with the least time per row.
  static constexpr std::array<size_t, 4> kRows = {1, 2, 4, kMaxRows};
  static constexpr size_t kMaxContext = 3;
  static constexpr size_t kSlots = size_t{1} << 16;

  /// The slot of the last n tokens; the text has that many.
  uint32_t& slot(size_t n);
  void find_source();
  void add_to_index();

  std::vector<Token> text_;
  std::vector<uint32_t> ends_ = std::vector<uint32_t>(kSlots);  // where tokens ended last, by slot
  size_t source_ = 0;    // text_[source_] is the guess of what follows; 0: none
  size_t agreeing_ = 0;  // tokens before source_ that are those at the end of the text
  // How often a guess is right after 1, 2, ... agreeing tokens; the seconds of kRows, 0: unknown.
  std::array<double, 6> hits_ = {0.05, 0.15, 0.3, 0.5, 0.65, 0.85};
  std::array<double, kRows.size()> seconds_ = {};
};

}  // namespace nibble
