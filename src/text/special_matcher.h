// Finds the tokens that are cut out of a text before anything else looks at it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace nibble {

/// The longest text of such a token: it bounds the time that each position of a text takes.
inline constexpr size_t kMaxSpecialBytes = 1024;

class SpecialMatcher {
 public:
  struct Match {
    Token id = -1;  // -1: none
    size_t length = 0;
  };

  /// Throws Error(where, ...) if a text is too long. Of equal texts the lowest id counts. The
  /// vocabulary must outlive the matcher.
  SpecialMatcher(const Vocabulary& vocabulary, const std::string& where);

  /// The longest token at `pos` of `text`: a user-defined one, or a control (or unknown) one that
  /// ends at `special_end` at most.
  Match match(std::string_view text, size_t pos, size_t special_end) const;
  /// The special token with exactly this text, or -1.
  Token find(std::string_view text) const;

 private:
  struct Entry {
    std::string_view text;
    Token id = -1;
    bool user_defined = false;
  };
  std::vector<Entry> entries_;         // by text, no two alike
  std::array<bool, 256> begins_ = {};  // whether an entry begins with this byte
};

}  // namespace nibble
