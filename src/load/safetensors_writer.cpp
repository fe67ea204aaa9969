#include "load/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/checked.h"
#include "base/part_file.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

Json entry_json(const char* dtype, std::span<const uint64_t> shape, uint64_t begin, uint64_t end) {
  Json::Array dims;
  for (const uint64_t n : shape) dims.push_back(static_cast<int64_t>(n));
  return Json::Object{
      {"dtype", dtype},
      {"shape", std::move(dims)},
      {"data_offsets", Json::Array{static_cast<int64_t>(begin), static_cast<int64_t>(end)}},
  };
}

void check_entry(const SafetensorsWriter::Entry& entry, const std::string& path) {
  const std::string where = path + ": tensor " + printable(entry.name);
  if (entry.name.starts_with(kPaddingPrefix) || entry.name == "__metadata__")
    throw Error(where, "its name is reserved");
  if (entry.type > DType::boolean)
    throw Error(where, std::string("safetensors has no type ") + dtype_info(entry.type).name);
  const uint64_t bytes = tensor_bytes(entry.type, entry.shape, where);
  if (bytes != entry.bytes)
    throw Error::mismatch(where, "its size", std::to_string(bytes), std::to_string(entry.bytes));
}

}  // namespace

struct SafetensorsWriter::Impl {
  std::string path;
  PartFile part;
  std::vector<Entry> entries;
  uint64_t alignment = 0;
  size_t current = 0;    // index into `entries`
  uint64_t written = 0;  // bytes of the current entry
  std::vector<std::byte> buffer;

  ~Impl() {
    if (part.fd < 0) return;
    ::close(part.fd);
    ::unlink(part.path.c_str());
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(path, what + ": " + std::strerror(errno));
  }

  uint64_t padding(uint64_t bytes) const { return round_up(bytes, alignment) - bytes; }

  void create() {
    part = create_part(path, 0666);
    if (part.fd < 0) fail("cannot create the file");
  }

  void write_header(const std::vector<std::pair<std::string, std::string>>& metadata) {
    Json::Object header, meta;
    for (const auto& [key, value] : metadata) meta.emplace_back(key, value);
    if (!meta.empty()) header.emplace_back("__metadata__", std::move(meta));
    uint64_t offset = 0, n_pads = 0;
    const auto add = [&](const std::string& name, DType type, std::span<const uint64_t> shape,
                         uint64_t bytes) {
      const uint64_t end = checked_add(offset, bytes, path);
      header.emplace_back(name, entry_json(dtype_info(type).name, shape, offset, end));
      offset = end;
    };
    for (const Entry& entry : entries) {
      add(entry.name, entry.type, entry.shape, entry.bytes);
      const uint64_t pad = padding(entry.bytes);  // each starts aligned, so only its size counts
      if (pad > 0 && &entry != &entries.back())
        add(std::string(kPaddingPrefix) + std::to_string(n_pads++), DType::u8, {{pad}}, pad);
    }
    std::string text = write_json(header);
    text.append(padding(sizeof(uint64_t) + text.size()), ' ');
    static_assert(std::endian::native == std::endian::little);
    const uint64_t length = text.size();
    put(std::as_bytes(std::span(&length, 1)));
    put(std::as_bytes(std::span(text)));
  }

  void put(std::span<const std::byte> data) {
    if (buffer.size() + data.size() > kBufferBytes) flush();
    if (data.size() > kBufferBytes) return put_now(data);
    buffer.insert(buffer.end(), data.begin(), data.end());
  }

  void flush() {
    put_now(buffer);
    buffer.clear();
  }

  void put_now(std::span<const std::byte> data) {
    while (!data.empty()) {
      const ssize_t n = ::write(part.fd, data.data(), std::min(data.size(), size_t{1} << 30));
      if (n < 0 && errno != EINTR) fail("cannot write the file");
      if (n > 0) data = data.subspan(static_cast<size_t>(n));
    }
  }

  // Steps over entries that are complete, with the padding behind each.
  void advance() {
    while (current < entries.size() && written == entries[current].bytes) {
      if (current + 1 < entries.size())
        put(std::vector<std::byte>(static_cast<size_t>(padding(written))));
      ++current;
      written = 0;
    }
  }
};

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     std::vector<std::pair<std::string, std::string>> metadata,
                                     std::vector<Entry> entries, uint64_t alignment)
    : impl_(std::make_unique<Impl>()) {
  if (!std::has_single_bit(alignment) || alignment > 1 << 20)
    throw Error(path, "the alignment " + std::to_string(alignment) + " is no power of two up to " +
                          std::to_string(1 << 20));
  std::vector<std::string_view> names, keys;
  for (const Entry& entry : entries) {
    check_entry(entry, path);
    names.push_back(entry.name);
  }
  for (const auto& [key, unused] : metadata) keys.push_back(key);
  for (auto* list : {&names, &keys})
    if (const auto twice = find_duplicate(std::move(*list)))
      throw Error(path, "the name " + printable(*twice) + " occurs twice");
  impl_->path = path;
  impl_->entries = std::move(entries);
  impl_->alignment = alignment;
  impl_->create();
  impl_->write_header(metadata);
  impl_->advance();
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::span<const std::byte> data) {
  Impl& w = *impl_;
  if (data.empty()) return;
  if (w.current == w.entries.size())
    throw Error(w.path, "more data are written than all tensors have");
  const Entry& entry = w.entries[w.current];
  if (data.size() > entry.bytes - w.written)
    throw Error::mismatch(w.path + ": tensor " + printable(entry.name), "its size",
                          std::to_string(entry.bytes),
                          std::to_string(w.written + data.size()) + " or more");
  w.put(data);
  w.written += data.size();
  w.advance();
}

void SafetensorsWriter::finish() {
  Impl& w = *impl_;
  if (w.current < w.entries.size())
    throw Error(w.path, "the tensor " + printable(w.entries[w.current].name) + " is incomplete");
  w.flush();
  if (::fsync(w.part.fd) != 0) w.fail("cannot write the file");
  const int fd = std::exchange(w.part.fd, -1);
  if (::close(fd) != 0 || ::rename(w.part.path.c_str(), w.path.c_str()) != 0) {
    const int error = errno;
    ::unlink(w.part.path.c_str());
    errno = error;
    w.fail("cannot write the file");
  }
  // The new name, too, should survive a loss of power; not every file system can promise it.
  const auto parent = std::filesystem::path(w.path).parent_path();
  const int directory = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_CLOEXEC);
  if (directory < 0) return;
  ::fsync(directory);
  ::close(directory);
}

}  // namespace nibble
