#pragma once

#include <stdexcept>
#include <string>

#include "nibble/export.h"

namespace nibble {

/// What the library throws when the input, an option or the machine is at fault. (Besides it, only
/// std::bad_alloc can come, when memory runs out.)
/// what() reads "WHERE: WHY (HINT)".
class NIBBLE_API Error : public std::runtime_error {
 public:
  /// `where` names the file, tensor or option; `why` is a clause without a final stop; `hint`, if
  /// any, says what the caller can do.
  Error(std::string where, std::string why, std::string hint = {});

  /// "WHERE: WHAT is FOUND, expected EXPECTED".
  static Error mismatch(const std::string& where, const std::string& what,
                        const std::string& expected, const std::string& found);

  const std::string& where() const noexcept { return where_; }
  const std::string& why() const noexcept { return why_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string where_, why_, hint_;
};

}  // namespace nibble
