#include "fuzz/fuzz.h"
#include "tiny_files.h"

using namespace nibble::test;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_file(data, size, nibble::open_gguf);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  GgufBuilder small;
  small.u32("general.alignment", 8);
  small.key("a", GgufValue::array,
            GgufBuilder::array(GgufValue::array,
                               {GgufBuilder::array(GgufValue::i16, {raw<int16_t>(1)})}));
  small.tensor("t", 0, {2, 2}, tiny_f32(4)).tensor("u", 2, {32}, tiny_q4_0(1));
  return {tiny_gguf(), small.build(), GgufBuilder().build()};
}
