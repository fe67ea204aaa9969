// Speed of the kernels against what the machine can do: decode against the read bandwidth measured
// in the same run, prefill against the multiply-adds that the same instructions reach on registers.
//
//   bench_kernels [--isa NAME] [--quick]
//
// Weights for decode are larger than any cache. Times are the best of several repetitions.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

/// Reads four streams at once and fetches ahead, which is faster than a plain loop.
uint64_t sum_bytes(const uint8_t* p, size_t n) {
  uint64_t sum[4][8] = {};
  const size_t quarter = n / 4 / 64 * 64;
  for (size_t i = 0; i < quarter; i += 64)
    for (size_t s = 0; s < 4; ++s) {
      const uint8_t* line = p + s * quarter + i;
      __builtin_prefetch(line + 4096);
      for (size_t j = 0; j < 8; ++j) {
        uint64_t word;
        std::memcpy(&word, line + 8 * j, 8);
        sum[s][j] += word;
      }
    }
  uint64_t total = 0;
  for (const auto& stream : sum)
    for (const uint64_t word : stream) total += word;
  return total;
}

struct Format {
  const char* name;
  Codes codes;
  uint16_t group;
  uint8_t zero;
};
constexpr Format kFormats[] = {
    {"q4 g32", Codes::q4, 32, 8}, {"q4 g128", Codes::q4, 128, 8}, {"q8 g32", Codes::q8, 32, 128}};
constexpr uint32_t kCols = 4096;

/// As many panels of [*, kCols] as fit into `codes`; every scale is the same fp16.
PackedView make_matrix(const Format& f, const Bytes& codes, Bytes& scales, size_t max_panels) {
  PackedView w;
  w.cols_padded = kCols;
  w.code_stride = kCols * (f.codes == Codes::q4 ? 8 : 16);
  w.scale_stride = kCols / f.group * sizeof(ScaleF16);
  const size_t panels = std::min(codes.size() / w.code_stride, max_panels);
  scales = Bytes(panels * w.scale_stride);
  for (size_t i = 0; i < scales.size(); i += 2) std::memcpy(scales.data() + i, "\x00\x20", 2);
  w.shape = {static_cast<uint32_t>(panels * 16), kCols, f.codes, Scheme::f16, f.group, f.zero};
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
      : codes(n_rows * (kCols + 64)), scales(n_rows * kCols / group), sums(n_rows * kCols / group) {
    std::vector<float> x(n_rows * kCols);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 251) / 100 - 1.25f;
    rows = {reinterpret_cast<int8_t*>(codes.data()),
            scales.data(),
            sums.data(),
            n_rows,
            kCols + 64,
            kCols / group,
            group};
    kernels.quantize_rows(x.data(), kCols, kCols, rows);
  }
};

/// Seconds of a product whose panels are shared out to the threads.
double time_matmul(const Kernels& kernels, const PackedView& w, const Activations& x,
                   size_t n_threads, int repeats) {
  const size_t panels = w.shape.rows / 16;
  std::vector<float> y(x.rows.n_rows * w.shape.rows);
  return best_seconds(repeats, n_threads, [&](size_t t) {
    kernels.matmul_q(w, panels * t / n_threads, panels * (t + 1) / n_threads, x.rows, y.data(),
                     w.shape.rows);
  });
}

double read_gbs(const Bytes& memory, size_t n_threads, int repeats) {
  std::vector<uint64_t> sums(n_threads * 8);
  const size_t part = memory.size() / n_threads / 64 * 64;
  const double seconds = best_seconds(repeats, n_threads, [&](size_t t) {
    sums[t * 8] += sum_bytes(memory.data() + t * part, part);
  });
  volatile uint64_t sink = sums[0];
  static_cast<void>(sink);
  return static_cast<double>(part * n_threads) / seconds / 1e9;
}

void bench_decode(const Kernels& kernels, const Bytes& memory, const Settings& settings) {
  for (const Format& f : kFormats) {
    Bytes scales(0);
    const PackedView w = make_matrix(f, memory, scales, SIZE_MAX);
    const Activations x(kernels, 1, f.group);
    for (const size_t n_threads : {size_t{1}, size_t{2}}) {
      const double read = read_gbs(memory, n_threads, settings.repeats);
      const double bytes =
          static_cast<double>(w.shape.rows / 16 * (w.code_stride + w.scale_stride));
      const double gbs = bytes / time_matmul(kernels, w, x, n_threads, settings.repeats) / 1e9;
      std::printf("%-9s decode   %-8s %zu thread%s  %7.1f GB/s   %5.1f%% of %.1f GB/s read\n",
                  kernels.name, f.name, n_threads, n_threads == 1 ? " " : "s", gbs,
                  100 * gbs / read, read);
    }
  }
}

#if defined(__x86_64__)

constexpr int kLoops = 2000000;

/// vpdpbusd on registers: 12 independent sums.
[[gnu::target("avx512f,avx512vnni")]] double vnni_gops() {
  const double seconds = best_seconds(
      3, 1, [](size_t) __attribute__((target("avx512f,avx512vnni"))) {
        __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5), s[12];
        for (__m512i& v : s) v = _mm512_setzero_si512();
        for (int i = 0; i < kLoops; ++i) {
          for (__m512i& v : s) v = _mm512_dpbusd_epi32(v, a, b);
          __asm__ volatile("" : "+v"(a), "+v"(b));
        }
        for (__m512i& v : s) __asm__ volatile("" : : "v"(v));
      });
  return 2.0 * 64 * 12 * kLoops / seconds / 1e9;
}

/// vpmaddubsw and vpaddw on registers.
[[gnu::target("avx2")]] double maddubs_gops() {
  const double seconds = best_seconds(
      3, 1, [](size_t) __attribute__((target("avx2"))) {
        __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), s[12];
        for (__m256i& v : s) v = _mm256_setzero_si256();
        for (int i = 0; i < kLoops; ++i)
          for (__m256i& v : s) {
            __asm__ volatile("" : "+x"(a), "+x"(b));
            v = _mm256_add_epi16(v, _mm256_maddubs_epi16(a, b));
          }
        for (__m256i& v : s) __asm__ volatile("" : : "x"(v));
      });
  return 2.0 * 32 * 12 * kLoops / seconds / 1e9;
}

double ceiling_gops(const Kernels& kernels) {
  if (std::strcmp(kernels.name, "avx512") == 0) return vnni_gops();
  if (std::strcmp(kernels.name, "avx2") == 0) return maddubs_gops();
  return 0;
}

#else
double ceiling_gops(const Kernels&) { return 0; }
#endif

/// One thread: 512 tokens against 64 panels.
void bench_prefill(const Kernels& kernels, const Bytes& memory, const Settings& settings) {
  constexpr size_t kTokens = 512, kPanels = 64;
  const bool scalar = std::strcmp(kernels.name, "scalar") == 0;
  const size_t tokens = scalar ? 16 : kTokens;
  for (const Format& f : kFormats) {
    Bytes scales(0);
    const PackedView w = make_matrix(f, memory, scales, kPanels);
    const Activations x(kernels, tokens, f.group);
    const double ceiling = ceiling_gops(kernels);
    const double seconds = time_matmul(kernels, w, x, 1, settings.repeats);
    const double gops = 2.0 * kCols * kPanels * 16 * static_cast<double>(tokens) / seconds / 1e9;
    std::printf("%-9s prefill  %-8s 1 thread   %7.1f GOPS", kernels.name, f.name, gops);
    if (ceiling > 0)
      std::printf("   %5.1f%% of %.0f GOPS on registers", 100 * gops / ceiling, ceiling);
    std::printf("\n");
  }
}

/// Full chunks of fp16 keys and values, head_dim 128, in cache.
void bench_attention(const Kernels& kernels, const Settings& settings) {
  constexpr size_t kDim = 128, kCalls = 200;
  Bytes k(kAttentionChunk * kDim * 2), v(kAttentionChunk * kDim * 2);
  const std::vector<float> value(kDim, 0.5f);
  for (size_t p = 0; p < kAttentionChunk; ++p) {
    kernels.store_key(value.data(), kDim, p, KvCode::f16, k.data(), nullptr);
    kernels.store_value(value.data(), kDim, p, KvCode::f16, v.data(), nullptr);
  }
  const KvChunk chunk{k.data(), v.data(), nullptr, nullptr, KvCode::f16};
  for (const size_t n_rows : {size_t{1}, size_t{4}, size_t{64}}) {
    const std::vector<float> q(n_rows * kDim, 0.25f);
    const std::vector<int32_t> begin(n_rows, 0), end(n_rows, 256);
    std::vector<float> scores(n_rows * 256), acc(n_rows * kDim), max(n_rows), sum(n_rows);
    const double seconds = best_seconds(settings.repeats, 1, [&](size_t) {
      for (size_t i = 0; i < kCalls; ++i)
        kernels.attention_chunk(chunk, kDim, q.data(), kDim, n_rows, begin.data(), end.data(), 0.1f,
                                ScoreTerms{}, scores.data(), {acc.data(), max.data(), sum.data()});
    });
    const double calls = static_cast<double>(kCalls) / seconds;
    std::printf(
        "%-9s attention f16, %2zu queries      %7.1f GFLOPS %6.1f GB/s of keys and values\n",
        kernels.name, n_rows, calls * 4 * 256 * kDim * static_cast<double>(n_rows) / 1e9,
        calls * static_cast<double>(k.size() + v.size()) / 1e9);
  }
}

int usage(const char* what) {
  std::fprintf(stderr, "bench_kernels: %s\nusage: bench_kernels [--isa NAME] [--quick]\n", what);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick")
      settings.repeats = 2;
    else if (arg == "--isa" && i + 1 < argc)
      settings.isa = argv[++i];
    else
      return usage("unknown option");
  }
  if (!find_kernels(settings.isa.c_str())) return usage("no such kernel set on this CPU");
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
