#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/random.h"
#include "check.h"
#include "nibble/sampler.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Everything off but what a case switches on.
SamplerOptions plain(float temperature, uint64_t seed = 1) {
  return {.temperature = temperature,
          .top_k = 0,
          .top_p = 1,
          .min_p = 0,
          .repeat_penalty = 1,
          .repeat_last_n = 64,
          .seed = seed};
}

Token greedy(const std::vector<float>& logits) { return Sampler(plain(0)).sample(logits); }

/// How often each token is drawn in n draws.
std::map<Token, int> draw(const SamplerOptions& options, const std::vector<float>& logits, int n) {
  Sampler sampler(options);
  std::map<Token, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits)];
  return counts;
}

std::string drawn_tokens(const SamplerOptions& options, const std::vector<float>& logits) {
  std::string text;
  for (const auto& [token, count] : draw(options, logits, 4000))
    text += std::to_string(token) + " ";
  return text;
}

void test_greedy() {
  check_eq(greedy({1, 3, 2}), 1);
  check_eq(greedy({1, 3, 3, 3}), 1, "a tie goes to the lower id");
  check_eq(greedy({-5, -3, -4}), 1);
  check_eq(greedy({0}), 0);
}

void test_not_numbers() {
  check_eq(greedy({kNan, 1, kNan, 2}), 3);
  check_eq(greedy({kNan, -kInf, -1e30f}), 2);
  check_eq(greedy({1, kInf, kInf}), 1);
  check_eq(drawn_tokens(plain(1), {kNan, 0, -kInf, 0, kNan}), std::string("1 3 "));
  check_eq(drawn_tokens(plain(1), {0, kInf, 0}), std::string("1 "), "an infinite logit wins");
  Sampler sampler(plain(1));
  check_error([&] { sampler.sample(std::vector<float>{kNan, -kInf}); }, "none of 2 is a number");
  check_error([&] { sampler.sample({}); }, "logits");
}

void test_draws_follow_seed() {
  // The first numbers of SplitMix64 for the seed 1234567, as published with the algorithm:
  // 6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
  // 16408922859458223821. Of four equal tokens, each takes a quarter of the range in order of id.
  Sampler sampler(plain(1, 1234567));
  const std::vector<float> equal(4, 0.5f);
  for (const Token expected : {1, 0, 2, 0, 3}) check_eq(sampler.sample(equal), expected);
  check_eq(sampler.seed(), uint64_t{1234567});

  Sampler again(plain(1, 1234567));
  sampler.reset();  // does not turn the random state back
  check_eq(again.sample(equal), 1);
  check(Sampler().seed() != Sampler().seed(), "two samplers without a seed have the same one");
}

void test_distribution() {
  // Probabilities 0.1, 0.2, 0.3, 0.4; 20,000 draws: standard deviation at most 70.
  const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.3f),
                                     std::log(0.4f)};
  constexpr int kDraws = 20000;
  auto counts = draw(plain(1), logits, kDraws);
  for (int i = 0; i < 4; ++i) check_near(counts[i], kDraws * 0.1 * (i + 1), 350);
  // At temperature 0.5 they are in the ratio of their squares: 1, 4, 9, 16 of 30.
  counts = draw(plain(0.5f), logits, kDraws);
  for (int i = 0; i < 4; ++i) check_near(counts[i], kDraws * (i + 1) * (i + 1) / 30.0, 350);
  // The order of the draw changes with the sorting that top-k does, the shares do not.
  SamplerOptions top3 = plain(1);
  top3.top_k = 3;
  counts = draw(top3, logits, kDraws);
  check_eq(counts[0], 0);
  for (int i = 1; i < 4; ++i) check_near(counts[i], kDraws * (i + 1) / 9.0, 350);
  check_eq(drawn_tokens(plain(1e-30f), logits), std::string("3 "), "a tiny temperature");
}

void test_top_k() {
  SamplerOptions options = plain(1);
  options.top_k = 2;
  check_eq(drawn_tokens(options, {1, 2, 1, 2, 1}), std::string("1 3 "));
  check_eq(drawn_tokens(options, {1, 1, 1, 1, 1}), std::string("0 1 "), "ties: the lower ids");
  options.top_k = 1;
  check_eq(drawn_tokens(options, {1, 2, 2}), std::string("1 "));
  options.top_k = 100;
  check_eq(drawn_tokens(options, {1, 1, 1}), std::string("0 1 2 "));
}

/// Of `logits`, exactly the tokens that sorting all of them keeps are drawn.
void check_top_k(const std::vector<float>& logits) {
  std::vector<Token> order;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -kInf) order.push_back(static_cast<Token>(i));
  std::ranges::stable_sort(order, [&](Token a, Token b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  check_eq(greedy(logits), order[0]);
  for (const int k : {1, 5, 16, 40}) {
    SamplerOptions options = plain(1);
    options.top_k = k;
    std::vector<Token> kept(order.begin(), order.begin() + k);
    std::ranges::sort(kept);
    std::string expected;
    for (const Token token : kept) expected += std::to_string(token) + " ";
    check_eq(drawn_tokens(options, logits), expected,
             std::to_string(k) + " of " + std::to_string(logits.size()));
  }
}

void test_top_k_of_many() {
  Random random(11);
  for (const size_t vocab_size : {63u, 64u, 65u, 1000u, 5001u}) {
    std::vector<float> logits(vocab_size);
    // High logits are rare, and the k-th place is shared.
    for (float& x : logits) x = static_cast<float>(std::countr_zero(random.next())) / 16;
    logits[7] = kNan;
    logits[vocab_size - 2] = -kInf;
    check_top_k(logits);
    // The best logits lie far apart.
    for (size_t i = 3; i < vocab_size; i += 64) logits[i] = 2 + static_cast<float>(i) / 10000;
    check_top_k(logits);
  }
}

void test_top_p() {
  const std::vector<float> logits = {std::log(0.125f), std::log(0.5f), std::log(0.25f),
                                     std::log(0.125f)};
  const auto drawn = [&](float top_p) {
    SamplerOptions options = plain(1);
    options.top_p = top_p;
    return drawn_tokens(options, logits);
  };
  check_eq(drawn(0.0f), std::string("1 "), "one token always stays");
  check_eq(drawn(0.45f), std::string("1 "));
  check_eq(drawn(0.7f), std::string("1 2 "));
  check_eq(drawn(0.8f), std::string("0 1 2 "), "the token that reaches the mass belongs to it");
  check_eq(drawn(0.9f), std::string("0 1 2 3 "));
}

void test_top_p_of_many() {
  // 5000 equal tokens: the first 2500 hold half of the mass (more than one step of the sorting).
  SamplerOptions options = plain(1, 7);
  options.top_p = 0.49999f;
  const std::vector<float> logits(5000, 1.0f);
  Sampler sampler(options);
  Token highest = 0;
  for (int i = 0; i < 4000; ++i) highest = std::max(highest, sampler.sample(logits));
  // The chance that none of 4000 draws is among the last 100 of 2500 is 1e-71.
  check(highest >= 2400 && highest < 2500, "highest token " + std::to_string(highest));
}

void test_min_p() {
  SamplerOptions options = plain(1);
  options.min_p = 0.3f;
  const std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.2f),
                                     std::log(0.14f)};
  check_eq(drawn_tokens(options, logits), std::string("1 2 "), "at least 0.15");
  options.min_p = 1;
  check_eq(drawn_tokens(options, logits), std::string("1 "));
}

void test_order_of_filters() {
  // Top-p looks at the mass after top-k: of 0.4, 0.3, 0.2, 0.1 top-k keeps 4/7 and 3/7, and 0.55
  // is reached by the first alone (of all four it would take two).
  SamplerOptions options = plain(1);
  options.top_k = 2;
  options.top_p = 0.55f;
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f),
                                     std::log(0.1f)};
  check_eq(drawn_tokens(options, logits), std::string("0 "));
  // Temperature comes last: however high, what was cut stays cut.
  options.temperature = 100;
  check_eq(drawn_tokens(options, logits), std::string("0 "));
}

void test_repeat_penalty() {
  SamplerOptions options = plain(0);
  options.repeat_penalty = 2;
  options.repeat_last_n = 2;
  Sampler sampler(options);
  const std::vector<float> logits = {3, 4, 2.5f, -1};
  check_eq(sampler.sample(logits), 1);
  sampler.accept(1);
  check_eq(sampler.sample(logits), 0, "4 / 2 is below 3");
  sampler.accept(0);
  check_eq(sampler.sample(logits), 2, "4 / 2 and 3 / 2 are below 2.5");
  sampler.accept(2);
  check_eq(sampler.sample(logits), 1, "the window of two has left token 1 behind");
  sampler.accept(2);
  sampler.accept(2);
  check_eq(sampler.sample(logits), 1, "a token is punished once, however often it came");
  sampler.reset();
  sampler.accept(1);
  sampler.reset();
  check_eq(sampler.sample(logits), 1);

  const std::vector<float> negative = {-1.5f, -1, -4};
  sampler.accept(1);
  check_eq(sampler.sample(negative), 0, "-1 * 2 is below -1.5");
}

void test_repeat_window() {
  SamplerOptions options = plain(0);
  options.repeat_penalty = 2;
  options.repeat_last_n = -1;
  const std::vector<float> logits = {3, 4};
  Sampler all(options);
  all.accept(1);
  for (int i = 0; i < 1000; ++i) all.accept(5);  // an id beyond the logits does no harm
  check_eq(all.sample(logits), 0);
  options.repeat_last_n = 0;
  Sampler none(options);
  none.accept(1);
  check_eq(none.sample(logits), 1);
}

void test_options() {
  const auto refused = [](const char* option, auto change) {
    SamplerOptions options;
    change(options);
    check_error([&] { Sampler sampler(options); }, option);
  };
  refused("temperature", [](SamplerOptions& o) { o.temperature = -0.1f; });
  refused("temperature", [](SamplerOptions& o) { o.temperature = kNan; });
  refused("temperature", [](SamplerOptions& o) { o.temperature = kInf; });
  refused("top_k", [](SamplerOptions& o) { o.top_k = -1; });
  refused("top_p", [](SamplerOptions& o) { o.top_p = 1.5f; });
  refused("top_p", [](SamplerOptions& o) { o.top_p = kNan; });
  refused("min_p", [](SamplerOptions& o) { o.min_p = -1; });
  refused("repeat_penalty", [](SamplerOptions& o) { o.repeat_penalty = 0; });
  refused("repeat_penalty", [](SamplerOptions& o) { o.repeat_penalty = kInf; });
  refused("repeat_last_n", [](SamplerOptions& o) { o.repeat_last_n = -2; });
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"greedy", test_greedy},
              {"not numbers", test_not_numbers},
              {"draws follow seed", test_draws_follow_seed},
              {"distribution", test_distribution},
              {"top-k", test_top_k},
              {"top-k of many", test_top_k_of_many},
              {"top-p", test_top_p},
              {"top-p of many", test_top_p_of_many},
              {"min-p", test_min_p},
              {"order of filters", test_order_of_filters},
              {"repeat penalty", test_repeat_penalty},
              {"repeat window", test_repeat_window},
              {"options", test_options}});
}
