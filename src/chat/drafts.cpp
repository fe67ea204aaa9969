#include "chat/drafts.h"

#include <algorithm>

namespace nibble {

uint32_t& Drafts::slot(size_t n) {
  uint64_t hash = n;
  for (size_t i = text_.size() - n; i < text_.size(); ++i)
    hash = (hash ^ static_cast<uint32_t>(text_[i])) * 0x9e3779b97f4a7c15u;
  return ends_[hash >> 48];
}

void Drafts::find_source() {
  source_ = agreeing_ = 0;
  for (size_t n = std::min(kMaxContext, text_.size()); n > 0; --n) {
    const size_t end = slot(n);
    // Other tokens may share the slot, or those of an earlier text.
    if (end < n || end >= text_.size()) continue;
    const auto before = text_.begin() + static_cast<std::ptrdiff_t>(end - n);
    if (!std::equal(text_.end() - static_cast<std::ptrdiff_t>(n), text_.end(), before)) continue;
    source_ = end;
    agreeing_ = n;
    return;
  }
}

void Drafts::add_to_index() {
  for (size_t n = 1; n <= std::min(kMaxContext, text_.size()); ++n)
    slot(n) = static_cast<uint32_t>(text_.size());
}

void Drafts::reset(std::span<const Token> text) {
  text_.clear();
  source_ = 0;
  for (const Token token : text) {
    text_.push_back(token);
    if (text_.size() == text.size()) find_source();
    add_to_index();
  }
}

void Drafts::push(Token token) {
  const bool right = source_ > 0 && text_[source_] == token;
  if (source_ > 0) {
    double& hits = hits_[std::min(agreeing_, hits_.size()) - 1];
    hits += ((right ? 1 : 0) - hits) / 16;
  }
  text_.push_back(token);
  if (right) {
    ++source_;
    ++agreeing_;
  } else {
    find_source();
  }
  add_to_index();
}

std::span<const Token> Drafts::guess(size_t most) const {
  if (source_ == 0 || seconds_[0] == 0) return {};
  most = std::min(most, text_.size() - source_);
  size_t best = 0, n = 0;
  double best_speed = 1.05 / seconds_[0];  // a gain within the noise is none
  double reached = 1, expected = 1;        // probability of the n-th guess; tokens that are of use
  for (size_t i = 1; i < kRows.size(); ++i) {
    for (; n + 1 < kRows[i]; ++n) {
      reached *= hits_[std::min(agreeing_ + n, hits_.size()) - 1];
      expected += reached;
    }
    // Before the first measurement, what memory allows: the weights are read once.
    const double speed = expected / (seconds_[i] > 0 ? seconds_[i] : seconds_[0]);
    if (n > most || speed <= best_speed) continue;
    best_speed = speed;
    best = n;
  }
  return std::span(text_).subspan(source_, best);
}

void Drafts::measured(size_t n_rows, double seconds) {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i] != n_rows)
      seconds_[i] *= 0.9998;  // so that a measurement by bad chance is repeated some day
    else
      seconds_[i] = seconds_[i] == 0 ? seconds : (seconds_[i] + seconds) / 2;
  }
}

}  // namespace nibble
