// From the name of a GGUF type to the struct of its blocks.
#pragma once

#include <type_traits>

#include "load/checkpoint.h"
#include "quant/ggml_split.h"
#include "quant/iq_split.h"

namespace nibble {

/// Calls fn(std::type_identity<BlockX>{}) for the block struct of a quantized type; false if `type`
/// is not one.
template <class Fn>
bool with_block(DType type, Fn&& fn) {
  switch (type) {
    case DType::q4_0:
      return fn(std::type_identity<BlockQ4_0>{}), true;
    case DType::q4_1:
      return fn(std::type_identity<BlockQ4_1>{}), true;
    case DType::q5_0:
      return fn(std::type_identity<BlockQ5_0>{}), true;
    case DType::q5_1:
      return fn(std::type_identity<BlockQ5_1>{}), true;
    case DType::q8_0:
      return fn(std::type_identity<BlockQ8_0>{}), true;
    case DType::q2_k:
      return fn(std::type_identity<BlockQ2_K>{}), true;
    case DType::q3_k:
      return fn(std::type_identity<BlockQ3_K>{}), true;
    case DType::q4_k:
      return fn(std::type_identity<BlockQ4_K>{}), true;
    case DType::q5_k:
      return fn(std::type_identity<BlockQ5_K>{}), true;
    case DType::q6_k:
      return fn(std::type_identity<BlockQ6_K>{}), true;
    case DType::iq1_s:
      return fn(std::type_identity<BlockIQ1_S>{}), true;
    case DType::iq1_m:
      return fn(std::type_identity<BlockIQ1_M>{}), true;
    case DType::iq2_xxs:
      return fn(std::type_identity<BlockIQ2_XXS>{}), true;
    case DType::iq2_xs:
      return fn(std::type_identity<BlockIQ2_XS>{}), true;
    case DType::iq2_s:
      return fn(std::type_identity<BlockIQ2_S>{}), true;
    case DType::iq3_xxs:
      return fn(std::type_identity<BlockIQ3_XXS>{}), true;
    case DType::iq3_s:
      return fn(std::type_identity<BlockIQ3_S>{}), true;
    case DType::mxfp4:
      return fn(std::type_identity<BlockMXFP4>{}), true;
    case DType::iq4_nl:
      return fn(std::type_identity<BlockIQ4_NL>{}), true;
    case DType::iq4_xs:
      return fn(std::type_identity<BlockIQ4_XS>{}), true;
    default:
      return false;
  }
}

}  // namespace nibble
