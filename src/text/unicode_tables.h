// The generated tables, see tools/make_unicode_tables.py.
#pragma once

#include <string_view>

namespace nibble {

extern const std::string_view kCategoryRuns, kCombiningClassRuns, kDecompositions, kFoldMappings,
    kScriptRuns;

}  // namespace nibble
