#include "fuzz/fuzz.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_file(data, size, [](const std::string& path) {
    Checkpoint checkpoint;
    read_safetensors(path, checkpoint);
    checkpoint.index_tensors();
    return checkpoint;
  });
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {tiny_safetensors(), safetensors("{}"),
          safetensors(R"({"__metadata__":{"a":"b"},"t":{"dtype":"U8","shape":[1,2],)"
                      R"("data_offsets":[0,2]},"u":{"dtype":"I8","shape":[],)"
                      R"("data_offsets":[2,3]}})",
                      "xyz")};
}
