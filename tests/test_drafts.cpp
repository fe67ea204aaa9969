#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "chat/drafts.h"
#include "check.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::vector<Token> guess(const Drafts& drafts, size_t most) {
  const std::span<const Token> tokens = drafts.guess(most);
  return {tokens.begin(), tokens.end()};
}

std::string shown(const std::vector<Token>& tokens) {
  std::string text;
  for (const Token token : tokens) text += std::to_string(token) + " ";
  return text;
}

/// 20 different tokens, then the first five of them once more.
Drafts repeating() {
  std::vector<Token> text;
  for (Token token = 1; token <= 20; ++token) text.push_back(token);
  for (Token token = 1; token <= 5; ++token) text.push_back(token);
  Drafts drafts;
  drafts.reset(text);
  return drafts;
}

void test_goes_on_as_before() {
  Drafts drafts = repeating();
  check_eq(shown(guess(drafts, 7)), std::string(), "how long a token takes is not known");
  drafts.measured(1, 1.0);
  check_eq(shown(guess(drafts, 7)), std::string("6 7 8 9 10 11 12 "));
  check_eq(shown(guess(drafts, 6)), std::string("6 7 8 "), "4 rows: 5 to 7 take as long as 8");
  check_eq(shown(guess(drafts, 1)), std::string("6 "));
  check_eq(shown(guess(drafts, 0)), std::string());
  drafts.push(6);
  drafts.push(7);
  check_eq(shown(guess(drafts, 3)), std::string("8 9 10 "));
  drafts.push(99);
  check_eq(shown(guess(drafts, 7)), std::string(), "99 was never there");
  for (const Token token : {18, 19, 20}) drafts.push(token);
  check_eq(shown(guess(drafts, 7)), std::string("1 2 3 4 5 6 7 "));
  drafts.reset({});
  check_eq(shown(guess(drafts, 7)), std::string(), "the text is gone");
  for (const Token token : {1, 2, 3}) drafts.push(token);
  check_eq(shown(guess(drafts, 7)), std::string(), "nothing stood before");
}

void test_newest_and_longest() {
  Drafts drafts;
  drafts.measured(1, 1.0);
  drafts.reset(std::vector<Token>{1, 2, 3, 7, 9, 2, 3, 8, 3, 6, 1, 2, 3});
  check_eq(shown(guess(drafts, 1)), std::string("7 "), "after three tokens that agree");
  drafts.reset(std::vector<Token>{1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3});
  check_eq(shown(guess(drafts, 1)), std::string("8 "), "as the last time");
}

/// How many tokens are guessed where n times the first guess is right, or wrong.
size_t guesses_of(Drafts& drafts, bool right, size_t n, Token other = 1000) {
  size_t computed = 0;
  for (size_t i = 0; i < n; ++i) {
    const std::vector<Token> tokens = guess(drafts, 7);
    computed += tokens.size();
    if (!tokens.empty() && right) {
      drafts.push(tokens[0]);
    } else {
      // A wrong one is followed by a place that is known.
      drafts.push(++other);
      for (const Token token : {2, 3, 4}) drafts.push(token);
    }
  }
  return computed;
}

void test_pays() {
  Drafts always = repeating();
  for (const size_t n : {1u, 2u, 4u, 8u}) always.measured(n, 1.0);
  check(guesses_of(always, true, 300) > 5 * 300, "what is always right is guessed");

  Drafts never = repeating();
  for (const size_t n : {1u, 2u, 4u, 8u}) never.measured(n, 1.0 + 0.1 * static_cast<double>(n - 1));
  guesses_of(never, false, 200);
  check_eq(guesses_of(never, false, 100, 5000), size_t{0}, "what is never right is not");

  Drafts slow = repeating();  // each row takes as long as a token
  for (const size_t n : {1u, 2u, 4u, 8u}) slow.measured(n, static_cast<double>(n));
  check_eq(guesses_of(slow, true, 100), size_t{0}, "nothing is won");

  Drafts eight = repeating();  // eight rows are too slow, four are not
  for (const size_t n : {1u, 2u, 4u}) eight.measured(n, 1.0);
  eight.measured(8, 9.0);
  check_eq(guess(eight, 7).size(), size_t{3});
}

void test_random_texts() {
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    Drafts drafts;  // the index keeps what earlier texts left there
    drafts.measured(1, 1.0);
    for (int texts = 0; texts < 3; ++texts) {
      std::vector<Token> text(random() % 50);
      const auto token = [&] { return static_cast<Token>(random() % 5); };
      for (Token& t : text) t = token();
      drafts.reset(text);
      for (int i = 0; i < 200; ++i) {
        const std::vector<Token> tokens = guess(drafts, random() % 9);
        check(tokens.size() <= 7);
        if (!tokens.empty()) {
          // The last token and the guess stand somewhere in the text.
          std::vector<Token> sought = {text.back()};
          sought.insert(sought.end(), tokens.begin(), tokens.end());
          check(std::search(text.begin(), text.end(), sought.begin(), sought.end()) != text.end(),
                "a guess that never stood there");
        }
        text.push_back(token());
        drafts.push(text.back());
      }
    }
  }
}

/// Two sets of options, the same conversation.
void check_same_replies(ChatOptions options, const Model& model, int& n_accepted) {
  options.max_draft = 0;
  Chat plain(model, options);
  options.max_draft = 7;
  Chat drafting(model, options);
  for (const char* text : {"Write a short story about a dog", "What is the capital of Japan?",
                           "Write a short story about a dog", "What is the capital of Japan?"}) {
    const Reply expected = plain.say(text), found = drafting.say(text);
    check_eq(found.text, expected.text);
    check_eq(found.n_new, expected.n_new);
    check_eq(static_cast<int>(found.stop), static_cast<int>(expected.stop));
    check_eq(found.n_prompt, expected.n_prompt, "what is kept in the cache");
    check_eq(drafting.position(), plain.position());
    check_eq(expected.n_drafted, 0);
    check(found.n_accepted <= found.n_drafted);
    n_accepted += found.n_accepted;
  }
}

// On the best instruction set: that no row depends on those beside it is tested for each elsewhere.
void test_same_text() {
  const Model model(NIBBLE_SOURCE_DIR "/models/nibble-chat.nib");
  int n_accepted = 0;
  ChatOptions options;
  options.sampling.emplace() = {.temperature = 0.7f, .repeat_penalty = 1.1f, .seed = 7};
  options.max_tokens = 40;
  check_same_replies(options, model, n_accepted);
  options.sampling->temperature = 0;
  options.session.batch = 3;
  options.stop = {"the"};
  check_same_replies(options, model, n_accepted);
  check(n_accepted > 0, "no guess was right");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"goes on as before", test_goes_on_as_before},
              {"newest and longest", test_newest_and_longest},
              {"pays", test_pays},
              {"random texts", test_random_texts},
              {"same text", test_same_text}});
}
