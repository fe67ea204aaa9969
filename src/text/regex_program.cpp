#include "text/regex_program.h"

#include <algorithm>
#include <map>

#include "nibble/error.h"
#include "text/regex_properties.h"

namespace nibble {
namespace {

using Node = RegexNode;
using Instruction = RegexInstruction;
using Op = Instruction::Op;

constexpr size_t kMaxInstructions = 4096;
constexpr size_t kMaxSets = 1024;
constexpr size_t kMaxClasses = 4096;
constexpr size_t kMaxTableBytes = size_t{1} << 21;

bool can_be_empty(const Node& node) {
  switch (node.type) {
    case Node::Type::set:
      return false;
    case Node::Type::sequence:
      return std::ranges::all_of(node.children, can_be_empty);
    case Node::Type::choice:
      return std::ranges::any_of(node.children, can_be_empty);
    case Node::Type::repeat:
      return node.min == 0 || can_be_empty(node.children[0]);
    case Node::Type::atomic:
      return can_be_empty(node.children[0]);
    case Node::Type::empty:
    case Node::Type::look:
    case Node::Type::anchor:
      break;
  }
  return true;
}

class Compiler {
 public:
  explicit Compiler(const std::string& where) : where_(where) {}

  RegexProgram compile(const Node& root) {
    emit(root);
    add({});
    if (sets_.empty()) set_number(CharSet::one('\n'));
    program_.classify = CharClassifier(std::move(sets_));
    if (program_.classify.n_classes() > kMaxClasses ||
        program_.code.size() * (program_.classify.n_classes() + 1) > kMaxTableBytes)
      too_large();
    find_starts();
    return std::move(program_);
  }

 private:
  [[noreturn]] void too_large() const { throw Error(where_, "a pattern is too large"); }

  uint32_t here() const { return static_cast<uint32_t>(program_.code.size()); }
  Instruction& at(uint32_t pc) { return program_.code[pc]; }

  uint32_t add(Instruction instruction) {
    if (program_.code.size() == kMaxInstructions) too_large();
    instruction.in_look = in_look_;
    instruction.in_atomic = in_atomic_;
    const bool remembers = instruction.op == Op::loop || instruction.op == Op::split ||
                           instruction.op == Op::look || instruction.op == Op::atomic;
    if (remembers) instruction.point = static_cast<int32_t>(program_.n_points++);
    if (instruction.op != Op::jump && instruction.op != Op::split) instruction.next = here() + 1;
    program_.code.push_back(instruction);
    return here() - 1;
  }

  uint32_t set_number(CharSet set) {
    for (uint32_t i = 0; i < sets_.size(); ++i)
      if (std::ranges::equal(sets_[i].ranges(), set.ranges(), [](CodeRange a, CodeRange b) {
            return a.first == b.first && a.last == b.last;
          }))
        return i;
    if (sets_.size() == kMaxSets) too_large();
    sets_.push_back(std::move(set));
    return static_cast<uint32_t>(sets_.size() - 1);
  }

  void emit(const Node& node) {
    switch (node.type) {
      case Node::Type::empty:
        break;
      case Node::Type::set:
        add({.op = Op::set, .set = set_number(node.set)});
        break;
      case Node::Type::sequence:
        for (const Node& child : node.children) emit(child);
        break;
      case Node::Type::choice:
        emit_choice(node);
        break;
      case Node::Type::repeat:
        emit_repeat(node);
        break;
      case Node::Type::atomic:
        emit_group(node, {.op = Op::atomic});
        break;
      case Node::Type::look:
        if (node.behind)
          add({.op = Op::look,
               .negative = node.negative,
               .behind = true,
               .set = set_number(node.children[0].set)});
        else
          emit_group(node, {.op = Op::look, .negative = node.negative});
        break;
      case Node::Type::anchor:
        emit_anchor(node.anchor);
        break;
    }
  }

  void emit_anchor(Anchor anchor) {
    if (anchor == Anchor::word_border || anchor == Anchor::no_word_border)
      program_.words = set_number(bare_word_set());
    else
      program_.breaks = set_number(CharSet::one('\n'));
    add({.op = Op::anchor, .anchor = anchor});
  }

  // The body stands behind the instruction, which goes on behind the body.
  void emit_group(const Node& node, const Instruction& instruction) {
    const uint32_t start = add(instruction);
    const bool in_look = in_look_, in_atomic = in_atomic_;
    in_look_ = instruction.op == Op::look;
    in_atomic_ = instruction.op == Op::atomic;
    program_.has_looks = program_.has_looks || in_look_;
    at(start).other = here();
    emit(node.children[0]);
    add({});
    in_look_ = in_look;
    in_atomic_ = in_atomic;
    at(start).next = here();
  }

  void emit_choice(const Node& node) {
    std::vector<uint32_t> ends;
    for (size_t i = 0; i < node.children.size(); ++i) {
      if (i + 1 == node.children.size()) {
        emit(node.children[i]);
        break;
      }
      const uint32_t split = add({.op = Op::split});
      at(split).next = here();
      emit(node.children[i]);
      ends.push_back(add({.op = Op::jump}));
      at(split).other = here();
    }
    for (const uint32_t end : ends) at(end).next = here();
  }

  void emit_repeat(const Node& node) {
    const Node& body = node.children[0];
    if (body.type == Node::Type::set) {
      add({.op = Op::loop,
           .greed = node.greed,
           .set = set_number(body.set),
           .min = node.min,
           .max = node.max});
      return;
    }
    if (node.greed == Greed::possessive) {
      Node greedy = node;
      greedy.greed = Greed::greedy;
      Node group;
      group.children.push_back(std::move(greedy));
      return emit_group(group, {.op = Op::atomic});
    }
    for (uint32_t i = 0; i < node.min; ++i) emit(body);
    if (node.max == Node::kEndless)
      emit_endless(node);
    else
      emit_options(node);
  }

  void emit_endless(const Node& node) {
    if (can_be_empty(node.children[0]))
      throw Error(where_, "a pattern repeats without end what can be empty",
                  "such patterns are not supported");
    const uint32_t split = add({.op = Op::split});
    emit(node.children[0]);
    at(add({.op = Op::jump})).next = split;
    set_ways(split, split + 1, here(), node.greed);
  }

  // (a(a(a)?)?)?
  void emit_options(const Node& node) {
    std::vector<uint32_t> splits;
    for (uint32_t i = node.min; i < node.max; ++i) {
      splits.push_back(add({.op = Op::split}));
      emit(node.children[0]);
    }
    for (const uint32_t split : splits) set_ways(split, split + 1, here(), node.greed);
  }

  void set_ways(uint32_t split, uint32_t inside, uint32_t behind, Greed greed) {
    at(split).next = greed == Greed::lazy ? behind : inside;
    at(split).other = greed == Greed::lazy ? inside : behind;
  }

  // From the end to the beginning, again until nothing changes: jumps back are few.
  void find_starts() {
    const size_t row = program_.classify.n_classes() + 1;
    program_.can_start.resize(program_.code.size() * row);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t pc = program_.code.size(); pc-- > 0;)
        changed = add_starts(program_.code[pc], &program_.can_start[pc * row]) || changed;
    }
  }

  bool add_starts(const Instruction& instruction, uint8_t* starts) {
    const size_t row = program_.classify.n_classes() + 1;
    bool changed = false;
    const auto add_all = [&](const uint8_t* more) {
      for (size_t i = 0; i < row; ++i) {
        changed = changed || (more[i] && !starts[i]);
        starts[i] |= more[i];
      }
    };
    const auto add_of = [&](uint32_t pc) { add_all(&program_.can_start[pc * row]); };
    switch (instruction.op) {
      case Op::loop:
        if (instruction.min == 0) add_of(instruction.next);
        [[fallthrough]];
      case Op::set:
        add_all(program_.classify.row(instruction.set));
        break;
      case Op::split:
        add_of(instruction.other);
        [[fallthrough]];
      case Op::jump:
      case Op::look:
      case Op::anchor:
        add_of(instruction.next);
        break;
      case Op::atomic:
        add_of(instruction.other);  // its end accepts: anything may follow
        break;
      case Op::accept:
        std::fill_n(starts, row, uint8_t{1});
        break;
    }
    return changed;
  }

  const std::string& where_;
  RegexProgram program_;
  std::vector<CharSet> sets_;
  bool in_look_ = false, in_atomic_ = false;
};

}  // namespace

CharClassifier::CharClassifier(std::vector<CharSet> sets) {
  // Where sets begin or end, the class may change.
  std::vector<uint32_t> borders = {0};
  for (CharSet& set : sets)
    for (const CodeRange& range : set.ranges()) {
      borders.push_back(range.first);
      if (range.last < kMaxCodePoint) borders.push_back(range.last + 1);
    }
  std::ranges::sort(borders);
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());

  std::map<std::vector<bool>, uint16_t> numbers;  // by the sets that a class is in
  std::vector<uint16_t> class_of(borders.size());
  std::vector<size_t> next(sets.size());  // range of each set that does not lie before the border
  for (size_t b = 0; b < borders.size(); ++b) {
    std::vector<bool> in(sets.size());
    for (size_t s = 0; s < sets.size(); ++s) {
      const std::vector<CodeRange>& ranges = sets[s].ranges();
      while (next[s] < ranges.size() && ranges[next[s]].last < borders[b]) ++next[s];
      in[s] = next[s] < ranges.size() && ranges[next[s]].first <= borders[b];
    }
    const size_t number = std::min<size_t>(numbers.size(), kMaxClasses);  // refused when above
    class_of[b] = numbers.try_emplace(std::move(in), static_cast<uint16_t>(number)).first->second;
  }
  n_classes_ = numbers.size();
  if (n_classes_ > kMaxClasses || sets.size() * (n_classes_ + 1) > kMaxTableBytes) {
    n_classes_ = kMaxClasses + 1;
    return;
  }
  members_.resize(sets.size() * (n_classes_ + 1));
  for (const auto& [in, number] : numbers)
    for (size_t s = 0; s < sets.size(); ++s) members_[s * (n_classes_ + 1) + number] = in[s];

  constexpr uint32_t kPages = (kMaxCodePoint + 1) / 256;
  std::vector<int32_t> uniform(n_classes_, -1);  // the page that is all of a class
  size_t b = 0;
  const auto border = [&](size_t i) { return i < borders.size() ? borders[i] : kMaxCodePoint + 1; };
  for (uint32_t page = 0; page < kPages; ++page) {
    const uint32_t first = page * 256;
    while (border(b + 1) <= first) ++b;
    const auto number = static_cast<uint16_t>(pages_.size() / 256);
    if (border(b + 1) < first + 256) {
      index_.push_back(number);
      for (uint32_t c = first; c < first + 256; ++c) {
        while (border(b + 1) <= c) ++b;
        pages_.push_back(class_of[b]);
      }
      continue;
    }
    int32_t& known = uniform[class_of[b]];
    if (known < 0) {
      known = number;
      pages_.insert(pages_.end(), 256, class_of[b]);
    }
    index_.push_back(static_cast<uint16_t>(known));
  }
}

RegexProgram compile_regex(const RegexNode& root, const std::string& where) {
  return Compiler(where).compile(root);
}

}  // namespace nibble
