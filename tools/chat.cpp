// `nibble chat`: a conversation in the terminal, or with lines from a pipe.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>

#include "args.h"
#include "chat_file.h"
#include "console.h"
#include "line_editor.h"
#include "signals.h"

namespace nibble::tools {
namespace {

struct ChatFlags : CommonOptions {
  TextOptions text;
  std::string system;
  TemplateOption chat_template;
};

constexpr const char* kHelp =
    "/clear        forget the conversation, keep the system prompt\n"
    "/regen        another reply to the last message\n"
    "/system TEXT  set the system prompt; without TEXT: show it; \"\": remove it\n"
    "/save FILE    keep the conversation in a file\n"
    "/load FILE    go on with the conversation of a file\n"
    "/stats        tokens and speed\n"
    "/exit         leave; Ctrl-D does so, too\n"
    "Ctrl-C stops a reply. Alt-Enter breaks a line. \"\"\" begins and ends a message of many\n"
    "lines, or one that looks like a command.";

/// A command and what follows it; no command is what has many lines or begins otherwise, "/* as
/// code does */" or "/as/a/path".
struct Command {
  std::string name, argument;
};
std::optional<Command> parse_command(const Input& input) {
  constexpr std::string_view kBlanks = " \t\n";
  if (input.is_block) return std::nullopt;
  std::string_view line = input.text;
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  line = line.substr(0, line.find_last_not_of(kBlanks) + 1);
  const std::string_view name = line.substr(0, line.find_first_of(kBlanks));
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool is_word = name.size() >= 2 && std::ranges::all_of(name.substr(1), is_lower);
  if (!line.starts_with('/') || !(is_word || name == "/?") || line.find('\n') != line.npos)
    return std::nullopt;
  const size_t argument = std::min(line.find_first_not_of(kBlanks, name.size()), line.size());
  return Command{std::string(name), std::string(line.substr(argument))};
}

/// One chat with a person or a pipe.
class Conversation {
 public:
  Conversation(const Model& model, const ChatFlags& flags, Interrupts& interrupts);

  int answer_once(const std::string& text);  // these return the exit status
  int answer_lines();
  int interact();

 private:
  /// What an input leads to: the exit status, or nothing to go on.
  std::optional<int> respond(const Input& input);
  std::optional<int> obey(const std::string& command, const std::string& argument);
  void set_system(const std::string& argument);
  std::string n_messages() const { return std::to_string(chat_.messages().size()) + " messages"; }
  std::string stats() const;
  /// Prints a reply as it comes; the signal that interrupted it, or 0.
  template <class Turn>
  int stream(Turn&& turn);

  const ChatFlags& flags_;
  Interrupts& interrupts_;
  Chat chat_;
  bool interactive_ = false;
  Reply last_;
  int n_new_ = 0;  // tokens of all replies
};

ChatOptions chat_options(const Model& model, const ChatFlags& flags) {
  ChatOptions options;
  options.system = flags.system;
  options.sampling = merged_sampling(model, flags);
  options.max_tokens = flags.text.predict;
  options.stop = flags.text.stops;
  options.chat_template = flags.chat_template.text;
  options.session = flags.session;
  options.max_draft = flags.text.max_draft;
  return options;
}

Conversation::Conversation(const Model& model, const ChatFlags& flags, Interrupts& interrupts)
    : flags_(flags), interrupts_(interrupts), chat_(model, chat_options(model, flags)) {}

template <class Turn>
int Conversation::stream(Turn&& turn) {
  bool at_line_start = true;
  const Interruptible scope(interrupts_, [this] { chat_.stop(); });
  const OnText print = [&](std::string_view text) {
    at_line_start = text.ends_with('\n');
    // chat_.stop() is without effect between the scope's begin and the turn's.
    return print_answer(text) && scope.signal() == 0;
  };
  was_resumed();  // before this turn is of no interest
  last_ = turn(print);
  if (was_resumed()) last_.prefill_s = last_.decode_s = 0;
  if (!at_line_start || last_.n_new == 0) print_answer("\n");
  n_new_ += last_.n_new;
  if (last_.stop == StopReason::context) {
    print_error("context: the " + std::to_string(chat_.context()) +
                " tokens are used up, the reply is cut there (" +
                (interactive_ ? "/clear, or " : "") + "start with a larger -c)");
  }
  if (flags_.verbose || (interactive_ && ::isatty(STDERR_FILENO))) {
    const bool stopped = last_.stop == StopReason::cancelled;
    const std::string times = stopped && last_.n_new == 0 ? "" : timings(last_, flags_.verbose);
    print_note("[" + times + (stopped ? times.empty() ? "stopped" : "; stopped" : "") + "]",
               flags_);
  }
  return scope.signal();
}

int Conversation::answer_once(const std::string& text) {
  const int signal = stream([&](const OnText& print) { return chat_.say(text, print); });
  return signal == 0 ? 0 : interrupted_status(signal);
}

int Conversation::answer_lines() {
  for (std::string line; std::getline(std::cin, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (const int status = answer_once(line)) return status;
    if (std::ferror(stdout)) break;
  }
  if (std::ferror(stdin)) throw Error("standard input", "cannot be read");
  return 0;
}

int Conversation::interact() {
  interactive_ = true;
  // Standard output is for answers; the prompt goes to the terminal in any case.
  const int terminal = ::isatty(STDERR_FILENO) ? STDERR_FILENO : ::open("/dev/tty", O_RDWR);
  LineEditor editor(STDIN_FILENO, terminal < 0 ? STDERR_FILENO : terminal,
                    History(History::default_path()),
                    {"/help", "/clear", "/regen", "/system", "/save", "/load", "/stats", "/exit"});
  while (true) {
    Input input;
    {
      const Interruptible scope(interrupts_, [&editor] { editor.wake(); });
      input = editor.read("> ");
      if (scope.signal() != 0) return interrupted_status(scope.signal());
    }
    if (input.end == InputEnd::interrupted) return interrupted_status(SIGINT);
    if (input.end != InputEnd::line) return 0;
    try {
      if (const std::optional<int> status = respond(input)) return *status;
    } catch (const Error& e) {
      print_error(naming_template(e, flags_.chat_template).what());
      // The conversation is as before.
      if (e.where() == "prompt" && !chat_.messages().empty())
        print_note("/clear forgets the conversation and makes room.", flags_);
    }
  }
}

std::optional<int> Conversation::respond(const Input& input) {
  if (input.text.find_first_not_of(" \t\n") == std::string::npos) return std::nullopt;
  if (const std::optional<Command> command = parse_command(input))
    return obey(command->name, command->argument);
  const int signal = stream([&](const OnText& print) { return chat_.say(input.text, print); });
  if (signal != 0 && signal != SIGINT) return interrupted_status(signal);
  return std::nullopt;
}

std::optional<int> Conversation::obey(const std::string& command, const std::string& argument) {
  const bool takes_one = command == "/system" || command == "/save" || command == "/load";
  if (!takes_one && !argument.empty()) {
    print_error(command + ": takes no argument, found \"" + argument + "\"");
  } else if (command == "/exit" || command == "/quit" || command == "/bye") {
    return 0;
  } else if (command == "/help" || command == "/?") {
    print_note(kHelp, flags_);
  } else if (command == "/clear") {
    chat_.reset();
    print_note("The conversation is forgotten.", flags_);
  } else if (command == "/regen") {
    const int signal = stream([&](const OnText& print) { return chat_.regenerate(print); });
    if (signal != 0 && signal != SIGINT) return interrupted_status(signal);
  } else if (command == "/system") {
    set_system(argument);
  } else if (command == "/save") {
    save_chat(argument, chat_.messages());
    print_note(n_messages() + " saved to " + argument, flags_);
  } else if (command == "/load") {
    chat_.set_messages(load_chat(argument));
    print_note(n_messages() + " loaded; the next reply reads them", flags_);
  } else if (command == "/stats") {
    print_note(stats(), flags_);
  } else {
    print_error(command + ": no such command (/help lists them)");
  }
  return std::nullopt;
}

void Conversation::set_system(const std::string& argument) {
  if (!argument.empty()) chat_.set_system(argument == "\"\"" ? "" : argument);
  const std::vector<Message>& messages = chat_.messages();
  const bool has_system = !messages.empty() && messages.front().role == Role::system;
  print_note("system prompt: " + (has_system ? messages.front().content : "none"), flags_);
}

std::string Conversation::stats() const {
  std::string text = n_messages() + ", " + std::to_string(chat_.position()) + " of " +
                     std::to_string(chat_.context()) + " tokens of context in use, " +
                     std::to_string(n_new_) + " generated";
  if (last_.n_new > 0) text += "\nlast reply: " + timings(last_);
  return text;
}

int chat(const std::string& path, const ChatFlags& flags) {
  Interrupts interrupts;
  const bool interactive = !flags.text.prompt && ::isatty(STDIN_FILENO);
  const Model model = load_model(path, flags);
  Conversation conversation(model, flags, interrupts);
  if (interactive && !flags.verbose && ::isatty(STDERR_FILENO)) print_model(path, model, flags);
  if (flags.text.prompt) return conversation.answer_once(*flags.text.prompt);
  if (!interactive) return conversation.answer_lines();
  print_note("/help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves.", flags);
  return conversation.interact();
}

}  // namespace

int run_chat(std::span<const std::string> args) {
  ChatFlags options;
  Flags flags("chat [MODEL]",
              "A conversation in the terminal. With -p one turn; with standard input not a "
              "terminal each line\nof it is a turn.");
  add_text_flags(flags, options.text);
  flags.add({"-sys, --system-prompt", "TEXT", "what the model is told first", "",
             to_string(options.system)});
  flags.add({"-sysf, --system-prompt-file", "FILE", "a file with it", "",
             [&options](const std::string& path) { options.system = read_prompt_file(path); }});
  flags.add({"--chat-template", "NAME|FILE", "in place of the model's own", "",
             to_chat_template(options.chat_template)});
  add_sampling_flags(flags, options);
  add_session_flags(flags, options);
  add_model_flags(flags, options);
  flags.add({"-no-cnv, --no-conversation", "", "refused: `nibble complete` continues a text", "",
             [](const std::string&) {
               throw UsageError("a chat is a conversation (`nibble complete` continues a text)");
             }});
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  const std::string path = resolve_model_path(options, *arguments, " (a prompt stands after -p)");
  try {
    return chat(path, options);
  } catch (const Error& e) {
    throw naming_template(e, options.chat_template);
  }
}

}  // namespace nibble::tools
