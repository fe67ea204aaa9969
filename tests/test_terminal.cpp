// Chat on a terminal, as a person has it: editing, commands, signals.
#include <filesystem>
#include <string>
#include <vector>

#include "chain_model.h"
#include "check.h"
#include "terminal.h"
#include "tool_runner.h"

namespace {

using namespace nibble;
using namespace nibble::test;

const std::string kReply = "Sure, it\xc3\xa9.";

/// A terminal with a chat on it.
class ChatTerminal : public Terminal {
 public:
  explicit ChatTerminal(const ChainModel& model, std::vector<std::string> more = {})
      : Terminal(NIBBLE_CLI, command("chat", model, std::move(more)), model.file("state")) {}
};

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
  for (const char* none : {"", " \"\""}) {
    later.send("/load" + std::string(none) + "\r");
    later.expect("FILE: is missing (as in /load chat.jsonl)");
    later.expect("> ");
  }
  later.send("/load \"" + path + "\"\r");
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

/// A paste whose end mark is lost ends with the silence behind it.
void test_terminal_lost_paste() {
  const ChainModel model(kReply);
  ChatTerminal terminal(model);
  terminal.expect("> ");
  terminal.send("\x1b[200~a\rb");
  terminal.expect("  b");
  terminal.send("c\r");
  terminal.expect(kReply);
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  check_eq(read_file(model.file("state/nibble/history")), std::string("a\\nbc\n"));
}

void test_terminal_typed_ahead() {
  const ChainModel model("abcdefgh", 'a');  // without an end
  ChatTerminal terminal(model, {"-c", "1000000", "-n", "3000"});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect("abcdefghabc");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0, "Ctrl-D in a reply leaves after it");
}

/// Time in the shell is no time of the reply.
void test_terminal_resumed() {
  const ChainModel model("abcdefgh", 'a');
  ChatTerminal terminal(model, {"-c", "1000000", "--no-color"});
  terminal.expect("> ");
  terminal.send("hi\r");
  terminal.expect("abcdefghabc");
  terminal.signal(SIGSTOP);
  terminal.signal(SIGCONT);
  for (int i = 0; i < 100; ++i) terminal.expect("abcdefghabc");
  terminal.send("\x03");
  terminal.expect("[prompt 21 tokens; reply ");
  const std::string rest = terminal.expect("; stopped]");
  check(rest.find("t/s") == std::string::npos, rest);
  terminal.expect("> ");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
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
             {{"terminal", test_terminal},
              {"terminal save", test_terminal_save},
              {"terminal controls", test_terminal_controls},
              {"terminal editing", test_terminal_editing},
              {"terminal lost paste", test_terminal_lost_paste},
              {"terminal typed ahead", test_terminal_typed_ahead},
              {"terminal resumed", test_terminal_resumed},
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
