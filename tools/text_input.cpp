#include "text_input.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "nibble/error.h"

namespace nibble::tools {
namespace {

/// A file, or standard input for "-", that is read from the start.
class InputFile {
 public:
  explicit InputFile(const std::string& path) : path_(path) {
    if (path.empty()) throw Error("FILE", "the path is empty");
    file_ = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
    if (!file_) fail();
  }
  ~InputFile() {
    if (file_ && file_ != stdin) std::fclose(file_);
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  FILE* get() const { return file_; }
  void check() const {
    if (std::ferror(file_) || !std::feof(file_)) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(path_ == "-" ? "standard input" : path_,
                std::string("cannot be read: ") + std::strerror(errno));
  }
  std::string path_;
  FILE* file_ = nullptr;
};

}  // namespace

std::string read_text_file(const std::string& path) {
  const InputFile file(path);
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, file.get())) text.append(buffer, n);
  file.check();
  return text;
}

void read_lines(const std::string& path, const std::function<void(std::string_view)>& line) {
  const InputFile file(path);
  char* text = nullptr;
  size_t capacity = 0;
  const std::unique_ptr<char*, void (*)(char**)> owner(&text, [](char** t) { std::free(*t); });
  ssize_t n = 0;
  while ((n = ::getline(&text, &capacity, file.get())) > 0) {
    const std::string_view all(text, static_cast<size_t>(n));
    line(all.substr(0, all.size() - (all.ends_with('\n') ? 1 : 0)));
  }
  file.check();
}

}  // namespace nibble::tools
