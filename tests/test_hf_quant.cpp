// Whole models whose layers are on the grids of AWQ, GPTQ and compressed-tensors.
#include <random>

#include "logits.h"
#include "nibble/nibble.h"
#include "quantized_model.h"

using namespace nibble;
using namespace nibble::test;

namespace {

ModelOptions options(Activations activations) {
  ModelOptions o;
  o.threads = 2;
  o.weights = WeightType::f32;
  o.activations = activations;
  return o;
}

const std::vector<Token> kTokens = {1, 17, 3, 39, 0, 22, 8};

/// The quantized directory computes what the plain one does, and its .nib the same to the bit.
void check_pair(const Pair& pair, const TempDir& dir, const std::string& what) {
  const double f32 =
      relative_max(logits_of(Model(pair.quantized, options(Activations::f32)), kTokens),
                   logits_of(Model(pair.plain, options(Activations::f32)), kTokens));
  check(f32 < 1e-5, what + ": with f32 activations off by " + std::to_string(f32));
  const std::vector<float> int8 =
      logits_of(Model(pair.quantized, options(Activations::int8)), kTokens);
  const double error =
      relative_max(int8, logits_of(Model(pair.plain, options(Activations::f32)), kTokens));
  check(error < 0.05, what + ": with int8 activations off by " + std::to_string(error));
  const std::string nib = dir / "model.nib";
  QuantizeOptions q;
  q.weights = WeightType::f32;
  quantize(pair.quantized, nib, q);
  check(logits_of(Model(nib, options(Activations::int8)), kTokens) == int8,
        what + ": .nib round trip");
  check(logits_of(Model(nib, options(Activations::f32)), kTokens) ==
            logits_of(Model(pair.quantized, options(Activations::f32)), kTokens),
        what + ": .nib round trip in f32");
}

const std::string kAwq = R"("quant_method":"awq","bits":4,"group_size":32,"version":"gemm")";
const std::string kGptq = R"("quant_method":"gptq","group_size":32,"checkpoint_format":"gptq_v2")";
const std::string kGptqOrder =
    R"("desc_act":true,"quant_method":"gptq","group_size":32,"checkpoint_format":"gptq_v2")";
const std::string kCompressed =
    R"("quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":)"
    R"({"targets":["Linear"],"weights":{"num_bits":4,"symmetric":false},"input_activations":null}})";

StoredTensors gemm(test::QuantizedLayer& l, const std::string& prefix) {
  return as_awq_gemm(l, prefix);
}

void test_every_form() {
  const auto run_pair = [](const char* what, const std::string& quantization, unsigned bits,
                           const Store& store) {
    const TempDir dir;
    check_pair(write_pair(dir, quantization, bits, store), dir, what);
  };
  run_pair("AWQ gemm", kAwq, 4, gemm);
  run_pair("AWQ gemv", R"("quant_method":"awq","group_size":32,"version":"gemv")", 4,
           [](test::QuantizedLayer& l, const std::string& p) { return as_awq_gemv(l, p); });
  run_pair("GPTQ", kGptq, 4,
           [](test::QuantizedLayer& l, const std::string& p) { return as_gptq(l, p, false); });
  run_pair("GPTQ 8 bits", kGptq + ",\"bits\":8", 8,
           [](test::QuantizedLayer& l, const std::string& p) { return as_gptq(l, p, false); });
  run_pair("compressed-tensors", kCompressed, 4, [](test::QuantizedLayer& l, const std::string& p) {
    return as_compressed(l, p, false);
  });
}

/// q, k and v, gate and up: each with an order of its own, all with the same, some with none.
void test_activation_orders() {
  std::mt19937 random(77);
  const auto by_name = [](const std::string& p, const char* part) {
    return p.find(part) != std::string::npos;
  };
  const auto run_pair = [&](const char* what, const std::string& quantization, unsigned bits,
                            const auto& shuffled, const auto& store) {
    const TempDir dir;
    check_pair(write_pair(dir, quantization, bits,
                          [&](test::QuantizedLayer& l, const std::string& p) {
                            if (shuffled(p)) shuffle_groups(random, l);
                            return store(l, p);
                          }),
               dir, what);
  };
  const auto v2 = [](const test::QuantizedLayer& l, const std::string& p) {
    return as_gptq(l, p, false);
  };
  run_pair(
      "orders of their own", kGptqOrder, 4, [](const std::string&) { return true; }, v2);
  run_pair(
      "8 bits", kGptqOrder + ",\"bits\":8", 8, [](const std::string&) { return true; }, v2);
  run_pair(
      "some in order", kGptqOrder, 4,
      [&](const std::string& p) { return by_name(p, "k_proj") || by_name(p, "up_proj"); }, v2);
  run_pair(
      "compressed-tensors", kCompressed, 4, [](const std::string&) { return true; },
      [](const test::QuantizedLayer& l, const std::string& p) {
        return as_compressed(l, p, false, true);
      });
  // As GPTQ makes them: matrices that share an input share its order.
  std::mt19937 shared_order(5);
  test::QuantizedLayer first = random_layer(shared_order, 8, kDim, 32);
  shuffle_groups(shared_order, first);
  run_pair(
      "one order", kGptqOrder, 4, [](const std::string&) { return false; },
      [&](test::QuantizedLayer& l, const std::string& p) {
        if (l.cols == kDim) l.group_of = first.group_of;
        return as_gptq(l, p, false);
      });
}

/// All experts are used, so that rounding changes none of the choices.
void test_router_in_order() {
  constexpr int kExperts = 8;
  std::vector<Linear> linears(kLinears.begin(), kLinears.begin() + 4);
  linears.push_back({"block_sparse_moe.gate", kExperts, kDim});
  for (int e = 0; e < kExperts; ++e) {
    const std::string expert = "block_sparse_moe.experts." + std::to_string(e) + ".";
    linears.push_back({expert + "w1", kFfn, kDim});
    linears.push_back({expert + "w3", kFfn, kDim});
    linears.push_back({expert + "w2", kDim, kFfn});
  }
  std::mt19937 random(6);
  const TempDir dir;
  const Pair pair = write_pair(
      dir, kGptqOrder, 4,
      [&](test::QuantizedLayer& l, const std::string& p) {
        if (!p.ends_with(".gate")) return StoredTensors{};
        shuffle_groups(random, l);
        return as_gptq(l, p, false);
      },
      false, {}, linears);
  for (const auto& [path, quantization] :
       {std::pair{pair.quantized, kGptqOrder}, {pair.plain, std::string()}}) {
    std::string config = model_config(quantization, false);
    config.replace(config.find("\"llama\""), 7,
                   R"("mixtral","num_local_experts":8,"num_experts_per_tok":8)");
    write_file(path + "/config.json", config);
  }
  check_pair(pair, dir, "a router in activation order");
}

void test_mixed_layers() {
  const TempDir dir;
  check_pair(write_pair(dir, kAwq, 4,
                        [](test::QuantizedLayer& l, const std::string& p) {
                          return p.ends_with("o_proj") || p.ends_with("up_proj")
                                     ? StoredTensors{}
                                     : as_awq_gemm(l, p);
                        }),
             dir, "layers left in floats");
}

void test_heads() {
  std::mt19937 random(4);
  const test::QuantizedLayer head = random_layer(random, kVocab, kDim, 32);
  {
    const TempDir dir;
    check_pair(write_pair(dir, kAwq, 4, gemm, true), dir, "tied head");
  }
  {
    const TempDir dir;
    check_pair(write_pair(dir, kAwq, 4, gemm, true, as_awq_gemm(head, "lm_head")), dir,
               "tied head, written again");
  }
}

/// A separate file in place of a member of config.json.
void test_config_files() {
  for (const auto& [file, text] :
       {std::pair{"quant_config.json",
                  R"({"zero_point":true,"q_group_size":32,"w_bit":4,"version":"GEMM"})"},
        std::pair{"quantize_config.json",
                  R"({"bits":4,"group_size":32,"desc_act":false,"sym":false})"}}) {
    const TempDir dir;
    const bool awq = std::string(file) == "quant_config.json";
    const Pair pair = write_pair(dir, "", 4, [awq](test::QuantizedLayer& l, const std::string& p) {
      return awq ? as_awq_gemm(l, p) : as_gptq(l, p, true);
    });
    write_file(pair.quantized + "/" + file, text);
    check_pair(pair, dir, file);
  }
}

/// Weights under the name that AutoGPTQ gave them.
void test_file_name() {
  const TempDir dir;
  const Pair pair = write_pair(dir, kAwq, 4, gemm);
  std::filesystem::rename(pair.quantized + "/model.safetensors",
                          pair.quantized + "/gptq_model-4bit-128g.safetensors");
  check_pair(pair, dir, "another file name");
  write_file(pair.quantized + "/second.safetensors", "");
  check_error([&] { Model(pair.quantized, options(Activations::int8)); }, "has neither");
}

void test_refused() {
  const TempDir dir;
  const Pair pair = write_pair(
      dir, kAwq, 4, gemm, false,
      {{"model.layers.0.mlp.act.scales", DType::f16, {kFfn}, std::string(2 * kFfn, '\1')}});
  check_error([&] { Model(pair.quantized, options(Activations::int8)); },
              "model.layers.0.mlp.act.scales");
  {
    const TempDir biased;
    const auto with_bias = [](char value) {
      return [value](test::QuantizedLayer& l, const std::string& p) {
        StoredTensors t = as_gptq(l, p, false);
        t.push_back({p + ".bias", DType::f16, {l.rows}, std::string(2 * l.rows, '\0')});
        t.back().bytes[5] = p.ends_with("mlp.up_proj") ? value : '\0';
        return t;
      };
    };
    check_pair(write_pair(biased, kGptq, 4, with_bias('\0')), biased, "biases of zeros");
    const TempDir unknown;
    const Pair up = write_pair(unknown, kGptq, 4, with_bias('\1'));
    check_error([&] { Model(up.quantized, options(Activations::int8)); }, "mlp.up_proj.bias");
  }
  const TempDir other;
  const Pair shape = write_pair(other, kAwq, 4, [](test::QuantizedLayer& l, const std::string& p) {
    if (p.ends_with("down_proj"))
      l = [&] {
        std::mt19937 random(1);
        return random_layer(random, kDim, 64, 32);
      }();
    return as_awq_gemm(l, p);
  });
  check_error([&] { Model(shape.quantized, options(Activations::int8)); },
              "mlp.down_proj.qweight: shape is [64, 64], expected [64, 128]");
}

// Published: logits of the shared checkpoints in double precision.

void test_shared_checkpoints() {
  const std::string folder = shared("data/hf-quant");
  const std::vector<Token> tokens = read_ids(folder + "/ids.txt");
  for (const char* name : {"awq-gemm", "awq-gemv", "gptq-v1", "gptq-v1-sym", "gptq-v2-desc-act",
                           "ct-sym", "ct-asym"}) {
    const std::string path = folder + "/" + name;
    const std::vector<float> expected = read_logits(path + ".logits");
    const double f32 =
        relative_max(logits_of(Model(path, options(Activations::f32)), tokens), expected);
    check(f32 < 1e-4, std::string(name) + " with f32 activations: " + std::to_string(f32));
    const std::vector<float> int8 = logits_of(Model(path, options(Activations::int8)), tokens);
    const double error = relative_max(int8, expected);
    check(error < 0.035, std::string(name) + " with int8 activations: " + std::to_string(error));
    const TempDir dir;
    QuantizeOptions q;
    q.weights = WeightType::f32;
    quantize(path, dir / "m.nib", q);
    check(logits_of(Model(dir / "m.nib", options(Activations::int8)), tokens) == int8,
          std::string(name) + ": .nib round trip");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"every form computes what its weights say", test_every_form},
              {"activation orders", test_activation_orders},
              {"a router in activation order", test_router_in_order},
              {"layers left in floats", test_mixed_layers},
              {"heads", test_heads},
              {"configurations in files of their own", test_config_files},
              {"weights under another name", test_file_name},
              {"biases, and what is refused by name", test_refused},
              {"shared checkpoints have their published logits", test_shared_checkpoints}});
}
