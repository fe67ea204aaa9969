// Speed of the kernels against what the machine can do: decode against the read bandwidth measured
// in the same run, prefill against the multiply-adds that the same instructions reach on registers.
//
//   bench_kernels [--isa NAME] [--quick] [--barrier: of the thread pool, nothing else]
//
// Weights for decode are larger than any cache. Times are the best of several repetitions.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#include "base/thread_pool.h"
#include "kernels.h"
#include "quant/packed_matrix.h"

namespace {

using namespace nibble;

struct Settings {
  std::string isa;
  size_t weight_bytes = size_t{640} << 20;
  int repeats = 5;
};

/// CPU time of the calling thread: the time that passes unless others use the core meanwhile.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Best of `repeats` runs of fn(thread) on n threads at once, by the slowest thread's seconds.
double best_seconds(int repeats, size_t n_threads, const std::function<void(size_t)>& fn) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    std::vector<double> seconds(n_threads);
    const auto run = [&](size_t t) {
      const double start = thread_seconds();
      fn(t);
      seconds[t] = thread_seconds() - start;
    };
    std::vector<std::thread> threads;
    for (size_t t = 1; t < n_threads; ++t) threads.emplace_back(run, t);
    run(0);
    for (std::thread& t : threads) t.join();
    best = std::min(best, *std::max_element(seconds.begin(), seconds.end()));
  }
  return best;
}

/// Random bytes, 64-byte aligned.
class Bytes {
 public:
  explicit Bytes(size_t n) : memory_(new uint8_t[n + 64]), size_(n) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i + 8 <= n; i += 8) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      std::memcpy(data() + i, &state, 8);
    }
  }
  uint8_t* data() const {
    return memory_.get() + (64 - reinterpret_cast<uintptr_t>(memory_.get()) % 64) % 64;
  }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t size_;
};

struct Format {
  const char* name;
  Codes codes;
  Scheme scheme;
  uint16_t group;
  uint8_t zero;
};
constexpr Format kFormats[] = {
    {"q4 g32", Codes::q4, Scheme::f16, 32, 8},
    {"q4 g64", Codes::q4, Scheme::f16, 64, 8},
    {"q4 g128", Codes::q4, Scheme::f16, 128, 8},
    {"q4 zero g128", Codes::q4, Scheme::f16_zero, 128, 0},
    {"q4 zero32 g128", Codes::q4, Scheme::f32_zero, 128, 0},
    {"q4 min g32", Codes::q4, Scheme::f16_min, 32, 0},
    {"q4 k6 g32", Codes::q4, Scheme::k6, 32, 0},  // Q4_K
    {"q4 k8 g32", Codes::q4, Scheme::k8, 32, 8},
    {"q2 k4min g16", Codes::q2, Scheme::k4_min, 16, 0},      // Q2_K
    {"q3 k8 g16", Codes::q3, Scheme::k8, 16, 4},             // Q3_K
    {"q8 g32", Codes::q8, Scheme::f16, 32, 128},             // Q8_0
    {"iq2 k8 g16", Codes::iq2, Scheme::k8, 16, 64},          // IQ1, IQ2
    {"iq3 k8 g32", Codes::iq3_s, Scheme::k8, 32, kIq3Zero},  // IQ3
    {"iq4 g32", Codes::iq4, Scheme::f16, 32, 128},           // IQ4_NL
    {"iq4 k8 g32", Codes::iq4, Scheme::k8, 32, 128},         // IQ4_XS
    {"q5 g32", Codes::q5, Scheme::f16, 32, 16},              // Q5_0
    {"q5 min g32", Codes::q5, Scheme::f16_min, 32, 0},       // Q5_1
    {"q5 k6 g32", Codes::q5, Scheme::k6, 32, 0},             // Q5_K
    {"q6 k8 g16", Codes::q6, Scheme::k8, 16, 32},            // Q6_K
};
constexpr uint32_t kCols = 4096;

/// As many panels of [*, kCols] as fit into `codes`; every fp16 of the scales is the same.
PackedView make_matrix(const Format& f, const Bytes& codes, Bytes& scales, size_t max_panels) {
  PackedShape shape = {16, kCols, f.codes, f.scheme, f.group, f.zero};
  const size_t panel_bytes = packed_layout(shape, f.name).code_stride;
  const size_t panels = std::min(codes.size() / panel_bytes, max_panels);
  shape.rows = static_cast<uint32_t>(panels * 16);
  const PackedLayout layout = packed_layout(shape, f.name);
  scales = Bytes(layout.scales_bytes);
  for (size_t i = 0; i + 2 <= scales.size(); i += 2) std::memcpy(scales.data() + i, "\x00\x20", 2);
  PackedView w;
  w.shape = shape;
  w.cols_padded = layout.cols_padded;
  w.code_stride = layout.code_stride;
  w.scale_stride = layout.scale_stride;
  w.codes = codes.data();
  w.scales = scales.data();
  return w;
}

struct Activations {
  QuantizedRows rows;
  Bytes codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  Activations(const Kernels& kernels, size_t n_rows, size_t group)
      : codes(n_rows * (kCols * code_bytes(kernels.activations) + 64)),
        scales(n_rows * kCols / group),
        sums(n_rows * kCols / group) {
    std::vector<float> x(n_rows * kCols);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 251) / 100 - 1.25f;
    rows = {reinterpret_cast<int8_t*>(codes.data()),      scales.data(), sums.data(), n_rows,
            kCols * code_bytes(kernels.activations) + 64, kCols / group, group};
    kernels.quantize_rows(x.data(), kCols, kCols, rows);
  }
};

/// Seconds of a product whose panels are shared out to the threads.
double time_matmul(const Kernels& kernels, const PackedView& w, const Activations& x,
                   size_t n_threads, int repeats) {
  const size_t panels = w.shape.rows / 16;
  const size_t y_stride = w.shape.rows + 16;  // no power of two
  std::vector<float> y(x.rows.n_rows * y_stride);
  return best_seconds(repeats, n_threads, [&](size_t t) {
    kernels.matmul_q(w, panels * t / n_threads, panels * (t + 1) / n_threads, x.rows, y.data(),
                     y_stride);
  });
}

double read_gbs(const Kernels& kernels, const Bytes& memory, size_t n_threads, int repeats) {
  std::vector<uint32_t> sums(n_threads * 16);
  const size_t part = memory.size() / n_threads / 256 * 256;
  const double seconds = best_seconds(repeats, n_threads, [&](size_t t) {
    sums[t * 16] += kernels.sum_words(memory.data() + t * part, part);
  });
  volatile uint32_t sink = sums[0];
  static_cast<void>(sink);
  return static_cast<double>(part * n_threads) / seconds / 1e9;
}

void bench_decode(const Kernels& kernels, const Bytes& memory, const Settings& settings) {
  for (const Format& f : kFormats) {
    Bytes scales(0);
    const PackedView w = make_matrix(f, memory, scales, SIZE_MAX);
    const Activations x(kernels, 1, f.group);
    for (const size_t n_threads : {size_t{1}, size_t{2}}) {
      const double read = read_gbs(kernels, memory, n_threads, settings.repeats);
      const double bytes =
          static_cast<double>(w.shape.rows / 16 * (w.code_stride + w.scale_stride));
      const double gbs = bytes / time_matmul(kernels, w, x, n_threads, settings.repeats) / 1e9;
      std::printf("%-9s decode   %-14s %zu thread%s  %7.1f GB/s   %5.1f%% of %.1f GB/s read\n",
                  kernels.name, f.name, n_threads, n_threads == 1 ? " " : "s", gbs,
                  100 * gbs / read, read);
    }
  }
}

double ceiling_gops(const Kernels& kernels) {
  if (kernels.peak_operations == nullptr) return 0;
  constexpr size_t kRounds = 1000000;
  uint64_t operations = 0;
  const double seconds =
      best_seconds(3, 1, [&](size_t) { operations = kernels.peak_operations(kRounds); });
  return static_cast<double>(operations) / seconds / 1e9;
}

/// One thread: 1 to 512 tokens against 64 panels, which the L2 cache does not hold.
void bench_prefill(const Kernels& kernels, const Bytes& memory, const Settings& settings) {
  constexpr size_t kPanels = 64;
  const bool scalar = std::strcmp(kernels.name, "scalar") == 0;
  const double ceiling = ceiling_gops(kernels);
  if (ceiling > 0)
    std::printf("%-9s dot products on registers, 1 thread: %.0f GOPS\n", kernels.name, ceiling);
  for (const Format& f : kFormats) {
    Bytes scales(0);
    const PackedView w = make_matrix(f, memory, scales, kPanels);
    std::printf("%-9s rows     %-14s 1 thread  ", kernels.name, f.name);
    double gops = 0;
    for (const size_t tokens : {size_t{1}, size_t{4}, size_t{8}, size_t{64}, size_t{512}}) {
      if (scalar && tokens > 8) break;
      const Activations x(kernels, tokens, f.group);
      const double seconds = time_matmul(kernels, w, x, 1, settings.repeats);
      gops = 2.0 * kCols * kPanels * 16 * static_cast<double>(tokens) / seconds / 1e9;
      std::printf(" %zu: %.1f", tokens, gops);
    }
    std::printf(" GOPS");
    if (ceiling > 0) std::printf(" (%.1f%% of registers)", 100 * gops / ceiling);
    std::printf("\n");
  }
}

/// Keys and values of one head at a depth: one chunk, which the cache holds, and many, which come
/// from memory.
void bench_attention_of(const Kernels& kernels, const Settings& settings, KvCode code,
                        const char* name, size_t n_chunks) {
  constexpr size_t kDim = 128;
  const size_t bytes = kAttentionChunk * kDim * (code == KvCode::q8 ? 1 : 2);
  Bytes k(n_chunks * bytes), v(n_chunks * bytes);
  std::vector<float> k_scale(kAttentionChunk), v_scale(kAttentionChunk);
  const std::vector<float> value(kDim, 0.5f);
  for (size_t p = 0; p < kAttentionChunk; ++p) {
    kernels.store_key(value.data(), kDim, p, code, k.data(), k_scale.data());
    kernels.store_value(value.data(), kDim, p, code, v.data(), v_scale.data());
  }
  for (size_t i = 1; i < n_chunks; ++i) {
    std::memcpy(k.data() + i * bytes, k.data(), bytes);
    std::memcpy(v.data() + i * bytes, v.data(), bytes);
  }
  const size_t rounds = std::max<size_t>(1, 200 / n_chunks);
  for (const size_t n_rows : {size_t{1}, size_t{4}, size_t{64}}) {
    if (n_chunks > 1 && n_rows > 4) break;
    const std::vector<float> q(n_rows * kDim, 0.25f);
    const std::vector<int32_t> begin(n_rows, 0), end(n_rows, kAttentionChunk);
    std::vector<float> scores(n_rows * kAttentionChunk), acc(n_rows * kDim), max(n_rows),
        sum(n_rows);
    const double seconds = best_seconds(settings.repeats, 1, [&](size_t) {
      for (size_t i = 0; i < rounds * n_chunks; ++i) {
        const size_t at = i % n_chunks * bytes;
        kernels.attention_chunk(
            {k.data() + at, v.data() + at, k_scale.data(), v_scale.data(), code}, kDim, q.data(),
            kDim, n_rows, begin.data(), end.data(), 0.1f, ScoreTerms{}, scores.data(),
            {acc.data(), max.data(), sum.data()});
      }
    });
    const double calls = static_cast<double>(rounds * n_chunks) / seconds;
    std::printf(
        "%-9s attention %s depth %6zu, %2zu queries  %7.1f GFLOPS %6.1f GB/s of keys and values\n",
        kernels.name, name, n_chunks * kAttentionChunk, n_rows,
        calls * 4 * kAttentionChunk * kDim * static_cast<double>(n_rows) / 1e9,
        calls * static_cast<double>(2 * bytes) / 1e9);
  }
}

void bench_attention(const Kernels& kernels, const Settings& settings) {
  for (const size_t n_chunks : {size_t{1}, size_t{1024}}) {
    bench_attention_of(kernels, settings, KvCode::f16, "f16", n_chunks);
    bench_attention_of(kernels, settings, KvCode::q8, "q8 ", n_chunks);
  }
}

/// What a parallel loop costs in which every thread takes part: each waits for the others, or one
/// would run all that does nothing.
void bench_barrier() {
  constexpr int kLoops = 2000;
  const int cores = allowed_cpu_count();
  std::vector<int> counts = {cores, cores + 1, 2 * cores};
  if (cores > 2) counts.insert(counts.begin(), 2);
  for (const int n_threads : counts) {
    ThreadPool pool(n_threads);
    const auto n_chunks = static_cast<size_t>(n_threads);
    std::vector<double> micros;
    for (int pass = 0; pass < 9; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kLoops; ++i) {
        std::atomic<int> arrived = 0;
        pool.run(n_chunks, [&](size_t, int) {
          arrived.fetch_add(1);
          for (int spins = 0; arrived.load() < n_threads; ++spins)
            if (spins > 1000) std::this_thread::yield();
        });
      }
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - start;
      micros.push_back(took.count() / kLoops);
    }
    std::sort(micros.begin(), micros.end());
    std::printf("barrier   %3d threads on %d cores: %.2f us (median; %.2f to %.2f)\n", n_threads,
                cores, micros[micros.size() / 2], micros.front(), micros.back());
  }
}

int usage(const char* what) {
  std::fprintf(
      stderr, "bench_kernels: %s\nusage: bench_kernels [--isa NAME] [--quick] [--barrier]\n", what);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--barrier") {
      bench_barrier();
      return 0;
    }
    if (arg == "--quick")
      settings.repeats = 2;
    else if (arg == "--isa" && i + 1 < argc)
      settings.isa = argv[++i];
    else
      return usage("unknown option");
  }
  if (!find_kernels(settings.isa.c_str())) return usage("no such kernel set on this CPU");
  bench_barrier();
  const Bytes memory(settings.weight_bytes);
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  for (size_t i = 0; i < count; ++i) {
    const Kernels& kernels = *sets[i].kernels;
    if (!sets[i].supported() || (!settings.isa.empty() && settings.isa != kernels.name)) continue;
    const bool scalar = std::strcmp(kernels.name, "scalar") == 0;
    if (!scalar || settings.isa == "scalar") bench_decode(kernels, memory, settings);
    bench_prefill(kernels, memory, settings);
    bench_attention(kernels, settings);
  }
  return 0;
}
