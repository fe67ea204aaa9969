#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>

#include "args.h"
#include "batch.h"
#include "load/json.h"
#include "text/chat_template.h"
#include "text/messages.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 20;  // of logits computed at a time
constexpr int kDefaultWindow = 2048;              // of published figures

/// Negative log likelihoods of predictions, summed.
struct Score {
  uint64_t n = 0;
  double sum = 0, sum_squares = 0;

  void add(double nll) {
    ++n;
    sum += nll;
    sum_squares += nll * nll;
  }
  double mean() const { return sum / static_cast<double>(n); }
  double perplexity() const { return std::exp(mean()); }
  /// Of the perplexity: the error of the mean, carried through exp().
  double standard_error() const {
    if (n < 2) return 0;
    const double count = static_cast<double>(n);
    const double variance = (sum_squares - sum * mean()) / (count - 1);
    return perplexity() * std::sqrt(std::max(variance, 0.0) / count);
  }
};

/// -log softmax(logits)[token], logits [vocab].
double negative_log_likelihood(std::span<const float> logits, Token token) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x - max));
  return std::log(sum) - (static_cast<double>(logits[static_cast<size_t>(token)]) - max);
}

/// Scores the predictions of tokens[first_scored..], 1 <= first_scored; the session holds a prefix
/// of `tokens` that is shorter than first_scored.
void score_tokens(Session& session, std::span<const Token> tokens, size_t first_scored,
                  Score& score) {
  const size_t vocab = static_cast<size_t>(session.model().config().vocab_size);
  const size_t piece = std::max<size_t>(1, kPieceBytes / (vocab * sizeof(float)));
  size_t begin = static_cast<size_t>(session.position());
  if (begin + 1 < first_scored) {
    session.eval(tokens.subspan(begin, first_scored - 1 - begin), Logits::none);
    begin = first_scored - 1;
  }
  while (begin + 1 < tokens.size()) {
    const size_t n = std::min(piece, tokens.size() - 1 - begin);
    const auto logits = session.eval(tokens.subspan(begin, n), Logits::all);  // [n, vocab]
    for (size_t i = 0; i < n; ++i)
      score.add(negative_log_likelihood(logits.subspan(i * vocab, vocab), tokens[begin + i + 1]));
    begin += n;
  }
}

/// A count on standard error while it runs, if that is a terminal.
class Status {
 public:
  explicit Status(const char* unit) : unit_(unit), terminal_(isatty(STDERR_FILENO) != 0) {}
  ~Status() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;
  void show(size_t done, size_t total, const std::string& result) {
    if (!terminal_) return;
    shown_ = true;
    std::fprintf(stderr, "\r%s %zu of %zu: %s\033[K", unit_, done, total, result.c_str());
  }

 private:
  const char* unit_;
  bool terminal_, shown_ = false;
};

struct Request {
  CommonOptions common;
  TemplateOption chat_template;
  bool bos = false;
  int n_lines = 0;  // 0: all
};

struct Result {
  Score score;
  size_t n_windows = 0;
  int window = 0;
  size_t n_questions = 0, n_exact = 0, n_too_long = 0;
};

/// Cuts the tokens of a text as published figures do (llm-awq, GPTQ): the text is encoded once,
/// with BOS in front if the model's texts have it; windows do not overlap and carry nothing over;
/// what is left at the end is dropped, unless it is all there is. With --bos every window begins
/// with BOS and holds a token less of the text.
Result score_text(const Model& model, const Request& request, const std::string& text) {
  const Tokenizer& tokenizer = model.tokenizer();
  if (request.bos && tokenizer.bos() < 0) throw Error("--bos", "the model has no BOS token");
  SessionOptions options = request.common.session;
  if (options.context == 0)
    options.context = std::min(kDefaultWindow, model.config().context_length);
  if (options.context < 2) throw UsageError("a window holds at least 2 tokens (-c)");

  Result result;
  result.window = options.context;
  std::vector<Token> ids = tokenizer.encode(text);
  if (!request.bos && tokenizer.add_bos() && tokenizer.bos() >= 0)
    ids.insert(ids.begin(), tokenizer.bos());
  const size_t step = static_cast<size_t>(options.context) - (request.bos ? 1 : 0);
  Session session(model, options);
  Status status("token");
  std::vector<Token> window;
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    const auto part = std::span(ids).subspan(begin, std::min(step, ids.size() - begin));
    if (part.size() < step && begin > 0) break;
    window.assign(request.bos ? 1 : 0, tokenizer.bos());
    window.insert(window.end(), part.begin(), part.end());
    session.reset();
    score_tokens(session, window, 1, result.score);
    result.n_windows += window.size() > 1 ? 1 : 0;
    status.show(begin + part.size(), ids.size(),
                "perplexity " + format("%.4f", result.score.perplexity()));
  }
  return result;
}

/// The lines of a .jsonl: conversations are scored, questions are asked.
class LineScorer {
 public:
  LineScorer(const Model& model, const Request& request)
      : model_(model),
        request_(request),
        session_(model, request.common.session),
        style_(model.tokenizer(), request.chat_template.text) {}

  void line(const Json& value, const std::string& where) {
    const Json* messages = value.find("messages");
    const Json* question = value.find("question");
    const Json* answer = value.find("answer");
    if (messages)
      conversation(read_messages(*messages, where), where);
    else if (question && answer)
      ask(question->as_string(where), stripped(answer->as_string(where)));
    else
      throw Error(where, "expected {\"messages\": ...} or {\"question\": ..., \"answer\": ...}");
  }

  const Result& result() const { return result_; }

 private:
  void conversation(const std::vector<Message>& messages, const std::string& where) {
    session_.reset();
    std::vector<Token> held;  // what the session holds
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role == Role::assistant)
        reply(std::span(messages).first(i), std::span(messages).first(i + 1), held, where);
    }
  }

  /// Scores the tokens that `after` has and its prompt `before` has not, up to and with the first
  /// end token: what a model has to say, and that it then stops.
  void reply(std::span<const Message> before, std::span<const Message> after,
             std::vector<Token>& held, const std::string& where) {
    const std::vector<Token> prompt = style_.encode(before);
    std::vector<Token> tokens = style_.encode(after, false);
    const size_t first = prompt.size();
    if (prompt.empty() || tokens.size() < first ||
        !std::equal(prompt.begin(), prompt.end(), tokens.begin()))
      throw Error(where, "the template does not put the reply after its prompt");
    const Tokenizer& tokenizer = model_.tokenizer();
    const auto end = std::find_if(tokens.begin() + static_cast<ptrdiff_t>(first), tokens.end(),
                                  [&](Token token) { return tokenizer.is_end(token); });
    if (end == tokens.end()) throw Error(where, "the template does not end the reply");
    tokens.erase(end + 1, tokens.end());
    if (tokens.size() > static_cast<size_t>(session_.context())) {
      ++result_.n_too_long;
      return;
    }
    const auto common =
        std::mismatch(held.begin(), held.end(), tokens.begin(), tokens.end()).first - held.begin();
    session_.truncate(
        std::min({session_.position(), static_cast<int>(common), static_cast<int>(first) - 1}));
    score_tokens(session_, tokens, first, result_.score);
    held = std::move(tokens);
  }

  void ask(const std::string& question, std::string_view answer) {
    const Message prompt{Role::user, question};
    if (style_.encode(std::span(&prompt, 1)).size() >= static_cast<size_t>(session_.context())) {
      ++result_.n_too_long;
      return;
    }
    ChatOptions options;
    options.sampling = SamplerOptions{};
    options.sampling->temperature = 0;
    options.chat_template = request_.chat_template.text;
    options.session = request_.common.session;
    if (!chat_) chat_.emplace(model_, options);
    chat_->reset();
    std::string text;
    chat_->say(question, [&](std::string_view more) {
      text += more;
      return stripped(text).size() <= answer.size();  // a longer reply is wrong already
    });
    ++result_.n_questions;
    result_.n_exact += stripped(text) == answer ? 1 : 0;
  }

  const Model& model_;
  const Request& request_;
  Session session_;
  std::optional<Chat> chat_;
  const ChatTemplate style_;
  Result result_;
};

Result score_lines(const Model& model, const Request& request, const std::string& text,
                   const std::string& path) {
  std::vector<std::pair<std::string_view, size_t>> lines;  // text and number
  for_each_line(text,
                [&](std::string_view line, size_t number) { lines.emplace_back(line, number); });
  if (request.n_lines > 0)
    lines.resize(std::min(lines.size(), static_cast<size_t>(request.n_lines)));

  try {
    LineScorer scorer(model, request);
    Status status("line");
    for (size_t i = 0; i < lines.size(); ++i) {
      const std::string where = path + ":" + std::to_string(lines[i].second);
      scorer.line(parse_json(lines[i].first, where), where);
      const Result& r = scorer.result();
      status.show(i + 1, lines.size(),
                  r.score.n > 0 ? "perplexity " + format("%.4f", r.score.perplexity())
                                : std::to_string(r.n_exact) + " exact");
    }
    return scorer.result();
  } catch (const Error& e) {
    throw naming_template(e, request.chat_template);
  }
}

void print_json(const Result& result) {
  Json::Object out;
  if (result.score.n > 0) {
    put(out, "perplexity", result.score.perplexity());
    put(out, "standard_error", result.score.standard_error());
    put(out, "predictions", json_count(result.score.n));
    if (result.n_windows > 0) {
      put(out, "windows", json_count(result.n_windows));
      put(out, "window", result.window);
    }
  }
  if (result.n_questions > 0) {
    put(out, "questions", json_count(result.n_questions));
    put(out, "exact", json_count(result.n_exact));
    put(out, "exact_share",
        static_cast<double>(result.n_exact) / static_cast<double>(result.n_questions));
  }
  put(out, "too_long", json_count(result.n_too_long));
  write_stdout(write_json(Json(std::move(out)), 2) + "\n");
}

void print_text(const Result& result) {
  std::string text;
  if (result.score.n > 0) {
    text += "perplexity " + format("%.4f", result.score.perplexity()) + " +- " +
            format("%.4f", result.score.standard_error()) + " (" + std::to_string(result.score.n) +
            " predictions";
    if (result.n_windows > 0)
      text +=
          ", windows of " + std::to_string(result.window) + ": " + std::to_string(result.n_windows);
    text += ")\n";
  }
  if (result.n_questions > 0)
    text += "exact answers " + std::to_string(result.n_exact) + " of " +
            std::to_string(result.n_questions) + " (" +
            format("%.1f", 100.0 * static_cast<double>(result.n_exact) /
                               static_cast<double>(result.n_questions)) +
            "%)\n";
  write_stdout(text);
}

}  // namespace

int run_perplexity(std::span<const std::string> args) {
  Request request;
  Flags flags(
      "perplexity [MODEL] FILE",
      "How well the model predicts FILE. A text, with BOS in front if the model's texts have it, "
      "is cut into windows of -c tokens that do not overlap, and every token but the first of its "
      "window is scored; a last window that is not full is left out unless it is the only one. "
      "These are the windows of published figures (-c 2048, WikiText-2 joined by empty lines). Of "
      "a .jsonl, lines of {\"messages\": [...]} go through the model's chat "
      "template and the assistant's tokens are scored, the end token included; lines of "
      "{\"question\", \"answer\"} are answered greedily and counted if the answer is exactly "
      "that, white space at its ends aside.");
  std::string file;
  flags.add({"-f, --file", "FILE", "the same as FILE", "", to_path(file)});
  flags.add({"--bos", "", "start each window with BOS", "", to_switch(request.bos)});
  flags.add({"--lines", "N", "lines of a .jsonl to use; 0: all", "0",
             to_int(request.n_lines, 0, INT_MAX)});
  flags.add({"--chat-template", "NAME|FILE", "in place of the model's own", "",
             to_chat_template(request.chat_template)});
  flags.add({"--json", "", "print JSON", "", to_switch(request.common.json)});
  add_model_flags(flags, request.common);
  add_session_flags(flags, request.common);
  flags.add({"-c, --ctx-size", "N", "tokens of a window; 0: 2048 for a text, else the model's", "0",
             to_int(request.common.session.context, 0, INT_MAX)});
  auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (!file.empty()) arguments->push_back(file);
  if (arguments->empty()) throw UsageError("perplexity needs a FILE");
  const std::string path = arguments->back();
  arguments->pop_back();
  if (path.ends_with(".gguf") || path.ends_with(".nib"))
    throw UsageError("perplexity needs a FILE of text: \"" + path + "\" is a model");
  const std::string model_path = resolve_model_path(request.common, *arguments);

  const std::string text = read_text_file(path);
  const Model model = load_model(model_path, request.common);
  const Result result = path.ends_with(".jsonl") ? score_lines(model, request, text, path)
                                                 : score_text(model, request, text);
  const bool empty = result.score.n == 0 && result.n_questions == 0;
  if (empty && result.n_too_long > 0)
    throw Error(path, "holds nothing that fits the context", "a larger -c");
  if (result.n_too_long > 0)
    std::fprintf(stderr,
                 "nibble: %s: %zu replies or questions left out that do not fit the context (-c)\n",
                 path.c_str(), result.n_too_long);
  if (empty)
    throw Error(path, "holds nothing to predict", "a text of two tokens at least is needed");
  request.common.json ? print_json(result) : print_text(result);
  return 0;
}

}  // namespace nibble::tools
