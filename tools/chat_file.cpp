#include "chat_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/part_file.h"
#include "nibble/error.h"
#include "text/messages.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

/// The file that an argument of `command` means, where a link to it leads. No shell has seen it: ~/
/// is the home folder, and quotes around it are no part of the name.
std::string file_path(std::string argument, const std::string& command) {
  const char first = argument.empty() ? '\0' : argument.front();
  if (argument.size() > 1 && (first == '"' || first == '\'') && argument.back() == first)
    argument = argument.substr(1, argument.size() - 2);
  if (argument.empty() || argument == "-")
    throw Error("FILE", "is missing", "as in " + command + " chat.jsonl");
  const char* home = std::getenv("HOME");
  const std::string path =
      argument.starts_with("~/") && home && *home ? home + argument.substr(1) : argument;
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

/// Whether a file may be replaced: what else a user has under that name, many conversations among
/// it, is not lost to a slip.
bool is_conversation(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::ifstream in(path, std::ios::binary);
  std::string line;
  std::getline(in, line);
  return line.starts_with("{\"messages\":") && in.peek() == std::ifstream::traits_type::eof();
}

}  // namespace

void save_chat(const std::string& file, std::span<const Message> messages) {
  const std::string path = file_path(file, "/save");
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !is_conversation(path))
    throw Error(path, "is there already and is not one conversation", "take another name");
  const auto [part, fd] = create_part(path, 0600);  // what is said in a chat is for its user alone
  if (fd < 0) throw Error(path, std::string("cannot be written: ") + std::strerror(errno));
  ::close(fd);
  std::ofstream out(part, std::ios::binary);
  out << write_conversation(messages);
  out.close();
  if (out && std::rename(part.c_str(), path.c_str()) == 0) return;
  std::remove(part.c_str());
  throw Error(path, "cannot be written (is the disk full?)");
}

std::vector<Message> load_chat(const std::string& file) {
  const std::string path = file_path(file, "/load");
  return read_conversation(read_text_file(path), path);
}

}  // namespace nibble::tools
