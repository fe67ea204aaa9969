// The command as people and scripts use it: chat and complete, statuses, files that are there.
// Terminals: test_terminal.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
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

void test_flags_of_llama_cpp() {
  const ChainModel model(kReply);
  check_eq(answer(command("complete", model, {"-p", "S", "-fa", "-no-cnv", "-n", "2"})), "ur");
  check_eq(answer(command("complete", model, {"-fa", "on", "-p", "S", "-n", "2", "-fa=off"})),
           "ur");
  check_refused({"complete", "-fa=x"}, 2, "\"x\" is none of on|off|auto");
  check_refused({"chat", "-no-cnv", "-p", "S"}, 2, "(`nibble complete` continues a text)");
}

void test_without_tokenizer() {
  const ChainModel model(kReply);
  std::filesystem::remove(model.file("tokenizer.json"));
  const std::string what = model.path() + ": holds no tokenizer (put tokenizer.json";
  check_refused(command("chat", model, {"-p", "hi"}), 1, what);
  check_refused(command("complete", model, {"-p", "S"}), 1, what);
}

// ---- files that are there
// ------------------------------------------------------------------------

bool has_parts(const TinyModel& model) {
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator(model.file("")))
    found = found || entry.path().string().find(".part") != std::string::npos;
  return found;
}

/// A file keeps its name until the new one is complete.
void test_logits_replaced() {
  const TinyModel model(0.3f);
  const std::string out = model.file("logits"), link = model.file("link");
  write_file(out, "mine");
  std::filesystem::permissions(out, std::filesystem::perms(0600));
  std::filesystem::create_symlink("logits", link);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const Run run = nibble_cli({"logits", model.path(), "--ids", "1,264", "-o", link});
  setrlimit(RLIMIT_FSIZE, &before);
  check_eq(run.status, 1, run.err);
  check_eq(read_file(out), "mine", "after an error");
  check(!has_parts(model), "nothing is left");

  write_file(model.file("ids"), "1,264");
  std::string at_ids = model.file("ids");
  at_ids.insert(0, 1, '@');
  check_refused({"logits", model.path(), "--ids", at_ids, "-o", model.file("./ids")}, 1,
                "is the file of --ids");
  answer({"logits", model.path(), "--ids", at_ids, "-o", link});
  check_eq(read_file(out).size(), size_t{2 * kVocab * 4}, "the new file");
  check(std::filesystem::is_symlink(link), "a link stays one");
  check(std::filesystem::status(out).permissions() == std::filesystem::perms(0600), "its mode");
  check(!has_parts(model), "nothing is left");
  answer({"logits", model.path(), "--ids", "1", "-o", "/dev/null"});
  check(std::filesystem::is_character_file("/dev/null"), "a device stays one");
}

void test_logits_interrupted() {
  const TinyModel model(0.3f);
  const std::string out = model.file("logits");
  write_file(out, "mine");
  std::string ids = "1";
  for (int i = 0; i < 200'000; ++i) ids += " 1";
  write_file(model.file("ids"), ids);
  std::string at_ids = model.file("ids");
  at_ids.insert(0, 1, '@');
  Terminal terminal(
      NIBBLE_CLI,
      {"logits", model.path(), "--ids", at_ids, "-o", out, "-c", "1000000", "--isa", "scalar"},
      model.file("state"));
  constexpr int kPatience = 60'000;  // milliseconds
  for (int i = 0; i < kPatience && !has_parts(model); ++i) ::usleep(1000);
  terminal.signal(SIGTERM);
  check_eq(terminal.finish(), 143);
  check_eq(read_file(out), "mine");
  check(!has_parts(model), "nothing is left");
}

void test_closed_output() {
  const TinyModel model(0.3f);
  const std::string err = model.file("err");
  const std::string line =
      quoted(NIBBLE_CLI) + " logits " + quoted(model.path()) + " --ids 1 -o - >&- 2>" + quoted(err);
  const int status = std::system(line.c_str());
  check(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status");
  check(read_file(err).starts_with("nibble: standard output: cannot be written"), read_file(err));
}

void test_quantize_files() {
  const TinyModel model(0.3f);
  const std::string out = model.file("a\nb.nib");
  write_file(out + ".part", "");
  check_refused({"quantize", model.path(), out, "--method", "awq+importance"}, 1,
                "is in the way, and no folder of unfinished work (move it away)");
  check_eq(read_file(out + ".part"), "");
  std::filesystem::remove(out + ".part");
  const Run run = nibble_cli({"quantize", model.path(), out});
  check_eq(run.status, 0, run.err);
  check(run.err.find("a b.nib: ") != std::string::npos, "one line: " + run.err);
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

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"usage", test_usage},
              {"unreadable input", test_unreadable_input},
              {"isa", test_isa},
              {"flags of llama.cpp", test_flags_of_llama_cpp},
              {"without a tokenizer", test_without_tokenizer},
              {"logits: a file is replaced", test_logits_replaced},
              {"logits: interrupted", test_logits_interrupted},
              {"logits: closed output", test_closed_output},
              {"quantize: files", test_quantize_files},
              {"complete", test_complete},
              {"complete json", test_complete_json},
              {"chat lines", test_chat_lines},
              {"chat template", test_chat_template}});
}
