// What the command says of models of many families: `info` shows what was understood, `bench`
// counts the experts that a token uses.
#include "family_cases.h"
#include "tool_runner.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// The model of that case as a Hugging Face directory.
void write_case(const std::string& name, const std::string& directory) {
  const FamilyCase& c = case_named(name);
  write_hugging_face(directory, c.config, c.tensors());
}

void info() {
  struct Said {
    const char* family;
    std::vector<std::string> parts;
  };
  const Said all[] = {
      {"llama", {"architecture  llama", "scaling none", "arithmetic    as LLaMA", "2 KV heads"}},
      {"llama, llama3 RoPE", {"theta 50000, scaling llama3", "rope_factor 8"}},
      {"llama, yarn RoPE", {"scaling yarn", "rope_original_context 32"}},
      {"llama, dynamic RoPE", {"scaling dynamic", "rope_factor 2"}},
      {"phi4 mini", {"scaling longrope", "rope_dim 12", "tied head"}},
      {"smollm3", {"nope_layers 1 of 5"}},
      {"mixtral", {"FFN 80", "5 experts, 2 of them a token", "normalize_experts"}},
      {"qwen3_moe", {"8 experts, 3 of them a token", "qk_norm head"}},
      {"gemma2",
       {"sliding window 9 in 2 layers", "attention_softcap 5", "logit_softcap 3",
        "embedding_scale 8", "norm_placement around"}},
      {"gemma3", {"sliding window 9 in 6 layers", "rope_local_theta 10000"}},
      {"granite", {"residual_scale 0.22", "logit_scale 0.125", "attention_scale 0.3"}},
      {"cohere2", {"sliding window 9 in 4 layers", "nope_layers 1 of 5", "parallel_one_norm"}},
      {"mpt, clipped, six heads", {"positions alibi", "alibi_max_bias 16", "qkv_clip 0.8"}},
      {"opt, 350M", {"positions learned", "norm_placement residual", "embedding_dim 40"}},
  };
  for (const Said& said : all) {
    const TempDir dir;
    write_case(said.family, dir / "hf");
    const std::string text = answer({"info", dir / "hf"});
    for (const std::string& part : said.parts)
      check(text.find(part) != std::string::npos,
            std::string(said.family) + ": no \"" + part + "\" in\n" + text);
  }
}

Json bench(const std::string& model, const std::vector<std::string>& flags) {
  std::vector<std::string> args = {model, "-r", "1"};
  args.insert(args.end(), flags.begin(), flags.end());
  const std::vector<Json> rows = bench_rows(args);
  check_eq(rows.size(), size_t{1}, "rows");
  return rows.front();
}

// Bytes a token and operations a token, against shapes worked by hand: 2 of 5 experts.
void experts() {
  const TempDir dir;
  write_case("mixtral", dir / "hf");
  // dim 64, 4 heads of 16, 2 KV heads, FFN 80, 3 layers, 91 tokens, weights of 32 bits.
  constexpr double kAttention = 64 * 64 + 2 * 32 * 64 + 64 * 64, kRouter = 5 * 64,
                   kExpert = 3 * 64 * 80, kHead = 91 * 64;
  constexpr double kUsed = 3 * (kAttention + kRouter + 2 * kExpert);
  const Json prompt = bench(dir / "hf", {"--weights", "f32", "-p", "8", "-n", "0"});
  const double operations = number(prompt, "gop_s") * number(prompt, "avg_ns");
  // In the last layer, only keys and values of the seven tokens that no logits are wanted of.
  constexpr double kSpared = 7 * (kUsed / 3 - 2 * 32 * 64);
  check_near(operations / (2 * (8 * kUsed - kSpared + kHead)), 1, 1e-3, "operations");
  const Json token = bench(dir / "hf", {"--weights", "f32", "-p", "0", "-n", "4"});
  const double bytes = number(token, "read_gb_s") * number(token, "avg_ns") / 4;
  constexpr double kNorms = 7 * 64;
  // Rows of panels are filled up to 16: 91 to 96, 5 to 16. The cache has 2.5 positions on average.
  constexpr double kFilled = kUsed + 3 * 11 * 64 + 96 * 64 + kNorms;
  check_near(bytes / (4 * kFilled + 3 * 2 * 32 * 2 * 2.5), 1, 1e-3, "bytes");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, {{"info", info}, {"bench of sparse experts", experts}});
}
