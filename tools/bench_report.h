// Rows of `nibble bench` and the forms they are printed in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/nibble.h"

namespace nibble::tools {

/// Prompt tokens computed together, then tokens generated one by one, after `depth` tokens.
struct BenchTest {
  int n_prompt = 0;
  int n_gen = 0;
  int depth = 0;
  std::string name() const;  // "pp512", "tg128 @ d512", "pp512+tg128"
};

/// The logits of a short prompt beside those of the scalar kernels.
enum class BenchCheck : uint8_t { not_done, ok, wrong };

struct BenchRow {
  std::string path, model, kernels;
  uint64_t weight_bytes = 0, n_params = 0;
  int threads = 0, batch = 0;
  std::string kv_type;
  BenchTest test;
  std::vector<double> seconds;  // one for each repetition
  bool in_cache = false;        // what a token reads may stay in the cache: memory is no limit
  double bytes_per_token = 0;   // read by a generated token: weights and KV cache; 0: prefill
  double bandwidth_before = 0, bandwidth_after = 0;  // GB/s that reading reaches
  BenchCheck check = BenchCheck::not_done;
  double check_error = 0;  // relative norm

  std::vector<double> rates() const;  // tokens/s of each repetition
  double bandwidth() const { return (bandwidth_before + bandwidth_after) / 2; }
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

 private:
  BenchFormat format_;
  std::string cpu_;
  size_t n_rows_ = 0;
};

}  // namespace nibble::tools
