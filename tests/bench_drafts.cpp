// Times the generation of a text that is given, after a prompt, with drafts and without: how much
// they save depends on the text, so the model's own choices are replaced by it.
//   bench_drafts MODEL PROMPT_FILE REPLY_FILE [TOKENS]     NIBBLE_ISA: the kernels
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/clock.h"
#include "chat/drafts.h"
#include "nibble/nibble.h"

namespace {

using namespace nibble;

constexpr int kRounds = 3;

std::vector<Token> tokens_of(const Model& model, const char* path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(path, "cannot be read");
  return model.tokenizer().encode(std::string(std::istreambuf_iterator<char>(in), {}));
}

struct Run {
  double seconds = 0;
  size_t n_evals = 0;
};

/// `reply` token by token after `prompt`, with up to `max_draft` guesses at once.
Run replay(Session& session, std::span<const Token> prompt, std::span<const Token> reply,
           size_t max_draft) {
  session.reset();
  session.eval(prompt);
  Drafts drafts;
  drafts.reset(prompt);
  Run run;
  const auto start = Clock::now();
  for (size_t i = 0; i < reply.size(); ++run.n_evals) {
    drafts.push(reply[i]);
    std::vector<Token> rows = {reply[i++]};
    const std::span<const Token> guess = drafts.guess(std::min(max_draft, reply.size() - i));
    rows.insert(rows.end(), guess.begin(), guess.end());
    const auto begin = Clock::now();
    session.eval(rows, Logits::all);
    drafts.measured(rows.size(), seconds_since(begin));
    size_t right = 1;
    for (; right < rows.size() && rows[right] == reply[i]; ++right) drafts.push(reply[i++]);
    session.truncate(session.position() - static_cast<int>(rows.size() - right));
  }
  run.seconds = seconds_since(start);
  return run;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int bench(int argc, char** argv) {
  ModelOptions options;
  if (const char* isa = std::getenv("NIBBLE_ISA")) options.isa = isa;
  const Model model(argv[1], options);
  std::vector<Token> prompt = tokens_of(model, argv[2]), reply = tokens_of(model, argv[3]);
  if (prompt.empty()) prompt.push_back(reply.at(0));
  if (argc > 4) reply.resize(std::min(reply.size(), static_cast<size_t>(std::atoi(argv[4]))));
  Session session(model, {.context = static_cast<int>(prompt.size() + reply.size())});
  std::vector<double> plain, drafted;
  size_t n_evals = 0;
  for (int round = 0; round < kRounds; ++round) {
    plain.push_back(replay(session, prompt, reply, 0).seconds);
    const Run run = replay(session, prompt, reply, Drafts::kMaxRows - 1);
    drafted.push_back(run.seconds);
    n_evals = run.n_evals;
  }
  const double n = static_cast<double>(reply.size());
  std::printf("%s: %zu tokens after %zu: %.1f t/s, with drafts %.1f t/s (%.2f), %zu evaluations\n",
              model.info().kernels.c_str(), reply.size(), prompt.size(), n / median(plain),
              n / median(drafted), median(plain) / median(drafted), n_evals);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_drafts MODEL PROMPT_FILE REPLY_FILE [TOKENS]\n");
    return 2;
  }
  return bench(argc, argv);
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
