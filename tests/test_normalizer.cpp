#include "text/normalizer.h"

#include <map>
#include <random>

#include "base/utf8.h"
#include "check.h"
#include "files.h"
#include "text/base64.h"
#include "text/normal_forms.h"

namespace {

using namespace nibble;
using namespace nibble::test;
using Type = NormalizeStep::Type;

std::string form_of(std::string_view text, NormalForm form) {
  std::string out;
  append_normal_form(out, text, form);
  return out;
}

std::string run_steps(std::vector<NormalizeStep> steps, Normalizer::Input input) {
  NormalizerScratch scratch;
  return std::string(Normalizer(steps, "test").run(input, scratch));
}
std::string run_step(NormalizeStep step, std::string_view text) {
  return run_steps({std::move(step)}, {.text = text});
}

uint64_t fnv(uint64_t state, std::string_view bytes) {
  for (const char c : bytes) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return state;
}
constexpr uint64_t kFnvStart = 0xcbf29ce484222325;

// The hashes are what make_normal_hashes.py prints; so are the ranges.
struct FormHashes {
  NormalForm form;
  uint64_t single, several;
};
constexpr FormHashes kFormHashes[] = {
    {NormalForm::nfc, 0x3ce40516aab8cae9, 0xe382648901e9e6b2},
    {NormalForm::nfd, 0xe436c6916a1c43d, 0xba0ecb368510f045},
    {NormalForm::nfkc, 0xcb7ff3cab1e5b32b, 0xcdc463cbf75599f1},
    {NormalForm::nfkd, 0xc543b54d9d16692e, 0xd17ab1e5b431c647},
};
constexpr std::pair<uint32_t, uint32_t> kRanges[] = {
    {0x41, 0x5A},     {0xC0, 0x17F},    {0x300, 0x36F},     {0x591, 0x5C7},    {0x64B, 0x65F},
    {0x900, 0x963},   {0x9BE, 0x9D7},   {0xDCA, 0xDDF},     {0x1100, 0x1120},  {0x1161, 0x1180},
    {0x11A7, 0x11C2}, {0x1AB0, 0x1AC0}, {0x1E00, 0x1EFF},   {0x1F00, 0x1FFF},  {0x2126, 0x212B},
    {0x3041, 0x309E}, {0xAC00, 0xAC80}, {0xF900, 0xF920},   {0xFB00, 0xFB4E},  {0xFDF0, 0xFDFC},
    {0xFE20, 0xFE2F}, {0xFF66, 0xFF9F}, {0x11099, 0x110BA}, {0x1D15E, 0x1D172}};

void forms_are_those_of_unicode() {
  std::vector<uint32_t> pool;
  for (const auto& [first, last] : kRanges)
    for (uint32_t c = first; c <= last; ++c) pool.push_back(c);
  for (const FormHashes& expected : kFormHashes) {
    const auto of = [&](uint64_t state, std::string_view text) {
      return fnv(fnv(state, form_of(text, expected.form)), "\n");
    };
    uint64_t single = kFnvStart, several = kFnvStart, state = 1;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      std::string text;
      append_utf8(text, c);
      if (c < 0xd800 || c >= 0xe000) single = of(single, text);
    }
    check_eq(single, expected.single, "one character");
    const auto next = [&] { return state = state * 6364136223846793005u + 1442695040888963407u; };
    for (int i = 0; i < 20000; ++i) {
      std::string text;
      for (uint64_t n = 1 + (next() >> 33) % 8; n > 0; --n)
        append_utf8(text, pool[(next() >> 33) % pool.size()]);
      several = of(several, text);
    }
    check_eq(several, expected.several, "several characters");
  }
}

void forms_keep_what_is_no_utf8() {
  check_eq(form_of("e\xcc\x81\xffo\xcc", NormalForm::nfc), "\xc3\xa9\xffo\xcc");
  check_eq(form_of("e\xff\xcc\x81", NormalForm::nfc), "e\xff\xcc\x81");
  check_eq(form_of("\xed\xa0\x80", NormalForm::nfkd), "\xed\xa0\x80");
}

void long_runs_of_marks_are_no_trouble() {
  std::string marks = "a";
  for (int i = 0; i < 200000; ++i) marks += i % 2 ? "\u0301" : "\u0323";
  const std::string formed = form_of(marks, NormalForm::nfc);
  check(formed.starts_with("\u1ea1\u0323\u0323"), "marks below come first, one of them composes");
  check(formed.ends_with("\u0301\u0301"));
  check_eq(formed.size(), marks.size() + 3 - 1 - 2);
}

// What Hugging Face's normalizers of these names make of the texts.
void steps_do_what_they_say() {
  check_eq(run_step({.type = Type::lowercase}, "\u00c0\u0130\u03a3A\u1e9e\xff"),
           "\u00e0i\u0307\u03c3a\u00df\xff");
  check_eq(run_step({.type = Type::strip_accents}, "e\u0301\u00e9\u0903\u20dda"), "e\u00e9a");
  const std::string spaces = "\u3000 a b\n\u0085";
  check_eq(run_step({.type = Type::strip}, spaces), "a b");
  check_eq(run_step({.type = Type::strip, .right = false}, spaces), "a b\n\u0085");
  check_eq(run_step({.type = Type::strip, .left = false}, spaces), "\u3000 a b");
  check_eq(run_step({.type = Type::strip}, " \t"), "");
  check_eq(run_step({.type = Type::prepend, .content = "_"}, "a"), "_a");
  check_eq(run_step({.type = Type::prepend, .content = "_"}, ""), "");
  check_eq(run_step({.type = Type::replace, .pattern = "aa", .content = "b"}, "aaaxaa."), "baxb.");
  check_eq(
      run_step({.type = Type::replace_matches, .pattern = " {2,}", .content = "_"}, "a  b   c "),
      "a_b_c ");
  check_eq(run_step({.type = Type::replace_matches, .pattern = "(?=b)", .content = "-"}, "abb"),
           "a-b-b");
  check_eq(run_steps({{.type = Type::nfkc}, {.type = Type::lowercase}}, {.text = "\ufb01\u2161"}),
           "fiii");
  check_error([] { run_step({.type = Type::replace}, "a"); }, "empty text");
  check_error([] { run_step({.type = Type::replace_matches, .pattern = "(a"}, "a"); },
              "does not end");
}

// SentencePiece's remove_extra_whitespaces and add_dummy_prefix, beside user-defined tokens or not.
void spaces_are_squeezed() {
  const NormalizeStep squeeze = {.type = Type::squeeze, .joins = true};
  check_eq(run_step(squeeze, "  a   b "), "a b");
  check_eq(run_step(squeeze, "   "), "");
  check_eq(run_step(squeeze, "\u2581a \u2581 "), "\u2581a");
  check_eq(run_step(squeeze, "a\t \tb"), "a\t \tb");
  check_eq(run_steps({squeeze}, {.text = "  a  ", .joins_left = true}), " a");
  check_eq(run_steps({squeeze}, {.text = "  a  ", .joins_right = true}), "a ");
  const NormalizeStep prepend = {.type = Type::prepend, .content = "_", .joins = true};
  check_eq(run_steps({prepend}, {.text = "a", .joins_right = true}), "_a");
  check_eq(run_steps({prepend}, {.text = "a", .joins_left = true}), "a");
  check_eq(run_steps({squeeze, prepend}, {.text = " ", .joins_right = true}), "_");
  check_eq(run_steps({squeeze, prepend}, {.text = " "}), "");
}

void texts_do_not_explode() {
  std::vector<NormalizeStep> steps(
      20, {.type = Type::replace, .pattern = "a", .content = std::string(100, 'a')});
  check_error([&] { run_steps(steps, {.text = "a"}); }, "too long");
  steps.assign(1,
               {.type = Type::replace_matches, .pattern = "", .content = std::string(1000, 'a')});
  check_error([&] { run_steps(steps, {.text = std::string(1000, 'b')}); }, "too long");
}

// A map of characters as SentencePiece has it: the children of each node have 256 units of their
// own, and its value is the first of them.
std::string charsmap(const std::map<std::string, std::string>& rules) {
  struct Node {
    std::map<uint8_t, size_t> children;
    uint32_t at = 0;     // its own unit
    int64_t value = -1;  // the place of its replacement
  };
  std::vector<Node> nodes(1);
  std::string texts;
  for (const auto& [from, to] : rules) {
    size_t node = 0;
    for (const char c : from) {
      const auto byte = static_cast<uint8_t>(c);
      if (!nodes[node].children.contains(byte)) {
        nodes[node].children[byte] = nodes.size();
        nodes.emplace_back();
      }
      node = nodes[node].children[byte];
    }
    nodes[node].value = static_cast<int64_t>(texts.size());
    texts += to + '\0';
  }
  std::vector<uint32_t> units(256 * (nodes.size() + 1), 0xff);
  units[0] = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto block = static_cast<uint32_t>(256 * (i + 1));
    const uint32_t offset = block ^ nodes[i].at;
    units[nodes[i].at] |= offset < (1u << 21) ? offset << 10 : 0;
    if (nodes[i].value >= 0) {
      units[nodes[i].at] |= 0x100;
      units[block] = 0x80000000u | static_cast<uint32_t>(nodes[i].value);
    }
    for (const auto& [byte, child] : nodes[i].children) {
      nodes[child].at = block ^ byte;
      units[block ^ byte] = byte;
    }
  }
  std::string out = raw(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) out += raw(unit);
  return out + texts;
}

void charsmaps_take_the_longest() {
  const std::string map = charsmap({{"a", "b"},
                                    {"abc", "x"},
                                    {"e\u0301", "\u00e9"},
                                    {"\u3000", " "},
                                    {"\u00ad", ""},
                                    {"\ufdfa", "long words"}});
  const auto apply = [&](std::string_view text) {
    return run_step({.type = Type::charsmap, .content = map}, text);
  };
  check_eq(apply("abcabab"), "xbbbb");
  check_eq(apply("e\u0301e\u3000\u00ad."), "\u00e9e .");
  check_eq(apply("\ufdfa\xef\xb7z\xff"), "long words\xef\xb7z\xff");
  check_eq(apply(std::string_view("a\0a", 3)), std::string_view("b\0b", 3));
  check_eq(apply(""), "");
}

void charsmaps_may_be_hostile() {
  const auto refuse = [](const std::string& map) {
    check_error([&] { run_step({.type = Type::charsmap, .content = map}, "a"); }, "cut short");
  };
  refuse("");
  refuse("abc");
  refuse(raw(uint32_t{8}) + "abcd");
  refuse(raw(uint32_t{2}) + "ab");
  refuse(raw(uint32_t{0xfffffffc}) + "abcd");
  // Damage of every kind: nothing may be read outside, nothing may take long.
  const std::string whole = charsmap({{"a", "b"}, {"abc", "x"}, {"\u00e9", "e"}});
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string map = whole;
    for (int n = 0; n < 20; ++n) {
      const size_t at = 4 + random() % (map.size() - 4);
      map[at] = static_cast<char>(random());
      if (n % 2) map[4 + (random() % 7) * 256 * 4 + random() % 8] = static_cast<char>(random());
    }
    const std::string text = "abcabc\u00e9\u00e9" + std::string(300, 'a');
    check(run_step({.type = Type::charsmap, .content = map}, text).size() < 100000);
  }
  // A trie that goes in a circle on "a".
  std::string circle = raw(uint32_t{4 * 256}) + std::string(4 * 256, '\0') + "x";
  circle[4 + 4 * 'a'] = 'a';
  const std::string text(size_t{1} << 20, 'a');
  check_eq(run_step({.type = Type::charsmap, .content = circle}, text).size(), text.size());
}

void decodes_base64() {
  check_eq(decode_base64("").value(), "");
  check_eq(decode_base64("AP+/Zg==").value(), std::string_view("\0\xff\xbf"
                                                               "f",
                                                               4));
  check_eq(decode_base64("YWI=").value(), "ab");
  check_eq(decode_base64("YWI").value(), "ab");
  check_eq(decode_base64("YWJj").value(), "abc");
  for (const char* bad : {"Y", "YW\n=", "YW-j", "Y===", "YWJjZ"})
    check(!decode_base64(bad).has_value(), bad);
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"forms are those of Unicode", forms_are_those_of_unicode},
              {"forms keep what is no UTF-8", forms_keep_what_is_no_utf8},
              {"long runs of marks are no trouble", long_runs_of_marks_are_no_trouble},
              {"steps do what they say", steps_do_what_they_say},
              {"spaces are squeezed", spaces_are_squeezed},
              {"texts do not explode", texts_do_not_explode},
              {"charsmaps take the longest", charsmaps_take_the_longest},
              {"charsmaps may be hostile", charsmaps_may_be_hostile},
              {"decodes base64", decodes_base64}});
}
