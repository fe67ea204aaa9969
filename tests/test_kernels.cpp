// Dispatch and the kernels that walk along rows, see kernel_check.h.
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
  for (const Kernels* kernels : sets_under_test())
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

void rounds_ties_to_even() {
  const std::vector<float> x = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127, 3.5f, 126.5f};
  const std::vector<int> codes = {127, 0, 2, 2, 0, -2, -2, -127, 4, 126};
  for (const Kernels* kernels : sets_under_test()) {
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

void adds() {
  Random random(8);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> x = random_floats(random, n + 1);
      const std::vector<float> before = x, y = random_floats(random, n);
      kernels->add(x.data(), y.data(), n);
      for (size_t i = 0; i < n; ++i) check_eq(x[i], before[i] + y[i], kernels->name);
      check_eq(x[n], before[n], "wrote too far");
    }
}

/// Over the range where exp() of floats is finite; this bounds the error of the kernels' exp, too.
void silu() {
  Random random(9);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t n : kLengths) {
      std::vector<float> gate(n + 1);
      for (float& g : gate) g = uniform(random, -87, 87);
      if (n > 20) gate[3] = 0, gate[4] = -200, gate[5] = 200, gate[6] = -0.0f, gate[7] = 1e-20f;
      const std::vector<float> before = gate, up = random_floats(random, n);
      kernels->silu_mul(gate.data(), up.data(), n);
      check_eq(gate[n], before[n], "wrote too far");
      for (size_t i = 0; i < n; ++i) {
        const double a = static_cast<double>(before[i]);
        const double e = a / (1 + std::exp(-a)) * static_cast<double>(up[i]);
        test::check_near(static_cast<double>(gate[i]), e, 8 * kEps * std::abs(e) + 1e-34,
                         std::string(kernels->name) + " silu of " + std::to_string(a));
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

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv,
                           {
                               {"dispatches", dispatches},
                               {"tests the forced set", tests_the_forced_set},
                               {"quantizes rows", quantizes_rows},
                               {"rounds ties to even", rounds_ties_to_even},
                               {"rms_norm", rms_norms},
                               {"add", adds},
                               {"silu_mul", silu},
                               {"rope", ropes},
                               {"peak_operations", counts_operations},
                           });
}
