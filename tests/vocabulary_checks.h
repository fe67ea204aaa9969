// What the tests of vocabulary readers share.
#pragma once

#include <string>
#include <string_view>

#include "check.h"
#include "vocabularies.h"

namespace nibble::test {

inline Vocabulary read(FileFormat format, const std::string& metadata) {
  Checkpoint checkpoint;
  checkpoint.format = format;
  checkpoint.path = "model";
  checkpoint.metadata = parse_json(metadata, "metadata");
  return read_vocabulary(checkpoint);
}

inline std::string replaced(const std::string& text, const std::string& from,
                            const std::string& to) {
  check(text.find(from) != std::string::npos, "the test replaces " + from);
  return replace_all(text, from, to);
}

// Whether a text gets a U+2581 in front by the normalizer, and that spaces become U+2581.
inline bool adds_prefix(const Vocabulary& v) {
  check(!v.normalizers.empty() && v.normalizers.back().type == NormalizeStep::Type::replace &&
            v.normalizers.back().pattern == " " && v.normalizers.back().content == kSpaceMark,
        "spaces are marked");
  return v.normalizers[0].type == NormalizeStep::Type::prepend &&
         v.normalizers[0].content == kSpaceMark;
}

inline std::string_view rule_of(const Vocabulary& v) { return split_rule_name(v.splits); }

}  // namespace nibble::test
