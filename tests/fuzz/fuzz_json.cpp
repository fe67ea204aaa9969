#include "fuzz/fuzz.h"
#include "load/json.h"
#include "tiny_files.h"

using namespace nibble;
using namespace nibble::test;

// What parses must survive being written and parsed again.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Json value;
  try {
    value = parse_json(as_text(data, size), "fuzz");
  } catch (const Error&) {
    return 0;
  }
  const std::string text = write_json(value);
  if (write_json(parse_json(text, "written")) != text) std::abort();
  if (write_json(parse_json(write_json(value, 2), "indented")) != text) std::abort();
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {tiny_config(), tiny_tokenizer_json(),
          R"( {"a":[1,-2.5e-3,true,false,null,"\ud83d\ude00\\\"\n\u0000"],"":{"b":[[],{}]}} )",
          "[0.1, 1e22, 123456789012345678901234567890, \"\xf0\x9f\x98\x80\"]"};
}
