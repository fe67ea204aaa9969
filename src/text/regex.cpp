#include "text/regex.h"

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kMaxEntries = size_t{1} << 25, kMaxEnds = size_t{1} << 22;
constexpr uint64_t kMaxBits = uint64_t{1} << 33;
// Steps for each character of a text, and at the start, that are taken without remembering.
constexpr size_t kStepsPerChar = 16, kFreeSteps = 4096;

}  // namespace

/// One search. The machine goes forward through the program; where it has a choice it puts the
/// other way on the stack. When it remembers, each point of choice also leaves a mark below: when
/// the mark is reached, everything failed that the point could do, at any time and however the
/// point is reached, and the point is never tried there again. When a group ends well, the marks
/// that are still there belong to the points that succeeded.
class RegexSearch {
 public:
  RegexSearch(const RegexProgram& program, std::string_view text, RegexScratch& scratch)
      : program_(program), scratch_(scratch) {
    read_classes(text);
    scratch.matches.clear();
    scratch.stack.clear();
    scratch.ends.clear();
  }

  void find_all() {
    uint32_t last_end = kNone;
    for (uint32_t pos = 0; pos <= n_chars_;) {
      start_ = pos;
      if (!program_.starts(0, class_at(pos))) {
        ++pos;
        continue;
      }
      const uint32_t end = run(0, pos);
      if (end == kNone || (end == pos && last_end == pos)) {
        ++pos;
        continue;
      }
      scratch_.matches.push_back({scratch_.offsets[pos], scratch_.offsets[end]});
      pos = last_end = end;
    }
  }

 private:
  using Instruction = RegexInstruction;
  using Op = Instruction::Op;
  using Entry = RegexScratch::Entry;

  void read_classes(std::string_view text) {
    scratch_.classes.clear();
    scratch_.offsets.clear();
    for (size_t pos = 0; pos < text.size();) {
      scratch_.offsets.push_back(static_cast<uint32_t>(pos));
      const auto byte = static_cast<uint8_t>(text[pos]);
      if (byte < 0x80) {
        scratch_.classes.push_back(program_.classify(byte));
        ++pos;
        continue;
      }
      const DecodedChar c = decode_utf8(text, pos);
      scratch_.classes.push_back(program_.classify(c.code_point));
      pos += c.length;
    }
    n_chars_ = static_cast<uint32_t>(scratch_.offsets.size());
    scratch_.offsets.push_back(static_cast<uint32_t>(text.size()));
    scratch_.classes.push_back(static_cast<uint16_t>(program_.classify.n_classes()));
    classes_ = scratch_.classes.data();
  }

  uint16_t class_at(uint32_t pos) const { return classes_[pos]; }

  void push(Entry entry) {
    if (scratch_.stack.size() == kMaxEntries)
      throw Error("text", "takes too much memory to be cut into words");
    scratch_.stack.push_back(entry);
  }

  // ---- what is remembered ----

  void remember_if_slow() {
    if (remembers_ || steps_ < kFreeSteps + kStepsPerChar * start_) return;
    const uint64_t bits = (uint64_t{n_chars_} + 1) * program_.n_points;
    if (bits > kMaxBits) throw Error("text", "takes too much memory to be cut into words");
    scratch_.failed.assign(bits / 64 + 1, 0);
    if (program_.has_looks) scratch_.matched.assign(bits / 64 + 1, 0);
    remembers_ = true;
  }
  uint64_t index(const Instruction& at, uint32_t pos) const {
    return uint64_t{pos} * program_.n_points + static_cast<uint32_t>(at.point);
  }
  static bool get(const std::vector<uint64_t>& bits, uint64_t i) {
    return bits[i / 64] >> (i % 64) & 1;
  }
  static void set(std::vector<uint64_t>& bits, uint64_t i) {
    bits[i / 64] |= uint64_t{1} << (i % 64);
  }

  // The mark of a point was reached. An endless loop fails wherever it went through, too.
  void note_failure(const Entry& mark) {
    const Instruction& at = program_.code[mark.pc];
    const bool endless = at.op == Op::loop && at.max == RegexNode::kEndless;
    const uint32_t last = endless ? mark.other : mark.pos;
    for (uint32_t pos = mark.pos; pos <= last; ++pos) set(scratch_.failed, index(at, pos));
  }

  // A greedy endless loop moved its end back: it would also fail if it began where no other end is
  // left to it than those that failed.
  void note_ends(const Instruction& at, uint32_t from, uint32_t to) {
    if (!remembers_ || at.greed != Greed::greedy || at.max != RegexNode::kEndless) return;
    for (uint32_t end = from; end > to && end >= at.min; --end)
      set(scratch_.failed, index(at, end - at.min));
  }
  // A lazy endless loop is about to take one more character: whether it failed from there on.
  bool ends_failed(const Instruction& at, uint32_t end) const {
    return remembers_ && at.max == RegexNode::kEndless && end >= at.min &&
           get(scratch_.failed, index(at, end - at.min));
  }

  // A look or an atomic group ended well: so will it from the points that are still marked.
  void note_success(size_t base, uint32_t end) {
    const std::vector<Entry>& stack = scratch_.stack;
    for (size_t i = base; i < stack.size(); ++i) {
      if (stack[i].type != Entry::Type::mark) continue;
      const Instruction& at = program_.code[stack[i].pc];
      if (!at.in_look && !at.in_atomic) continue;
      uint32_t last = stack[i].pos;  // the last place from which a loop ends the same way
      if (at.op == Op::loop && at.max == RegexNode::kEndless) {
        const bool more = i + 1 < stack.size() && stack[i + 1].type == Entry::Type::loop &&
                          stack[i + 1].pc == stack[i].pc;
        if (more)
          last = stack[i + 1].pos - at.min;
        else if (at.greed == Greed::possessive)
          last = std::max(last, stack[i].other - at.min);
      }
      for (uint32_t pos = stack[i].pos; pos <= last; ++pos) {
        if (at.in_look) {
          set(scratch_.matched, index(at, pos));
          continue;
        }
        if (scratch_.ends.size() == kMaxEnds)
          throw Error("text", "takes too much memory to be cut into words");
        scratch_.ends.emplace(index(at, pos), end);
      }
    }
  }

  // What is known of a point: kNone that it fails, an end that its group ends well, or nothing.
  enum class Known : uint8_t { nothing, fails, matches };
  Known recall(const Instruction& at, uint32_t pos, uint32_t& end) const {
    const uint64_t i = index(at, pos);
    if (get(scratch_.failed, i)) return Known::fails;
    if (at.in_look && get(scratch_.matched, i)) {
      end = pos;
      return Known::matches;
    }
    if (!at.in_atomic) return Known::nothing;
    const auto found = scratch_.ends.find(i);
    if (found == scratch_.ends.end()) return Known::nothing;
    end = found->second;
    return Known::matches;
  }

  // ---- the machine ----

  // The end of the first match of the program at `pc` from `pos` on; kNone if there is none. (Of a
  // look only whether there is one.)
  uint32_t run(uint32_t pc, uint32_t pos) {
    const size_t base = scratch_.stack.size();
    remember_if_slow();
    for (;;) {
      const Instruction& at = program_.code[pc];
      ++steps_;
      bool ok = true;
      uint32_t end = kNone;
      if (remembers_ && at.point >= 0) {
        const Known known = recall(at, pos, end);
        if (known == Known::matches) return succeed(base, end);
        ok = known == Known::nothing;
        if (ok) push({Entry::Type::mark, pc, pos, pos});
      }
      if (ok && at.op == Op::accept) return succeed(base, pos);
      ok = ok && step(at, pc, pos);
      if (!ok && !back_up(base, pc, pos)) return kNone;
    }
  }

  uint32_t succeed(size_t base, uint32_t end) {
    if (remembers_) note_success(base, end);
    scratch_.stack.resize(base);
    return end;
  }

  // Does one instruction; false if it does not match.
  bool step(const Instruction& at, uint32_t& pc, uint32_t& pos) {
    switch (at.op) {
      case Op::set:
        if (!program_.classify.row(at.set)[class_at(pos)]) return false;
        ++pos;
        break;
      case Op::loop:
        return enter_loop(at, pc, pos);
      case Op::split: {
        const bool first = program_.starts(at.next, class_at(pos));
        const bool second = program_.starts(at.other, class_at(pos));
        if (first && second) push({Entry::Type::alternative, at.other, pos, 0});
        pc = first ? at.next : at.other;
        return first || second;
      }
      case Op::look:
        if (looks_at(at, pos) == at.negative) return false;
        break;
      case Op::atomic:
        pos = run(at.other, pos);
        if (pos == kNone) return false;
        break;
      case Op::anchor:
        if (!is_at(at.anchor, pos)) return false;
        break;
      case Op::jump:
      case Op::accept:
        break;
    }
    pc = at.next;
    return true;
  }

  bool looks_at(const Instruction& at, uint32_t pos) {
    if (at.behind) return pos > 0 && program_.classify.row(at.set)[class_at(pos - 1)];
    const Instruction& body = program_.code[at.other];
    if (body.op == Op::set && program_.code[body.next].op == Op::accept)
      return program_.classify.row(body.set)[class_at(pos)];
    return program_.starts(at.other, class_at(pos)) && run(at.other, pos) != kNone;
  }

  bool is_at(Anchor anchor, uint32_t pos) const {
    const auto in = [&](uint32_t set, uint32_t at) {
      return at < n_chars_ && program_.classify.row(set)[class_at(at)];
    };
    const bool begins = pos == 0, ends = pos == n_chars_;
    switch (anchor) {
      case Anchor::text_begin:
        return begins;
      case Anchor::text_end:
        return ends;
      case Anchor::text_end_or_break:
        return ends || (pos + 1 == n_chars_ && in(program_.breaks, pos));
      case Anchor::line_begin:
        return begins || (!ends && in(program_.breaks, pos - 1));
      case Anchor::line_end:
        return ends || in(program_.breaks, pos);
      case Anchor::word_border:
      case Anchor::no_word_border:
        break;
    }
    const bool differs = (!begins && in(program_.words, pos - 1)) != in(program_.words, pos);
    return differs == (anchor == Anchor::word_border);
  }

  bool enter_loop(const Instruction& at, uint32_t& pc, uint32_t& pos) {
    const uint8_t* set = program_.classify.row(at.set);
    const uint32_t limit = at.max < n_chars_ - pos ? pos + at.max : n_chars_;
    const uint32_t wanted = at.greed == Greed::lazy ? at.min : at.max;
    uint32_t stop = wanted < n_chars_ - pos ? pos + wanted : n_chars_;
    uint32_t end = pos;
    const bool asks = remembers_ && at.greed == Greed::greedy && at.max == RegexNode::kEndless;
    while (end < stop && set[class_at(end)]) {
      ++end;
      // Had it begun here it would have failed: so it does at all ends that it would have tried.
      if (asks && stop == n_chars_ && get(scratch_.failed, index(at, end)))
        stop = std::min(n_chars_, end + at.min - std::min(at.min, 1u));
    }
    steps_ += end - pos;
    if (remembers_) scratch_.stack.back().other = end;
    if (end - pos < at.min) return false;
    Entry entry = {Entry::Type::loop, pc, end, pos + at.min};
    if (at.greed == Greed::lazy) entry.other = limit;
    const bool goes_on = at.greed == Greed::possessive || go_on(at, entry);
    if (remembers_ && at.greed == Greed::lazy) scratch_.stack.back().other = entry.pos;
    if (!goes_on) return false;
    const bool more = at.greed != Greed::possessive && entry.pos != entry.other;
    if (more) push(entry);
    pos = entry.pos;
    pc = at.next;
    return true;
  }

  // Moves the end of a loop to the next place, the present one included, where what follows can
  // begin; false if there is none.
  bool go_on(const Instruction& at, Entry& loop) {
    const uint32_t from = loop.pos;
    const uint8_t* set = program_.classify.row(at.set);
    bool found = false;
    for (;;) {
      found = program_.starts(at.next, class_at(loop.pos));
      if (found || loop.pos == loop.other) break;
      if (at.greed == Greed::greedy) {
        --loop.pos;
      } else {
        if (!set[class_at(loop.pos)]) break;
        ++loop.pos;
      }
    }
    steps_ += loop.pos > from ? loop.pos - from : from - loop.pos;
    note_ends(at, from, loop.pos);
    return found;
  }

  // The next way that is on the stack; false if there is none above `base`.
  bool back_up(size_t base, uint32_t& pc, uint32_t& pos) {
    remember_if_slow();
    std::vector<Entry>& stack = scratch_.stack;
    while (stack.size() > base) {
      const Entry entry = stack.back();
      if (entry.type == Entry::Type::loop) {
        if (next_end(pc, pos)) return true;
        continue;
      }
      stack.pop_back();
      if (entry.type == Entry::Type::alternative) {
        pc = entry.pc;
        pos = entry.pos;
        return true;
      }
      note_failure(entry);
    }
    return false;
  }

  // The loop on top of the stack gives a character back, or takes one more.
  bool next_end(uint32_t& pc, uint32_t& pos) {
    std::vector<Entry>& stack = scratch_.stack;
    Entry& entry = stack.back();
    const Instruction& at = program_.code[entry.pc];
    bool found = false;
    if (at.greed == Greed::greedy) {
      note_ends(at, entry.pos, entry.pos - 1);
      --entry.pos;
      found = go_on(at, entry);
    } else if (!ends_failed(at, entry.pos + 1) &&
               program_.classify.row(at.set)[class_at(entry.pos)]) {
      ++entry.pos;
      found = go_on(at, entry);
    }
    ++steps_;
    pos = entry.pos;
    pc = at.next;
    const bool last = entry.pos == entry.other;
    if (found && !last) return true;
    const uint32_t loop = entry.pc;
    stack.pop_back();
    const bool marked = !stack.empty() && stack.back().type == Entry::Type::mark &&
                        stack.back().pc == loop && at.greed == Greed::lazy;
    if (marked) stack.back().other = pos;
    return found;
  }

  const RegexProgram& program_;
  RegexScratch& scratch_;
  const uint16_t* classes_ = nullptr;
  uint32_t n_chars_ = 0;
  uint32_t start_ = 0;  // of the match that is tried
  size_t steps_ = 0;
  bool remembers_ = false;
};

Regex::Regex(std::string_view pattern, const std::string& where)
    : program_(compile_regex(parse_regex(pattern, where), where)) {}

void Regex::find_all(std::string_view text, RegexScratch& scratch) const {
  if (text.size() >= kNone) throw Error("text", "is too long to be cut into words");
  RegexSearch(program_, text, scratch).find_all();
}

}  // namespace nibble
