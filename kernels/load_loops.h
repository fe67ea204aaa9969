// The loops of LoadKernels that move bits about, one source for all instruction sets: in vectors of
// GCC and Clang, as wide as the flags of the file that includes this allow.
#pragma once

#include <utility>

#include "load_kernels.h"
#include "registers.h"

namespace nibble {
namespace {

inline void fetch_line(const void* at, size_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(at) + ahead));
}

// Unpack instructions work on pieces of 16 bytes, so that is how registers are seen here.
constexpr size_t kPieceBytes = 16;
constexpr size_t kPieces = kRegisterBytes / kPieceBytes;

inline void store_register(uint8_t* to, Register<uint32_t> x) {
  reinterpret_cast<InMemory<uint32_t>*>(to)->x = x;
}

/// Piece i of x.
template <class T>
[[gnu::always_inline]] inline void store_piece(void* to, Register<T> x, size_t i) {
  using Piece [[gnu::vector_size(kPieceBytes)]] = uint64_t;
  const auto all = reinterpret_cast<Register<uint64_t>>(x);
  const Piece piece = {all[2 * i], all[2 * i + 1]};
  __builtin_memcpy(to, &piece, kPieceBytes);
}

/// Of each piece of a and b the first (kHalf 0) or the second half, interleaved. Compilers make an
/// instruction of the list; the last argument counts the elements.
template <class T, size_t kHalf, size_t... kAt>
[[gnu::always_inline]] inline Register<T> zip(Register<T> a, Register<T> b,
                                              std::index_sequence<kAt...>) {
  constexpr size_t kSize = kPieceBytes / sizeof(T);
  return Register<T>{
      (kAt % 2 ? b : a)[kAt / kSize * kSize + kHalf * kSize / 2 + kAt % kSize / 2]...};
}

/// Of as many registers as a piece has elements, piece by piece: element i of register k becomes
/// element k of register i. For that, the first and the second half of them all are interleaved
/// until the bits of k and i have changed places.
template <class T, size_t kStep = 1, size_t N>
[[gnu::always_inline]] inline void transpose_pieces(Register<T> (&x)[N]) {
  static_assert(N == kPieceBytes / sizeof(T));
  constexpr std::make_index_sequence<kRegisterBytes / sizeof(T)> kElements;
  Register<T> y[N];
  for (size_t i = 0; i < N / 2; ++i) {
    y[2 * i] = zip<T, 0>(x[i], x[i + N / 2], kElements);
    y[2 * i + 1] = zip<T, 1>(x[i], x[i + N / 2], kElements);
  }
  for (size_t i = 0; i < N; ++i) x[i] = y[i];
  if constexpr (2 * kStep < N) transpose_pieces<T, 2 * kStep>(x);
}

template <class T>
void transpose_rows(const void* const* rows, size_t n, size_t ahead, T* out) {
  constexpr size_t kSize = kPieceBytes / sizeof(T);  // rows and columns of a piece
  const auto* const* from = reinterpret_cast<const uint8_t* const*>(rows);
  for (size_t at = 0; at < n * sizeof(T); at += kRegisterBytes) {
    if (at % kLineBytes == 0)
      for (size_t r = 0; r < kPanelRows; ++r) fetch_line(from[r] + at, ahead);
    for (size_t r = 0; r < kPanelRows; r += kSize) {
      Register<T> x[kSize];
      for (size_t i = 0; i < kSize; ++i) x[i] = load_register<T>(from[r + i] + at);
      transpose_pieces<T>(x);
      T* to = out + at / sizeof(T) * kPanelRows + r;
      for (size_t piece = 0; piece < kPieces; ++piece)
        for (size_t c = 0; c < kSize; ++c, to += kPanelRows) store_piece<T>(to, x[c], piece);
    }
  }
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
    for (size_t at = 0; at < kLineBytes; at += kRegisterBytes)
      store_register(out + at, to_line_order(load_register<uint32_t>(from + at)));
  }
}

/// Of the nibbles of words i and i + kStep, those whose number has the bit kStep in word i change
/// places with those that lack it in the other.
template <size_t kStep>
[[gnu::always_inline]] inline void swap_nibbles(Register<uint32_t> (&x)[8]) {
  constexpr uint32_t kMask = kStep == 4 ? 0x0000ffffu : kStep == 2 ? 0x00ff00ffu : 0x0f0f0f0fu;
  constexpr int kShift = 4 * kStep;
  for (size_t k = 0; k < 4; ++k) {
    const size_t i = k / kStep * 2 * kStep + k % kStep;
    const auto t = ((x[i] >> kShift) ^ x[i + kStep]) & kMask;
    x[i] ^= t << kShift;
    x[i + kStep] ^= t;
  }
}

/// Eight words of eight rows are an 8 x 8 matrix of nibbles, to be transposed; then the words of
/// the eight rows of each of the 16 blocks come together.
void lines_of_awq(const void* words, size_t stride, size_t n, size_t ahead,
                  uint8_t* const* panels) {
  constexpr size_t kPlace[8] = {0, 2, 4, 6, 1, 3, 5, 7};   // of column j: its nibble in a line
  constexpr size_t kSource[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of row i: its nibble in a word
  for (size_t line = 0; line < n / 8; ++line) {
    const auto* from = static_cast<const uint8_t*>(words) + line * 8 * stride;
    for (size_t j = 0; j < 8; ++j) {
      fetch_line(from + j * stride, ahead);
      fetch_line(from + j * stride, ahead + kLineBytes - 1);  // they may straddle two lines
    }
    for (size_t at = 0; at < kLineBytes; at += kRegisterBytes) {
      Register<uint32_t> x[8];
      for (size_t j = 0; j < 8; ++j) x[kPlace[j]] = load_register<uint32_t>(from + j * stride + at);
      swap_nibbles<4>(x);
      swap_nibbles<2>(x);
      swap_nibbles<1>(x);
      for (size_t row = 0; row < 8; row += 4) {
        Register<uint32_t> four[4];
        for (size_t i = 0; i < 4; ++i) four[i] = x[kSource[row + i]];
        transpose_pieces<uint32_t>(four);
        for (size_t i = 0; i < 4 * kPieces; ++i) {
          const size_t r = (at / 4 + i) * 8 + row;  // of all panels
          store_piece<uint32_t>(panels[r / kPanelRows] + line * kLineBytes + r % kPanelRows * 4,
                                four[i % 4], i / 4);
        }
      }
    }
  }
}

template <Codes C>
void permute_lines(const uint8_t* in, const uint32_t* order, size_t n, uint8_t* out) {
  constexpr size_t kCols = kLineCols<C>;
  constexpr uint32_t kMask = ones(kLowBits<C>);
  for (size_t i = 0; i < n; ++i, order += kCols, out += kLineBytes) {
    Register<uint32_t> line[kLineBytes / kRegisterBytes] = {};
    for (size_t j = 0; j < kCols; ++j) {
      const uint8_t* from = in + order[j] / kCols * kLineBytes;
      const auto down = static_cast<int>(column_shift<C>(order[j] % kCols));
      for (auto& part : line) {
        part |= ((load_register<uint32_t>(from) >> down) & kMask) << column_shift<C>(j);
        from += kRegisterBytes;
      }
    }
    for (size_t p = 0; p < kLineBytes / kRegisterBytes; ++p)
      store_register(out + p * kRegisterBytes, line[p]);
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
