// Flags and the editing of input lines. The command is an executable: its sources are part of this.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <iterator>
#include <sstream>

#include "check.h"
#include "files.h"

// clang-format off
#include "../tools/args.cpp"
#include "../tools/model_path.cpp"
#include "../tools/text_input.cpp"
#include "../tools/console.cpp"
#include "../tools/edit_buffer.cpp"
// clang-format on

using namespace nibble;
using namespace nibble::test;
using namespace nibble::tools;

namespace {

/// fn must throw UsageError whose message contains `part`.
template <class Fn>
void check_usage(Fn&& fn, std::string_view part) {
  try {
    fn();
  } catch (const UsageError& e) {
    if (std::string_view(e.what()).find(part) != std::string_view::npos) return;
    fail("the error is \"" + std::string(e.what()) + "\", expected it to say \"" +
         std::string(part) + "\"");
  }
  fail("no usage error; expected one that says \"" + std::string(part) + "\"");
}

/// A subcommand with a flag of each kind.
struct Example {
  int threads = 0;
  float share = 0.5f;
  std::string name;
  bool quiet = false;
  Flags flags{"example [MODEL]", "An example."};

  Example() {
    flags.add({"-t, --threads", "N", "how many", "0", to_int(threads, 0, 8)});
    flags.section("other");
    flags.add({"--share", "X", "a share", "", to_float(share, 0, 1)});
    flags.add({"-n, --name", "TEXT", "a name", "", to_string(name)});
    flags.add({"-q", "", "say nothing", "", to_switch(quiet)});
  }
  std::string parse(std::vector<std::string> args) {
    std::string rest;
    const std::vector<std::string> arguments = flags.parse(args).value();
    for (const std::string& arg : arguments) rest += "[" + arg + "]";
    return rest;
  }
};

void test_forms() {
  Example e;
  check_eq(e.parse({"a", "-t", "4", "--share=0.25", "b", "-q", "--name", "x y"}),
           std::string("[a][b]"));
  check_eq(e.threads, 4);
  check_eq(e.share, 0.25f);
  check_eq(e.name, std::string("x y"));
  check(e.quiet);
  check_eq(e.parse({"-n", "-t", "-", "--", "-t", "--"}), std::string("[-][-t][--]"));
  check_eq(e.name, std::string("-t"), "a value may look like a flag");
  e.parse({"--name=a=b", "-t=8"});
  check_eq(e.name, std::string("a=b"));
  check_eq(e.threads, 8);
  e.parse({"--name="});
  check_eq(e.name, std::string());
}

void test_refused() {
  const auto refused = [](std::vector<std::string> args, std::string_view part) {
    Example e;
    check_usage([&] { e.parse(args); }, part);
  };
  refused({"--treads", "4"}, "unknown flag --treads (did you mean --threads?)");
  refused({"--zzzzzzzzz"}, "--help lists them");
  refused({"-t"}, "-t needs a value: N");
  refused({"-q=1"}, "-q takes no value");
  refused({"-t", "9"}, "-t: \"9\" is not a whole number, 0 to 8");
  for (const char* bad : {"", "x", "4x", " 4", "4 ", "1.5", "0x4", "-1", "99999999999999999999"})
    refused({"--threads", bad}, std::string("\"") + bad + "\" is not a whole number");
  for (const char* bad : {"", "x", "0.5x", " 0.5", "nan", "inf", "-0.1", "1.1"})
    refused({"--share", bad}, std::string("\"") + bad + "\" is not a number");
}

void test_help() {
  Example e;
  const std::string help = e.flags.help();
  for (const char* part : {"usage: nibble example [MODEL]\n", "An example.\n", "\nother:\n",
                           "  -t, --threads N", "how many (default 0)\n"})
    check(help.find(part) != std::string::npos, std::string("help lacks \"") + part + "\"");
  // A flag that is added again takes the place of the first.
  e.flags.add({"--threads", "LIST", "a list", "", to_string(e.name)});
  check(e.flags.help().find("how many") == std::string::npos);
  e.parse({"--threads", "1,2"});
  check_eq(e.name, std::string("1,2"));
}

void test_common_flags() {
  CommonOptions options;
  Flags flags("x", "y");
  add_sampling_flags(flags, options);
  add_session_flags(flags, options);
  add_model_flags(flags, options);
  std::istringstream line(
      "--temp 0 --top-k 7 -s 18446744073709551615 -c 100 -ctk q8_0 -ctv q8_0 --weights q8 "
      "--activations f32 --isa scalar -ngl 99 -fa -i --flash-attn off -no-cnv -fa=auto -t 3 -tb 4 "
      "-b 16 --repeat-last-n -1 file");
  const std::vector<std::string> args(std::istream_iterator<std::string>(line), {});
  check_eq(flags.parse(args).value().size(), size_t{1});
  check_eq(options.sampling.temperature, 0.0f);
  check_eq(options.sampling.top_k, 7);
  check(options.sampling.seed == UINT64_MAX);
  check_eq(options.sampling.repeat_last_n, -1);
  check_eq(options.session.context, 100);
  check_eq(options.session.batch, 16);
  check(options.session.k_type == KvType::q8_0 && options.session.v_type == KvType::q8_0);
  check(options.model.weights == WeightType::q8 && options.model.activations == Activations::f32);
  check_eq(options.model.isa, std::string("scalar"));
  check_eq(options.model.threads, 3);
  check_eq(options.model.threads_batch, 4);
  // What the flags gave is laid over what a model recommends, the rest stays the model's.
  SamplerOptions recommended;
  recommended.temperature = 0.3f;
  recommended.top_p = 0.9f;
  for (const auto& change : options.sampling_changes) change(recommended);
  check_eq(recommended.temperature, 0.0f);
  check_eq(recommended.top_p, 0.9f);

  const auto refused = [&](std::vector<std::string> bad, std::string_view part) {
    check_usage([&] { flags.parse(bad); }, part);
  };
  refused({"-ctk", "q4_0"}, "-ctk: \"q4_0\" is none of f16, q8_0, f32");
  refused({"-ctv", "f16"}, "-ctv: keys and values have the same type");
  refused({"-fa=2"}, "-fa: \"2\" is none of");
  refused({"--weights", "int3"}, "none of auto, q4, q8, f16, f32");
  refused({"--top-p", "1.5"}, "--top-p");
  refused({"--temp", "-1"}, "--temp");
  refused({"-s", "-2"}, "-s");
  refused({"-m", ""}, "-m: the path is empty");
  refused({"--repeat-penalty", "0"}, "--repeat-penalty: \"0\" is not a number, 0.01 or more");
}

void test_environment() {
  const auto parsed = [](std::vector<std::string> args) {
    CommonOptions options;
    Flags flags("x", "y");
    add_model_flags(flags, options);
    const std::vector<std::string> rest = flags.parse(args).value();
    return std::pair(options, resolve_model_path(options, rest));
  };
  setenv("NIBBLE_ISA", "scalar", 1);
  setenv("NIBBLE_THREADS", "5", 1);
  setenv("NIBBLE_MODEL", "/m", 1);
  check_eq(parsed({}).first.model.isa, std::string("scalar"));
  check_eq(parsed({}).first.model.threads, 5);
  check_eq(parsed({}).second, std::string("/m"));
  check_eq(parsed({"--isa", "avx2"}).first.model.isa, std::string("avx2"));
  check_eq(parsed({"-t", "1"}).first.model.threads, 1);
  check_eq(parsed({"argument"}).second, std::string("argument"));
  check_eq(parsed({"-m", "flag"}).second, std::string("flag"));
  check_usage([&] { parsed({"argument", "-m", "flag"}); }, "unexpected argument \"argument\"");
  setenv("NIBBLE_THREADS", "many", 1);
  check_usage([&] { parsed({}); }, "NIBBLE_THREADS: \"many\"");
  check_eq(parsed({"-t", "1"}).first.model.threads, 1, "a flag wins over whatever the variable is");
  for (const char* name : {"NIBBLE_ISA", "NIBBLE_THREADS", "NIBBLE_MODEL"}) unsetenv(name);
}

void test_nearest() {
  const std::vector<std::string_view> known = {"chat", "complete", "bench", "-t"};
  check_eq(nearest("chatt", known), std::string("chat"));
  check_eq(nearest("complet", known), std::string("complete"));
  check_eq(nearest("bnech", known), std::string("bench"), "neighbours swapped");
  check_eq(nearest("hact", known), std::string(), "two letters of four are too many");
  check_eq(nearest("-x", known), std::string(), "of two letters");
  check_eq(nearest("quantize", known), std::string());
}

void test_read_text_file() {
  const TempDir folder;
  const std::string text("a\0b\r\n", 5);
  write_file(folder / "f", text);
  check_eq(read_text_file(folder / "f"), text);
  check_error([&] { read_text_file(folder / "none"); }, "none: cannot be read: No such file");
  check_error([&] { read_text_file(folder.path()); }, "cannot be read");

  std::string lines;
  const auto collect = [&](std::string_view line) { lines.append(line).append("|"); };
  read_lines(folder / "f", collect);
  check_eq(lines, std::string("a\0b\r|", 5));
  lines.clear();
  write_file(folder / "f", "\na\n\nb");  // a line break at the end may be missing
  read_lines(folder / "f", collect);
  check_eq(lines, "|a||b|");
  check_error([&] { read_lines(folder / "none", collect); }, "none: cannot be read: No such file");
  check_error([&] { read_lines(folder.path(), collect); }, "cannot be read");
}

// ---- editing -----------------------------------------------------------------------------------

/// The text with a bar at the cursor.
std::string shown(const EditBuffer& buffer) {
  const std::string& text = buffer.text();
  return text.substr(0, buffer.cursor()).append("|").append(text, buffer.cursor());
}

void test_edit() {
  EditBuffer b;
  b.insert("ab");
  b.left();
  b.insert("\xc3\xa9");
  check_eq(shown(b), std::string("a\xc3\xa9|b"));
  b.left();
  check_eq(shown(b), std::string("a|\xc3\xa9"
                                 "b"));
  b.erase_right();
  check_eq(shown(b), std::string("a|b"));
  b.home();
  b.erase_left();
  b.left();
  check_eq(shown(b), std::string("|ab"));
  b.end();
  b.right();
  b.erase_right();
  check_eq(shown(b), std::string("ab|"));
  b.set("e\xcc\x81x");  // e and a combining accent
  b.left();
  b.left();
  check_eq(b.cursor(), size_t{0}, "the accent moves with its letter");
  b.right();
  check_eq(b.cursor(), size_t{3});
  b.set("\xff");
  check_eq(b.text(), std::string("\xef\xbf\xbd"), "no invalid bytes");
}

void test_edit_words_and_lines() {
  EditBuffer b;
  b.set("one  two\nthree four");
  b.kill_word();
  check_eq(shown(b), std::string("one  two\nthree |"));
  b.kill_to_start();
  check_eq(shown(b), std::string("one  two\n|"));
  b.word_left();
  check_eq(shown(b), std::string("one  |two\n"));
  b.home();
  check_eq(shown(b), std::string("|one  two\n"));
  b.word_right();
  check_eq(shown(b), std::string("one|  two\n"));
  b.kill_to_end();
  check_eq(shown(b), std::string("one|\n"));
}

void test_layout() {
  EditBuffer b;
  const auto rows = [&](size_t columns) {
    const Layout layout = lay_out(b, "> ", columns);
    std::string text;
    for (const std::string& row : layout.rows) text += "[" + row + "]";
    return text + std::to_string(layout.cursor_row) + "," + std::to_string(layout.cursor_col);
  };
  check_eq(rows(10), std::string("[> ]0,2"));
  b.set("abcdef");
  check_eq(rows(10), std::string("[> abcdef]0,8"));
  check_eq(rows(8), std::string("[> abcdef][]1,0"), "the cursor wraps behind a full row");
  check_eq(rows(5), std::string("[> abc][def]1,3"));
  b.set("a\nb");
  check_eq(rows(10), std::string("[> a][  b]1,3"));
  b.home();
  b.left();
  check_eq(rows(10), std::string("[> a][  b]0,3"));
  b.set("a\xe4\xb8\xad\xe4\xb8\xad");  // two characters of two columns
  check_eq(rows(5), std::string("[> a\xe4\xb8\xad][\xe4\xb8\xad]1,2"));
  b.set("\xe2\x9c\x85x");  // an emoji of two columns
  check_eq(rows(5), std::string("[> \xe2\x9c\x85x][]1,0"));
  for (const uint32_t wide : {0x231au, 0x26a1u, 0x2705u, 0x2b50u, 0x1f7e2u, 0x1f600u, 0x4e2du})
    check_eq(char_width(wide), 2, std::to_string(wide));
  for (const uint32_t narrow : {0x61u, 0xe9u, 0x1f321u, 0x2713u, 0xadu})
    check_eq(char_width(narrow), 1, std::to_string(narrow));
  for (const uint32_t mark : {0x301u, 0x5bfu, 0x93fu + 2, 0x1160u, 0x200du, 0xfe0fu})
    check_eq(char_width(mark), 0, std::to_string(mark));
  b.set("abc");
  check(rows(0).size() > 0 && rows(1).size() > 0, "no terminal is too narrow");
}

void test_blocks() {
  check(is_open_block("\"\"\""));
  check(is_open_block("\"\"\"a\nb"));
  check(!is_open_block("\"\"\"a\"\"\""));
  check(!is_open_block("a\"\"\""));
  check_eq(block_content("\"\"\"\na\nb\n\"\"\""), std::string("a\nb"));
  check_eq(block_content("\"\"\"a\"\"\""), std::string("a"));
  check_eq(block_content("say \"\"\""), std::string("say \"\"\""));
  check_eq(block_content("\"\"\"open"), std::string("\"\"\"open"));
}

/// Standard error on a pseudo-terminal, until it goes out of scope.
class ErrorTerminal {
 public:
  ErrorTerminal() {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0)
      skip("needs a pseudo-terminal");
    const int slave = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
    if (slave < 0) skip("needs a pseudo-terminal");
    ::dup2(slave, STDERR_FILENO);
    ::close(slave);
  }
  ~ErrorTerminal() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    ::close(master_);
  }
  std::string take() {
    std::string text(4096, '\0');
    const ssize_t n = ::read(master_, text.data(), text.size());
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return text;
  }

 private:
  int master_ = -1;
  int before_ = ::dup(STDERR_FILENO);
};

void test_progress_bar() {
  ErrorTerminal terminal;
  Progress bar = progress_bar("loading");
  check(bar != nullptr && bar(0.1), "it goes on");
  check_eq(terminal.take(), "", "in the first second");
  ::usleep(1'050'000);
  check(bar(0.5));
  const std::string shown = terminal.take();
  check(shown.find("\rloading [###############...............]  50%") == 0, shown);
  check(bar(0.501));
  check_eq(terminal.take(), "", "the same picture is not drawn again");
  wipe_progress_bar();
  check_eq(terminal.take(), "\r\x1b[K", "it makes room for a text");
  check(bar(0.6));
  check(terminal.take().starts_with("\rloading ["), "it comes again");
  bar = nullptr;
  check_eq(terminal.take(), "\r\x1b[K", "it is wiped out at the end");
}

void test_no_progress_bar() {
  const int before = ::dup(STDERR_FILENO), null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, STDERR_FILENO);
  const bool none = progress_bar("loading") == nullptr;
  ::dup2(before, STDERR_FILENO);
  ::close(before);
  ::close(null);
  check(none, "a bar only on a terminal");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"forms", test_forms},
              {"refused", test_refused},
              {"help", test_help},
              {"common flags", test_common_flags},
              {"environment", test_environment},
              {"nearest", test_nearest},
              {"read text file", test_read_text_file},
              {"edit", test_edit},
              {"edit words and lines", test_edit_words_and_lines},
              {"layout", test_layout},
              {"blocks", test_blocks},
              {"progress bar", test_progress_bar},
              {"no progress bar", test_no_progress_bar}});
}
