// Tensors of any type as f32.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/half.h"
#include "quant/block_types.h"
#include "quant/packed_matrix.h"

namespace nibble {
namespace {

/// w = d * q + m, or d * (q - zero), for the codes of one group. The products are exact in f32
/// (fp16 times at most 13 bits), so the only rounding is that of the final addition.
template <class Block>
void widen_group(const BlockScales& scales, size_t g, const uint8_t* codes, float* out) {
  constexpr PackedForm form = Block::kForm;
  constexpr bool super = Block::kCols == kSuperBlock;
  constexpr const CodeTable& table = code_table(form.codes);
  const auto code = [&](size_t i) {
    return int{kTableCodes<kernel_codes(form.codes)> ? table.codes[codes[i]] : codes[i]};
  };
  float s = half_to_float(scales.d) * table.unit;
  if (super) s *= static_cast<float>(scales.sc[g]);
  if constexpr (form.scheme == Scheme::f16 || form.scheme == Scheme::k8) {
    for (size_t i = 0; i < form.group; ++i)
      out[i] = s * static_cast<float>(code(i) - int{form.zero});
  } else {
    float m = half_to_float(scales.m);
    if (super) m *= -static_cast<float>(scales.mn[g]);
    for (size_t i = 0; i < form.group; ++i) out[i] = s * static_cast<float>(code(i)) + m;
  }
}

template <class Block>
void dequantize_block(const Block& block, float* out) {  // out [Block::kCols]
  constexpr size_t group = Block::kForm.group;
  uint8_t codes[Block::kCols];
  const BlockScales scales = split(block, [&](size_t c, Codes16 a, Codes16 b) {
    store_as(codes + c, a);
    store_as(codes + c + 16, b);
  });
  for (size_t g = 0; g < Block::kCols / group; ++g)
    widen_group<Block>(scales, g, codes + g * group, out + g * group);
}

template <class Block>
void dequantize_blocks(const std::byte* data, size_t n, float* out) {
  const auto* blocks = reinterpret_cast<const Block*>(data);
  const size_t whole = n / Block::kCols, rest = n % Block::kCols;
  for (size_t b = 0; b < whole; ++b) dequantize_block(blocks[b], out + b * Block::kCols);
  if (rest == 0) return;
  float last[Block::kCols];
  dequantize_block(blocks[whole], last);
  std::copy_n(last, rest, out + whole * Block::kCols);
}

/// Compilers make vectors of loops whose length they know, over what nothing else points to.
constexpr size_t kVector = 32;

template <class T, class Fn>
void convert(const std::byte* data, size_t n, float* out, Fn&& to_float) {
  const auto run = [&](size_t i, auto count) {
    T in[kVector] = {};
    float wide[kVector];
    std::memcpy(in, data + i * sizeof(T), count * sizeof(T));
    for (size_t k = 0; k < kVector; ++k) wide[k] = to_float(in[k]);
    std::memcpy(out + i, wide, count * sizeof(float));
  };
  size_t i = 0;
  for (; i + kVector <= n; i += kVector) run(i, std::integral_constant<size_t, kVector>());
  if (i < n) run(i, n - i);
}

}  // namespace

void dequantize(DType type, const std::byte* data, size_t n, float* out) {
  switch (type) {
    case DType::f32:
      std::memcpy(out, data, n * sizeof(float));
      return;
    case DType::f16:
      return convert<uint16_t>(data, n, out, [](uint16_t x) { return half_to_float(x); });
    case DType::bf16:
      return convert<uint16_t>(data, n, out, [](uint16_t x) { return bf16_to_float(x); });
    default:
      break;
  }
  with_block(type,
             [&](auto block) { dequantize_blocks<typename decltype(block)::type>(data, n, out); });
}

}  // namespace nibble
