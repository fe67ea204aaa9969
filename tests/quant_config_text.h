// A quantization_config by its text.
#pragma once

#include <string>

#include "quant/quant_config.h"

namespace nibble::test {

/// Of a config.json with these members in its quantization_config.
inline QuantConfig config(const std::string& members) {
  Checkpoint checkpoint;
  checkpoint.format = FileFormat::hugging_face;
  checkpoint.path = "model";
  checkpoint.metadata = Json(Json::Object{
      {"config", parse_json("{\"quantization_config\":{" + members + "}}", "config.json")}});
  return read_quant_config(checkpoint);
}

}  // namespace nibble::test
