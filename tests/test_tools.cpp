// The batch tools through the executable: quantize, perplexity, info, tokenize, logits.
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "chain_model.h"
#include "load/json.h"
#include "logits.h"
#include "terminal.h"
#include "tool_runner.h"

namespace {

using namespace nibble;
using namespace nibble::test;

/// Float32 [n, vocab] from the bytes that `nibble logits` writes.
std::vector<float> floats(const std::string& bytes) {
  check_eq(bytes.size() % sizeof(float), size_t{0}, "bytes of a float");
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// tokenize

void tokenize_lines() {
  const TinyModel model(0.1f);
  // " ab" -> (" ", "ab") -> " ab"; " aab" -> (" ", "a", "ab") -> (" a", "ab"); "c" is byte 0x63.
  const std::string expected = "264\n262 263\n259 102\n\n";
  const std::string input = "ab\naab\nc\n\n";
  check_eq(answer({"tokenize", model.path()}, input), expected, "standard input");
  check_eq(answer({"tokenize", "-m", model.path(), "aab"}), "262 263\n", "-m and a text");
  check_eq(answer({"tokenize", model.path(), "ab\nc"}), "264\n259 102\n", "model and text");
  write_file(model.file("in.txt"), input);
  check_eq(answer({"tokenize", model.path(), "--file", model.file("in.txt")}), expected, "--file");
  check_eq(answer({"tokenize", model.path(), "</s>", "--special"}), "2\n", "--special");
  check(answer({"tokenize", model.path(), "</s>"}) != "2\n", "special tokens are text");
}

/// A line is answered before the next one is there.
void tokenize_in_turns() {
  const TinyModel model(0.1f);
  Terminal terminal(NIBBLE_CLI, {"tokenize", model.path()}, model.file("state"));
  terminal.send("ab\n");
  terminal.expect("264");
  terminal.send("aab\n");
  terminal.expect("262 263");
  terminal.send("\x04");
  check_eq(terminal.finish(), 0);
  const Run folder = nibble_reading({"tokenize", model.path()}, model.file(""));
  check_eq(folder.status, 1, "a folder as standard input");
  check(folder.err.starts_with("nibble: standard input: cannot be read"), folder.err);
}

void tokenize_separator() {
  const TinyModel model(0.1f);
  write_file(model.file("in.txt"), "ab\n==\n\n==\na\nb\n==\n\n\n==\nc\n");
  // "a\nb" -> " a", 0x0a, "b"; a text that is one line break -> " ", 0x0a.
  check_eq(answer({"tokenize", model.path(), "-f", model.file("in.txt"), "--separator", "=="}),
           " 264\n\n 262 13 261\n 259 13\n 259 102\n");
}

void tokenize_ids_to_text() {
  const TinyModel model(0.1f);
  check_eq(answer({"tokenize", model.path(), "--ids", "262 263"}), "aab\n");
  check_eq(answer({"tokenize", model.path(), "--ids"}, "264\n262,263\n"), "ab\naab\n");
  check_refused({"tokenize", model.path(), "--ids", "265"}, 1, "265");
  check_refused({"tokenize", model.path(), "--ids", "12x"}, 1, "12x");
  check_eq(nibble_cli({"tokenize", model.path(), "--ids"}, "264\nab\n").status, 1, "a line");
  check_refused({"tokenize", model.file("none.gguf"), "ab"}, 1, "none.gguf");
}

void tokenize_published(const std::string& model, const std::string& cases) {
  const std::string inputs = shared(cases + ".inp");
  check_eq(
      answer({"tokenize", shared(model), "--file", inputs, "--separator", "__ggml_vocab_test__"}),
      read_file(shared(cases + ".out")), model);
}

void tokenize_vocab_files() {
  for (const char* name : {"llama-spm", "phi-3", "gpt-2", "falcon", "starcoder", "mpt"}) {
    const std::string file = std::string("data/vocab/ggml-vocab-") + name + ".gguf";
    tokenize_published(file, file);
  }
}

void tokenize_tokenizer_json() {
  tokenize_published("data/hf/llama-3", "data/vocab/ggml-vocab-llama-bpe.gguf");
  tokenize_published("data/hf/qwen2.5", "data/vocab/ggml-vocab-qwen2.gguf");
}

// logits

void logits_rows() {
  const TinyModel model(0.3f);
  const std::string file = model.file("logits");
  check_eq(answer({"logits", model.path(), "--ids", "1,264,262,263", "-o", file}), "", "output");
  const std::string bytes = read_file(file);
  check_eq(bytes.size(), size_t{4 * kVocab * 4}, "bytes of 4 rows");
  for (const float x : floats(bytes)) check(std::isfinite(x), "finite logits");

  write_file(model.file("ids"), "1 264,\n262, 263\n");
  std::string at_ids = model.file("ids");
  at_ids.insert(0, 1, '@');
  check(answer({"logits", model.path(), "--ids", at_ids, "-o", "-"}) == bytes,
        "@FILE and standard output give the same bytes");
  const std::string shorter = answer({"logits", model.path(), "--ids=1,264", "-o", "-"});
  check(shorter == bytes.substr(0, 2 * kVocab * 4), "a row does not depend on what follows");
}

void logits_refusals() {
  const TinyModel model(0.3f);
  const std::string out = model.file("logits");
  check_refused({"logits", model.path(), "--ids", "1,265", "-o", out}, 1, "265");
  check_refused({"logits", model.path(), "--ids", "1,-2", "-o", out}, 2, "-2");
  check_refused({"logits", model.path(), "--ids", "99999999999", "-o", out}, 2, "99999999999");
  check_refused({"logits", model.path(), "--ids", ",", "-o", out}, 2, "empty");
  check_refused({"logits", model.path(), "-o", out}, 2, "--ids");
  check_refused({"logits", model.path(), "--ids", "1"}, 2, "-o");
  check_refused({"logits", model.path(), "--ids", "1", "-o", model.file("no/where")}, 1,
                "no/where: cannot be created: No such file");
  std::string many = "1";
  for (int i = 0; i < kContext; ++i) many += ",1";
  check_refused({"logits", model.path(), "--ids", many, "-o", out}, 1, "256");

  const std::string before = read_file(model.path());
  check_refused({"logits", model.path(), "--ids", "1", "-o", model.file("./model.bin")}, 1,
                "is a file of the model");
  check(read_file(model.path()) == before, "the model is as it was");
}

void logits_published() {
  const std::vector<float> expected = read_logits(shared("data/quant/nano-Q4_0.logits"));
  std::string at_ids = shared("data/quant/ids.txt");
  at_ids.insert(0, 1, '@');
  const std::vector<float> found =
      floats(answer({"logits", shared("data/quant/nano-Q4_0.gguf"), "--ids", at_ids,
                     "--activations", "f32", "-o", "-"}));
  check_near(relative_norm(found, expected), 0, 1e-4, "relative error");
}

// perplexity

/// -log softmax in double precision of row `row` of logits [n, vocab].
double reference_nll(const std::vector<float>& logits, size_t row, int token) {
  double sum = 0;
  const float* x = logits.data() + row * kVocab;
  for (int i = 0; i < kVocab; ++i) sum += std::exp(static_cast<double>(x[i]));
  return std::log(sum) - static_cast<double>(x[token]);
}

void perplexity_matches_logits() {
  const TinyModel model(0.3f);
  write_file(model.file("text.txt"), "aab ab c aab");
  const std::string listed = answer({"tokenize", model.path(), "aab ab c aab"});
  std::vector<int> ids;
  std::istringstream in(listed);
  for (int id = 0; in >> id;) ids.push_back(id);
  check_eq(ids.size(), size_t{7}, "tokens of the text: " + listed);

  const auto check_windows = [&](const std::vector<std::vector<int>>& windows, const char* flag) {
    double sum = 0;
    size_t n = 0;
    for (const std::vector<int>& window : windows) {
      std::string list;
      for (const int id : window) list += (list.empty() ? "" : ",") + std::to_string(id);
      const auto logits = floats(answer({"logits", model.path(), "--ids", list, "-o", "-"}));
      for (size_t i = 0; i + 1 < window.size(); ++i, ++n)
        sum += reference_nll(logits, i, window[i + 1]);
    }
    std::vector<std::string> args = {"perplexity", model.path(), model.file("text.txt"), "--json"};
    args.insert(args.end(), {"-c", "4"});
    if (*flag) args.emplace_back(flag);
    const Json found = parse_json(answer(args), "out");
    check_eq(number(found, "predictions"), double(n), "predictions");
    check_eq(number(found, "windows"), double(windows.size()), "windows");
    check_near(number(found, "perplexity"), std::exp(sum / double(n)), 1e-3, "perplexity");
  };
  const int bos = 1;
  check_windows({{bos, ids[0], ids[1], ids[2]}, {ids[3], ids[4], ids[5], ids[6]}}, "");
  check_windows({{bos, ids[0], ids[1], ids[2]}, {bos, ids[3], ids[4], ids[5]}}, "--bos");
}

void perplexity_of_a_model_of_zeros() {
  const TinyModel model(0);
  write_file(model.file("text.txt"), "aab ab c aab");
  check_eq(answer({"perplexity", model.path(), model.file("text.txt")}),
           "perplexity 265.0000 +- 0.0000 (7 predictions, windows of 256: 1)\n");

  write_file(model.file("chat.jsonl"),
             R"({"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", )"
             R"("content": "cc"}, {"role": "user", "content": "b"}, {"role": "assistant", )"
             R"("content": "cc"}]})"
             "\n\n");
  const Json found = parse_json(answer({"perplexity", model.path(), model.file("chat.jsonl"),
                                        "--chat-template", "vicuna", "--json"}),
                                "out");
  check_near(number(found, "perplexity"), kVocab, 1e-3, "perplexity");
  // Each reply: two bytes that no token joins, a space before them, and </s>.
  check_eq(number(found, "predictions"), 8.0, "predictions");
}

void perplexity_refusals() {
  const TinyModel model(0.3f);
  const std::string empty = model.file("empty.txt"), lines = model.file("lines.jsonl");
  write_file(empty, "");
  check_refused({"perplexity", model.path(), empty}, 1, "nothing to predict");
  check_refused({"perplexity", model.path(), model.file("none.txt")}, 1, "none.txt");
  check_refused({"perplexity"}, 2, "FILE");
  check_refused({"perplexity", model.path(), empty, "-c", "1"}, 2, "-c");
  write_file(lines, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n{\"x\": 1}\n");
  const std::vector<std::string> args = {"perplexity", model.path(), lines, "--chat-template"};
  const auto with = [&](const std::string& name) {
    std::vector<std::string> all = args;
    all.push_back(name);
    return all;
  };
  check_refused(with("vicuna"), 1, "lines.jsonl:2");
  check_refused(with("no-such-template"), 2, "no-such-template");
  write_file(model.file("bad.jinja"), "{{");
  check_refused(with(model.file("bad.jinja")), 1, "bad.jinja: line 1");
  write_file(lines, "{\"messages\": [{\"role\": \"nobody\", \"content\": \"a\"}]}\n");
  check_refused(with("vicuna"), 1, "nobody");
  write_file(lines, "{\"messages\": 3}\n");
  check_refused(with("vicuna"), 1, "lines.jsonl:1");
  write_file(lines, "{\n");
  check_refused(with("vicuna"), 1, "lines.jsonl:1");
}

void perplexity_stories() {
  const std::string golden = shared("data/stories260K/golden.txt");
  for (const char* form : {"stories260K.gguf", "stories260K.bin"}) {
    const Json found =
        parse_json(answer({"perplexity", shared(std::string("data/stories260K/") + form), golden,
                           "--weights", "f32", "--json"}),
                   "out");
    check_eq(number(found, "predictions"), 257.0, form);
    check_near(number(found, "perplexity"), 1.6384, 1e-4, form);
  }
}

/// Under an emulator these take minutes and show nothing new.
void skip_if_emulated() {
  if (std::string(NIBBLE_CLI).ends_with("-emulated")) skip("takes long under an emulator");
}

void perplexity_chat() {
  skip_if_emulated();
  const Json found =
      parse_json(answer({"perplexity", shared("model/nibble-chat"), shared("model/heldout.jsonl"),
                         "--weights", "f16", "--json"}),
                 "out");
  check_near(number(found, "perplexity"), 1.0722, 2e-4, "assistant's tokens");
  check_eq(number(found, "too_long"), 0.0, "replies left out");
}

void perplexity_questions() {
  skip_if_emulated();
  const Json found =
      parse_json(answer({"perplexity", shared("model/nibble-chat"), shared("model/eval.jsonl"),
                         "--weights", "f16", "--lines", "250", "--json"}),
                 "out");
  check_eq(number(found, "questions"), 250.0, "questions");
  // One answer may hang on the order of additions.
  check_near(number(found, "exact"), 216, 1, "exact answers");
}

/// How long an answer may be does not hang on the answers before it.
void perplexity_answers_of_any_length() {
  const std::string reply = "Repyofmuch, wat:32b";
  const ChainModel model(reply);
  const std::string short_line = R"({"question": "q", "answer": "R"})";
  const std::string long_line = R"({"question": "q", "answer": ")" + reply + R"("})";
  for (const std::string& text :
       {short_line + "\n" + long_line + "\n", long_line + "\n" + short_line + "\n"}) {
    write_file(model.file("q.jsonl"), text);
    check_eq(answer({"perplexity", model.path(), model.file("q.jsonl"), "--chat-template", "chatml",
                     "--weights", "f32"}),
             "exact answers 1 of 2 (50.0%)\n", text);
  }
  // One that does not fit is left out; a byte order mark is no part of the first line.
  const std::string lines = R"({"question": ")" + std::string(300, 'q') + R"(", "answer": "R"})";
  const auto perplexity = [&] {
    return std::vector<std::string>{"perplexity", model.path(), model.file("q.jsonl"),
                                    "-c",         "200",        "--chat-template",
                                    "chatml",     "--weights",  "f32"};
  };
  write_file(model.file("q.jsonl"), "\xEF\xBB\xBF" + lines + "\n" + long_line + "\n");
  check_eq(answer(perplexity()), "exact answers 1 of 1 (100.0%)\n");
  write_file(model.file("q.jsonl"), lines);
  check_refused(perplexity(), 1, "nothing that fits the context");
}

// info

void info_json() {
  const TinyModel model(0.1f);
  const Json info = parse_json(
      answer({"info", model.path(), "--json", "--tensors", "-c", "16", "--weights", "f32"}), "out");
  check_eq(number(info, "parameters"), static_cast<double>(kParams), "parameters");
  check_near(number(info, "bits_per_weight"), 32, 0.5, "bits per weight");
  const Json* shape = info.find("shape");
  check(shape, "a shape");
  check_eq(number(*shape, "dim"), static_cast<double>(kDim));
  check_eq(number(*shape, "ffn_dim"), static_cast<double>(kFfn));
  check_eq(number(*shape, "vocab_size"), static_cast<double>(kVocab));
  check_eq(number(*shape, "context_length"), static_cast<double>(kContext));
  const Json* memory = info.find("memory");
  check(memory, "memory");
  check_eq(number(*memory, "context"), 16.0);
  check_eq(number(*memory, "total_bytes"),
           number(*memory, "weights_bytes") + number(*memory, "session_bytes"), "sum");
  const Json* tensors = info.find("tensors");
  check(tensors && !tensors->as_array("tensors").empty(), "tensors");
  // The norms are weights too, but none of the matrices that are listed.
  double bytes = 4.0 * (2 * kLayers + 1) * kDim;
  for (const Json& tensor : tensors->as_array("tensors")) bytes += number(tensor, "bytes");
  check_eq(bytes, number(info, "weight_bytes"), "bytes of the tensors");
}

void info_text() {
  const TinyModel model(0.1f);
  const std::string out = answer({"info", model.path()});
  for (const char* part : {"llama2.c", "2 layers, 32 wide", "265 tokens", "SentencePiece",
                           "bits per weight", "at context 256"})
    check(out.find(part) != std::string::npos, std::string(part) + " in:\n" + out);
  check_refused({"info", model.file("none.nib")}, 1, "none.nib");
  check_refused({"info", model.path(), "more"}, 2, "more");
}

// quantize

void quantize_file() {
  const TinyModel model(0.3f);
  const std::string out = model.file("out.nib");
  const Run run = nibble_cli({"quantize", model.path(), out, "--weights", "q8", "-t", "1"});
  check_eq(run.status, 0, run.err);
  check_eq(run.out, "", "standard output");
  check(run.err.find("bits per weight") != std::string::npos, run.err);
  check_eq(std::count(run.err.begin(), run.err.end(), '\n'), 1, "lines: " + run.err);

  const Json info = parse_json(answer({"info", out, "--json"}), "out");
  check_eq(number(info, "parameters"), static_cast<double>(kParams), "parameters");
  const std::vector<std::string> ids = {"--ids", "1,264,262", "-o", "-"};
  const auto logits = [&](std::vector<std::string> args) {
    args.insert(args.end(), ids.begin(), ids.end());
    return answer(args);
  };
  check(logits({"logits", out}) == logits({"logits", model.path(), "--weights", "q8"}),
        "the file gives the logits of the same weights quantized at load");
  check_eq(answer({"tokenize", out, "aab"}), "262 263\n", "the tokenizer is inside");

  const Run narrow = nibble_cli({"quantize", model.path(), out, "--weights", "q4_k_m"});
  check_eq(narrow.status, 0, narrow.err);
  check(narrow.err.find("no multiple of 256") != std::string::npos, narrow.err);
}

void quantize_refusals() {
  const TinyModel model(0.3f);
  const std::string before = read_file(model.path()), out = model.file("out.nib");
  check_refused({"quantize", model.path(), model.path()}, 1, "is the input itself");
  check_refused({"quantize", model.path(), model.file("./model.bin")}, 1, "is the input itself");
  check(read_file(model.path()) == before, "the input is as it was");
  check_refused({"quantize", model.path()}, 2, "IN and OUT");
  check_refused({"quantize", model.path(), out, "--method", "magic"}, 2, "none of rtn");
  check_refused({"quantize", model.path(), out, "--format", "onnx"}, 2, "none of nib");
  check_refused({"quantize", model.path(), out, "--group", "48"}, 2, "none of 32, 64, 128");
  check_refused({"quantize", model.path(), out, "--weights", "q3"}, 2, "none of auto, q4");
  check_refused({"quantize", model.path(), out, "--weights", "q4_k", "--group", "64"}, 2,
                "groups of 32, not of 64");
  check_refused({"quantize", model.file("none.bin"), out}, 1, "none.bin");
  check_refused({"quantize", model.path(), model.file("no/where.nib")}, 1, "no/where.nib");
  check_refused({"quantize", "", out}, 2, "is empty");
  check_refused({"quantize", model.path(), ""}, 2, "is empty");
  check_refused({"quantize", model.path(), "-"}, 2, "\"-\"");
  check(!std::filesystem::exists("-"), "standard output is no file");
  check_refused({"quantize", model.path(), out, "--method", "awq+awq"}, 2, "none of rtn");
  check_refused({"quantize", model.path(), out, "--calibration", ""}, 2, "the path is empty");
  check_refused({"quantize", model.path(), out, "--samples", "8"}, 2, "does not calibrate");
  check_refused({"quantize", model.path(), out, "--resume"}, 2, "keeps no finished layers");
  check_refused({"quantize", model.path(), out, "--isa", "z80"}, 1, "z80");
  setenv("NIBBLE_ISA", "z81", 1);
  check_refused({"quantize", model.path(), out}, 1, "z81");
  unsetenv("NIBBLE_ISA");
  check(!std::filesystem::exists(out), "nothing is written");
  check_eq(mkfifo(out.c_str(), 0600), 0);
  check_refused({"quantize", model.path(), out}, 1, "is not a regular file");
  check(std::filesystem::is_fifo(out), "what is no file is not replaced by one");
}

/// A directory's name may end with a slash. What its matrices have no whole groups of stays as it
/// is.
void quantize_to_directory() {
  const TinyModel model(0.3f);
  const Run run = nibble_cli({"quantize", model.path(), model.file("out/"), "--format", "awq"});
  check(run.err.find("ends with a slash") == std::string::npos, run.err);
}

/// Beyond the limit of the shell, as on a full disk.
void quantize_beyond_the_limit() {
  const TinyModel model(0.3f);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const Run run = nibble_cli({"quantize", model.path(), model.file("out.nib")});
  setrlimit(RLIMIT_FSIZE, &before);
  check_eq(run.status, 1, run.err);
  check(run.err.find("cannot write the file: ") != std::string::npos, run.err);
  for (const auto& entry : std::filesystem::directory_iterator(model.file("")))
    check(entry.path().string().find(".part") == std::string::npos, "nothing is left");
}

/// Who reads standard error may leave: the answer is a file.
void files_without_reader() {
  const ChainModel model("abc");
  write_file(model.file("text.txt"), "some text to calibrate with");
  check_eq(status_without_reader({"quantize", model.path(), model.file("out.nib"), "--method",
                                  "awq", "--calibration", model.file("text.txt"), "--group", "32"}),
           0, "quantize");
  check(answer({"info", model.file("out.nib")}).find("q4") != std::string::npos, "a whole file");
  check_eq(status_without_reader(
               {"logits", model.path(), "--ids", "1,2", "-v", "-o", model.file("logits")}),
           0, "logits");
  check_eq(read_file(model.file("logits")).size(), size_t{2 * ChainModel::kVocab * 4}, "bytes");
}

void quantize_methods() {
  const std::string help = answer({"quantize", "--help"});
  for (const char* name : {"rtn:", "awq:", " clip,", " importance,", " gptq:", " awq+clip,",
                           " awq+importance,", " awq+gptq:"})
    check(help.find(name) != std::string::npos, std::string(name) + " in: " + help);
}

// all of them

void help_and_usage() {
  for (const char* name : {"bench", "quantize", "perplexity", "info", "tokenize", "logits"}) {
    const Run help = nibble_cli({name, "--help"});
    check_eq(help.status, 0, name);
    check(help.out.find(std::string("nibble ") + name) != std::string::npos, help.out);
    const size_t section = help.out.find("\nmodel:\n");
    check(
        section == std::string::npos || help.out.find("\nmodel:\n", section + 1) > help.out.size(),
        "one section of a name: " + help.out);
    check_refused({name, "--no-such-flag"}, 2, "--no-such-flag");
  }
  const std::string help = answer({"perplexity", "--help"});
  check(help.find("--file FILE") < help.find("\nmodel:\n"), "-f is no matter of the context");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {
                 {"help and usage", help_and_usage},
                 {"tokenize: lines", tokenize_lines},
                 {"tokenize: in turns", tokenize_in_turns},
                 {"tokenize: separator", tokenize_separator},
                 {"tokenize: ids to text", tokenize_ids_to_text},
                 {"tokenize: vocab files", tokenize_vocab_files},
                 {"tokenize: tokenizer.json", tokenize_tokenizer_json},
                 {"logits: rows", logits_rows},
                 {"logits: refusals", logits_refusals},
                 {"logits: published", logits_published},
                 {"perplexity: matches logits", perplexity_matches_logits},
                 {"perplexity: a model of zeros", perplexity_of_a_model_of_zeros},
                 {"perplexity: refusals", perplexity_refusals},
                 {"perplexity: stories", perplexity_stories},
                 {"perplexity: chat", perplexity_chat},
                 {"perplexity: questions", perplexity_questions},
                 {"perplexity: answers of any length", perplexity_answers_of_any_length},
                 {"info: json", info_json},
                 {"info: text", info_text},
                 {"quantize: file", quantize_file},
                 {"quantize: refusals", quantize_refusals},
                 {"quantize: methods", quantize_methods},
                 {"quantize: to a directory", quantize_to_directory},
                 {"quantize: beyond the limit", quantize_beyond_the_limit},
                 {"files without a reader", files_without_reader},
             });
}
