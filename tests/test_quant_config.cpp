// What configurations of quantized Hugging Face checkpoints say, and the ranges of their scales.
#include <tuple>
#include <vector>

#include "check.h"
#include "quant/number_range.h"
#include "quant_config_text.h"

using namespace nibble;
using namespace nibble::test;

namespace {

void refused(const std::string& members, const char* why) {
  check_error([&] { config(members); }, why);
  check_error([&] { config(members); }, "model/config.json: quantization_config");
}

void test_configs() {
  check(config(R"("quant_method":"awq","w_bit":4,"q_group_size":64,"version":"GEMM")").group ==
        64u);
  check(config(R"("quant_method":"awq","version":"exllama")").awq_version == AwqVersion::gemm);
  check(config(R"("bits":4,"desc_act":false,"group_size":-1)").method == QuantMethod::gptq);
  check(config(R"("w_bit":4,"zero_point":true)").method == QuantMethod::awq);
  for (const char* bits : {"2", "3", "8", "0", "-4", "16"})
    refused(std::string(R"("quant_method":"awq","bits":)") + bits, "number of bits");
  for (const char* bits : {"2", "3", "5", "16"})
    refused(std::string(R"("quant_method":"gptq","bits":)") + bits, "expected 4 or 8");
  refused(R"("quant_method":"awq","version":"marlin")", "marlin");
  refused(R"("quant_method":"awq","version":7)", "version");
  refused(R"("quant_method":"awq","group_size":0)", "group_size");
  refused(R"("quant_method":"awq","group_size":-2)", "group_size");
  refused(R"("quant_method":"awq","group_size":99999999999)", "group_size");
  refused(R"("quant_method":"gptq","checkpoint_format":"marlin")", "marlin");
  refused(R"("quant_method":"gptq","is_marlin_format":true)", "Marlin");
  refused(R"("quant_method":"fp8")", "fp8");
  refused(R"("quant_method":[4])", "quant_method");
  const std::string ct = R"("quant_method":"compressed-tensors",)";
  refused(ct + R"("format":"int-quantized")", "int-quantized");
  refused(ct + R"("kv_cache_scheme":{"num_bits":8})", "kv_cache_scheme");
  refused(ct + R"("sparsity_config":{"format":"sparse-24-bitmask"})", "sparsity_config");
  refused(ct + R"("transform_config":{"config_groups":{"u":{"type":"hadamard"}}})",
          "transform_config");
  check(config(ct + R"("sparsity_config":{"format":"dense"},"kv_cache_scheme":null)").method ==
        QuantMethod::compressed_tensors);
  const auto group = [&](const std::string& members) {
    return ct + R"("config_groups":{"group_0":{)" + members + "}}";
  };
  refused(group(R"("input_activations":{"num_bits":8})"), "input_activations");
  refused(group(R"("weights":{"num_bits":2})"), "number of bits is 2");
  refused(group(R"("weights":{"num_bits":4,"type":"float"})"), "float");
  refused(group(R"("weights":{"num_bits":4,"strategy":"block"})"), "block");
  refused(group(R"("weights":7)"), "weights");
  refused(ct + R"("config_groups":{"group_0":null})", "group_0");
  refused(R"("x":1)", "quant_method is missing");
}

void test_other_names() {
  check(config(R"("quant_method":"awq","version":"llm-awq")").awq_version == AwqVersion::gemv_fast);
  check(config(R"("quant_method":"awq","version":"gemm","backend":"llm-awq")").awq_version ==
        AwqVersion::gemv_fast);
  check(config(R"("method":"awq","sym":true,"desc_act":false)").method == QuantMethod::awq);
  const std::string gptq = R"("quant_method":"gptq",)";
  check(config(gptq + R"("format":"gptq")").gptq_zeros_minus_one);
  check(!config(gptq + R"("format":"gptq_v2")").gptq_zeros_minus_one);
  check(!config(gptq + R"("format":"gptq_v2","checkpoint_format":"gptq_v2")").gptq_zeros_minus_one);
  refused(gptq + R"("format":"gptq_v2","checkpoint_format":"gptq")",
          "expected that of checkpoint_format");
  refused(gptq + R"("format":"bitblas")", "bitblas");
}

/// Their inputs would have to be rotated, too, and no tensor tells.
void test_rotations() {
  for (const char* method : {"gptq", "awq", "auto-round"}) {
    const std::string quantized = "\"quant_method\":\"" + std::string(method) + "\"";
    refused(quantized + R"(,"rotation":"hadamard")", "rotation");
    refused(quantized + R"(,"spinquant_config":{"r1":true})", "spinquant_config");
    refused(quantized + R"(,"rotation_config":{"a":1})", "rotation_config");
    config(quantized + R"(,"rotation":"","rotation_config":{},"spinquant_config":null)");
  }
}

void test_auto_round() {
  const auto packed = [](const std::string& method, const std::string& format) {
    return config("\"quant_method\":\"" + method + "\",\"bits\":4,\"group_size\":64" +
                  (format.empty() ? "" : ",\"packing_format\":\"" + format + "\""));
  };
  for (const char* format : {"", "auto", "auto_round:auto_gptq", "auto_round:gptq"}) {
    const QuantConfig found = packed("auto-round", format);
    check(found.method == QuantMethod::gptq && found.gptq_zeros_minus_one, format);
    check(found.group == 64u && !found.mixed && !found.gptq_ordered, format);
  }
  for (const char* format : {"auto_round", "auto_round:gptqmodel"}) {
    const QuantConfig found = packed("intel/auto-round", format);
    check(found.method == QuantMethod::gptq && !found.gptq_zeros_minus_one, format);
  }
  for (const char* format : {"auto_round:auto_awq", "auto_round:awq"}) {
    const QuantConfig found = packed("auto-round", format);
    check(found.method == QuantMethod::awq && found.awq_version == AwqVersion::gemm, format);
  }
  const std::string method = R"("quant_method":"auto-round",)";
  check(config(method + R"("extra_config":{"lm_head":{"bits":8}})").mixed, "mixed");
  check(!config(method + R"("extra_config":{})").mixed, "not mixed");
  refused(method + R"("packing_format":"auto_round:fp8_static")", "fp8_static");
  refused(method + R"("data_type":"mx_fp")", "mx_fp");
  refused(method + R"("act_bits":8)", "activations");
  refused(method + R"("bits":2)", "expected 4 or 8");
  refused(method + R"("packing_format":"auto_round:auto_awq","bits":8)", "number of bits is 8");
}

/// One scale among many, wherever it is, decides.
template <class T>
void check_ranges(DType type, T usual, std::initializer_list<std::tuple<T, bool, bool>> cases) {
  for (const auto& [bits, finite, fp16] : cases)
    for (const size_t at : {0u, 255u, 256u, 511u, 512u, 599u}) {
      std::vector<T> scales(600, usual);
      scales[at] = bits;
      for (const T sign : {T{0}, static_cast<T>(T{1} << (8 * sizeof(T) - 1))}) {
        scales[at] = static_cast<T>(bits | sign);
        const NumberRange range = number_range(type, std::as_bytes(std::span(scales)));
        const std::string what = std::to_string(bits) + " at " + std::to_string(at);
        check_eq(range.finite, finite, what + ", finite");
        check_eq(range.fp16, fp16, what + ", fp16");
      }
    }
}

void test_scale_ranges() {
  // Zero, subnormal, the largest, infinity, NaN.
  check_ranges<uint16_t>(DType::f16, 0x1c00,
                         {{0, true, true},
                          {1, true, true},
                          {0x7bff, true, true},
                          {0x7c00, false, false},
                          {0x7fff, false, false}});
  // Zero, the least number, 2^-17 less a bit, 2^-17, 65280, 65536, infinity, NaN.
  check_ranges<uint16_t>(DType::bf16, 0x3c00,
                         {{0, true, true},
                          {1, true, false},
                          {0x36ff, true, false},
                          {0x3700, true, true},
                          {0x477f, true, true},
                          {0x4780, true, false},
                          {0x7f80, false, false},
                          {0x7fff, false, false}});
  // Zero, the least number, 2^-14 less a bit, 2^-14, a bit that fp16 keeps, one that it loses,
  // 65504, 65536, infinity, NaN.
  check_ranges<uint32_t>(DType::f32, 0x3c000000,
                         {{0, true, true},
                          {1, true, false},
                          {0x387fffff, true, false},
                          {0x38800000, true, true},
                          {0x3c002000, true, true},
                          {0x3c001000, true, false},
                          {0x477fe000, true, true},
                          {0x47800000, true, false},
                          {0x7f800000, false, false},
                          {0x7fffffff, false, false}});
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"configurations", test_configs},
              {"newer names and older ones", test_other_names},
              {"rotations are refused", test_rotations},
              {"AutoRound", test_auto_round},
              {"ranges of scales", test_scale_ranges}});
}
