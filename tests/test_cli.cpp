// The command as people and scripts use it: chat and complete, statuses, signals, the terminal.
#include <filesystem>
#include <string>
#include <vector>

#include "chain_model.h"
#include "check.h"
#include "load/json.h"
#include "terminal.h"
#include "tool_runner.h"

namespace {

using namespace nibble;
using namespace nibble::test;

const std::string kReply = "Sure, it\xc3\xa9.";

std::vector<std::string> command(const char* name, const ChainModel& model,
                                 std::vector<std::string> more = {}) {
  std::vector<std::string> args = {name, model.path(), "--weights", "f32", "--temp", "0"};
  if (std::string(name) == "chat") args.insert(args.end(), {"--chat-template", "chatml"});
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

/// A terminal with a chat on it.
class ChatTerminal : public Terminal {
 public:
  explicit ChatTerminal(const ChainModel& model, std::vector<std::string> more = {})
      : Terminal(NIBBLE_CLI, command("chat", model, std::move(more)), model.file("state")) {}
};

// ---- usage -------------------------------------------------------------------------------------

void test_usage() {
  check(answer({"--help"}).find("\n  complete ") != std::string::npos);
  check(answer({"--version"}).find("\nkernels: ") != std::string::npos);
  for (const char* name :
       {"chat", "complete", "bench", "quantize", "perplexity", "info", "tokenize", "logits"}) {
    const std::string help = answer({name, "--help"});
    check(help.starts_with(std::string("usage: nibble ") + name), help);
  }
  check_refused({"caht"}, 2, "did you mean chat?");
  check_refused({"chat", "--tmep", "0"}, 2,
                "nibble: chat: unknown flag --tmep (did you mean --temp?)");
  check_refused({"chat", "-q"}, 2, "unknown flag -q (--help lists them)");
  check_refused({"chat", "--help=all"}, 2, "--help takes no value");
  check_eq(answer({"help", "chat"}), answer({"chat", "--help"}), "help of a subcommand");
  check_refused({"help", "caht"}, 2, "did you mean chat?");
  check_refused({"chat", ""}, 2, "MODEL: the path is empty");
  check_refused({"chat", "-m", ""}, 2, "-m: the path is empty");
  check_refused({"complete", "-f", ""}, 1, "FILE: the path is empty");
  check_refused({"perplexity", "m.gguf"}, 2, "needs a FILE of text");
  check_refused({"chat", "a", "b"}, 2, "unexpected argument \"b\" (a prompt stands after -p)");
  check_refused({"complete", "--temp", "x"}, 2, "--temp");
  check_refused({"chat", "none.gguf"}, 1, "none.gguf");
  check_refused({"chat", "no\x1b[31mne.gguf"}, 1, "no [31mne.gguf");
}

void test_isa() {
  const ChainModel model(kReply);
  check_refused(command("chat", model, {"-p", "hi", "--isa", "z80"}), 1, "z80");
  check_eq(answer(command("chat", model, {"-p", "hi", "--isa", "scalar"})), kReply + "\n");
}

void test_unreadable_input() {
  const ChainModel model(kReply);
  const TempDir folder;
  for (const char* name : {"chat", "complete"}) {
    const Run run = nibble_reading(command(name, model), folder.path());
    check_eq(run.status, 1, std::string(name) + " with a folder as standard input");
    check(run.err.starts_with("nibble: standard input: cannot be read"), run.err);
  }
}

// ---- complete ----------------------------------------------------------------------------------

void test_complete() {
  const ChainModel model(kReply);
  const auto run = [&](std::vector<std::string> more, const std::string& input = {}) {
    return answer(command("complete", model, std::move(more)), input);
  };
  const std::string rest = kReply.substr(1);
  check_eq(run({"-p", "S"}), rest, "the continuation only, to the byte");
  check_eq(run({}, "S\n"), rest, "from standard input, without the last line break");
  write_file(model.file("prompt"), "S\n");
  check_eq(run({"-f", model.file("prompt")}), rest);
  check_eq(run({"-p", "S", "-n", "2"}), std::string("ur"));
  check_eq(run({"-p", "S", "-r", ", "}), std::string("ure"));
  check_eq(run({"-p", "S", "-r", "xx", "-r", "e"}), std::string("ur"));
  check_refused(command("complete", model, {"-p", ""}), 1, "prompt");
  check_refused(command("complete", model, {"-p", "123456789", "-c", "8"}), 1, "context of 8");
  const Run cut = nibble_cli(command("complete", model, {"-p", "S", "-c", "4"}));
  check_eq(cut.status, 0);
  check_eq(cut.out, std::string("ure,"));
  check(cut.err.find("used up") != std::string::npos, "a full context is never silent");
}

void test_complete_json() {
  const ChainModel model(kReply);
  const auto run = [&](std::vector<std::string> more) {
    more.push_back("--json");
    return parse_json(answer(command("complete", model, std::move(more))), "answer");
  };
  const auto integer = [](const Json& json, const char* key) {
    return json.find(key)->as_int(key);
  };
  const Json json = run({"-p", "\nS"});
  check_eq(json.find("text")->as_string("text"), kReply.substr(1));
  check_eq(json.find("stop")->as_string("stop"), std::string("end"));
  check_eq(integer(json, "n_prompt"), 2);
  check_eq(integer(json, "n_new"), 10);
  check(json.find("prefill_s")->as_number("") >= 0 && json.find("decode_s")->as_number("") >= 0);
  check_eq(run({"-p", "S", "-n", "1"}).find("stop")->as_string("stop"), std::string("length"));
  check_eq(run({"-p", "S", "-r", "e"}).find("stop")->as_string("stop"), std::string("stop"));
  check_eq(integer(run({"-p", "<|im_end|>\nS"}), "n_prompt"), 12, "special tokens are text");
  check_eq(integer(run({"-p", "<|im_end|>\nS", "--special"}), "n_prompt"), 3);
  // The reply stands in the prompt already.
  const std::string repeated = kReply + " " + kReply + "\n";
  const Json drafted = run({"-p", repeated}), plain = run({"-p", repeated, "--draft", "0"});
  check(integer(drafted, "n_accepted") > 0, "guesses");
  check(integer(drafted, "n_accepted") <= integer(drafted, "n_drafted"));
  check_eq(integer(plain, "n_drafted"), 0);
  check_eq(drafted.find("text")->as_string("text"), plain.find("text")->as_string("text"));
}

// ---- chat without a terminal -------------------------------------------------------------------

void test_chat_lines() {
  const ChainModel model(kReply);
  const Run run = nibble_cli(command("chat", model), "hi\n\n  \r\nthere\r\nlast");
  check_eq(run.status, 0);
  check_eq(run.out, kReply + "\n" + kReply + "\n" + kReply + "\n");
  check_eq(run.err, std::string());
  check_eq(answer(command("chat", model)), std::string(), "no input, no output");
  check_eq(answer(command("chat", model, {"-p", "hi", "-n", "4"}), "ignored"), "Sure\n");
  const Run verbose = nibble_cli(command("chat", model, {"-p", "hi", "-v"}));
  check_eq(verbose.out, kReply + "\n");
  check(verbose.err.find("prompt 21 tokens") != std::string::npos, verbose.err);
  check(verbose.err.find('\x1b') == std::string::npos, "no colours but on a terminal");
  check_refused(command("chat", model, {"-p", "hi", "-c", "21"}), 1, "context of 21");
}

void test_chat_template() {
  const ChainModel model(kReply);
  check_refused({"chat", model.path(), "-p", "hi"}, 1, "without a template");
  check_refused({"chat", model.path(), "-p", "hi", "--chat-template", "x"}, 2, "known: ");
  write_file(model.file("t.jinja"),
             "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + "
             "'<|im_end|>\\n'}}{% endfor %}");
  check_eq(answer({"chat", model.path(), "-p", "hi", "--temp", "0", "--weights", "f32",
                   "--chat-template", model.file("t.jinja")}),
           kReply + "\n");
  const auto with = [&](const char* text) {
    write_file(model.file("bad.jinja"), text);
    return command("chat", model, {"-p", "hi", "--chat-template", model.file("bad.jinja")});
  };
  check_refused(with("{% for"), 1, "bad.jinja: line 1: ");
  check_refused(with("{{ raise_exception('no') }}"), 1, "bad.jinja: line 1: ");
  check_refused(with(""), 1, "bad.jinja: is empty");
  // <|im_start|> s y s t e m \n x <|im_end|> \n comes before the 21 tokens of the message.
  const Run run = nibble_cli(command("chat", model, {"-p", "hi", "-sys", "x", "-v"}));
  check(run.err.find("prompt 32 tokens") != std::string::npos, run.err);
  check(run.err.find("; loaded in ") != std::string::npos, run.err);
}

// ---- chat on a terminal ------------------------------------------------------------------------

void test_terminal() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model, {"--no-color"});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect(kReply);
  terminal.expect("[prompt 21 tokens");
  terminal.expect("> ");
  terminal.send("/regen\r");
  terminal.expect(kReply);
  terminal.expect("[prompt 1 tokens");
  terminal.expect("> ");
  terminal.send("/system be brief\r");
  terminal.expect("system prompt: be brief");
  terminal.expect("> ");
  terminal.send("/stats\r");
  terminal.expect("3 messages");
  terminal.expect("> ");
  terminal.send("/nonsense\r");
  terminal.expect("/nonsense: no such command (/help lists them)");
  terminal.expect("> ");
  // Messages, though they begin as commands do.
  for (const char* message : {"/* c */ int x;", "/", "/etc/passwd?", "\"\"\"/clear\"\"\"",
                              "\x1b[200~/clear\rall\x1b[201~"}) {
    terminal.send(std::string(message) + "\r");
    terminal.expect(kReply);
    terminal.expect("> ");
  }
  terminal.send("/stats \r");
  terminal.expect("13 messages");
  terminal.expect("> ");
  terminal.send("/help\r");
  terminal.expect("/regen  ");
  terminal.expect("> ");
  terminal.send("/clear\r");
  terminal.expect("forgotten");
  terminal.expect("> ");
  terminal.send("/st\t\r");  // Tab completes it
  terminal.expect("1 messages, 0 of ");
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0, "Ctrl-D");
}

void test_terminal_save() {
  const ChainModel model(kReply);
  const std::string path = model.file("my chat.jsonl");
  // A user's own file, under the name that is easily taken while a conversation is written.
  write_file(model.file("own"), "mine");
  std::filesystem::create_symlink(model.file("own"), path + ".part");
  ChatTerminal terminal(model, {"--no-color", "-sys", "be \"brief\""});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("/save " + path + "\r");
  terminal.expect("3 messages saved to ");
  terminal.expect("> ");
  terminal.send("/save\r");
  terminal.expect("FILE: is missing");
  terminal.expect("> ");
  write_file(model.file("other"), "mine");
  write_file(model.file("two"), "{\"messages\":[]}\n{\"messages\":[]}\n");
  for (const char* name : {"other", "two", "."}) {
    terminal.send("/save " + model.file(name) + "\r");
    terminal.expect("is there already and is not one conversation");
    terminal.expect("> ");
  }
  terminal.send("/save " + model.file("none/x") + "\r");
  terminal.expect("cannot be written: No such file");
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("/save " + path + "\r");
  terminal.expect("5 messages saved to ");
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  check_eq(read_file(model.file("other")), std::string("mine"));
  check_eq(read_file(path), R"({"messages":[{"role":"system","content":"be \"brief\""},)"
                            R"({"role":"user","content":"hi"},{"role":"assistant","content":")" +
                                kReply +
                                R"("},{"role":"user","content":"hi"},)"
                                R"({"role":"assistant","content":")" +
                                kReply + "\"}]}\n");
  check(std::filesystem::is_symlink(path + ".part"));
  check_eq(read_file(model.file("own")), std::string("mine"));
  check(std::filesystem::status(path).permissions() == std::filesystem::perms(0600));
  size_t n_parts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(model.file("")))
    n_parts += entry.path().string().find(".part-") != std::string::npos ? 1 : 0;
  check_eq(n_parts, size_t{0}, "nothing is left");

  ChatTerminal later(model, {"--no-color"});
  later.expect("> ");
  later.send("/load " + model.file("other") + "\r");
  later.expect("other: ");
  later.expect("> ");
  later.send("/load " + path + "\r");
  later.expect("5 messages loaded");
  later.expect("> ");
  later.send("hi\r");
  later.expect(kReply);
  later.expect("> ");
  later.send("/stats\r");
  later.expect("7 messages");
  later.expect("> ");
  later.send("\x04");
  check_eq(later.finish(), 0);

  ::setenv("HOME", model.path().c_str(), 1);  // no shell expands ~/ for these
  ChatTerminal home(model, {"--no-color"});
  home.expect("> ");
  home.send("/load ~/my chat.jsonl\r");
  home.expect("5 messages loaded");
  home.expect("> ");
  home.send("/save ~/copy.jsonl\r");
  home.expect("5 messages saved to ");
  home.expect("> ");
  write_file(model.file("old.jsonl"), "{\"messages\":[]}\n");
  std::filesystem::create_symlink("old.jsonl", model.file("link.jsonl"));
  home.send("/save ~/link.jsonl\r");
  home.expect("5 messages saved to ");
  home.expect("> ");
  home.send("\x04");
  check_eq(home.finish(), 0);
  check_eq(read_file(model.file("copy.jsonl")), read_file(path));
  check(std::filesystem::is_symlink(model.file("link.jsonl")), "a link stays one");
  check_eq(read_file(model.file("old.jsonl")), read_file(path), "what it leads to is saved");
  // What other commands read.
  answer({"perplexity", model.path(), path, "--weights", "f32", "--chat-template", "chatml"});
}

/// Nothing of a file or of a model drives the terminal.
void test_terminal_controls() {
  const ChainModel model(
      "ab\x1b[31m\xc2\x9b"
      "c.");
  write_file(model.file("x.jsonl"), R"({"messages":[{"role":"system",)"
                                    R"("content":"s\u001b]0;t\u0007\u009bm"}]})"
                                    "\n");
  ChatTerminal terminal(model, {"--no-color"});
  terminal.expect("> ");
  terminal.send("/load " + model.file("x.jsonl") + "\r");
  terminal.expect("1 messages loaded");
  terminal.expect("> ");
  terminal.send("/system\r");
  terminal.expect("system prompt: s]0;tm\r\n");
  terminal.expect("> ");
  terminal.send("/clear\r");
  terminal.expect("forgotten");
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect("ab[31mc.\r\n");
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  const Run piped = nibble_cli(command("chat", model, {"-p", "hi"}));
  check_eq(piped.out,
           std::string("ab\x1b[31m\xc2\x9b"
                       "c.\n"),
           "as it is");
}

void test_terminal_editing() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model);
  terminal.expect("> ");
  terminal.send("xi!\x7f\x01\x1b[3~h\x1b[F?\r");  // Backspace, Ctrl-A, Delete, End
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("draft\x1b[A\x1b[B\x15\xc3\xa9\xc3\xa8\x1b[D\x08\r");  // up, down, Ctrl-U, left
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x1b[A\x1b[A!\r");  // two lines back
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x1b[200~a\rb\x1b[201~\r");  // a paste of two lines
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\"\"\"\rc\rd\"\"\"\r");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("half a line\x03\x03");  // the first clears the line, the second leaves
  check_eq(terminal.finish(), 130);
  check_eq(read_file(model.file("state/nibble/history")),
           std::string("hi?\n\xc3\xa8\nhi?!\na\\nb\n\"\"\"\\nc\\nd\"\"\"\n"));

  ChatTerminal later(model);
  later.expect("> ");
  later.send("\x1b[A\x1b[A");
  later.expect("> a");
  later.expect("  b");
  later.send("\x15\x15\x7f\x15\x04");  // clears both lines
  check_eq(later.finish(), 0);
}

void test_terminal_resized() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model);
  terminal.expect("> ");
  terminal.resize(80, 24);
  terminal.send("\"\"\"" + std::string(27, 'x') + "\r" + std::string(30, 'y'));
  terminal.expect(std::string(30, 'y'));
  terminal.resize(20, 24);  // both rows take two now
  terminal.send("z");
  terminal.expect("\r\x1b[3A\x1b[J> \"\"\"xxx");
  terminal.send("\x03\x03");
  check_eq(terminal.finish(), 130);
}

/// A terminal without bracketed paste sends a text key by key.
void test_terminal_typed_paste() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model, {"-c", "8000"});
  terminal.expect("> ");
  constexpr size_t kSize = 3000;
  terminal.send(std::string(kSize, 'x') + "\r");
  check(terminal.expect(kReply).size() < 100 * kSize, "it is not drawn with every key");
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
}

/// Escape before a key takes nothing of it.
void test_terminal_escape() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model);
  terminal.expect("> ");
  terminal.send("ac\x1b\x1b[Db\x1b[F\x1b\xc3\xa9\r");  // Escape, left; Alt with a letter
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  check_eq(read_file(model.file("state/nibble/history")), std::string("abc\xc3\xa9\n"));
}

/// Bytes that are no UTF-8 swallow no key.
void test_terminal_latin1() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model);
  terminal.expect("> ");
  terminal.send("caf\xe9\r");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  check_eq(read_file(model.file("state/nibble/history")), std::string("caf\xef\xbf\xbd\n"));
}

void test_terminal_interrupt() {
  const ChainModel model("abcdefgh", 'a');  // without an end
  ChatTerminal terminal(model, {"-c", "1000000"});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect("abcdefghabc");
  terminal.send("\x03");
  terminal.expect("; stopped]");
  terminal.expect("> ");
  terminal.send("/stats\r");
  terminal.expect("2 messages");
  terminal.expect("> ");
  terminal.send("\x03");
  check_eq(terminal.finish(), 130);
}

void test_terminal_signals() {
  const ChainModel model("abcdefgh", 'a');
  {
    ChatTerminal at_prompt(model);
    at_prompt.expect("> ");
    at_prompt.signal(SIGTERM);
    check_eq(at_prompt.finish(), 143);
  }
  {
    ChatTerminal in_reply(model, {"-c", "1000000"});
    in_reply.expect("> ");
    in_reply.send("hi\r");
    in_reply.expect("abcdefghabc");
    in_reply.signal(SIGTERM);
    check_eq(in_reply.finish(), 143);
  }
  {
    ChatTerminal quit(model, {"-c", "1000000"});
    quit.expect("> ");
    quit.send("hi\r");
    quit.expect("abcdefghabc");
    quit.send("\x1c");
    check_eq(quit.finish(), 131, "Ctrl-\\");
  }
  ChatTerminal once(model, {"-c", "1000000", "-p", "hi"});
  once.expect("abcdefghabc");
  once.send("\x03");
  check_eq(once.finish(), 130, "not interactive");
}

/// The second one may come before the first is obeyed: finish() looks at the terminal's mode.
void test_terminal_two_signals() {
  const ChainModel model("abcdefgh");
  for (int i = 0; i < 5; ++i) {
    ChatTerminal at_prompt(model);
    at_prompt.expect("> ");
    for (const int signal : {SIGSTOP, SIGHUP, SIGTERM, SIGCONT}) at_prompt.signal(signal);
    const int status = at_prompt.finish();
    check(status == 128 + SIGHUP || status == 128 + SIGTERM, std::to_string(status));
  }
}

void test_terminal_overflow() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model, {"-c", "40"});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect(kReply);
  terminal.send("hi\r");
  terminal.expect("no room in a context of 40");
  terminal.expect("/clear forgets");
  terminal.expect("> ");
  terminal.send("/stats\r");
  terminal.expect("2 messages");
  terminal.expect("> ");
  terminal.send("/save " + model.file("x.jsonl") + "\r");
  terminal.expect("2 messages saved");
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);

  ChatTerminal loaded(model, {"-c", "40"});  // nothing is in the context yet
  loaded.expect("> ");
  loaded.send("/load " + model.file("x.jsonl") + "\r");
  loaded.expect("2 messages loaded");
  loaded.expect("> ");
  loaded.send("hi\r");
  loaded.expect("no room in a context of 40");
  loaded.expect("/clear forgets");
  loaded.expect("> ");
  loaded.send("\x04");
  check_eq(loaded.finish(), 0);
}

/// A terminal that can only print: what follows the chat begins a line.
void test_terminal_dumb() {
  const ChainModel model(kReply);
  std::vector<std::string> args = {"TERM=dumb", NIBBLE_CLI};
  for (const std::string& arg : command("chat", model)) args.push_back(arg);
  Terminal terminal("/usr/bin/env", args, model.file("state"));
  terminal.expect("> ");
  terminal.send("hi\n");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x04");
  terminal.expect("\n");
  check_eq(terminal.finish(), 0, "Ctrl-D");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"usage", test_usage},
              {"unreadable input", test_unreadable_input},
              {"isa", test_isa},
              {"complete", test_complete},
              {"complete json", test_complete_json},
              {"chat lines", test_chat_lines},
              {"chat template", test_chat_template},
              {"terminal", test_terminal},
              {"terminal save", test_terminal_save},
              {"terminal controls", test_terminal_controls},
              {"terminal editing", test_terminal_editing},
              {"terminal resized", test_terminal_resized},
              {"terminal typed paste", test_terminal_typed_paste},
              {"terminal escape", test_terminal_escape},
              {"terminal latin-1", test_terminal_latin1},
              {"terminal interrupt", test_terminal_interrupt},
              {"terminal signals", test_terminal_signals},
              {"terminal two signals", test_terminal_two_signals},
              {"terminal overflow", test_terminal_overflow},
              {"terminal dumb", test_terminal_dumb}});
}
