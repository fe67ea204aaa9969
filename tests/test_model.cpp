// The forward pass against a double-precision reference, through every file form; its promises of
// reproducibility; and every way a session is used.
#include <algorithm>
#include <sstream>
#include <thread>

#include "check.h"
#include "kernel_check.h"
#include "logits.h"
#include "nibble/nibble.h"
#include "tiny_files.h"
#include "tiny_model.h"

using namespace nibble;
using namespace nibble::test;

namespace {

std::vector<Token> some_tokens(int n, int vocab, uint32_t seed = 3) {
  std::mt19937 random(seed);
  std::vector<Token> out;
  for (int i = 0; i < n; ++i)
    out.push_back(static_cast<Token>(random() % static_cast<uint32_t>(vocab)));
  return out;
}

TinyModel tiny(uint32_t seed = 1) {
  TinyModel m;
  m.randomize(seed);
  return m;
}

void equals_reference() {
  // 300 positions: attention over more than one chunk of the cache.
  for (const bool tied : {false, true}) {
    TinyModel m;
    m.tied = tied;
    m.randomize(5);
    TempDir dir;
    write_llama2c(m, dir / "m.bin");
    write_gguf(m, dir / "m.gguf");
    write_hugging_face(m, dir / "hf");
    const std::vector<Token> tokens = some_tokens(300, m.vocab);
    const auto expected = m.forward({tokens.begin(), tokens.end()});
    const auto from_bin = logits_of(Model(dir / "m.bin", exact_options()), tokens);
    check(relative_norm(from_bin, expected) < 1e-5, "llama2.c differs from the reference");
    // llama2.c fixes eps at 1e-5 and theta at 10000, as this model has them.
    check(logits_of(Model(dir / "m.gguf", exact_options()), tokens) == from_bin, "GGUF differs");
    check(logits_of(Model(dir / "hf", exact_options()), tokens) == from_bin,
          "Hugging Face differs");
    QuantizeOptions as_f32;
    as_f32.weights = WeightType::f32;
    quantize(dir / "hf", dir / "m.nib", as_f32);
    check(logits_of(Model(dir / "m.nib", exact_options()), tokens) == from_bin, ".nib differs");
  }
}

void every_grid_round_trips() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const std::vector<Token> tokens = some_tokens(40, m.vocab);
  for (const WeightType type :
       {WeightType::automatic, WeightType::q4, WeightType::q8, WeightType::f16})
    for (const int group : {32, 64, 128}) {
      ModelOptions o;
      o.weights = type;
      o.group = group;
      QuantizeOptions q;
      q.weights = type;
      q.group = group;
      const QuantizeResult written = quantize(dir / "hf", dir / "m.nib", q);
      check_eq(written.info.weight_bytes, Model(dir / "hf", o).info().weight_bytes);
      check(logits_of(Model(dir / "m.nib"), tokens) == logits_of(Model(dir / "hf", o), tokens),
            "the .nib round trip changed logits");
    }
}

// Batches, threads and single tokens must give the same bits on every instruction set.
void reproducible() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const std::vector<Token> tokens = some_tokens(290, m.vocab);
  for (const Kernels* kernels : sets_under_test()) {
    for (const Activations activations : {Activations::int8, Activations::f32}) {
      ModelOptions o;
      o.isa = kernels->name;
      o.activations = activations;
      o.threads = 1;
      const Model one(dir / "hf", o);
      check_eq(one.info().kernels, o.isa);
      o.threads = 3;
      const Model three(dir / "hf", o);
      const std::vector<float> all = logits_of(one, tokens);
      check(logits_of(three, tokens) == all, o.isa + ": threads change the result");
      SessionOptions small;
      small.batch = 7;
      check(logits_of(three, tokens, small) == all, o.isa + ": the batch size changes the result");
      Session session(three);
      for (size_t t = 0; t < tokens.size(); ++t) {
        const auto row = session.eval({&tokens[t], 1});
        check(std::equal(row.begin(), row.end(), all.begin() + static_cast<long>(t) * m.vocab),
              o.isa + ": token " + std::to_string(t) + " alone differs from the prompt");
      }
    }
  }
}

void all_isas_agree() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const std::vector<Token> tokens = some_tokens(64, m.vocab);
  const auto with = [&](const char* isa, Activations activations) {
    ModelOptions o;
    o.isa = isa;
    o.activations = activations;
    return logits_of(Model(dir / "hf", o), tokens);
  };
  for (const Kernels* kernels : sets_under_test()) {
    // int8 sums are exact, so that sets differ by roundings of floats; bf16 is compared with what
    // it rounds. (Scalar int8 differs from that by 0.033 here.)
    const bool bf16 = kernels->activations == ActivationCode::bf16;
    const auto expected = with("scalar", bf16 ? Activations::f32 : Activations::int8);
    const auto found = with(kernels->name, Activations::int8);
    check(relative_norm(found, expected) < (bf16 ? 2.5e-2 : 1e-2),
          std::string(kernels->name) + " differs from scalar");
  }
}

void sliding_window() {
  TinyModel m;
  m.sliding_window = 37;
  m.extra_config = ",\"sliding_window\":37";
  m.randomize(8);
  TempDir dir;
  write_hugging_face(m, dir / "hf", "mistral");
  const std::vector<Token> tokens = some_tokens(310, m.vocab);
  const Model model(dir / "hf", exact_options());
  const auto all = logits_of(model, tokens);
  check(relative_norm(all, m.forward({tokens.begin(), tokens.end()})) < 1e-5);
  Session session(model);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const auto row = session.eval({&tokens[t], 1});
    check(std::equal(row.begin(), row.end(), all.begin() + static_cast<long>(t) * m.vocab),
          "a token alone differs");
  }
}

void session_use() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const Model model(dir / "hf");
  const std::vector<Token> tokens = some_tokens(20, m.vocab);
  SessionOptions options;
  options.context = 24;
  Session session(model, options);
  check_eq(session.context(), 24);
  check(session.eval({}).empty(), "no tokens give no logits");
  check(session.eval(tokens, Logits::none).empty());
  check_eq(session.position(), 20);
  session.truncate(10);
  const std::span<const Token> rest = std::span(tokens).subspan(10);
  const auto again = session.eval(rest);
  const std::vector<float> last(again.begin(), again.end());
  const auto all = logits_of(model, tokens);
  check(std::equal(last.begin(), last.end(), all.end() - m.vocab), "truncate changed the result");

  check_error([&] { session.eval(tokens); }, "do not fit");
  check_eq(session.position(), 20);
  const Token bad[] = {3, 77};
  check_error([&] { session.eval(bad); }, "outside the vocabulary");
  const Token negative[] = {-1};
  check_error([&] { session.eval(negative); }, "outside the vocabulary");
  check_error([&] { session.truncate(21); }, "truncate");
  check_error([&] { session.truncate(-1); }, "truncate");
  session.reset();
  check_eq(session.position(), 0);

  session.cancel();
  check(session.eval(tokens).empty() && session.cancelled(), "cancel is heeded");
  check_eq(session.position(), 0);
  check(!session.eval(tokens).empty() && !session.cancelled(), "and then forgotten");

  options.context = -1;
  check_error([&] { Session(model, options); }, "context");
  options.context = 24;
  options.batch = 0;
  check_error([&] { Session(model, options); }, "batch");
}

void cancel_in_prefill() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const Model model(dir / "hf");
  SessionOptions options;
  options.context = 1 << 16;
  options.batch = 1;
  Session session(model, options);
  const std::vector<Token> tokens = some_tokens(1 << 16, m.vocab);
  std::thread other([&] { session.cancel(); });
  session.eval(tokens, Logits::none);
  other.join();
  check(session.cancelled(), "an evaluation of hours was cancelled");
  check(session.position() < (1 << 16));
}

void sessions_share_a_model() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  const Model model(dir / "hf");
  const std::vector<Token> tokens = some_tokens(50, m.vocab);
  const auto expected = logits_of(model, tokens);
  std::vector<std::vector<float>> found(4);
  std::vector<std::thread> threads;
  for (auto& out : found)
    threads.emplace_back([&model, &tokens, &out] {
      Session session(model);
      for (const Token t : tokens) {
        const auto row = session.eval({&t, 1});
        out.insert(out.end(), row.begin(), row.end());
      }
    });
  for (std::thread& t : threads) t.join();
  for (const auto& out : found) check(out == expected, "sessions disturb each other");
}

void cache_types() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  ModelOptions o;
  o.weights = WeightType::f32;
  const Model model(dir / "hf", o);
  const std::vector<Token> tokens = some_tokens(300, m.vocab);
  const auto expected = m.forward({tokens.begin(), tokens.end()});
  const auto error = [&](KvType type) {
    SessionOptions options;
    options.k_type = options.v_type = type;
    return relative_norm(logits_of(model, tokens, options), expected);
  };
  check(error(KvType::f32) < 1e-5, "f32 cache");
  // AMX multiplies a cache of fp16 in bf16, of three bits less.
  check(error(KvType::f16) < (model.info().kernels == "amx" ? 1.6e-2 : 2e-3), "f16 cache");
  check(error(KvType::q8_0) < 2e-2, "q8_0 cache");
  SessionOptions mixed;
  mixed.k_type = KvType::q8_0;
  check_error([&] { Session(model, mixed); }, "types of keys and values");
}

void bad_configs() {
  const struct {
    const char*
        extra;  // later members win over none: duplicates are refused, so these are new keys
    const char* says;
  } cases[] = {
      {",\"mlp_bias\":true", "mlp.gate_proj.bias is missing"},
      {",\"attention_bias\":true", "self_attn.q_proj.bias is missing"},
      {",\"attn_temperature_tuning\":true", "attn_temperature_tuning: is true"},
      {",\"hidden_act\":\"softplus\"", "softplus"},
      {",\"rope_scaling\":{\"rope_type\":\"spiral\",\"factor\":4.0}", "spiral"},
      {",\"rope_scaling\":{\"rope_type\":\"linear\"}", "factor"},
      {",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":-1}", "factor"},
      {",\"partial_rotary_factor\":1.5", "partial_rotary_factor"},
      {",\"quantization_config\":{\"quant_method\":\"bitsandbytes\"}", "bitsandbytes"},
      {",\"sliding_window\":-4", "sliding_window"},
  };
  TempDir dir;
  for (const auto& c : cases) {
    TinyModel m = tiny();
    m.extra_config = c.extra;
    write_hugging_face(m, dir / "hf");
    check_error([&] { Model(dir / "hf"); }, c.says);
  }
  const TinyModel m = tiny();
  write_hugging_face(m, dir / "hf", "mamba");
  check_error([&] { Model(dir / "hf"); }, "\"mamba\" is not implemented");
  const auto broken = [&](const std::function<void(TinyModel&)>& change, const char* says) {
    TinyModel changed = tiny();
    change(changed);
    write_gguf(changed, dir / "bad.gguf");
    check_error([&] { Model(dir / "bad.gguf"); }, says);
  };
  broken([](TinyModel& t) { t.n_kv_heads = 4; }, "multiple of n_kv_heads");
  broken([](TinyModel& t) { t.head_dim = 7; }, "rope_dim");
  broken([](TinyModel& t) { t.n_layers = 3; }, "blk.2.attn_norm.weight");
  broken([](TinyModel& t) { t.n_layers = 1; }, "unknown to the architecture");
  broken([](TinyModel& t) { t.ffn_dim = 99; }, "[99, 48]");
  broken([](TinyModel& t) { t.n_layers = -1; }, "block_count");
  broken([](TinyModel& t) { t.eps = -1.0f; }, "norm_eps");
  broken([](TinyModel& t) { t.tensors.erase("output_norm.weight"); }, "output_norm.weight");
  broken(
      [](TinyModel& t) {
        t.tensors["blk.0.attn_q.scale"] = {4, 0, {1, 2, 3, 4}};
      },
      "attn_q.scale");
}

void bad_options() {
  const TinyModel m = tiny();
  TempDir dir;
  write_hugging_face(m, dir / "hf");
  ModelOptions o;
  o.isa = "z80";
  check_error([&] { Model(dir / "hf", o); }, "\"z80\" is not available on this machine");
  o = {};
  o.threads = -2;
  check_error([&] { Model(dir / "hf", o); }, "threads");
  o = {};
  o.group = 48;
  check_error([&] { Model(dir / "hf", o); }, "48, expected 32, 64 or 128");
  o = {};
  o.progress = [](double) { return false; };
  check_error([&] { Model(dir / "hf", o); }, "cancelled");
  std::vector<double> heard;
  const auto me = std::this_thread::get_id();
  o.progress = [&](double done) {
    check(std::this_thread::get_id() == me, "in the thread that loads");
    heard.push_back(done);
    return true;
  };
  check(Model(dir / "hf", o).info().load_seconds > 0);
  check(heard.size() >= 2 && std::ranges::is_sorted(heard) && heard.front() == 0 &&
        heard.back() == 1);
  check_error([&] { Model(dir / "nothing-here"); }, "nothing-here");
  check_error([&] { quantize(dir / "hf", dir.path()); }, "is a directory");
  quantize(dir / "hf", dir / "m.nib");
  check_error([&] { quantize(dir / "m.nib", dir / "m.nib"); }, "is the input");
  check_error([&] { quantize(dir / "m.nib", dir / "n.nib"); }, "already");
  QuantizeOptions q;
  q.progress = [](double) { return false; };
  check_error([&] { quantize(dir / "hf", dir / "new.nib", q); }, "cancelled");
  check(!std::filesystem::exists(dir / "new.nib"), "a cancelled file appeared");
  check(!Model(dir / "m.nib").has_tokenizer());
  check_error([&] { Model(dir / "m.nib").tokenizer(); }, "no tokenizer");
}

void every_gguf_type() {
  const std::string folder = shared("data/quant");
  const std::vector<Token> tokens = read_ids(folder + "/ids.txt");
  for (const char* type : {"f32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K",
                           "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"}) {
    const std::string base = folder + "/nano-" + type;
    const std::vector<float> expected = read_logits(base + ".logits");
    const double with_f32 =
        relative_norm(logits_of(Model(base + ".gguf", exact_options()), tokens), expected);
    check(with_f32 < 1e-5, std::string(type) + " at f32: " + std::to_string(with_f32));
    ModelOptions o;
    o.weights = WeightType::f32;
    const double with_int8 = relative_norm(logits_of(Model(base + ".gguf", o), tokens), expected);
    check(with_int8 < 0.03, std::string(type) + " at int8: " + std::to_string(with_int8));
    TempDir dir;
    QuantizeOptions q;
    q.weights = WeightType::f32;
    quantize(base + ".gguf", dir / "m.nib", q);
    check(logits_of(Model(dir / "m.nib"), tokens) == logits_of(Model(base + ".gguf", o), tokens),
          std::string(type) + ": the .nib round trip changed logits");
  }
}

// What the authors recommend, in a directory and in the .nib file of it.
void recommended_sampling() {
  const TempDir dir;
  write_tiny_hugging_face(dir / "hf");
  const auto sampling = [&](const std::string& generation_config) {
    write_file(dir / "hf/generation_config.json", generation_config);
    quantize(dir / "hf", dir / "m.nib");
    const SamplerOptions found = Model(dir / "hf").default_sampling();
    check_eq(Model(dir / "m.nib").default_sampling().top_k, found.top_k);
    std::filesystem::remove(dir / "m.nib");
    return found;
  };
  const SamplerOptions all = sampling(R"({"temperature":0.5,"top_k":7,"top_p":0.75,"min_p":0.25})");
  check(all.temperature == 0.5f && all.top_k == 7 && all.top_p == 0.75f && all.min_p == 0.25f);
  check_eq(sampling(R"({"do_sample":false,"temperature":0.5})").temperature, 0.0f);
  check_eq(sampling(R"({"temperature":null,"top_k":null})").top_k, SamplerOptions().top_k);
  for (const char* off : {"0", "-1"})  // the latter is how vLLM says it
    check_eq(sampling(std::string(R"({"top_k":)") + off + "}").top_k, 0);
  check_error([&] { sampling(R"({"top_k":-2})"); }, "top_k: is -2");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"every file form equals the double-precision reference", equals_reference},
              {"every grid survives the .nib round trip", every_grid_round_trips},
              {"batches, threads and instruction sets are reproducible", reproducible},
              {"all instruction sets agree", all_isas_agree},
              {"sliding window", sliding_window},
              {"a session's use and misuse", session_use},
              {"cancel in mid-prefill", cancel_in_prefill},
              {"sessions share a model", sessions_share_a_model},
              {"types of the KV cache", cache_types},
              {"bad configs are refused by name", bad_configs},
              {"bad options", bad_options},
              {"recommended sampling", recommended_sampling},
              {"every GGUF tensor type has its published logits", every_gguf_type}});
}
