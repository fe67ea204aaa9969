// `nibble complete`: continues a text, without any template.
#include <unistd.h>

#include <cstdio>

#include "args.h"
#include "chat/generator.h"
#include "console.h"
#include "load/json.h"
#include "signals.h"

namespace nibble::tools {
namespace {

struct CompleteOptions : CommonOptions {
  TextOptions text;
  bool special = false;
};

std::vector<Token> encode(const Tokenizer& tokenizer, const CompleteOptions& options) {
  std::vector<Token> tokens =
      tokenizer.encode(*options.text.prompt, options.special ? Special::parse : Special::as_text);
  const bool has_bos = !tokens.empty() && tokens.front() == tokenizer.bos();
  if (tokenizer.add_bos() && !has_bos) tokens.insert(tokens.begin(), tokenizer.bos());
  return tokens;
}

std::string to_json(const Reply& reply) {
  return write_json(Json::Object{{"text", reply.text},
                                 {"stop", stop_name(reply.stop)},
                                 {"n_prompt", reply.n_prompt},
                                 {"n_new", reply.n_new},
                                 {"n_drafted", reply.n_drafted},
                                 {"n_accepted", reply.n_accepted},
                                 {"prefill_s", reply.prefill_s},
                                 {"decode_s", reply.decode_s}}) +
         "\n";
}

int complete(const std::string& path, const CompleteOptions& options) {
  Interrupts interrupts;
  const Model model = load_model(path, options);
  Generator generator(model, options.session, merged_sampling(model, options));
  const std::vector<Token> prompt = encode(model.tokenizer(), options);

  const Interruptible scope(interrupts, [&generator] { generator.stop(); });
  const OnText on_text = [&](std::string_view text) { return options.json || print_answer(text); };
  const Reply reply = generator.run(prompt,
                                    {.max_tokens = options.text.predict,
                                     .stops = options.text.stops,
                                     .max_draft = options.text.max_draft},
                                    on_text);
  if (options.json) print_answer(to_json(reply));
  // Elsewhere the answer is exact to the byte.
  else if (::isatty(STDOUT_FILENO))
    print_answer("\n");
  if (reply.stop == StopReason::context) {
    print_error("context: the " + std::to_string(generator.context()) +
                " tokens are used up, the text is cut there (start with a larger -c)");
  }
  if (options.verbose) {
    print_note(timings(reply) + "; stopped by " + stop_name(reply.stop) + "; seed " +
                   std::to_string(generator.seed()),
               options);
  }
  return scope.signal() == 0 ? 0 : interrupted_status(scope.signal());
}

}  // namespace

int run_complete(std::span<const std::string> args) {
  CompleteOptions options;
  Flags flags("complete [MODEL] -p TEXT",
              "Continues a text as the model would, and prints the continuation only. Without -p "
              "or -f the\ntext is read from standard input.");
  add_text_flags(flags, options.text);
  flags.add({"--special", "", "texts of special tokens in the prompt are these tokens", "",
             to_switch(options.special)});
  flags.add(
      {"--json", "",
       "one JSON object: text, stop, n_prompt, n_new, n_drafted, n_accepted, prefill_s, decode_s",
       "", to_switch(options.json)});
  add_sampling_flags(flags, options);
  add_session_flags(flags, options);
  add_model_flags(flags, options);
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  const std::string path = resolve_model_path(options, *arguments, " (a prompt stands after -p)");
  if (!options.text.prompt) {
    if (::isatty(STDIN_FILENO)) throw UsageError("there is no prompt (give -p TEXT or -f FILE)");
    options.text.prompt = read_prompt_file("-");
  }
  return complete(path, options);
}

}  // namespace nibble::tools
