// nibble bench through the executable.
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "load/json.h"
#include "tool_runner.h"

namespace {

using namespace nibble;
using namespace nibble::test;

void bench_combinations() {
  const TinyModel model(0.3f);
  const auto rows = bench_rows({model.path(), "-p", "4,8", "-n", "2", "-pg", "3,2", "-d", "0,5",
                                "-r", "3", "--no-bandwidth"});
  std::string names;
  for (const Json& row : rows) {
    names += text(row, "test") + ";";
    const auto& samples = row.find("samples_ts")->as_array("samples_ts");
    check_eq(samples.size(), size_t{3}, "samples");
    double sum = 0;
    for (const Json& sample : samples) sum += sample.as_number("sample");
    check_near(number(row, "avg_ts") / (sum / 3), 1, 1e-9, "mean");
    check(number(row, "median_ts") > 0, "median");
    check_eq(text(row, "check"), "ok", "check");
    check_eq(number(row, "n_threads"), 1.0, "threads");
    check_eq(number(row, "model_n_params"), static_cast<double>(kParams), "parameters");
    check(row.find("bandwidth_share")->is_null(), "no share without a bandwidth");
  }
  check_eq(names, "pp4;pp8;tg2;pp3+tg2;pp4 @ d5;pp8 @ d5;tg2 @ d5;pp3+tg2 @ d5;", "tests");
}

void bench_bandwidth() {
  const TinyModel model(0.3f);
  const auto rows = bench_rows(
      {model.path(), "-p", "4", "-n", "4", "-r", "1", "--weights", "f32", "--isa", "scalar"});
  check_eq(rows.size(), size_t{2}, "rows");
  const Json& prompt = rows[0];
  // Matrices of the layers for each of 4 tokens, of the last layer those that lead to logits of the
  // last token; the head for the last.
  const double keys = 2 * kKvDim * kDim, layer = 2 * kDim * kDim + keys + 3 * kFfn * kDim;
  const double operations = 2 * (4 * kLayers * layer - 3 * (layer - keys) + kVocab * kDim);
  check_near(number(prompt, "gop_s") * number(prompt, "avg_ns") / operations, 1, 1e-9, "GOP/s");
  check(prompt.find("peak_gop_s")->is_null(), "no ceiling of the scalar kernels");
  check(prompt.find("read_gb_s")->is_null(), "a prompt is not bound by reading");
  const Json& generation = rows[1];
  const double limit = number(generation, "bandwidth_gb_s");
  check(limit > 0.01, "a bandwidth");
  check_near(number(generation, "bandwidth_share") * limit / number(generation, "read_gb_s"), 1,
             1e-9, "share");
  // All weights but the embedding are read once, and the embedding as the tied head; at most the
  // padding of panels comes on top. The cache, 2.5 positions on average, is a percent of that.
  const double bytes = number(generation, "read_gb_s") * 1e9 / number(generation, "avg_ts");
  check(bytes > 4.0 * kParams && bytes < 4.0 * kParams * 1.1,
        "bytes of a token: " + std::to_string(bytes));
  check_eq(text(generation, "backends"), "scalar", "kernels");
}

/// With f32 activations the cache is f32, too, and the figures say so.
void bench_exact_cache() {
  const TinyModel model(0.3f);
  const auto bytes = [&](const char* activations, const char* type) {
    const auto rows = bench_rows({model.path(), "-p", "0", "-n", "2", "-d", "200", "-r", "1",
                                  "--activations", activations, "--no-bandwidth", "--no-check"});
    check_eq(text(rows.at(0), "type_k"), type, activations);
    return number(rows.at(0), "read_gb_s") * 1e9 / number(rows.at(0), "avg_ts");
  };
  const double kv = 2.0 * kLayers * kKvDim * 201.5;  // elements at the mean position
  check_near(bytes("f32", "f32") - bytes("int8", "f16"), 2 * kv, 1, "bytes more of the cache");
}

void bench_drafts() {
  const TinyModel model(0.3f);
  const auto rows = bench_rows({model.path(), "-p", "2-4", "-n", "1-4*2", "--verify", "5", "-r",
                                "2", "--no-bandwidth", "--isa", "scalar"});
  std::string names;
  for (const Json& row : rows) names += text(row, "test") + ";";
  check_eq(names, "pp2;pp3;pp4;tg1;tg2;tg4;vf5;", "ranges and drafts");
  check(rows[0].find("times_one_token")->is_null(), "a prompt has no ratio");
  check(number(rows.back(), "times_one_token") > 0, "a ratio");
  const auto sample = [&](const char* key) {
    return rows.back().find(key)->as_array(key).at(0).as_number(key);
  };
  check_near(sample("samples_ns") * sample("samples_ts") * 1e-9, 5, 0.01, "tokens of a draft");
  check_eq(text(rows.front(), "check_hash").size(), size_t{16}, "a hash");
  check_eq(text(rows.front(), "check_hash"), text(rows.back(), "check_hash"), "one hash");
  const auto unchecked =
      bench_rows({model.path(), "-p", "2", "-n", "0", "-r", "1", "--no-bandwidth", "--no-check"});
  check(unchecked.at(0).find("check")->is_null(), "not checked");
}

void bench_ceilings() {
  const TinyModel model(0.3f);
  const auto rows = bench_rows({model.path(), "-p", "4", "-n", "0", "-r", "1", "--isa", "all"});
  for (const Json& row : rows) {
    if (text(row, "backends") == "scalar") continue;
    check(number(row, "peak_gop_s") > 0.01, "a ceiling of " + text(row, "backends"));
    check_near(number(row, "peak_share") * number(row, "peak_gop_s") / number(row, "gop_s"), 1,
               1e-9, "its share");
  }
}

/// Prompts and drafts have threads of their own.
void bench_threads() {
  const TinyModel model(0.3f);
  const auto rows = bench_rows({model.path(), "-tb", "2", "-p", "1,4", "-n", "2", "-pg", "3,2",
                                "--verify", "1,5", "-r", "1", "--no-bandwidth"});
  std::string found;
  for (const Json& row : rows)
    found += text(row, "test") + ": " + std::to_string(int(number(row, "n_threads"))) + "; ";
  check_eq(found, "pp1: 1; pp4: 2; tg2: 1; pp3+tg2: 1; vf1: 1; vf5: 2; ");
}

void bench_formats() {
  const TinyModel model(0.3f);
  const std::vector<std::string> base = {
      "bench", model.path(), "-p", "2", "-n", "2", "-r", "2", "-t", "1", "--no-bandwidth", "-o"};
  const auto in = [&](const std::string& form) {
    std::vector<std::string> args = base;
    args.push_back(form);
    return answer(args);
  };
  const std::string md = in("md");
  check_eq(std::count(md.begin(), md.end(), '\n'), 4, "a header, a rule, two rows:\n" + md);
  for (const char* part :
       {"| model", "params |", "| backend", "threads |", "t/s |", "pp2 |", "tg2 |", " ± ", "| ok "})
    check(md.find(part) != std::string::npos, std::string(part) + " in:\n" + md);

  const std::string csv = in("csv");
  check_eq(std::count(csv.begin(), csv.end(), '\n'), 3, "lines of csv");
  check(csv.starts_with("build_version,"), "a header:\n" + csv);
  check_eq(parse_json(in("json"), "json").as_array("json").size(), size_t{2}, "objects");
}

/// Said once, whatever the number of models.
void bench_names_the_cpu() {
  const TinyModel model(0.3f);
  const Run run = nibble_cli({"bench", model.path(), "-p", "2", "-n", "0", "-r", "1", "--group",
                              "32,64", "--no-bandwidth"});
  check_eq(run.status, 0, run.err);
  const size_t at = run.err.find("CPU: ");
  check(at != std::string::npos && run.err.find("CPU: ", at + 1) == std::string::npos, run.err);
}

/// A group that changes no weight is not measured again.
void bench_groups() {
  const TinyModel model(0.3f);
  const Run run = nibble_cli({"bench", model.path(), "-p", "2", "-n", "0", "-r", "1", "--group",
                              "32,64", "--weights", "f32", "--no-bandwidth", "-o", "json"});
  check_eq(run.status, 0, run.err);
  check_eq(parse_json(run.out, "json").as_array("json").size(), size_t{1}, "rows");
  check(run.err.find("--group 64: no weight differs from --group 32") != std::string::npos,
        run.err);
}

/// What a session computes together, whatever was asked for.
void bench_batch() {
  const TinyModel model(0.3f);
  std::string found;
  for (const char* batch : {"3", "1000000"})
    for (const Json& row : bench_rows({model.path(), "-p", "2,8", "-n", "0", "-d", "0,5", "-r", "1",
                                       "-b", batch, "--no-bandwidth", "--no-check"}))
      found += std::to_string(int(number(row, "n_batch"))) + " ";
  check_eq(found, "2 3 3 3 2 8 7 13 ");
}

void bench_refusals() {
  const TinyModel model(0.3f);
  check_refused(
      {"bench", model.path(), "-p", "2", "-n", "0", "--isa", "scalar,no-such", "-o", "json"}, 1,
      "\"no-such\"");
  check_refused({"bench", "-m", model.path(), "--shape", "llama2-7b"}, 2, "-m: ");
  check_refused({"bench", model.path(), "-ctk", "q8_0", "-ctv", "f16"}, 2, "have the same type");
  check_refused({"bench", model.path(), "-p", "0", "-n", "0"}, 2, "nothing to measure");
  check_refused({"bench", model.path(), "-p", "4,x"}, 2, "\"x\"");
  check_refused({"bench", model.path(), "-pg", "4"}, 2, "two numbers");
  for (const char* list : {"1,,2", "1,", ",1", ", ,", ","})
    check_refused({"bench", model.path(), "-p", list}, 2, "an item of the list is empty");
  check_refused({"bench", model.path(), "-p", " "}, 2, "the list is empty");
  check_refused({"bench", model.path(), "--isa", "scalar,"}, 2, "an item of the list is empty");
  check_refused({"bench", model.path(), "-p", "1-4*1"}, 2, "\"1\"");
  check_refused({"bench", model.path(), "-p", "0-16777216"}, 2, "too many");
  check_refused({"bench", model.path(), "--group", "32,33"}, 2, "33");
  check_refused({"bench", model.path(), "-o", "xml"}, 2, "none of md, csv, json, jsonl");
  check_refused({"bench", model.file("none.bin")}, 1, "there is no such file");
  check(answer({"bench", "--shape", "list"}).find("llama2-7b") != std::string::npos, "shapes");
  check_eq(nibble_cli({"bench", "--shape", "no-such"}).status, 2, "status of an unknown shape");
  check_eq(nibble_cli({"bench", model.path(), "--isa", "no-such", "--no-bandwidth"}).status, 1,
           "status of an unknown kernel set");
}

void bench_all_kernels() {
  const TinyModel model(0.3f);
  const auto rows =
      bench_rows({model.path(), "-p", "5", "-n", "0", "-r", "1", "--isa", "all", "--no-bandwidth"});
  check(!rows.empty() && text(rows.back(), "backends") == "scalar", "scalar is last");
  for (const Json& row : rows) check_eq(text(row, "check"), "ok", text(row, "backends"));
}

/// Roundings of activations that go on through all layers are no fault of the kernels.
void bench_large_groups() {
  for (const char* group : {"64", "128"}) {
    const auto rows = bench_rows({shared("model/nibble-chat"), "-p", "4", "-n", "2", "-r", "1",
                                  "--no-bandwidth", "--group", group});
    for (const Json& row : rows) check_eq(text(row, "check"), "ok", group);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {
                 {"combinations", bench_combinations},
                 {"bandwidth", bench_bandwidth},
                 {"drafts", bench_drafts},
                 {"exact cache", bench_exact_cache},
                 {"ceilings", bench_ceilings},
                 {"threads", bench_threads},
                 {"formats", bench_formats},
                 {"the CPU", bench_names_the_cpu},
                 {"groups", bench_groups},
                 {"batch", bench_batch},
                 {"refusals", bench_refusals},
                 {"all kernels", bench_all_kernels},
                 {"large groups", bench_large_groups},
             });
}
