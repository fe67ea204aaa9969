// For tests of the command: runs it, and makes a model so small that its figures are worked by
// hand.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "files.h"
#include "load/json.h"

namespace nibble::test {

struct Run {
  int status = -1;
  std::string out, err;
};

inline std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

/// Runs `nibble args`, with the file or folder `stdin_path` as standard input.
inline Run nibble_reading(const std::vector<std::string>& args, const std::string& stdin_path) {
  const TempDir temp;
  std::string command = quoted(NIBBLE_CLI);
  for (const std::string& arg : args) command.append(" ").append(quoted(arg));
  command.append(" <").append(quoted(stdin_path));
  command.append(" >").append(quoted(temp / "out"));
  command.append(" 2>").append(quoted(temp / "err"));
  const int status = std::system(command.c_str());
  if (!WIFEXITED(status)) fail("ended by a signal: " + command);
  return {WEXITSTATUS(status), read_file(temp / "out"), read_file(temp / "err")};
}

/// Runs `nibble args`, with `input` as standard input.
inline Run nibble_cli(const std::vector<std::string>& args, const std::string& input = {}) {
  const TempDir temp;
  write_file(temp / "in", input);
  return nibble_reading(args, temp / "in");
}

/// The exit status of `nibble args` whose standard error is a pipe that nobody reads any more.
inline int status_without_reader(const std::vector<std::string>& args) {
  constexpr int kPipe = 9;  // a digit, as shells want it
  int ends[2] = {};
  if (::pipe(ends) != 0 || ::dup2(ends[1], kPipe) < 0) fail("cannot make a pipe");
  for (const int end : ends) ::close(end);
  std::string command = quoted(NIBBLE_CLI);
  for (const std::string& arg : args) command.append(" ").append(quoted(arg));
  const int status = std::system(command.append(" 2>&9").c_str());
  ::close(kPipe);
  if (!WIFEXITED(status)) fail("ended by a signal: " + command);
  return WEXITSTATUS(status);
}

/// The output of a run that must succeed.
inline std::string answer(const std::vector<std::string>& args, const std::string& input = {}) {
  const Run run = nibble_cli(args, input);
  if (run.status != 0)
    fail("nibble " + args[0] + " ended with " + std::to_string(run.status) + ": " + run.err);
  return run.out;
}

inline void check_refused(const std::vector<std::string>& args, int status,
                          const std::string& part) {
  const Run run = nibble_cli(args);
  check_eq(run.status, status, "nibble " + args[0] + ": " + run.err);
  check(run.err.find(part) != std::string::npos,
        "the message is \"" + run.err + "\", expected it to say \"" + part + "\"");
  check(run.err.starts_with("nibble: "), "the message starts with \"nibble: \"");
  check_eq(std::count(run.err.begin(), run.err.end(), '\n'), 1, "lines of the message");
  check_eq(run.out, "", "standard output");
}

/// A member that must be there.
inline double number(const Json& object, const char* key) {
  const Json* value = object.find(key);
  if (!value) fail(std::string("no member ") + key);
  return value->as_number(key);
}

inline std::string text(const Json& object, const char* key) {
  const Json* value = object.find(key);
  if (!value) fail(std::string("no member ") + key);
  return value->as_string(key);
}

/// The rows that `nibble bench args` measures on one thread.
inline std::vector<Json> bench_rows(std::vector<std::string> args) {
  args.insert(args.begin(), "bench");
  args.insert(args.end(), {"-o", "jsonl", "-t", "1"});
  std::vector<Json> rows;
  std::istringstream lines(answer(args));
  for (std::string line; std::getline(lines, line);) rows.push_back(parse_json(line, "row"));
  return rows;
}

// A llama2.c model with a tokenizer of 265 tokens, so small that its figures are worked by hand.
inline constexpr int kDim = 32, kFfn = 48, kLayers = 2, kHeads = 4, kKvHeads = 2, kVocab = 265;
inline constexpr int kContext = 256;
inline constexpr int kKvDim = kDim / kHeads * kKvHeads;
inline constexpr int kParams = kVocab * kDim +
                               kLayers * (2 * kDim * kDim + 2 * kKvDim * kDim + 3 * kFfn * kDim) +
                               (2 * kLayers + 1) * kDim;

inline std::string tiny_tokenizer() {
  struct Entry {
    std::string text;
    float score;
  };
  std::vector<Entry> entries = {{"<unk>", 0}, {"<s>", 0}, {"</s>", 0}};
  constexpr char kHex[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    entries.push_back({std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", 0});
  entries.insert(entries.end(),
                 {{" ", -10}, {"a", -11}, {"b", -12}, {" a", -2}, {"ab", -1}, {" ab", -3}});
  check_eq(entries.size(), size_t{kVocab}, "tokens");
  std::string bytes;
  bytes += raw(int32_t{8});
  for (const Entry& entry : entries) {
    bytes += raw(entry.score);
    bytes += raw(static_cast<int32_t>(entry.text.size()));
    bytes += entry.text;
  }
  return bytes;
}

/// Weights within +-scale and norms of one; all zero for scale 0.
inline std::string tiny_weights(float scale) {
  std::string bytes;
  for (const int32_t n : {kDim, kFfn, kLayers, kHeads, kKvHeads, kVocab, kContext}) bytes += raw(n);
  uint32_t state = 12345;
  const auto random = [&](int count) {
    for (int i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      bytes += raw(scale * (static_cast<float>(state >> 8) * 0x1p-23f - 1.0f));
    }
  };
  const auto norm = [&](int count) {
    for (int i = 0; i < count; ++i) bytes += raw(scale > 0 ? 1.0f : 0.0f);
  };
  random(kVocab * kDim);
  norm(kLayers * kDim);
  random(kLayers * kDim * kDim);    // q
  random(kLayers * kKvDim * kDim);  // k
  random(kLayers * kKvDim * kDim);  // v
  random(kLayers * kDim * kDim);    // o
  norm(kLayers * kDim);
  random(3 * kLayers * kFfn * kDim);  // gate, down, up
  norm(kDim);
  random(kContext * (kDim / kHeads));  // RoPE tables that nobody reads
  return bytes;
}

/// A folder with model.bin and its tokenizer.
class TinyModel {
 public:
  explicit TinyModel(float scale) {
    write_file(path(), tiny_weights(scale));
    write_file(folder_ / "tok265.bin", tiny_tokenizer());
  }
  std::string path() const { return folder_ / "model.bin"; }
  std::string file(const std::string& name) const { return folder_ / name; }

 private:
  TempDir folder_;
};

}  // namespace nibble::test
