#include "text/regex_properties.h"

#include <algorithm>
#include <array>
#include <string>

namespace nibble {
namespace {

struct NamedCategories {
  std::string_view name;
  Category first, last;
};
using enum Category;
constexpr std::array kCategories = {NamedCategories{"l", lu, lo},
                                    NamedCategories{"letter", lu, lo},
                                    NamedCategories{"m", mn, me},
                                    NamedCategories{"mark", mn, me},
                                    NamedCategories{"n", nd, no},
                                    NamedCategories{"number", nd, no},
                                    NamedCategories{"p", pc, po},
                                    NamedCategories{"punctuation", pc, po},
                                    NamedCategories{"s", sm, so},
                                    NamedCategories{"symbol", sm, so},
                                    NamedCategories{"z", zs, zp},
                                    NamedCategories{"separator", zs, zp},
                                    NamedCategories{"c", cc, cn},
                                    NamedCategories{"other", cc, cn},
                                    NamedCategories{"lc", lu, lt},
                                    NamedCategories{"l&", lu, lt},
                                    NamedCategories{"lu", lu, lu},
                                    NamedCategories{"uppercaseletter", lu, lu},
                                    NamedCategories{"ll", ll, ll},
                                    NamedCategories{"lowercaseletter", ll, ll},
                                    NamedCategories{"lt", lt, lt},
                                    NamedCategories{"titlecaseletter", lt, lt},
                                    NamedCategories{"lm", lm, lm},
                                    NamedCategories{"modifierletter", lm, lm},
                                    NamedCategories{"lo", lo, lo},
                                    NamedCategories{"otherletter", lo, lo},
                                    NamedCategories{"mn", mn, mn},
                                    NamedCategories{"nonspacingmark", mn, mn},
                                    NamedCategories{"mc", mc, mc},
                                    NamedCategories{"spacingmark", mc, mc},
                                    NamedCategories{"me", me, me},
                                    NamedCategories{"enclosingmark", me, me},
                                    NamedCategories{"nd", nd, nd},
                                    NamedCategories{"decimalnumber", nd, nd},
                                    NamedCategories{"digit", nd, nd},
                                    NamedCategories{"nl", nl, nl},
                                    NamedCategories{"letternumber", nl, nl},
                                    NamedCategories{"no", no, no},
                                    NamedCategories{"othernumber", no, no},
                                    NamedCategories{"pc", pc, pc},
                                    NamedCategories{"pd", pd, pd},
                                    NamedCategories{"dashpunctuation", pd, pd},
                                    NamedCategories{"ps", ps, ps},
                                    NamedCategories{"pe", pe, pe},
                                    NamedCategories{"pi", pi, pi},
                                    NamedCategories{"pf", pf, pf},
                                    NamedCategories{"po", po, po},
                                    NamedCategories{"sm", sm, sm},
                                    NamedCategories{"sc", sc, sc},
                                    NamedCategories{"sk", sk, sk},
                                    NamedCategories{"so", so, so},
                                    NamedCategories{"zs", zs, zs},
                                    NamedCategories{"zl", zl, zl},
                                    NamedCategories{"zp", zp, zp},
                                    NamedCategories{"cc", cc, cc},
                                    NamedCategories{"cntrl", cc, cc},
                                    NamedCategories{"cf", cf, cf},
                                    NamedCategories{"cs", cs, cs},
                                    NamedCategories{"co", co, co},
                                    NamedCategories{"cn", cn, cn},
                                    NamedCategories{"any", lu, cn}};

struct NamedScript {
  std::string_view name;
  Script script;
};
constexpr std::array kScripts = {
    NamedScript{"han", Script::han}, NamedScript{"hiragana", Script::hiragana},
    NamedScript{"katakana", Script::katakana}, NamedScript{"hangul", Script::hangul}};

// A property's name: small letters, without what may be left out.
std::string plain_name(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

std::optional<CharSet> find_property(std::string_view property) {
  const std::string name = plain_name(property);
  CharSet set;
  if (const auto* it = std::ranges::find(kCategories, name, &NamedCategories::name);
      it != kCategories.end()) {
    for (auto c = static_cast<uint8_t>(it->first); c <= static_cast<uint8_t>(it->last); ++c)
      set.add(CharSet(ranges_of(static_cast<Category>(c))));
    return set;
  }
  std::string_view script = name;
  for (const std::string_view prefix : {"script=", "sc=", "is"})
    if (script.starts_with(prefix)) script.remove_prefix(prefix.size());
  if (const auto* it = std::ranges::find(kScripts, script, &NamedScript::name);
      it != kScripts.end())
    return CharSet(ranges_of(it->script));
  if (name == "space" || name == "whitespace") return CharSet(space_ranges());
  if (name == "word") return CharSet(word_ranges());
  return std::nullopt;
}

CharSet bare_word_set() {
  CharSet set(word_ranges());
  for (const uint32_t c : {0xb2u, 0xb3u, 0xb9u, 0xbcu, 0xbdu, 0xbeu}) set.add({c, c});
  return set;
}

}  // namespace nibble
