// The loops of LoadKernels that move bits about, one source for all instruction sets: compilers
// make vectors of them, as wide as the flags of the file that includes this allow.
#pragma once

#include "load_kernels.h"
#include "sum_words.h"

namespace nibble {
namespace {

constexpr size_t kLineWords = kLineBytes / sizeof(uint32_t);

inline void fetch_line(const void* at, size_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(at) + ahead));
}

/// out: the two halves of `in` interleaved, so that element i comes to 2 i modulo N - 1.
template <size_t N, class T>
[[gnu::always_inline]] inline void interleave(const T* in, T* out) {
  for (size_t i = 0; i < N / 2; ++i) {
    out[2 * i] = in[i];
    out[2 * i + 1] = in[N / 2 + i];
  }
}

/// Lines of 16 rows: after four times of interleaving, rows and columns have changed places.
template <class T>
void transpose_rows(const void* const* rows, size_t n, size_t ahead, T* out) {
  constexpr size_t kCols = kLineBytes / sizeof(T), kSize = kPanelRows * kCols;
  alignas(kLineBytes) T x[kSize], y[kSize];
  for (size_t c = 0; c < n; c += kCols, out += kSize) {
    for (size_t r = 0; r < kPanelRows; ++r) {
      const uint8_t* from = static_cast<const uint8_t*>(rows[r]) + c * sizeof(T);
      fetch_line(from, ahead);
      __builtin_memcpy(x + r * kCols, from, kLineBytes);
    }
    interleave<kSize>(x, y);
    interleave<kSize>(y, x);
    interleave<kSize>(x, y);
    interleave<kSize>(y, out);
  }
}

/// 16 words in vectors of the instruction set.
struct Line {
  using Vector [[gnu::vector_size(kWidestLoad)]] = uint32_t;
  static constexpr size_t kParts = kLineBytes / sizeof(Vector);
  Vector v[kParts];

  // Each vector by itself: compilers copy a whole line in pieces that registers then wait for.
  [[gnu::always_inline]] static Line load(const void* from) {
    Line x;
    for (size_t p = 0; p < kParts; ++p)
      __builtin_memcpy(&x.v[p], static_cast<const uint8_t*>(from) + p * kWidestLoad, kWidestLoad);
    return x;
  }
  [[gnu::always_inline]] void store(void* to) const {
    for (size_t p = 0; p < kParts; ++p)
      __builtin_memcpy(static_cast<uint8_t*>(to) + p * kWidestLoad, &v[p], kWidestLoad);
  }
};

/// fn(p) for the vectors of a line.
template <class Fn>
[[gnu::always_inline]] inline void for_parts(const Fn& fn) {
  for (size_t p = 0; p < Line::kParts; ++p) fn(p);
}

/// Eight codes in order, from the lowest bits up, to columns 0, 4, 1, 5, 2, 6, 3, 7: a shuffle.
template <class T>
[[gnu::always_inline]] constexpr T to_line_order(T x) {
  T t = (x ^ (x >> 8)) & 0x0000ff00u;
  x ^= t ^ (t << 8);
  t = (x ^ (x >> 4)) & 0x00f000f0u;
  return x ^ t ^ (t << 4);
}
static_assert(to_line_order(0x76543210u) == 0x73625140u);

void lines_of_words(const void* words, size_t stride, size_t n, size_t ahead, uint8_t* out) {
  const auto* from = static_cast<const uint8_t*>(words);
  for (size_t i = 0; i < n; ++i, from += stride, out += kLineBytes) {
    fetch_line(from, ahead);
    Line x = Line::load(from);
    for_parts([&](size_t p) { x.v[p] = to_line_order(x.v[p]); });
    x.store(out);
  }
}

/// Of the nibbles of words i and i + kStep, those whose number has the bit kStep in word i change
/// places with those that lack it in the other.
template <size_t kStep>
[[gnu::always_inline]] inline void swap_nibbles(Line (&x)[8]) {
  constexpr uint32_t kMask = kStep == 4 ? 0x0000ffffu : kStep == 2 ? 0x00ff00ffu : 0x0f0f0f0fu;
  constexpr int kShift = 4 * kStep;
  for (size_t k = 0; k < 4; ++k) {
    const size_t i = k / kStep * 2 * kStep + k % kStep;
    for_parts([&](size_t p) {
      const Line::Vector t = ((x[i].v[p] >> kShift) ^ x[i + kStep].v[p]) & kMask;
      x[i].v[p] ^= t << kShift;
      x[i + kStep].v[p] ^= t;
    });
  }
}

/// Eight words of eight rows are an 8 x 8 matrix of nibbles, to be transposed; then the words of
/// the eight rows of each of the 16 blocks come together.
void lines_of_awq(const void* words, size_t stride, size_t n, size_t ahead,
                  uint8_t* const* panels) {
  constexpr size_t kPlace[8] = {0, 2, 4, 6, 1, 3, 5, 7};   // of column j: its nibble in a line
  constexpr size_t kSource[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of row i: its nibble in a word
  constexpr size_t kSize = 8 * kLineWords;
  const auto* from = static_cast<const uint8_t*>(words);
  for (size_t line = 0; line < n / 8; ++line) {
    Line x[8];
    for (size_t j = 0; j < 8; ++j, from += stride) {
      fetch_line(from, ahead);
      fetch_line(from, ahead + kLineBytes - 1);  // they may straddle two lines
      x[kPlace[j]] = Line::load(from);
    }
    swap_nibbles<4>(x);
    swap_nibbles<2>(x);
    swap_nibbles<1>(x);
    alignas(kLineBytes) uint32_t y[kSize], z[kSize];
    for (size_t i = 0; i < 8; ++i) x[kSource[i]].store(y + i * kLineWords);
    interleave<kSize>(y, z);
    interleave<kSize>(z, y);
    interleave<kSize>(y, z);
    for (size_t p = 0; p < kAwqPanels; ++p)
      Line::load(z + p * kLineWords).store(panels[p] + line * kLineBytes);
  }
}

template <Codes C>
void permute_lines(const uint8_t* in, const uint32_t* order, size_t n, uint8_t* out) {
  constexpr size_t kCols = kLineCols<C>;
  constexpr uint32_t kMask = C == Codes::q4 ? 15 : 255;
  for (size_t i = 0; i < n; ++i, order += kCols, out += kLineBytes) {
    Line line{};
    for (size_t j = 0; j < kCols; ++j) {
      const Line x = Line::load(in + order[j] / kCols * kLineBytes);
      const auto down = static_cast<int>(column_shift(order[j] % kCols));
      for_parts([&](size_t p) { line.v[p] |= ((x.v[p] >> down) & kMask) << column_shift(j); });
    }
    line.store(out);
  }
}

void permute_columns(Codes codes, const uint8_t* in, const uint32_t* order, size_t n,
                     uint8_t* out) {
  if (codes == Codes::q4)
    permute_lines<Codes::q4>(in, order, n, out);
  else
    permute_lines<Codes::q8>(in, order, n, out);
}

/// The table, with the one function that is arithmetic.
constexpr LoadKernels load_kernels(decltype(LoadKernels::round_columns) round_columns) {
  return {.transpose_halves = transpose_rows<uint16_t>,
          .transpose_words = transpose_rows<uint32_t>,
          .round_columns = round_columns,
          .lines_of_words = lines_of_words,
          .lines_of_awq = lines_of_awq,
          .permute_columns = permute_columns};
}

}  // namespace
}  // namespace nibble
