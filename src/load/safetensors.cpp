#include <algorithm>

#include "base/checked.h"
#include "load/byte_reader.h"
#include "load/checkpoint.h"
#include "load/names.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes, a rule of the format

DType dtype_of(const std::string& name, const std::string& where) {
  for (DType type = DType::f32; type <= DType::boolean;
       type = static_cast<DType>(static_cast<int>(type) + 1))
    if (name == dtype_info(type).name) return type;
  throw Error(where, "the type " + printable(name) + " is not supported");
}

uint64_t as_size(const Json& json, const std::string& where) {
  return checked_cast<uint64_t>(json.as_int(where), where);
}

const Json& member(const Json& entry, const char* key, const std::string& where) {
  if (const Json* found = entry.find(key)) return *found;
  throw Error(where, std::string("its \"") + key + "\" is missing");
}

// One member of the header; `data` are the bytes behind the header.
TensorView read_entry(const Json::Member& entry, std::span<const std::byte> data,
                      const std::string& path) {
  const auto& [name, json] = entry;
  TensorView tensor;
  const std::string where = path + ": tensor " + printable(name);
  json.as_object(where);
  tensor.name = name;
  tensor.type = dtype_of(member(json, "dtype", where).as_string(where), where);
  for (const Json& n : member(json, "shape", where).as_array(where))
    tensor.shape.push_back(as_size(n, where));
  const Json::Array& offsets = member(json, "data_offsets", where).as_array(where);
  if (offsets.size() != 2)
    throw Error::mismatch(where, "the number of data_offsets", "2", std::to_string(offsets.size()));
  const uint64_t begin = as_size(offsets[0], where), end = as_size(offsets[1], where);
  if (begin > end || end > data.size())
    throw Error(where, "its data are bytes " + std::to_string(begin) + " to " +
                           std::to_string(end) + ", the file holds " + std::to_string(data.size()));
  const uint64_t bytes = tensor_bytes(tensor.type, tensor.shape, where);
  if (end - begin != bytes)
    throw Error::mismatch(
        where, "the size of its data",
        std::to_string(bytes) + " for " + dtype_info(tensor.type).name + " " + tensor.shape_text(),
        std::to_string(end - begin));
  tensor.data = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(bytes));
  return tensor;
}

// The rule of the format: no overlap, no hole, nothing behind the last tensor.
void check_coverage(std::span<const TensorView> tensors, std::span<const std::byte> data,
                    const std::string& path) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const TensorView* tensor) {
    return std::pair(tensor->data.data(), tensor->data.size());
  });
  const std::byte* end = data.data();
  const auto offset = [&](const std::byte* at) { return std::to_string(at - data.data()); };
  for (const TensorView* tensor : order) {
    if (tensor->data.data() != end)
      throw Error::mismatch(path + ": tensor " + printable(tensor->name), "the start of its data",
                            offset(end) + ", where the tensor before it ends",
                            offset(tensor->data.data()));
    end += tensor->data.size();
  }
  if (end != data.data() + data.size())
    throw Error::mismatch(path, "the size of the data", offset(end) + ", the sum of all tensors",
                          std::to_string(data.size()));
}

void check_metadata(const Json& metadata, const std::string& path) {
  const std::string where = path + ": __metadata__";
  for (const auto& [key, value] : metadata.as_object(where))
    value.as_string(where + ": " + printable(key));
}

}  // namespace

Json read_safetensors(const std::string& path, Checkpoint& out) {
  MappedFile file(path);
  ByteReader reader(file.bytes(), path);
  const auto length = reader.read<uint64_t>();
  if (length > kMaxHeader || length > reader.remaining())
    throw Error(path,
                "the header has " + std::to_string(length) + " bytes, expected at most " +
                    std::to_string(std::min<uint64_t>(kMaxHeader, reader.remaining())),
                "the file is cut short or no safetensors file");
  const std::string_view text = reader.take_text(length);
  if (!text.starts_with('{')) throw Error(path, "the header does not start with '{'");
  const std::span<const std::byte> data = reader.take(reader.remaining());

  Json metadata{Json::Object{}};
  const Json header = parse_json(text, path);
  const size_t first = out.tensors.size();
  for (const Json::Member& entry : header.as_object(path)) {
    if (entry.first == "__metadata__") {
      check_metadata(entry.second, path);
      metadata = entry.second;
    } else {
      out.tensors.push_back(read_entry(entry, data, path));
    }
  }
  check_coverage(std::span(out.tensors).subspan(first), data, path);
  out.files.push_back(std::move(file));
  return metadata;
}

}  // namespace nibble
