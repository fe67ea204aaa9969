#include "nibble/sampler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

struct Candidate {
  float logit;
  Token id;
};

/// The order of preference; a total order, so that a selection never depends on the library's sort.
bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

std::string shown(double value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

void check_range(const char* option, double value, bool ok, const char* expected) {
  if (!ok) throw Error::mismatch("sampling", option, expected, shown(value));
}

void validate(const SamplerOptions& o) {
  // A NaN fails every comparison.
  check_range("temperature", o.temperature, o.temperature >= 0 && std::isfinite(o.temperature),
              "a number >= 0");
  check_range("top_k", o.top_k, o.top_k >= 0, "0 (off) or more");
  check_range("top_p", o.top_p, o.top_p >= 0 && o.top_p <= 1, "0 to 1");
  check_range("min_p", o.min_p, o.min_p >= 0 && o.min_p <= 1, "0 to 1");
  check_range("repeat_penalty", o.repeat_penalty,
              o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty), "a number > 0");
  check_range("repeat_last_n", o.repeat_last_n, o.repeat_last_n >= -1, "-1 (all), 0 (off) or more");
}

uint64_t random_seed() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  try {
    std::random_device device;
    return (uint64_t{device()} << 32 | device()) ^ static_cast<uint64_t>(now);
  } catch (const std::exception&) {
    return static_cast<uint64_t>(now);  // a system without a source of entropy
  }
}

constexpr size_t kBlock = 64;  // logits whose maximum is kept

/// The largest value, -infinity where there is none; a NaN is none.
float maximum(std::span<const float> values) {
  // Sixteen at a time, which compilers make vectors of; a single maximum they may not reorder.
  constexpr size_t kLanes = 16;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, kNegInf);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (size_t j = 0; j < kLanes; ++j)
      lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
  float best = kNegInf;
  for (; i < values.size(); ++i) best = values[i] > best ? values[i] : best;
  for (const float lane : lanes) best = lane > best ? lane : best;
  return best;
}

/// The tokens that the repeat penalty looks at.
class RecentTokens {
 public:
  explicit RecentTokens(int32_t limit) : limit_(limit) {}

  void add(Token token) {
    if (limit_ == 0) return;
    ++count_[token];
    if (limit_ < 0) return;
    order_.push_back(token);
    if (order_.size() <= static_cast<size_t>(limit_)) return;
    const auto oldest = count_.find(order_.front());
    order_.pop_front();
    if (--oldest->second == 0) count_.erase(oldest);
  }

  void clear() {
    count_.clear();
    order_.clear();
  }

  const std::unordered_map<Token, int64_t>& count() const { return count_; }

 private:
  int32_t limit_;  // -1: all
  std::unordered_map<Token, int64_t> count_;
  std::deque<Token> order_;  // oldest first, only where there is a limit
};

}  // namespace

struct Sampler::Impl {
  explicit Impl(const SamplerOptions& o)
      : options(o),
        seed(o.seed ? *o.seed : random_seed()),
        random(seed),
        recent(o.repeat_penalty == 1.0f ? 0 : o.repeat_last_n) {}

  /// `logits`, or a copy with the penalty applied.
  std::span<const float> penalize(std::span<const float> logits);
  /// Fills `candidates` with all tokens that may be chosen, a few that may not among them, by
  /// rising id, and returns the best logit. Throws Error if there is none.
  float collect(std::span<const float> logits);
  /// Sorts the best candidates up to the n-th; those before `n_sorted` are sorted already.
  void sort_up_to(size_t n);
  void keep_top_k();
  void keep_top_p(float best);
  void keep_min_p(float best);
  Token draw(float best);

  SamplerOptions options;
  uint64_t seed;
  Random random;
  RecentTokens recent;
  std::vector<float> penalized;       // [vocab_size]
  std::vector<float> maxima, ranked;  // [ceil(vocab_size / kBlock)] of blocks of logits
  std::vector<Candidate> candidates;  // [<= vocab_size], the first n_sorted best first
  size_t n_sorted = 0;
};

std::span<const float> Sampler::Impl::penalize(std::span<const float> logits) {
  if (recent.count().empty()) return logits;
  penalized.assign(logits.begin(), logits.end());
  for (const auto& [token, count] : recent.count()) {
    if (token < 0 || static_cast<size_t>(token) >= penalized.size()) continue;
    float& logit = penalized[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / options.repeat_penalty : logit * options.repeat_penalty;
  }
  return penalized;
}

float Sampler::Impl::collect(std::span<const float> logits) {
  maxima.clear();
  for (size_t i = 0; i < logits.size(); i += kBlock)
    maxima.push_back(maximum(logits.subspan(i, std::min(kBlock, logits.size() - i))));
  const float best = maximum(maxima);
  if (best == kNegInf)
    throw Error("logits", "none of " + std::to_string(logits.size()) + " is a number",
                "the weights of the model may be damaged");
  // k blocks whose maximum is at least x have k logits that are: no other is among the best k.
  const bool greedy = options.temperature == 0;
  const size_t k = greedy ? 1 : static_cast<size_t>(options.top_k);
  float limit = kNegInf;
  if (k > 0 && k <= maxima.size()) {
    ranked = maxima;
    const auto kth = ranked.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(ranked.begin(), kth, ranked.end(), std::greater<>());
    limit = *kth;
  }
  candidates.clear();
  n_sorted = 0;
  for (size_t b = 0; b < maxima.size(); ++b) {
    if (maxima[b] < limit) continue;
    for (size_t i = b * kBlock; i < std::min((b + 1) * kBlock, logits.size()); ++i) {
      // False for NaN too.
      if (logits[i] > kNegInf && logits[i] >= limit)
        candidates.push_back({logits[i], static_cast<Token>(i)});
    }
  }
  return best;
}

void Sampler::Impl::sort_up_to(size_t n) {
  n = std::min(n, candidates.size());
  if (n <= n_sorted) return;
  const auto first = candidates.begin();
  std::partial_sort(first + static_cast<std::ptrdiff_t>(n_sorted),
                    first + static_cast<std::ptrdiff_t>(n), candidates.end(), better);
  n_sorted = n;
}

void Sampler::Impl::keep_top_k() {
  const auto k = static_cast<size_t>(options.top_k);
  if (k == 0) return;
  sort_up_to(k);
  candidates.resize(n_sorted);
}

void Sampler::Impl::keep_top_p(float best) {
  if (options.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates) total += std::exp(double{c.logit} - double{best});
  double sum = 0;
  size_t kept = 0;
  // Few tokens hold most of the mass: sort ever larger heads instead of all.
  for (size_t n = 64; kept < candidates.size(); n *= 4) {
    sort_up_to(n);
    while (kept < n_sorted) {
      sum += std::exp(double{candidates[kept++].logit} - double{best});
      if (sum < double{options.top_p} * total) continue;
      candidates.resize(kept);
      n_sorted = kept;
      return;
    }
  }
}

void Sampler::Impl::keep_min_p(float best) {
  if (options.min_p <= 0) return;
  const double limit = double{best} + std::log(double{options.min_p});
  std::erase_if(candidates, [limit](const Candidate& c) { return double{c.logit} < limit; });
}

Token Sampler::Impl::draw(float best) {
  double total = 0;
  const auto weight = [&](const Candidate& c) {
    return std::exp((double{c.logit} - double{best}) / double{options.temperature});
  };
  for (const Candidate& c : candidates) total += weight(c);
  double left = random.uniform() * total;
  Token last = candidates.front().id;
  for (const Candidate& c : candidates) {
    const double w = weight(c);
    if (w <= 0) continue;
    last = c.id;
    if (left < w) break;
    left -= w;  // rounding may leave a rest after the last one, which then is the choice
  }
  return last;
}

Sampler::Sampler(const SamplerOptions& options) {
  validate(options);
  impl_ = std::make_unique<Impl>(options);
}
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

Token Sampler::sample(std::span<const float> logits) {
  const float best = impl_->collect(impl_->penalize(logits));
  if (impl_->options.temperature == 0 || std::isinf(best))
    return std::ranges::find(impl_->candidates, best, &Candidate::logit)->id;
  impl_->keep_top_k();
  impl_->keep_top_p(best);
  impl_->keep_min_p(best);
  return impl_->draw(best);
}

void Sampler::accept(Token token) { impl_->recent.add(token); }
void Sampler::reset() { impl_->recent.clear(); }
uint64_t Sampler::seed() const { return impl_->seed; }

}  // namespace nibble
