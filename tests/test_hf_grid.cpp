// Matrices of AWQ, GPTQ and compressed-tensors checkpoints: the packed form holds the same weights,
// bit for bit, and what does not fit together is refused by name.
#include <cstdint>
#include <random>
#include <vector>

#include "base/mapped_file.h"
#include "check.h"
#include "quant/packed_matrix.h"
#include "quant_config_text.h"
#include "quantized_layers.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr const char* kName = "model.layers.0.mlp.up_proj";

QuantConfig awq(const std::string& version, size_t group, bool zero_point = true) {
  return config(R"("quant_method":"awq","bits":4,"version":")" + version + R"(","group_size":)" +
                std::to_string(group) + R"(,"zero_point":)" + (zero_point ? "true" : "false"));
}
QuantConfig gptq(int64_t group, unsigned bits = 4, const std::string& more = "") {
  return config(R"("quant_method":"gptq","bits":)" + std::to_string(bits) + R"(,"group_size":)" +
                std::to_string(group) + more);
}
const std::string kV2 = R"(,"checkpoint_format":"gptq_v2")";
QuantConfig compressed(const std::string& weights = R"("num_bits":4,"symmetric":true)") {
  return config(R"("quant_method":"compressed-tensors","format":"pack-quantized",)"
                R"("config_groups":{"group_0":{"targets":["Linear"],"weights":{)" +
                weights + R"(},"input_activations":null}})");
}

struct Packed {
  MatrixSource source;
  PackedShape shape;
  AnonymousMemory memory;
  PackedView view;

  Packed(const StoredTensors& tensors, const QuantConfig& quant, const RowMap& rows = {}) {
    const StoredCheckpoint stored(tensors);
    source = *find_matrix(stored.checkpoint, quant, std::string(kName) + ".weight");
    check_eq(source.tensors.size(), tensors.size(), "tensors of the layer");
    shape = packed_shape_of(source, {});
    const PackedLayout layout = packed_layout(shape, "w");
    memory = AnonymousMemory(layout.total_bytes());
    pack_panels(source, shape, rows, 0, layout.n_panels, memory.data(), *find_kernels(nullptr));
    view = packed_view(shape, {memory.data(), layout.total_bytes()}, "w");
  }
  std::vector<float> row(size_t r) const {
    std::vector<float> out(shape.cols);
    unpack_row(view, r, out.data());
    return out;
  }
};

/// Every weight of the packed matrix, its columns brought back to their places, is weight(r, c).
template <class Weight>
void check_weights(const Packed& p, const QuantizedLayer& l, const Weight& weight,
                   const std::string& what) {
  check_eq(p.shape.rows, l.rows, what + ": rows");
  check_eq(p.shape.cols, l.cols, what + ": columns");
  const auto order = p.source.column_order();
  for (size_t r = 0; r < l.rows; ++r) {
    const std::vector<float> row = p.row(r);
    for (size_t c = 0; c < l.cols; ++c) {
      const size_t from = order.empty() ? c : order[c];
      if (row[c] != weight(r, from))
        fail(what + ": row " + std::to_string(r) + ", column " + std::to_string(from) + " is " +
             std::to_string(row[c]) + ", expected " + std::to_string(weight(r, from)));
    }
  }
}
void check_weights(const Packed& p, const QuantizedLayer& l, const std::string& what) {
  check_weights(
      p, l, [&](size_t r, size_t c) { return l.weight(r, c); }, what);
}

StoredTensor& part(StoredTensors& tensors, const std::string& suffix) {
  for (StoredTensor& t : tensors)
    if (t.name.ends_with("." + suffix)) return t;
  fail("no tensor " + suffix);
}

void refuse(const StoredTensors& tensors, const QuantConfig& quant, const std::string& tensor,
            const std::string& why) {
  const StoredCheckpoint stored(tensors);
  const auto find = [&] { find_matrix(stored.checkpoint, quant, std::string(kName) + ".weight"); };
  check_error(find, std::string(kName) + "." + tensor);
  check_error(find, why);
}

// Words written by hand.

void test_gemm_words() {
  std::mt19937 random(1);
  QuantizedLayer l = random_layer(random, 8, 32, 32);
  StoredTensors t = as_awq_gemm(l, kName);
  const std::vector<uint32_t> codes(32, 0x75316420u), zeros(1, 0xf0000000u);
  t[0].bytes = bytes_of(codes);
  t[1].bytes = bytes_of(zeros);
  for (size_t r = 0; r < 8; ++r) {
    for (size_t c = 0; c < 32; ++c) l.codes[r * 32 + c] = static_cast<unsigned>(r);
    l.zeros[r] = r == 7 ? 15 : 0;
  }
  check_weights(Packed(t, awq("gemm", 32)), l, "output j holds j");
}

void test_sequential_words() {
  std::mt19937 random(2);
  QuantizedLayer l = random_layer(random, 8, 32, 32);
  for (size_t i = 0; i < l.codes.size(); ++i) l.codes[i] = static_cast<unsigned>(i % 32 % 8);
  set_zeros(l, 8);
  StoredTensors t = as_gptq(l, kName, true);
  t[0].bytes = bytes_of(std::vector<uint32_t>(4 * 8, 0x76543210u));
  t[1].bytes = bytes_of(std::vector<uint32_t>(1, 0x77777777u));
  const Packed symmetric(t, gptq(32));
  check_weights(symmetric, l, "GPTQ, symmetric");
  check_eq(format_name(symmetric.shape), "q4 g128", "zeros of 8 are a constant");
  check_eq(int{symmetric.shape.zero}, 8);
  t[1].bytes = bytes_of(std::vector<uint32_t>(1, 0xffffffffu));
  set_zeros(l, 1);
  l.zeros[0] = 0;
  check_weights(Packed(t, gptq(32)), l, "a zero of 0 has borrowed from the next in its word");
  set_zeros(l, 15);
  check_weights(Packed(t, gptq(32, 4, kV2)), l, "and of the second 15");
}

// Every form, random.

struct Size {
  size_t rows, cols, group;
};

void test_awq_forms() {
  std::mt19937 random(3);
  for (const Size s : {Size{8, 64, 32}, Size{24, 128, 64}, Size{136, 512, 128}, Size{40, 1024, 64},
                       Size{16, 320, 32}}) {
    const std::string what = std::to_string(s.rows) + "x" + std::to_string(s.cols);
    const QuantizedLayer l = random_layer(random, s.rows, s.cols, s.group);
    const auto with_minimum = [&](size_t r, size_t c) { return l.weight_with_minimum(r, c); };
    check_weights(Packed(as_awq_gemm(l, kName), awq("gemm", s.group)), l, "gemm " + what);
    check_weights(Packed(as_awq_gemv(l, kName), awq("gemv", s.group)), l, "gemv " + what);
    check_weights(Packed(as_awq_fast(l, kName), awq("gemv_fast", s.group)), l, with_minimum,
                  "gemv_fast " + what);
    // llm-awq: no configuration, the shapes tell.
    check_weights(Packed(as_awq_fast(l, kName, "scaled_zeros"), {}), l, with_minimum,
                  "llm-awq " + what);
    check_weights(Packed(as_awq_gemm(l, kName), {}), l, "gemm by its shapes " + what);
    check_weights(Packed(as_awq_gemv(l, kName), {}), l, "gemv by its shapes " + what);
  }
}

void test_gptq_forms() {
  std::mt19937 random(4);
  for (const unsigned bits : {4u, 8u})
    for (const Size s :
         {Size{8, 32, 32}, Size{24, 160, 64}, Size{40, 512, 128}, Size{48, 328, 128}}) {
      const std::string what = std::to_string(bits) + " bits " + std::to_string(s.cols);
      const auto group = static_cast<int64_t>(s.group);
      QuantizedLayer l = random_layer(random, s.rows, s.cols, s.group, bits);
      check_weights(Packed(as_gptq(l, kName, false), gptq(group, bits, kV2)), l, what);
      check_weights(Packed(as_gptq(l, kName, false, false), gptq(group, bits, kV2)), l,
                    what + " without g_idx");
      StoredTensors unfilled = as_gptq(l, kName, false);
      std::ranges::fill(unfilled.back().bytes, '\0');
      check_weights(Packed(unfilled, gptq(group, bits, kV2)), l, what + " with g_idx of zeros");
      check_weights(Packed(as_gptq(l, kName, true), gptq(group, bits)), l, what + " first format");
      shuffle_groups(random, l);
      const Packed p(as_gptq(l, kName, true), gptq(group, bits));
      check_weights(p, l, what + " in activation order");
      check_eq(p.source.column_order().size(), s.cols > s.group ? s.cols : 0, what + " order");
    }
}

/// As GPTQModel's "dynamic" and AutoRound's "extra_config" have them.
void test_mixed_gptq() {
  std::mt19937 random(12);
  const std::string dynamic = kV2 + R"(,"dynamic":{"+:.*up_proj":{"bits":8}})";
  for (const unsigned bits : {4u, 8u})
    for (const Size s : {Size{24, 160, 64}, Size{40, 512, 128}, Size{16, 256, 32}}) {
      const std::string what = std::to_string(bits) + " bits " + std::to_string(s.cols);
      QuantizedLayer l = random_layer(random, s.rows, s.cols, s.group, bits);
      for (const unsigned named : {4u, 8u})
        check_weights(Packed(as_gptq(l, kName, false), gptq(64, named, dynamic)), l, what);
      check_weights(Packed(as_gptq(l, kName, false, false), gptq(64, 4, dynamic)), l,
                    what + " without g_idx");
      shuffle_groups(random, l);
      check_weights(Packed(as_gptq(l, kName, false), gptq(64, 4, dynamic)), l, what + " in order");
    }
  const QuantizedLayer l = random_layer(random, 16, 64, 32, 8);
  StoredTensors t = as_gptq(l, kName, false);
  StoredTensor& zeros = part(t, "qzeros");
  zeros.shape[1] = 1;  // as of two bits
  zeros.bytes.resize(zeros.shape[0] * 4);
  refuse(t, gptq(32, 4, dynamic), "qzeros", "number of bits is 2, expected 4 or 8");
  const QuantizedLayer rest = random_layer(random, 16, 160, 64);
  refuse(as_gptq(rest, kName, false), gptq(32, 4, dynamic), "scales",
         "has 3 groups, which do not divide 160 columns");
}

void test_order_that_is_lost() {
  std::mt19937 random(13);
  const QuantizedLayer l = random_layer(random, 16, 64, 32);
  const StoredTensors lost = as_gptq(l, kName, false, false);
  const std::string ordered = kV2 + R"(,"desc_act":true)";
  refuse(lost, gptq(32, 4, ordered), "g_idx", "is missing");
  StoredTensors unfilled = as_gptq(l, kName, false);
  std::ranges::fill(part(unfilled, "g_idx").bytes, '\0');
  refuse(unfilled, gptq(32, 4, ordered), "g_idx", "more than 32 columns into group 0");
  check_weights(Packed(lost, gptq(32, 4, ordered + R"(,"static_groups":true)")), l, "in order");
  const QuantizedLayer whole = random_layer(random, 16, 64, 64);
  check_weights(Packed(as_gptq(whole, kName, false, false), gptq(-1, 4, ordered)), whole,
                "one group has no order");
}

void test_compressed_forms() {
  std::mt19937 random(5);
  for (const unsigned bits : {4u, 8u})
    for (const Size s :
         {Size{8, 32, 32}, Size{19, 128, 64}, Size{40, 512, 128}, Size{5, 200, 200}}) {
      const std::string what = std::to_string(bits) + " bits " + std::to_string(s.cols);
      const std::string members = "\"num_bits\":" + std::to_string(bits) + ",\"symmetric\":";
      QuantizedLayer l = random_layer(random, s.rows, s.cols, s.group, bits);
      check_weights(Packed(as_compressed(l, kName, false), compressed(members + "false")), l, what);
      shuffle_groups(random, l);
      check_weights(Packed(as_compressed(l, kName, false, true), compressed(members + "false")), l,
                    what + " in activation order");
      set_zeros(l, 1u << (bits - 1));
      const Packed p(as_compressed(l, kName, true, true), compressed(members + "true"));
      check_weights(p, l, what + " symmetric");
      check(p.shape.scheme == Scheme::f16, what + ": no zeros in the panels");
    }
  // A table with an unused entry is no table.
  QuantizedLayer l = random_layer(random, 16, 64, 32);
  StoredTensors t = as_compressed(l, kName, false, true);
  t.back().bytes.replace(4, 4, raw(int32_t{-1}));
  t.back().bytes.replace(8, 4, raw(int32_t{1}));
  check_weights(Packed(t, compressed()), l, "unused order");
}

void test_group_sizes() {
  std::mt19937 random(6);
  struct Case {
    size_t group, cols;
    int packed;
  };
  for (const Case c : {Case{16, 64, 16}, Case{48, 96, 16}, Case{96, 192, 32}, Case{192, 384, 64},
                       Case{256, 512, 128}, Case{1024, 2048, 128}, Case{344, 344, 128}}) {
    const std::string what = "group " + std::to_string(c.group);
    QuantizedLayer l = random_layer(random, 16, c.cols, c.group);
    const Packed p(as_gptq(l, kName, false), gptq(static_cast<int64_t>(c.group), 4, kV2));
    check_eq(int{p.shape.group}, c.packed, what);
    check_weights(p, l, what);
    if (c.cols == c.group)
      check_weights(Packed(as_gptq(l, kName, false), gptq(-1, 4, kV2)), l, what + " as -1");
    shuffle_groups(random, l);
    check_weights(Packed(as_gptq(l, kName, false), gptq(static_cast<int64_t>(c.group), 4, kV2)), l,
                  what + " in activation order");
  }
}

void test_scale_types() {
  std::mt19937 random(7);
  for (const unsigned bits : {4u, 8u}) {
    const std::string members = "\"num_bits\":" + std::to_string(bits) + ",\"symmetric\":false";
    QuantizedLayer l = random_layer(random, 24, 128, 32, bits, DType::bf16);
    const Packed narrow(as_compressed(l, kName, false), compressed(members));
    check(narrow.shape.scheme == Scheme::f16_zero, "bf16 scales that fp16 holds");
    check_weights(narrow, l, "bf16 scales");
    l.scales[3] = bf16_to_float(0x0180);  // 2^-124 * 1: far below fp16
    l.scales[5] = bf16_to_float(0x4f81);  // 2^32 * 1.0078: far above
    const Packed wide(as_compressed(l, kName, false), compressed(members));
    check(wide.shape.scheme == Scheme::f32_zero, "bf16 scales that fp16 does not hold");
    check_weights(wide, l, "wide bf16 scales");
    set_zeros(l, 1u << (bits - 1));
    check_weights(Packed(as_compressed(l, kName, false), compressed(members)), l, "with one zero");
    const QuantizedLayer f32 = random_layer(random, 24, 128, 32, bits, DType::f32);
    check_weights(Packed(as_compressed(f32, kName, false), compressed(members)), f32, "f32 scales");
  }
  // The borders of what fp16 holds: 2^-17 with all bits of a bf16, one below, the largest.
  for (const auto& [bits, holds] : {std::pair<uint16_t, bool>{0x37ff, true},
                                    {0x3700, true},
                                    {0x36ff, false},
                                    {0x477f, true},
                                    {0x4780, false},
                                    {0, true}}) {
    QuantizedLayer l = random_layer(random, 8, 32, 32, 4, DType::bf16);
    l.scales[2] = bf16_to_float(bits);
    const Packed p(as_awq_gemm(l, kName), awq("gemm", 32));
    check_eq(p.shape.scheme == Scheme::f16_zero, holds, "bf16 " + std::to_string(bits));
    check_weights(p, l, "bf16 at the border");
  }
}

void test_row_orders() {
  std::mt19937 random(8);
  const QuantizedLayer l = random_layer(random, 48, 64, 32);
  const RowMap rope{.head_dim = 12, .rope_dim = 8};
  const auto weight = [&](size_t r, size_t c) {
    return l.weight(rope.source_row(static_cast<uint32_t>(r)), c);
  };
  check_weights(Packed(as_awq_gemm(l, kName), awq("gemm", 32), rope), l, weight, "gemm");
  check_weights(Packed(as_awq_gemv(l, kName), awq("gemv", 32), rope), l, weight, "gemv");
  check_weights(Packed(as_gptq(l, kName, false), gptq(32, 4, kV2), rope), l, weight, "GPTQ");
}

// What is refused.

/// Every tensor of a layer: missing, of another type, one row short, transposed.
void refuse_each(const StoredTensors& good, const QuantConfig& quant,
                 std::initializer_list<const char*> optional = {}) {
  for (size_t i = 0; i < good.size(); ++i) {
    const std::string suffix = good[i].name.substr(std::string(kName).size() + 1);
    const bool may_lack = std::find(optional.begin(), optional.end(), suffix) != optional.end();
    StoredTensors t = good;
    t.erase(t.begin() + static_cast<long>(i));
    if (i == 0) {
      const StoredCheckpoint stored(t);
      check(!find_matrix(stored.checkpoint, quant, std::string(kName) + ".weight"), "no codes");
    } else if (!may_lack) {
      refuse(t, quant, suffix, "is missing");
    }
    t = good;
    t[i].type = DType::u8;
    refuse(t, quant, suffix, "type is U8");
    t = good;
    t[i].bytes.resize(t[i].bytes.size() / t[i].shape[0] * (t[i].shape[0] - 1));
    t[i].shape[0] -= 1;
    const StoredCheckpoint stored(t);
    check_error([&] { find_matrix(stored.checkpoint, quant, std::string(kName) + ".weight"); },
                std::string(kName) + ".");
    t = good;
    t[i].shape.push_back(1);
    check_error(
        [&] { find_matrix(StoredCheckpoint(t).checkpoint, quant, std::string(kName) + ".weight"); },
        std::string(kName) + ".");
  }
}

void test_refused_shapes() {
  std::mt19937 random(9);
  const QuantizedLayer l = random_layer(random, 64, 256, 64);
  refuse_each(as_awq_gemm(l, kName), awq("gemm", 64));
  refuse_each(as_awq_gemv(l, kName), awq("gemv", 64));
  refuse_each(as_awq_fast(l, kName), awq("gemv_fast", 64));
  refuse_each(as_gptq(l, kName, true), gptq(64), {"g_idx"});
  refuse_each(as_compressed(l, kName, false, true), compressed(R"("num_bits":4,"symmetric":false)"),
              {"weight_g_idx"});
  // One form's tensors under another's name, and wrong group sizes.
  refuse(as_awq_gemm(l, kName), awq("gemv", 64), "scales", "shape");
  refuse(as_awq_gemv(l, kName), awq("gemm", 64), "scales", "shape");
  refuse(as_awq_gemm(l, kName), awq("gemv_fast", 64), "qweight", "type is I32, expected I16");
  refuse(as_awq_gemm(l, kName), awq("gemm", 128), "scales", "expected [2, 64]");
  refuse(as_awq_gemv(l, kName), awq("gemv", 32), "scales", "expected [64, 32]");
  refuse(as_gptq(l, kName, true), gptq(128), "scales", "expected [2, 64]");
  refuse(as_gptq(l, kName, true), gptq(64, 8), "g_idx", "expected [128]");
  refuse(as_gptq(l, kName, true), compressed(), "qweight", "compressed-tensors");
  refuse(as_gptq(l, kName, true), {}, "qweight", "version");
  refuse(as_compressed(l, kName, true), gptq(64), "weight_packed", "compressed-tensors");
  // Groups that panels cannot hold, and columns that are not whole groups.
  const QuantizedLayer odd = random_layer(random, 64, 192, 24);
  refuse(as_awq_gemm(odd, kName), awq("gemm", 24), "qweight", "a multiple of 16");
  const QuantizedLayer rest = random_layer(random, 64, 160, 64);
  refuse(as_awq_gemm(rest, kName), awq("gemm", 64), "qweight", "a multiple of the group size, 64");
}

void test_refused_values() {
  std::mt19937 random(10);
  const QuantizedLayer l = random_layer(random, 16, 64, 32);
  StoredTensors t = as_awq_gemm(l, kName);
  part(t, "scales").bytes.replace(6, 2, raw(uint16_t{0x7c00}));
  refuse(t, awq("gemm", 32), "scales", "not finite");
  t = as_awq_fast(l, kName);
  part(t, "qzeros").bytes.replace(6, 2, raw(uint16_t{0xfe00}));
  refuse(t, awq("gemv_fast", 32), "qzeros", "not finite");
  for (const DType type : {DType::bf16, DType::f32}) {
    QuantizedLayer nan = random_layer(random, 16, 64, 32, 4, type);
    nan.scales[1] = NAN;
    refuse(as_compressed(nan, kName, false), compressed(), "weight_scale", "not finite");
  }
  // Tables of groups.
  const auto with_entry = [&](size_t i, int32_t value) {
    StoredTensors out = as_gptq(l, kName, false);
    part(out, "g_idx").bytes.replace(4 * i, 4, raw(value));
    return out;
  };
  for (const int32_t value : {-1, 2, 1 << 30, INT32_MIN, INT32_MAX})
    refuse(with_entry(5, value), gptq(32, 4, kV2), "g_idx", "entry 5 is " + std::to_string(value));
  refuse(with_entry(5, 1), gptq(32, 4, kV2), "g_idx", "more than 32 columns into group 1");
  StoredTensors c = as_compressed(l, kName, false, true);
  part(c, "weight_g_idx").bytes.replace(8, 4, raw(int32_t{-7}));
  refuse(c, compressed(), "weight_g_idx", "entry 2 is -7");
  for (const int64_t n : {int64_t{0}, int64_t{-16}, int64_t{1} << 62, int64_t{17}, INT64_MIN})
    for (const size_t at : {size_t{0}, size_t{8}}) {
      c = as_compressed(l, kName, false);
      part(c, "weight_shape").bytes.replace(at, 8, raw(n));
      check_error(
          [&] {
            find_matrix(StoredCheckpoint(c).checkpoint, compressed(),
                        std::string(kName) + ".weight");
          },
          std::string(kName) + ".weight_");
    }
  // Zeros may only be absent where all are the middle.
  t = as_awq_gemm(l, kName);
  t.erase(t.begin() + 1);
  QuantizedLayer middle = l;
  set_zeros(middle, 8);
  check_weights(Packed(t, awq("gemm", 32, false)), middle, "zero_point false, no qzeros");
  t = as_gptq(l, kName, true);
  t.erase(t.begin() + 1);
  check_weights(Packed(t, gptq(32, 4, R"(,"sym":true)")), middle, "sym true, no qzeros");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"words of gemm by hand", test_gemm_words},
              {"words of GPTQ by hand", test_sequential_words},
              {"AWQ: gemm, gemv, gemv_fast, llm-awq", test_awq_forms},
              {"GPTQ: both formats, 4 and 8 bits, activation order", test_gptq_forms},
              {"GPTQ: bits and groups of each matrix", test_mixed_gptq},
              {"GPTQ: an order that is lost", test_order_that_is_lost},
              {"compressed-tensors: symmetric or not, 4 and 8 bits, order", test_compressed_forms},
              {"group sizes", test_group_sizes},
              {"scales in fp16, bf16 and f32", test_scale_types},
              {"row orders", test_row_orders},
              {"shapes that do not belong together", test_refused_shapes},
              {"values that cannot be", test_refused_values}});
}
