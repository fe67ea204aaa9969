// The KV cache and attention, see kernel_check.h.
#include "kernel_check.h"

namespace {

using namespace nibble;
using namespace nibble::test;

constexpr float kInf = std::numeric_limits<float>::infinity();

/// One chunk of a cache, NaN where nothing has been stored.
struct Cache {
  size_t head_dim, stride;
  KvCode code;
  Buffer k, v;
  std::vector<float> k_scale, v_scale;
  Cache(size_t dim, KvCode kv_code)
      : head_dim(dim),
        stride((dim + 15) / 16 * 16),
        code(kv_code),
        k(256 * dim * 4),
        v(256 * stride * 4),
        k_scale(256, kNan),
        v_scale(256, kNan) {}
  KvChunk view() { return {k.at(), v.at(), k_scale.data(), v_scale.data(), code}; }
  void store(const Kernels& kernels, const float* key, const float* value, size_t pos) {
    kernels.store_key(key, head_dim, pos, code, k.at(), k_scale.data());
    kernels.store_value(value, head_dim, pos, code, v.at(), v_scale.data());
  }
  double element(Buffer& buffer, size_t i, float scale) {
    if (code == KvCode::f32) return static_cast<double>(buffer.at<float>()[i]);
    if (code == KvCode::f16) return half_value(buffer.at<uint16_t>()[i]);
    return static_cast<double>(scale) * buffer.at<int8_t>()[i];
  }
  double key(size_t pos, size_t d) {
    return element(k, pos / 16 * head_dim * 16 + d * 16 + pos % 16, k_scale[pos]);
  }
  double value(size_t pos, size_t d) { return element(v, pos * stride + d, v_scale[pos]); }
};

constexpr size_t kHeadDims[] = {8, 64, 80, 128, 36};
constexpr KvCode kKvCodes[] = {KvCode::f32, KvCode::f16, KvCode::q8};

void stores_keys_and_values() {
  Random random(11);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t dim : kHeadDims)
      for (const KvCode code : kKvCodes)
        for (const size_t pos : {size_t{0}, size_t{5}, size_t{16}, size_t{255}}) {
          Cache cache(dim, code);
          const std::vector<float> k = random_floats(random, dim), v = random_floats(random, dim);
          cache.store(*kernels, k.data(), v.data(), pos);
          const auto largest = [](const std::vector<float>& x) {
            double max = 0;
            for (const float e : x) max = std::max(max, std::abs(static_cast<double>(e)));
            return max;
          };
          const auto tolerance = [&](const std::vector<float>& x, size_t d) {
            if (code == KvCode::f32) return 0.0;
            if (code == KvCode::q8) return largest(x) / 254 * (1 + 4 * kEps);
            return std::abs(static_cast<double>(x[d])) * 0x1p-11 + 0x1p-25;
          };
          const std::string what = std::string(kernels->name) + " dim " + std::to_string(dim);
          for (size_t d = 0; d < dim; ++d) {
            test::check_near(cache.key(pos, d), static_cast<double>(k[d]), tolerance(k, d), what);
            test::check_near(cache.value(pos, d), static_cast<double>(v[d]), tolerance(v, d), what);
          }
          for (size_t d = dim; d < cache.stride; ++d)
            check_eq(cache.value(pos, d), 0.0, what + " padding");
          if (code != KvCode::q8) continue;
          const auto scale = [&](const std::vector<float>& x) {
            return static_cast<float>(largest(x)) / 127.0f;
          };
          check_eq(cache.k_scale[pos], scale(k), what + " key scale");
          check_eq(cache.v_scale[pos], scale(v), what + " value scale");
        }
}

struct Range {
  int32_t begin, end;
};

struct State {
  std::vector<float> acc, max, sum;
  State(size_t n_rows, size_t stride)
      : acc(n_rows * stride, kNan), max(n_rows, kNan), sum(n_rows, kNan) {}
  SoftmaxState view(size_t row = 0, size_t stride = 0) {
    return {acc.data() + row * stride, max.data() + row, sum.data() + row};
  }
};

/// Rows of queries with what each of them sees; the cache holds exactly the positions seen.
struct Queries {
  std::vector<int32_t> begin, end;
  float softcap = 0;
  std::vector<float> slope;     // [n_rows], or empty
  std::vector<int32_t> origin;  // [n_rows]
  std::vector<float> q;         // [n_rows, stride]
  size_t stride = 0;
  double rounding = 0;  // of queries, keys, weights and values before they are multiplied
  size_t n_rows() const { return begin.size(); }
  ScoreTerms terms(size_t first) const {
    if (slope.empty()) return {.softcap = softcap};
    return {softcap, slope.data() + first, origin.data() + first};
  }
};

Queries make_queries(Random& random, Cache& cache, const Kernels& kernels,
                     const std::vector<Range>& ranges) {
  Queries queries;
  queries.stride = cache.head_dim + 3;
  if (kernels.activations == ActivationCode::bf16 && cache.code == KvCode::f16)
    queries.rounding = 0x1p-9 + 0x1p-16;
  for (const Range& r : ranges) {
    queries.begin.push_back(r.begin);
    queries.end.push_back(r.end);
  }
  queries.q = random_floats(random, ranges.size() * queries.stride);
  for (int32_t p = 0; p < 256; ++p) {
    const std::vector<float> k = random_floats(random, cache.head_dim);
    const std::vector<float> v = random_floats(random, cache.head_dim);
    const bool seen = std::any_of(ranges.begin(), ranges.end(),
                                  [&](const Range& r) { return r.begin <= p && p < r.end; });
    if (seen) cache.store(kernels, k.data(), v.data(), static_cast<size_t>(p));
  }
  return queries;
}

void run_chunk(const Kernels& kernels, Cache& cache, const Queries& queries, size_t first,
               size_t last, State& out) {
  std::vector<float> scores((last - first) * 256, kNan);
  kernels.attention_chunk(cache.view(), cache.head_dim, queries.q.data() + first * queries.stride,
                          queries.stride, last - first, queries.begin.data() + first,
                          queries.end.data() + first, 0.3f, queries.terms(first), scores.data(),
                          out.view(first, cache.stride));
}

/// One row in doubles: the output, the largest score and the sum, and their relative tolerance.
struct Softmax {
  std::vector<double> y, magnitude;
  double max = -std::numeric_limits<double>::infinity(), sum = 0, score_error = 0, tolerance = 0;
};

Softmax expected_attention(Cache& cache, const Queries& queries, size_t row, int32_t begin,
                           int32_t end) {
  Softmax e{std::vector<double>(cache.head_dim), std::vector<double>(cache.head_dim)};
  std::vector<double> score(256);
  for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
    double magnitude = 0;
    for (size_t d = 0; d < cache.head_dim; ++d) {
      const double product =
          static_cast<double>(queries.q[row * queries.stride + d]) * cache.key(p, d);
      score[p] += product * static_cast<double>(0.3f);
      magnitude += std::abs(product) * 0.3;
    }
    if (queries.softcap != 0) {
      const double cap = static_cast<double>(queries.softcap);
      score[p] = cap * std::tanh(score[p] / cap);
      magnitude += cap;
    }
    if (!queries.slope.empty()) {
      const double distance = static_cast<double>(p) - queries.origin[row];
      score[p] += static_cast<double>(queries.slope[row]) * distance;
      magnitude += std::abs(static_cast<double>(queries.slope[row]) * distance);
    }
    e.max = std::max(e.max, score[p]);
    const double eps = kEps * static_cast<double>(cache.head_dim + 4) + 2 * queries.rounding;
    e.score_error = std::max(e.score_error, eps * magnitude);
  }
  for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
    const double weight = std::exp(score[p] - e.max);
    e.sum += weight;
    for (size_t d = 0; d < cache.head_dim; ++d) {
      e.y[d] += weight * cache.value(p, d);
      e.magnitude[d] += weight * std::abs(cache.value(p, d));
    }
  }
  for (double& y : e.y) y /= e.sum;
  for (double& m : e.magnitude) m /= e.sum;
  e.tolerance = 2 * e.score_error + kEps * static_cast<double>(end - begin + 16) + kEps * 20 +
                2 * queries.rounding;
  return e;
}

const std::vector<std::vector<Range>>& range_sets() {
  static const std::vector<std::vector<Range>> sets = {
      {{0, 1}},
      {{0, 256}},
      {{17, 203}},
      {{0, 100}, {0, 101}, {0, 102}, {0, 103}, {0, 104}, {0, 105}, {0, 106}, {0, 107}, {0, 108}},
      {{3, 60}, {6, 63}, {9, 66}, {12, 69}, {15, 72}, {18, 75}},
      {{0, 10}, {200, 256}, {5, 5}, {31, 33}, {60, 50}, {0, 256}},
      {{0, 0}, {256, 256}, {0, 0}, {7, 0}, {0, 16}},
      std::vector<Range>(37, {40, 97}),
  };
  return sets;
}

/// fn(kernels, cache, queries, description) for all of them.
template <class Fn>
void for_each_attention(const Fn& fn) {
  Random random(12);
  for (const Kernels* kernels : sets_under_test())
    for (const size_t dim : kHeadDims)
      for (const KvCode code : kKvCodes)
        for (const std::vector<Range>& ranges : range_sets()) {
          Cache cache(dim, code);
          Queries queries = make_queries(random, cache, *kernels, ranges);
          const std::string what = std::string(kernels->name) + " dim " + std::to_string(dim) +
                                   " code " + std::to_string(static_cast<int>(code)) + " rows " +
                                   std::to_string(ranges.size());
          fn(*kernels, cache, queries, what);
          if (dim != 80) continue;
          queries.softcap = 3.0f;
          fn(*kernels, cache, queries, what + " soft cap");
          for (size_t row = 0; row < ranges.size(); ++row) {
            queries.slope.push_back(0.25f / static_cast<float>(row + 1));
            queries.origin.push_back(static_cast<int32_t>(row) * 90);  // some lie beyond the chunk
          }
          fn(*kernels, cache, queries, what + " soft cap and slope");
        }
}

void check_row(const std::string& what, Cache& cache, const Queries& queries, size_t row,
               State& state, const float* y) {
  const int32_t begin = queries.begin[row], end = queries.end[row];
  if (end <= begin) {
    check_eq(state.max[row], -kInf, what + " max of no position");
    check_eq(state.sum[row], 0.0f, what + " sum of no position");
    for (size_t d = 0; d < cache.stride; ++d)
      check_eq(state.acc[row * cache.stride + d], 0.0f, what);
    for (size_t d = 0; d < cache.head_dim; ++d) check_eq(y[d], 0.0f, what);
    return;
  }
  const Softmax e = expected_attention(cache, queries, row, begin, end);
  test::check_near(static_cast<double>(state.max[row]), e.max, e.score_error + 1e-30,
                   what + " max");
  test::check_near(static_cast<double>(state.sum[row]), e.sum, e.sum * e.tolerance, what + " sum");
  for (size_t d = 0; d < cache.head_dim; ++d)
    test::check_near(static_cast<double>(y[d]), e.y[d], e.tolerance * e.magnitude[d] + 1e-30, what);
}

void attends() {
  for_each_attention([](const Kernels& kernels, Cache& cache, const Queries& queries,
                        const std::string& what) {
    State state(queries.n_rows(), cache.stride);
    run_chunk(kernels, cache, queries, 0, queries.n_rows(), state);
    const size_t y_stride = cache.head_dim + 1;
    std::vector<float> y(queries.n_rows() * y_stride, -1.0f);
    kernels.attention_finish(state.view(), queries.n_rows(), cache.head_dim, y.data(), y_stride);
    for (size_t row = 0; row < queries.n_rows(); ++row) {
      check_row(what, cache, queries, row, state, &y[row * y_stride]);
      check_eq(y[row * y_stride + cache.head_dim], -1.0f, what + " wrote too far");
    }
  });
}

/// A row alone gives the same bits as among others, though those see other positions.
void attention_is_reproducible() {
  for_each_attention(
      [](const Kernels& kernels, Cache& cache, const Queries& queries, const std::string& what) {
        State all(queries.n_rows(), cache.stride), alone(queries.n_rows(), cache.stride);
        run_chunk(kernels, cache, queries, 0, queries.n_rows(), all);
        for (size_t row = 0; row < queries.n_rows(); ++row)
          run_chunk(kernels, cache, queries, row, row + 1, alone);
        check_same(what + " acc", all.acc, alone.acc);
        check_same(what + " max", all.max, alone.max);
        check_same(what + " sum", all.sum, alone.sum);
      });
}

/// The positions of a chunk in two parts, merged, are the softmax over all of them.
void merges() {
  for_each_attention([](const Kernels& kernels, Cache& cache, const Queries& queries,
                        const std::string& what) {
    const size_t n_rows = queries.n_rows();
    Queries first = queries, second = queries;
    for (size_t row = 0; row < n_rows; ++row) {
      const int32_t cut = std::clamp(47 * static_cast<int32_t>(row), queries.begin[row],
                                     std::max(queries.begin[row], queries.end[row]));
      first.end[row] = second.begin[row] = cut;
    }
    State into(n_rows, cache.stride), from(n_rows, cache.stride);
    run_chunk(kernels, cache, first, 0, n_rows, into);
    run_chunk(kernels, cache, second, 0, n_rows, from);
    const State left = into, right = from;
    for (size_t row = 0; row < n_rows; ++row)  // what has seen nothing is copied over, not added to
      for (size_t d = 0; d < cache.stride && left.sum[row] == 0 && right.sum[row] != 0; ++d)
        into.acc[row * cache.stride + d] = kNan;
    kernels.attention_merge(into.view(), from.view(), n_rows, cache.stride);
    std::vector<float> y(n_rows * cache.head_dim);
    kernels.attention_finish(into.view(), n_rows, cache.head_dim, y.data(), cache.head_dim);
    for (size_t row = 0; row < n_rows; ++row) {
      check_row(what, cache, queries, row, into, &y[row * cache.head_dim]);
      if (left.sum[row] != 0 && right.sum[row] != 0) continue;
      const State& whole = left.sum[row] == 0 ? right : left;
      check_eq(into.max[row], whole.max[row], what + " copied max");
      check_eq(into.sum[row], whole.sum[row], what + " copied sum");
      check(std::memcmp(&into.acc[row * cache.stride], &whole.acc[row * cache.stride],
                        cache.stride * sizeof(float)) == 0,
            what + " copied acc");
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  return nibble::test::run(argc, argv,
                           {
                               {"stores keys and values", stores_keys_and_values},
                               {"attends", attends},
                               {"attention is reproducible", attention_is_reproducible},
                               {"merges", merges},
                           });
}
