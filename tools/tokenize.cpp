#include <algorithm>
#include <climits>
#include <filesystem>
#include <optional>

#include "args.h"
#include "batch.h"
#include "load/checkpoint.h"
#include "text/vocabulary.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

/// The tokenizer alone: files that hold nothing else will do.
Tokenizer read_tokenizer(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return make_tokenizer(read_vocabulary_from_directory(path));
  return make_tokenizer(read_vocabulary(open_checkpoint(path)));
}

/// The lines of a text; a line break at its end starts no further line.
std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    lines.push_back(text.substr(pos, end - pos));
    pos = end + 1;
  }
  return lines;
}

/// The texts between lines that equal `separator`; the line break before a separator is not part
/// of the text, and after the last one nothing need follow.
std::vector<std::string_view> split_texts(std::string_view file, std::string_view separator) {
  std::vector<std::string_view> texts;
  size_t begin = 0;
  for (const std::string_view line : split_lines(file)) {
    if (line != separator) continue;
    const size_t at = static_cast<size_t>(line.data() - file.data());
    texts.push_back(file.substr(begin, at > begin ? at - 1 - begin : 0));
    begin = std::min(at + line.size() + 1, file.size());
  }
  if (begin < file.size()) {
    const std::string_view rest = file.substr(begin);
    texts.push_back(rest.substr(0, rest.size() - (rest.ends_with('\n') ? 1 : 0)));
  }
  return texts;
}

std::string ids_line(std::span<const Token> ids, bool leading_space) {
  std::string line;
  for (const Token id : ids) {
    if (leading_space || !line.empty()) line += ' ';
    line += std::to_string(id);
  }
  return line + '\n';
}

/// Whether the only argument is a model rather than a text.
bool names_model(const std::string& argument) {
  std::error_code ignored;
  if (std::filesystem::exists(argument, ignored)) return true;
  return std::ranges::any_of(std::to_array<std::string_view>({".gguf", ".nib", ".bin"}),
                             [&](std::string_view end) { return argument.ends_with(end); });
}

struct Request {
  CommonOptions common;
  std::string file, separator;
  bool to_text = false, special = false;
};

/// Takes the text off `arguments` if it is there.
std::optional<std::string> argument_text(const Request& request,
                                         std::vector<std::string>& arguments) {
  if (!request.file.empty()) return std::nullopt;
  const bool model_given = !request.common.model_path.empty();
  const bool has_text = arguments.size() >= 2 ||
                        (arguments.size() == 1 && (model_given || !names_model(arguments[0])));
  if (!has_text) return std::nullopt;
  std::string text = std::move(arguments.back());
  arguments.pop_back();
  return text;
}

/// The text is the input: what is wrong with it is no wrong usage.
std::vector<Token> read_ids(std::string_view text) {
  try {
    return parse_ints(text, 0, INT_MAX);
  } catch (const UsageError& e) {
    throw Error("--ids", e.what());
  }
}

/// Answers a line, or a text between separators.
void print(const Tokenizer& tokenizer, const Request& request, std::string_view text) {
  const Special special = request.special ? Special::parse : Special::as_text;
  if (request.to_text)
    write_stdout(tokenizer.decode(read_ids(text), request.special) + '\n');
  else
    write_stdout(ids_line(tokenizer.encode(text, special), !request.separator.empty()));
}

/// `given`: the text, unless a file or standard input holds it.
void print_all(const Tokenizer& tokenizer, const Request& request,
               const std::optional<std::string>& given) {
  const auto answer = [&](std::string_view text) { print(tokenizer, request, text); };
  const std::string file = request.file.empty() ? "-" : request.file;
  const bool separated = !request.separator.empty();
  if (!given && !separated) {  // who sends lines may wait for the answers
    read_lines(file, answer);
    return;
  }
  const std::string text = given ? *given : read_text_file(file);
  for (const std::string_view part :
       separated ? split_texts(text, request.separator) : split_lines(text))
    answer(part);
}

}  // namespace

int run_tokenize(std::span<const std::string> args) {
  Request request;
  Flags flags("tokenize [MODEL] [TEXT]",
              "Prints the token ids of each line of TEXT, of a file or of standard input, without "
              "BOS. A single argument is the MODEL if it names a file, else the TEXT. Only the "
              "tokenizer is read: a file or folder that holds nothing else will do.");
  flags.add({"-m, --model", "PATH", "the model", "", to_path(request.common.model_path)});
  flags.add({"-f, --file", "FILE", "tokenize the lines of FILE; - is standard input", "",
             to_path(request.file)});
  flags.add({"--separator", "S",
             "cut at lines that equal S instead: one line of ids for each text, a space before "
             "each id",
             "", to_string(request.separator)});
  flags.add({"--ids", "", "the other way: lines of ids to text", "", to_switch(request.to_text)});
  flags.add({"--special", "", "special tokens mean themselves; with --ids, show them", "",
             to_switch(request.special)});
  auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (arguments->size() > 2) throw UsageError("unexpected argument \"" + arguments->back() + "\"");
  const std::optional<std::string> text = argument_text(request, *arguments);
  const std::string path = resolve_model_path(request.common, *arguments);
  print_all(read_tokenizer(path), request, text);
  return 0;
}

}  // namespace nibble::tools
