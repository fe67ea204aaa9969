// The measurements of `nibble bench`.
#pragma once

#include "bandwidth.h"
#include "bench_report.h"
#include "nibble/nibble.h"

namespace nibble::tools {

struct BenchRunOptions {
  int repetitions = 5;
  int batch = 512;  // prompt tokens computed together
  KvType kv = KvType::f16;
  bool warm_up = true;
  int delay = 0;  // seconds before each test
};

/// Prompt tokens that the session of a test computes together: no more than it is long.
int batch_of(const BenchTest& test, const BenchRunOptions& options);

/// Runs the row's test with the model and fills in times, and what was read and computed in them.
/// Around each repetition of a generation the meter is asked, if there is one.
void run_test(const Model& model, const BenchRunOptions& options, MemoryMeter* meter,
              BenchRow& row);

/// Where a long run stands, on standard error if that is a terminal.
void show_status(const std::string& text);

}  // namespace nibble::tools
