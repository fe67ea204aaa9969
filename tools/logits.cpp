#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "args.h"
#include "base/part_file.h"
#include "batch.h"
#include "load/checkpoint.h"
#include "signals.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "logits are written as they lie");

constexpr size_t kPieceBytes = size_t{64} << 20;  // of logits computed at a time

/// Where logits go: a file, which takes its name when it is complete, so that what had it before
/// is not lost to an error; or as they come standard output for "-", a device or a pipe.
class Output {
 public:
  explicit Output(const std::string& path) : name_(path == "-" ? "standard output" : path) {
    std::error_code ignored;
    const fs::file_status old = fs::status(path, ignored);
    if (path == "-")
      file_ = stdout;
    else if (path.starts_with("/dev/") || (fs::exists(old) && !fs::is_regular_file(old)))
      file_ = std::fopen(path.c_str(), "wb");
    else
      create_part_of(path, fs::exists(old) ? static_cast<mode_t>(old.permissions()) : 0666);
    if (!file_) throw Error(name_, std::string("cannot be created: ") + std::strerror(errno));
  }
  ~Output() {
    if (file_ && file_ != stdout) std::fclose(file_);
    if (has_part()) std::remove(part_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool has_part() const { return !part_.empty(); }
  void write(std::span<const float> values) {
    if (std::fwrite(values.data(), sizeof(float), values.size(), file_) != values.size()) fail();
  }
  void close() {
    std::FILE* file = std::exchange(file_, nullptr);
    if (std::fflush(file) != 0 || (file != stdout && std::fclose(file) != 0)) fail();
    if (has_part() && std::rename(part_.c_str(), target_.c_str()) != 0) fail();
    part_.clear();
  }

 private:
  void create_part_of(const std::string& path, mode_t mode) {
    std::error_code error;
    const fs::path leads_to = fs::canonical(path, error);  // a link stays one
    target_ = error ? path : leads_to.string();
    // A file that may not be written is not replaced either.
    if (!error && ::access(target_.c_str(), W_OK) != 0) return;
    const PartFile part = create_part(target_, mode);
    if (part.fd < 0) return;
    part_ = part.path;
    file_ = ::fdopen(part.fd, "wb");
  }
  [[noreturn]] void fail() const { throw Error(name_, "cannot be written (is the disk full?)"); }

  std::string name_;           // in errors
  std::string target_, part_;  // of a file; no part: it is not renamed
  std::FILE* file_ = nullptr;
};

/// Error if `out` is a file of the model or that of the ids.
void refuse_overwriting(const std::string& model, const std::string& ids, const std::string& out) {
  std::error_code ignored;
  if (out == "-" || !fs::exists(out, ignored)) return;
  if (ids[0] == '@' && fs::equivalent(ids.substr(1), out, ignored))
    throw Error(out, "is the file of --ids", "name another file");
  if (open_checkpoint(model).has_file(out))
    throw Error(out, "is a file of the model", "name another file");
}

std::vector<Token> parse_ids(const std::string& text) {
  if (text.empty()) throw UsageError("--ids is missing");
  return parse_ints(text[0] == '@' ? read_text_file(text.substr(1)) : text, 0, INT_MAX);
}

void check_ids(std::span<const Token> ids, const Session& session, const Config& config) {
  if (ids.size() > static_cast<size_t>(session.context()))
    throw Error("--ids", std::to_string(ids.size()) + " tokens do not fit the context of " +
                             std::to_string(session.context()));
  for (const Token id : ids)
    if (id >= config.vocab_size)
      throw Error("--ids", "the token " + std::to_string(id) + " is outside the vocabulary of " +
                               std::to_string(config.vocab_size));
}

/// Returns the exit status.
int write_logits(const std::string& path, const CommonOptions& options, std::span<const Token> ids,
                 const std::string& out_path) {
  Interrupts interrupts;
  const Model model = load_model(path, options);
  Session session(model, options.session);
  check_ids(ids, session, model.config());
  Output out(out_path);
  // Where there is no part to remove, a signal ends the process at once.
  std::atomic<bool> stopped = false;
  std::optional<Interruptible> scope;
  if (out.has_part())
    scope.emplace(interrupts, [&] {
      stopped = true;
      session.cancel();
    });
  const size_t row_bytes = static_cast<size_t>(model.config().vocab_size) * sizeof(float);
  const size_t piece = std::max<size_t>(1, kPieceBytes / row_bytes);
  for (size_t begin = 0; begin < ids.size(); begin += piece) {
    const size_t n = std::min(piece, ids.size() - begin);
    const auto logits = session.eval(ids.subspan(begin, n), Logits::all);
    if (stopped) return interrupted_status(scope->signal());
    out.write(logits);
  }
  out.close();
  return 0;
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
  refuse_overwriting(path, ids_text, out_path);
  return write_logits(path, options, ids, out_path);
}

}  // namespace nibble::tools
