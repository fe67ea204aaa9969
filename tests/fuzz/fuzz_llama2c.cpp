#include "fuzz/fuzz.h"
#include "tiny_files.h"

using namespace nibble::test;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_file(data, size, nibble::open_llama2c);
  return 0;
}

std::vector<std::string> fuzz_seeds() { return {tiny_llama2c(), tiny_llama2c(false, 2)}; }
