#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "args.h"
#include "batch.h"
#include "load/checkpoint.h"
#include "signals.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "logits are written as they lie");

constexpr size_t kPieceBytes = size_t{64} << 20;  // of logits computed at a time

/// A file that is written from the start, or standard output for "-".
class Output {
 public:
  explicit Output(const std::string& path) : path_(path) {
    file_ = path == "-" ? stdout : std::fopen(path.c_str(), "wb");
    if (!file_) throw Error(path, std::string("cannot be created: ") + std::strerror(errno));
  }
  ~Output() {
    if (finished_ || path_ == "-") return;
    if (file_) std::fclose(file_);
    std::error_code ignored;  // half of the logits are of no use; a device is left alone
    if (std::filesystem::is_regular_file(path_, ignored)) std::filesystem::remove(path_, ignored);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::span<const float> values) {
    if (std::fwrite(values.data(), sizeof(float), values.size(), file_) != values.size()) fail();
  }
  void close() {
    std::FILE* file = file_;
    file_ = nullptr;
    if (std::fflush(file) != 0 || (file != stdout && std::fclose(file) != 0)) fail();
    finished_ = true;
  }

 private:
  [[noreturn]] void fail() const { throw Error(path_, "cannot be written (is the disk full?)"); }
  std::string path_;
  std::FILE* file_ = nullptr;
  bool finished_ = false;
};

/// Error if `out` is a file of the model, which is mapped while the logits are written.
void refuse_overwriting_model(const std::string& model, const std::string& out) {
  std::error_code ignored;
  if (out == "-" || !std::filesystem::exists(out, ignored)) return;
  if (open_checkpoint(model).has_file(out))
    throw Error(out, "is a file of the model", "name another file");
}

std::vector<Token> parse_ids(const std::string& text) {
  if (text.empty()) throw UsageError("--ids is missing");
  return parse_ints(text[0] == '@' ? read_text_file(text.substr(1)) : text, 0, INT_MAX);
}

}  // namespace

int run_logits(std::span<const std::string> args) {
  CommonOptions options;
  std::string ids_text, out_path;
  Flags flags("logits [MODEL] --ids 1,2,3 -o FILE",
              "Writes the logits of every position as float32, little endian, [n, vocab].");
  flags.add({"--ids", "LIST", "token ids, or @FILE that holds them", "", to_string(ids_text)});
  flags.add({"-o, --output", "FILE", "where to; - is standard output", "", to_string(out_path)});
  add_model_flags(flags, options);
  add_session_flags(flags, options);
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  if (out_path.empty()) throw UsageError("-o FILE is missing");
  const std::vector<Token> ids = parse_ids(ids_text);
  if (ids.empty()) throw UsageError("--ids: the list is empty");
  const std::string path = resolve_model_path(options, *arguments);

  if (out_path != "-") outlive_readers();
  refuse_overwriting_model(path, out_path);
  const Model model = load_model(path, options);
  Session session(model, options.session);
  const size_t row_bytes = static_cast<size_t>(model.config().vocab_size) * sizeof(float);
  const size_t piece = std::max<size_t>(1, kPieceBytes / row_bytes);
  if (ids.size() > static_cast<size_t>(session.context()))
    throw Error("--ids", std::to_string(ids.size()) + " tokens do not fit the context of " +
                             std::to_string(session.context()));
  for (const Token id : ids)  // before the file is touched
    if (id >= model.config().vocab_size)
      throw Error("--ids", "the token " + std::to_string(id) + " is outside the vocabulary of " +
                               std::to_string(model.config().vocab_size));
  Output out(out_path);
  for (size_t begin = 0; begin < ids.size(); begin += piece) {
    const size_t n = std::min(piece, ids.size() - begin);
    out.write(session.eval(std::span(ids).subspan(begin, n), Logits::all));
  }
  out.close();
  return 0;
}

}  // namespace nibble::tools
