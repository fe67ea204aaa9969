// Taking blocks of the IQ types apart, as ggml_split.h does: points and signs become indices of
// code_table(), of three bits (IQ1, IQ2) or four (IQ3).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "quant/ggml_split.h"
#include "quant/iq_grids.h"

namespace nibble {

namespace detail {

/// The bit of an index that is the sign.
template <Codes kCodes>
constexpr int kSignBit = static_cast<int>(code_bits(kCodes)) - 1;

/// The low seven bits, and an eighth that makes the number of ones even.
constexpr uint8_t even_signs(uint32_t bits) {
  const uint32_t seven = bits & 127;
  return static_cast<uint8_t>(seven | static_cast<uint32_t>(std::popcount(seven) % 2) << 7);
}

/// Nibble i of `bytes`.
constexpr uint32_t nibble_at(const uint8_t* bytes, size_t i) {
  return (bytes[i / 2] >> (4 * (i % 2))) & 15u;
}

/// An odd scale from its half.
constexpr int8_t odd_scale(uint32_t half) { return static_cast<int8_t>(2 * half + 1); }

/// All codes of a block, from eight(j), those of the columns 8j..8j+7, and their signs(j).
template <class Block, class Emit, class Eight, class Signs>
void emit_eights(Emit&& emit, const Eight& eight, const Signs& signs) {
  const auto codes = [&](size_t j) {
    return eight(j) | spread_bits<kSignBit<Block::kForm.codes>>(signs(j));
  };
  for (size_t j = 0; j < kSuperBlock / 8; j += 4)
    emit(8 * j, Codes16{codes(j), codes(j + 1)}, Codes16{codes(j + 2), codes(j + 3)});
}

/// The points a and b of four columns each.
constexpr uint64_t two_points(uint64_t a, uint64_t b) { return a | b << 32; }

}  // namespace detail

template <class Emit>
BlockScales split(const BlockIQ1_S& b, Emit&& emit) {
  const auto high = [&](size_t i) { return uint32_t{load_as<uint16_t>(b.qh + 2 * i)}; };
  detail::emit_eights<BlockIQ1_S>(
      emit, [&](size_t j) { return kIq1Grid[b.qs[j] | (high(j / 4) >> (3 * (j % 4)) & 7) << 8]; },
      [&](size_t j) { return static_cast<uint8_t>(high(j / 4) >> 15 ? 255 : 0); });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 16; ++g) out.sc[g] = detail::odd_scale(high(g / 2) >> 12 & 7);
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ1_M& b, Emit&& emit) {
  detail::emit_eights<BlockIQ1_M>(
      emit, [&](size_t j) { return kIq1Grid[b.qs[j] | (detail::nibble_at(b.qh, j) & 7) << 8]; },
      [&](size_t j) { return static_cast<uint8_t>(detail::nibble_at(b.qh, j) & 8 ? 255 : 0); });
  BlockScales out;
  for (size_t g = 0; g < 16; ++g) {
    const uint32_t word = load_as<uint16_t>(b.scales + g / 4 * 2);
    out.sc[g] = detail::odd_scale(word >> (3 * (g % 4)) & 7);
    if (g % 4 == 0) out.d = static_cast<uint16_t>(out.d | word >> 12 << g);
  }
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ2_XXS& b, Emit&& emit) {
  const auto word = [&](size_t i) { return load_as<uint32_t>(b.qs + 8 * i + 4); };
  detail::emit_eights<BlockIQ2_XXS>(
      emit, [&](size_t j) { return kIq2XxsGrid[b.qs[8 * (j / 4) + j % 4]]; },
      [&](size_t j) { return detail::even_signs(word(j / 4) >> (7 * (j % 4))); });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 16; ++g) out.sc[g] = detail::odd_scale(word(g / 2) >> 28);
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ2_XS& b, Emit&& emit) {
  const auto word = [&](size_t j) { return uint32_t{load_as<uint16_t>(b.qs + 2 * j)}; };
  detail::emit_eights<BlockIQ2_XS>(
      emit, [&](size_t j) { return kIq2XsGrid[word(j) & 511]; },
      [&](size_t j) { return detail::even_signs(word(j) >> 9); });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 16; ++g) out.sc[g] = detail::odd_scale(detail::nibble_at(b.scales, g));
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ2_S& b, Emit&& emit) {
  detail::emit_eights<BlockIQ2_S>(
      emit, [&](size_t j) { return kIq2SGrid[b.qs[j] | (b.qh[j / 4] >> (2 * (j % 4)) & 3u) << 8]; },
      [&](size_t j) { return b.signs[j]; });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 16; ++g) out.sc[g] = detail::odd_scale(detail::nibble_at(b.scales, g));
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ3_XXS& b, Emit&& emit) {
  const auto word = [&](size_t i) { return load_as<uint32_t>(b.signs + 4 * i); };
  detail::emit_eights<BlockIQ3_XXS>(
      emit,
      [&](size_t j) {
        return detail::two_points(kIq3XxsGrid[b.qs[2 * j]], kIq3XxsGrid[b.qs[2 * j + 1]]);
      },
      [&](size_t j) { return detail::even_signs(word(j / 4) >> (7 * (j % 4))); });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 8; ++g) out.sc[g] = detail::odd_scale(word(g) >> 28);
  return out;
}

template <class Emit>
BlockScales split(const BlockIQ3_S& b, Emit&& emit) {
  const auto point = [&](size_t i) {
    return kIq3SGrid[b.qs[i] | (b.qh[i / 8] >> (i % 8) & 1u) << 8];
  };
  detail::emit_eights<BlockIQ3_S>(
      emit, [&](size_t j) { return detail::two_points(point(2 * j), point(2 * j + 1)); },
      [&](size_t j) { return b.signs[j]; });
  BlockScales out{.d = load_as<uint16_t>(b.d)};
  for (size_t g = 0; g < 8; ++g) out.sc[g] = detail::odd_scale(detail::nibble_at(b.scales, g));
  return out;
}

}  // namespace nibble
