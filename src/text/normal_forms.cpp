#include "text/normal_forms.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/utf8.h"
#include "text/unicode.h"
#include "text/unicode_tables.h"

namespace nibble {
namespace {

// Hangul syllables are composed by arithmetic.
constexpr uint32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11a7;
constexpr uint32_t kNumLeads = 19, kNumVowels = 21, kNumTails = 28;
constexpr uint32_t kNumSyllables = kNumLeads * kNumVowels * kNumTails;
// Below, no character has a combining class, and none is the second of a composition.
constexpr uint32_t kFirstMark = 0x300;

// A row of the generated table.
struct Decomposition {
  uint32_t code_point = 0;
  bool compatible = false, composes = false;
  std::vector<uint32_t> parts;
};

std::vector<Decomposition> read_decompositions() {
  std::vector<Decomposition> out;
  uint32_t code_point = 0, target = 0;
  for (TableReader reader(kDecompositions); !reader.done();) {
    code_point += reader.number();
    const uint32_t head = reader.number();
    const uint32_t count = head & 4 ? reader.number() : 1;
    target += static_cast<uint32_t>(reader.signed_number());
    std::vector<uint32_t> parts = {target};
    for (uint32_t i = 1; i < head / 16; ++i)
      parts.push_back(kFirstMark + static_cast<uint32_t>(reader.signed_number()));
    for (uint32_t i = 0; i < count; ++i) {
      out.push_back({code_point + i, (head & 1) != 0, (head & 2) != 0, parts});
      ++parts[0];
    }
  }
  return out;
}

const std::vector<Decomposition>& decompositions() {
  static const std::vector<Decomposition> all = read_decompositions();
  return all;
}

// What each code point becomes in the end, canonically or not.
class FullDecompositions {
 public:
  explicit FullDecompositions(bool compatible) {
    for (const Decomposition& d : decompositions()) {
      if (d.compatible && !compatible) continue;
      keys_.push_back(d.code_point);
      begins_.push_back(static_cast<uint32_t>(parts_.size()));
      for (const uint32_t part : d.parts) add(part, compatible);
    }
    begins_.push_back(static_cast<uint32_t>(parts_.size()));
    uint32_t next = 0;
    for (uint32_t page = 0; page < pages_.size(); ++page) {
      while (next < keys_.size() && keys_[next] < page * 256) ++next;
      pages_[page] = next;
    }
  }

  /// Empty: the code point stays.
  std::span<const uint32_t> find(uint32_t code_point) const {
    const auto begin = keys_.begin() + pages_[code_point >> 8];
    const auto end = keys_.begin() + pages_[(code_point >> 8) + 1];
    const auto it = std::lower_bound(begin, end, code_point);
    if (it == end || *it != code_point) return {};
    const auto i = static_cast<size_t>(it - keys_.begin());
    return std::span(parts_).subspan(begins_[i], begins_[i + 1] - begins_[i]);
  }

 private:
  void add(uint32_t code_point, bool compatible) {
    const auto it =
        std::ranges::lower_bound(decompositions(), code_point, {}, &Decomposition::code_point);
    const bool found = it != decompositions().end() && it->code_point == code_point &&
                       (compatible || !it->compatible);
    if (!found) return parts_.push_back(code_point);
    for (const uint32_t part : it->parts) add(part, compatible);
  }

  std::vector<uint32_t> keys_, begins_, parts_;
  std::array<uint32_t, (kMaxCodePoint >> 8) + 2> pages_;  // the first key of every 256
};

const FullDecompositions& full_decompositions(bool compatible) {
  static const FullDecompositions canonical(false), all(true);
  return compatible ? all : canonical;
}

class Compositions {
 public:
  Compositions() {
    for (const Decomposition& d : decompositions())
      if (d.composes) pairs_.emplace_back(key(d.parts[0], d.parts[1]), d.code_point);
    std::ranges::sort(pairs_);
  }
  std::optional<uint32_t> find(uint32_t first, uint32_t second) const {
    if (second < kFirstMark) return std::nullopt;
    const auto it = std::ranges::lower_bound(pairs_, key(first, second), {}, &Pair::first);
    if (it == pairs_.end() || it->first != key(first, second)) return std::nullopt;
    return it->second;
  }

 private:
  using Pair = std::pair<uint64_t, uint32_t>;
  static uint64_t key(uint32_t first, uint32_t second) { return uint64_t{second} << 32 | first; }
  std::vector<Pair> pairs_;
};

std::optional<uint32_t> compose(uint32_t first, uint32_t second) {
  static const Compositions pairs;
  if (first - kLeads < kNumLeads && second - kVowels < kNumVowels)
    return kSyllables + ((first - kLeads) * kNumVowels + second - kVowels) * kNumTails;
  if (first - kSyllables < kNumSyllables && (first - kSyllables) % kNumTails == 0 &&
      second - kTails - 1 < kNumTails - 1)
    return first + second - kTails;
  return pairs.find(first, second);
}

struct ClassRun {
  uint32_t first = 0;
  uint8_t combining_class = 0;
};

uint8_t combining_class(uint32_t code_point) {
  static const std::vector<ClassRun> runs = [] {
    std::vector<ClassRun> all;
    uint32_t first = 0;
    for (TableReader reader(kCombiningClassRuns); !reader.done();) {
      const uint32_t length = reader.number();
      all.push_back({first, static_cast<uint8_t>(reader.number())});
      first += length;
    }
    return all;
  }();
  if (code_point < kFirstMark) return 0;
  return std::prev(std::ranges::upper_bound(runs, code_point, {}, &ClassRun::first))
      ->combining_class;
}

// Takes code points in order and puts out the form. Marks behind a starter (a character of class 0)
// wait to be sorted by class.
class FormWriter {
 public:
  FormWriter(std::string& out, NormalForm form)
      : out_(out),
        composes_(form == NormalForm::nfc || form == NormalForm::nfkc),
        full_(full_decompositions(form == NormalForm::nfkc || form == NormalForm::nfkd)) {}

  void add(uint32_t code_point) {
    if (code_point < 0x80) return add_part(code_point);
    if (code_point - kSyllables < kNumSyllables) return add_syllable(code_point - kSyllables);
    const std::span<const uint32_t> parts = full_.find(code_point);
    if (parts.empty()) return add_part(code_point);
    for (const uint32_t part : parts) add_part(part);
  }

  void add_invalid(char byte) {
    flush();
    out_ += byte;
  }

  void flush() {
    order_marks();
    put();
  }

 private:
  struct Mark {
    uint32_t code_point = 0;
    uint8_t combining_class = 0;
  };

  void add_syllable(uint32_t number) {
    add_part(kLeads + number / (kNumVowels * kNumTails));
    add_part(kVowels + number / kNumTails % kNumVowels);
    if (number % kNumTails != 0) add_part(kTails + number % kNumTails);
  }

  void add_part(uint32_t code_point) {
    const uint8_t of_class = combining_class(code_point);
    if (of_class != 0) return marks_.push_back({code_point, of_class});
    order_marks();
    if (composes_ && starter_ && marks_.empty())
      if (const std::optional<uint32_t> both = compose(*starter_, code_point)) {
        starter_ = both;
        return;
      }
    put();
    starter_ = code_point;
  }

  // Sorts the marks, and composes those that can be with the starter. A mark is kept from it by one
  // of its class between them.
  void order_marks() {
    if (marks_.empty()) return;
    std::ranges::stable_sort(marks_, {}, &Mark::combining_class);
    if (!composes_ || !starter_) return;
    size_t kept = 0;
    for (const Mark& mark : marks_) {
      const bool blocked = kept > 0 && marks_[kept - 1].combining_class == mark.combining_class;
      const std::optional<uint32_t> both =
          blocked ? std::nullopt : compose(*starter_, mark.code_point);
      if (both)
        starter_ = both;
      else
        marks_[kept++] = mark;
    }
    marks_.resize(kept);
  }

  void put() {
    if (starter_) append_utf8(out_, *starter_);
    starter_.reset();
    for (const Mark& mark : marks_) append_utf8(out_, mark.code_point);
    marks_.clear();
  }

  std::string& out_;
  const bool composes_;
  const FullDecompositions& full_;
  std::optional<uint32_t> starter_;
  std::vector<Mark> marks_;
};

// Whether all characters come before the first that any form changes.
bool stays(std::string_view text, NormalForm form) {
  const uint8_t first = form == NormalForm::nfc ? 0xcc : 0x80;  // U+0300 begins with 0xcc
  return std::ranges::none_of(text, [&](char c) { return static_cast<uint8_t>(c) >= first; });
}

}  // namespace

void append_normal_form(std::string& out, std::string_view text, NormalForm form) {
  if (stays(text, form)) {
    out += text;
    return;
  }
  FormWriter writer(out, form);
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = decode_utf8(text, pos);
    if (c.valid)
      writer.add(c.code_point);
    else
      writer.add_invalid(text[pos]);
    pos += c.length;
  }
  writer.flush();
}

}  // namespace nibble
