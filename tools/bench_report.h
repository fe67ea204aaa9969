// Rows of `nibble bench` and the forms they are printed in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/nibble.h"

namespace nibble::tools {

/// Prompt tokens computed together, then tokens generated one by one, after `depth` tokens; or
/// drafts to verify: tokens in one evaluation with logits for each.
struct BenchTest {
  int n_prompt = 0;
  int n_gen = 0;
  int depth = 0;
  int n_verify = 0;
  std::string name() const;  // "pp512", "tg128 @ d512", "pp512+tg128", "vf8"
};

/// Logits beside those of the scalar kernels.
struct BenchCheck {
  enum class Verdict : uint8_t { not_done, ok, wrong };
  Verdict verdict = Verdict::not_done;
  double error = 0, tolerance = 0;  // relative norms
  uint64_t hash = 0;                // of the logits' bits
};

struct BenchRow {
  std::string path, model, kernels;
  uint64_t weight_bytes = 0, n_params = 0;
  int threads = 0;
  int batch = 0;  // tokens computed together at most
  std::string kv_type;
  BenchTest test;
  std::vector<double> seconds;     // one for each repetition; none: not measured
  std::vector<double> times_one;   // drafts: seconds in multiples of those of one token
  bool in_cache = false;           // what a token reads may stay in the cache: memory is no limit
  double bytes = 0;                // weights and KV cache that a repetition reads; 0: a prompt
  double operations = 0;           // of the matrix products of a repetition; 0: not only a prompt
  std::vector<double> bandwidths;  // GB/s that reading reaches around each repetition, or none
  double peak_gops = 0;            // GOP/s of these kernels on registers; 0: unknown
  BenchCheck check;

  std::vector<double> rates() const;  // tokens/s of each repetition
  double bandwidth() const;           // GB/s that reading reaches, the median; 0: not measured
};

double mean(const std::vector<double>& values);
double standard_deviation(const std::vector<double>& values);  // of a sample; 0 for one value
double median(std::vector<double> values);

enum class BenchFormat : uint8_t { md, csv, json, jsonl };

/// Prints rows to standard output as they come.
class BenchReport {
 public:
  BenchReport(BenchFormat format, std::string cpu) : format_(format), cpu_(std::move(cpu)) {}
  void add(const BenchRow& row);
  void finish();
  bool has_rows() const { return n_rows_ > 0; }

 private:
  BenchFormat format_;
  std::string cpu_;
  size_t n_rows_ = 0;
};

}  // namespace nibble::tools
