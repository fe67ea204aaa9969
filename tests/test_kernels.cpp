// Dispatch and the kernels that walk along rows, see kernel_check.h.
#include <numbers>

#include "kernel_matrix.h"

namespace {

using namespace nibble;
using namespace nibble::test;

void dispatches() {
  size_t count = 0;
  const KernelSet* sets = kernel_sets(count);
  check(count > 0, "no kernel set");
  check_eq(std::string(sets[count - 1].kernels->name), std::string("scalar"), "the last set");
  check(sets[count - 1].supported(), "scalar is not supported");
  const Kernels* best = nullptr;
  for (size_t i = 0; i < count; ++i) {
    const Kernels* kernels = sets[i].kernels;
    const bool supported = sets[i].supported();
    if (supported && !best) best = kernels;
    check(find_kernels(kernels->name) == (supported ? kernels : nullptr), kernels->name);
  }
  check(find_kernels(nullptr) == best && find_kernels("") == best, "the best set");
  check(find_kernels("no-such-set") == nullptr, "an unknown name");
}

/// NIBBLE_ISA must name a set that the tests of this process did run.
void tests_the_forced_set() {
  const char* forced = std::getenv("NIBBLE_ISA");
  if (!forced || !*forced) test::skip("NIBBLE_ISA is not set");
  check_eq(std::string(sets_under_test().front()->name), std::string(forced), "NIBBLE_ISA");
}

/// Codes, scales and sums are defined exactly: no tolerance.
void quantizes_rows() {
  Random random(6);
  for (const Kernels* kernels : sets_under_test()) {
    if (kernels->activations != ActivationCode::int8) continue;
    for (const size_t group : {size_t{16}, size_t{32}, size_t{64}, size_t{128}})
      for (const size_t cols : {size_t{1}, size_t{16}, size_t{172}, size_t{300}, size_t{512}}) {
        constexpr size_t kRows = 3;
        const size_t x_stride = cols + 2;
        std::vector<float> x = random_floats(random, kRows * x_stride);
        for (size_t k = 0; k < std::min(cols, group); ++k) x[k] = 0;                   // no scale
        for (size_t k = 0; k < std::min(cols, group); ++k) x[x_stride + k] *= 1e-38f;  // too small
        const size_t n_groups = (cols + group - 1) / group + 2;
        Activations a = empty_activations(kRows, n_groups, group);
        kernels->quantize_rows(x.data(), x_stride, cols, a.rows);
        const std::string what = std::string(kernels->name) + " group " + std::to_string(group) +
                                 " cols " + std::to_string(cols);
        for (size_t t = 0; t < kRows; ++t)
          for (size_t k = 0, sum = 0; k < a.rows.stride; ++k) {
            float absmax = 0;
            for (size_t i = k / group * group; i < std::min(k / group * group + group, cols); ++i)
              absmax = std::max(absmax, std::abs(x[t * x_stride + i]));
            float scale = absmax / 127;
            if (scale < 0x1p-126f) scale = 0;
            const bool coded = k < cols && scale != 0;
            const int code =
                coded ? static_cast<int>(std::nearbyint(x[t * x_stride + k] / scale)) : 0;
            check_eq(static_cast<int>(a.rows.codes[t * a.rows.stride + k]), code, what + " code");
            if (k / group >= n_groups) continue;
            check_eq(a.scales[t * n_groups + k / group], scale, what + " scale");
            sum = k % group == 0 ? static_cast<size_t>(code) : sum + static_cast<size_t>(code);
            if (k % group == group - 1)
              check_eq(a.sums[t * n_groups + k / group], static_cast<int32_t>(sum), what + " sum");
          }
      }
  }
}

/// Where activations are bf16: rounded values, zeros behind them, nothing else.
void rounds_rows() {
  Random random(18);
  size_t found = 0;
  for (const Kernels* kernels : sets_under_test()) {
    if (kernels->activations != ActivationCode::bf16) continue;
    ++found;
    for (const size_t cols : {size_t{1}, size_t{16}, size_t{172}, size_t{300}, size_t{512}}) {
      constexpr size_t kRows = 3;
      const size_t x_stride = cols + 2, stride = (2 * cols + 63) / 64 * 64 + 64;
      std::vector<float> x = random_floats(random, kRows * x_stride);
      x[0] = 0x1.01p0f;                                // a tie: to even, down
      if (cols > 2) x[1] = -0x1.03p0f, x[2] = 1e-20f;  // a tie: to even, up
      for (size_t i = 0; i < x.size(); ++i)
        if (i % x_stride >= cols) x[i] = kNan;
      Buffer codes(kRows * stride + 64);
      kernels->quantize_rows(x.data(), x_stride, cols,
                             {codes.at<int8_t>(), nullptr, nullptr, kRows, stride, 4, 32});
      for (size_t t = 0; t < kRows; ++t)
        for (size_t k = 0; k < stride / 2; ++k) {
          const uint16_t expected = k < cols ? nearest_bf16(x[t * x_stride + k]) : uint16_t{0};
          const uint8_t* code = codes.at(t * stride + 2 * k);
          check_eq(code[0] | code[1] << 8, static_cast<int>(expected), kernels->name);
        }
      check_eq(static_cast<int>(*codes.at(kRows * stride)), 0xff, "wrote too far");
    }
    check_eq(static_cast<int>(nearest_bf16(0x1.01p0f)), 0x3f80);
    check_eq(static_cast<int>(nearest_bf16(-0x1.03p0f)), 0xbf82);
  }
  if (found == 0) test::skip("no set multiplies in bf16");
}

void rounds_ties_to_even() {
  const std::vector<float> x = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127, 3.5f, 126.5f};
  const std::vector<int> codes = {127, 0, 2, 2, 0, -2, -2, -127, 4, 126};
  for (const Kernels* kernels : sets_under_test()) {
    if (kernels->activations != ActivationCode::int8) continue;
    Activations a = empty_activations(1, 1, 16);
    kernels->quantize_rows(x.data(), x.size(), x.size(), a.rows);
    for (size_t i = 0; i < x.size(); ++i)
      check_eq(static_cast<int>(a.rows.codes[i]), codes[i], kernels->name);
  }
}

constexpr size_t kLengths[] = {1, 7, 8, 15, 16, 17, 31, 48, 63, 172, 300, 4096};

void rms_norms() {
  Random random(7);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> x = random_floats(random, n + 1);
      const std::vector<float> weight = random_floats(random, n);
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += std::pow(static_cast<double>(x[i]), 2);
      const double norm = std::sqrt(sum / static_cast<double>(n) + 1e-5);
      std::vector<float> y(n + 1, -1.0f);
      kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, y.data());
      check_eq(y[n], -1.0f, std::string(kernels->name) + " wrote too far");
      const std::vector<float> input = x;
      kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, x.data());
      for (size_t i = 0; i < n; ++i) {
        const double e = static_cast<double>(input[i]) / norm * static_cast<double>(weight[i]);
        test::check_near(static_cast<double>(y[i]), e,
                         std::abs(e) * kEps * static_cast<double>(n + 8), kernels->name);
        check_eq(x[i], y[i], "in place");
      }
    }
}

void layer_norms() {
  Random random(17);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths)
      for (const bool with_bias : {false, true}) {
        std::vector<float> x = random_floats(random, n + 1);
        for (float& v : x) v += 3.0f;  // a mean that must go
        const std::vector<float> weight = random_floats(random, n), bias = random_floats(random, n);
        double mean = 0, variance = 0;
        for (size_t i = 0; i < n; ++i) mean += static_cast<double>(x[i]) / static_cast<double>(n);
        for (size_t i = 0; i < n; ++i)
          variance += std::pow(static_cast<double>(x[i]) - mean, 2) / static_cast<double>(n);
        const double norm = std::sqrt(variance + 1e-5);
        std::vector<float> y(n + 1, -1.0f);
        const float* b = with_bias ? bias.data() : nullptr;
        kernels->layer_norm(x.data(), weight.data(), b, 1e-5f, n, y.data());
        check_eq(y[n], -1.0f, std::string(kernels->name) + " wrote too far");
        const std::vector<float> input = x;
        kernels->layer_norm(x.data(), weight.data(), b, 1e-5f, n, x.data());
        for (size_t i = 0; i < n; ++i) {
          const double w = static_cast<double>(weight[i]);
          const double added = with_bias ? static_cast<double>(bias[i]) : 0.0;
          const double e = (static_cast<double>(input[i]) - mean) / norm * w + added;
          // The mean is rounded before it is subtracted.
          const double error =
              (std::abs(mean) + std::abs(static_cast<double>(input[i]))) / norm * std::abs(w) +
              std::abs(added);
          test::check_near(static_cast<double>(y[i]), e, error * kEps * static_cast<double>(n + 8),
                           kernels->name);
          check_eq(x[i], y[i], "in place");
        }
      }
}

/// The kernels that are one operation for each element.
void elementwise() {
  Random random(8);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      const std::vector<float> before = random_floats(random, n + 1), y = random_floats(random, n);
      const auto run = [&](const auto& kernel, const auto& expected, double tolerance) {
        std::vector<float> x = before;
        kernel(x.data());
        check_eq(x[n], before[n], "wrote too far");
        for (size_t i = 0; i < n; ++i) {
          const double a = static_cast<double>(before[i]), b = static_cast<double>(y[i]);
          test::check_near(static_cast<double>(x[i]), expected(a, b), tolerance, kernels->name);
        }
      };
      run([&](float* x) { kernels->add(x, y.data(), n); },
          [](double a, double b) { return static_cast<double>(static_cast<float>(a + b)); }, 0);
      run([&](float* x) { kernels->add_scaled(x, 0.7f, y.data(), n); },
          [](double a, double b) { return a + static_cast<double>(0.7f) * b; }, 12 * kEps);
      run([&](float* x) { kernels->scale(x, 0.25f, n); }, [](double a, double) { return a / 4; },
          0);
      run([&](float* x) { kernels->clamp(x, 0.5f, n); },
          [](double a, double) { return std::clamp(a, -0.5, 0.5); }, 0);
      run([&](float* x) { kernels->soft_cap(x, 2.0f, n); },
          [](double a, double) { return 2 * std::tanh(a / 2); }, 2 * 0x1p-21);
      run([&](float* x) { kernels->soft_cap(x, 0.01f, n); },  // far beyond the cap
          [](double a, double) { return 0.01 * std::tanh(a / 0.01); }, 0.01 * 0x1p-21);
    }
}

/// Clamped, so that its error is bounded by that of exp() in a small range.
void swiglu_oai() {
  Random random(10);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> x(n + 1), up(n);
      for (float& g : x) g = uniform(random, -20.0f, 20.0f);
      for (float& u : up) u = uniform(random, -12.0f, 12.0f);
      const std::vector<float> before = x;
      kernels->swiglu_oai(x.data(), up.data(), n);
      check_eq(x[n], before[n], "wrote too far");
      for (size_t i = 0; i < n; ++i) {
        const double a = std::min(static_cast<double>(before[i]), 7.0);
        const double e = a / (1 + std::exp(-1.702 * a)) *
                         (std::clamp(static_cast<double>(up[i]), -7.0, 7.0) + 1);
        test::check_near(static_cast<double>(x[i]), e, 40 * kEps * std::abs(e) + 1e-6 * kEps,
                         std::string(kernels->name) + " swiglu_oai of " + std::to_string(a));
      }
    }
}

/// Over the range where exp() of floats is finite; this bounds the error of the kernels' exp, too.
void activations() {
  struct Case {
    const char* name;
    void (*const Kernels::*kernel)(float*, const float*, size_t);
    double (*f)(double);
    double growth;  // of the relative error with the square of the input
  };
  const Case cases[] = {
      {"silu", &Kernels::silu, [](double a) { return a / (1 + std::exp(-a)); }, 0},
      {"gelu", &Kernels::gelu, [](double a) { return a / 2 * std::erfc(-a * std::sqrt(0.5)); }, 2},
      {"gelu_tanh", &Kernels::gelu_tanh,
       [](double a) {
         return a /
                (1 + std::exp(-2 * std::sqrt(2 / std::numbers::pi) * (a + 0.044715 * a * a * a)));
       },
       4},
      {"relu", &Kernels::relu, [](double a) { return std::max(a, 0.0); }, 0},
  };
  Random random(9);
  for (const Kernels* kernels : sets_under_test())
    for (const Case& c : cases)
      for (const size_t n : kLengths)
        for (const bool gated : {true, false}) {
          const float range = c.growth == 0 ? 87.0f : 7.0f;
          std::vector<float> x(n + 1);
          for (float& g : x) g = uniform(random, -range, range);
          if (n > 20) x[3] = 0, x[4] = -200, x[5] = 200, x[6] = -0.0f, x[7] = 1e-20f;
          const std::vector<float> before = x, up = random_floats(random, n);
          (kernels->*c.kernel)(x.data(), gated ? up.data() : nullptr, n);
          check_eq(x[n], before[n], "wrote too far");
          for (size_t i = 0; i < n; ++i) {
            const double a = static_cast<double>(before[i]);
            const double e = c.f(a) * (gated ? static_cast<double>(up[i]) : 1.0);
            const double error = (10 + c.growth * std::min(a * a, 64.0)) * kEps;
            test::check_near(
                static_cast<double>(x[i]), e, error * std::abs(e) + 1e-34,
                std::string(kernels->name) + " " + c.name + " of " + std::to_string(a));
          }
        }
}

void ropes() {
  Random random(10);
  constexpr size_t kHeads = 3;
  for (const Kernels* kernels : sets_under_test())
    for (const auto& [dim, half] :
         {std::pair<size_t, size_t>{8, 4}, {64, 32}, {80, 40}, {80, 16}, {128, 64}, {6, 1}}) {
      std::vector<float> x = random_floats(random, kHeads * dim), cos(half), sin(half);
      for (size_t i = 0; i < half; ++i) {
        const float angle = uniform(random, -3, 3);
        cos[i] = std::cos(angle);
        sin[i] = std::sin(angle);
      }
      const std::vector<float> before = x;
      kernels->rope(x.data(), kHeads, dim, half, cos.data(), sin.data());
      for (size_t h = 0; h < kHeads; ++h)
        for (size_t d = 0; d < dim; ++d) {
          const size_t at = h * dim + d;
          if (d >= 2 * half) {
            check_eq(x[at], before[at], "beyond the rotated columns");
            continue;
          }
          const size_t i = d % half;
          const double a = static_cast<double>(before[h * dim + i]);
          const double b = static_cast<double>(before[h * dim + i + half]);
          const double c = static_cast<double>(cos[i]), s = static_cast<double>(sin[i]);
          const double e = d < half ? a * c - b * s : a * s + b * c;
          test::check_near(static_cast<double>(x[at]), e, 4 * kEps * (std::abs(a) + std::abs(b)),
                           kernels->name);
        }
    }
}

/// The compute ceiling counts what it ran: in proportion to the rounds, and nothing for none.
void counts_operations() {
  for (const Kernels* kernels : sets_under_test()) {
    const bool scalar = std::string(kernels->name) == "scalar";
    check_eq(kernels->peak_operations == nullptr, scalar, kernels->name);
    if (scalar) continue;
    const uint64_t one = kernels->peak_operations(1);
    check(one > 0 && one % 2 == 0, kernels->name);
    check_eq(kernels->peak_operations(1000), 1000 * one, kernels->name);
    check_eq(kernels->peak_operations(0), uint64_t{0}, kernels->name);
  }
}

/// The memory ceiling reads every word.
void sums_words() {
  Random random(9);
  std::vector<uint32_t> memory(64 * 37);
  uint32_t expected = 0;
  for (uint32_t& word : memory) expected += word = static_cast<uint32_t>(random());
  const auto* bytes = reinterpret_cast<const uint8_t*>(memory.data());
  for (const Kernels* kernels : sets_under_test())
    check_eq(kernels->sum_words(bytes, 4 * memory.size()), expected, kernels->name);
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv,
                           {
                               {"dispatches", dispatches},
                               {"tests the forced set", tests_the_forced_set},
                               {"quantizes rows", quantizes_rows},
                               {"rounds ties to even", rounds_ties_to_even},
                               {"rounds rows to bf16", rounds_rows},
                               {"rms_norm", rms_norms},
                               {"layer_norm", layer_norms},
                               {"one operation for each element", elementwise},
                               {"activations", activations},
                               {"swiglu_oai", swiglu_oai},
                               {"rope", ropes},
                               {"peak_operations", counts_operations},
                               {"the memory ceiling reads every word", sums_words},
                           });
}
