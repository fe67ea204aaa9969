// Tensors as bytes, and safetensors files of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "files.h"
#include "load/checkpoint.h"

namespace nibble::test {

struct StoredTensor {
  std::string name;
  DType type;
  std::vector<uint64_t> shape;
  std::string bytes;
};
using StoredTensors = std::vector<StoredTensor>;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A safetensors file of tensors.
inline std::string safetensors_of(const StoredTensors& tensors) {
  std::string header = "{", data;
  for (const StoredTensor& t : tensors) {
    std::string shape;
    for (const uint64_t n : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(n);
    header += (header.size() > 1 ? ",\"" : "\"") + t.name + R"(":{"dtype":")" +
              dtype_info(t.type).name + R"(","shape":[)" + shape + R"(],"data_offsets":[)" +
              std::to_string(data.size()) + ',' + std::to_string(data.size() + t.bytes.size()) +
              "]}";
    data += t.bytes;
  }
  return raw<uint64_t>(header.size() + 1) + header + "}" + data;
}

}  // namespace nibble::test
