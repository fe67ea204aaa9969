// Damaged quantized checkpoints: each ends in nibble::Error, or loads if the damage does no harm.
#include <random>

#include "check.h"
#include "hostile_cases.h"
#include "hostile_run.h"
#include "quantized_model.h"

using namespace nibble;
using namespace nibble::test;

namespace {

struct Form {
  const char* name;
  std::string config;
  Store store;
};

std::vector<Form> forms() {
  const std::string compressed =
      R"("quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":)"
      R"({"targets":["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":)"
      R"("group","group_size":32},"input_activations":null}},"kv_cache_scheme":null)";
  const std::string gptq =
      R"("quant_method":"gptq","bits":4,"group_size":32,"desc_act":true,"sym":false,)"
      R"("checkpoint_format":"gptq_v2")";
  const std::string awq =
      R"("quant_method":"awq","bits":4,"group_size":32,"zero_point":true,"version":)";
  const auto shuffled = [](test::QuantizedLayer& l) -> test::QuantizedLayer& {
    std::mt19937 random(static_cast<unsigned>(l.rows));
    shuffle_groups(random, l);
    return l;
  };
  return {{"gemm", awq + "\"gemm\"",
           [](test::QuantizedLayer& l, const std::string& p) { return as_awq_gemm(l, p); }},
          {"gemv", awq + "\"gemv\"",
           [](test::QuantizedLayer& l, const std::string& p) { return as_awq_gemv(l, p); }},
          {"gemv_fast", awq + "\"gemv_fast\"",
           [](test::QuantizedLayer& l, const std::string& p) { return as_awq_fast(l, p); }},
          {"gptq", gptq,
           [=](test::QuantizedLayer& l, const std::string& p) { return as_gptq(shuffled(l), p, false); }},
          {"compressed-tensors", compressed, [=](test::QuantizedLayer& l, const std::string& p) {
             return as_compressed(shuffled(l), p, false, true);
           }}};
}

Place directory_of(const Form& form, const std::string& file) {
  return [form, file](const TempDir& dir) {
    const Pair pair = write_pair(dir, form.config, 4, form.store);
    return Target{pair.quantized + "/" + file, pair.quantized};
  };
}

/// One tensor of the file after the other filled with a byte: scales that are no numbers, groups
/// and sizes that do not exist.
void add_filled(Cases& cases, const Form& form) {
  cases.add(std::string(form.name) + ": tensors filled with one byte", [=](const TempDir& dir) {
    const Target target = directory_of(form, "model.safetensors")(dir);
    const std::string good = read_file(target.path);
    std::vector<std::pair<size_t, size_t>> ranges;
    {
      const Checkpoint checkpoint = open_checkpoint(target.model);
      const std::byte* file = checkpoint.files[0].bytes().data();
      for (const TensorView& t : checkpoint.tensors)
        if (t.name.find("layers.0.mlp") != std::string::npos)
          ranges.emplace_back(t.data.data() - file, t.data.size());
    }
    for (const auto& [begin, size] : ranges)
      for (const unsigned value : {0x00u, 0x01u, 0x7fu, 0x80u, 0xffu}) {
        std::string damaged = good;
        damaged.replace(begin, size, size, static_cast<char>(value));
        write_file(target.path, damaged);
        survives(target.model);
      }
  });
}

std::vector<Case> all_cases(Cases& cases) {
  for (const Form& form : forms()) {
    const std::string name = form.name;
    std::string weights, config;
    {
      const TempDir dir;
      const Target target = directory_of(form, "config.json")(dir);
      exercise(target.model);  // undamaged it loads
      weights = read_file(target.model + "/model.safetensors");
      config = read_file(target.path);
    }
    add_truncations(cases, name + " weights", weights, 2999,
                    directory_of(form, "model.safetensors"));
    add_damage(cases, name + " config.json", config, config.size(),
               directory_of(form, "config.json"), 64);
    // The entries of one layer: names, types, shapes.
    const size_t at = weights.find("model.layers.0.mlp.down_proj");
    const std::string layer = weights.substr(at, 300);
    cases.add(name + ": damage in the header of a layer", [=](const TempDir& dir) {
      const Target target = directory_of(form, "model.safetensors")(dir);
      for (size_t i = 0; i < layer.size(); ++i)
        for (const char c : {'0', '9', '2'}) {
          std::string damaged = weights;
          damaged[at + i] = c;
          write_file(target.path, damaged);
          survives(target.model);
        }
    });
    add_filled(cases, form);
  }
  return cases.list();
}

}  // namespace

int main(int argc, char** argv) {
  Cases cases;
  return run(argc, argv, all_cases(cases));
}
