// The one weight layout of every CPU: panels of 16 rows. See ARCHITECTURE.md, "The panel".
//
// A matrix W [rows, cols] (rows = outputs, y = W x) is cut into panels of 16 consecutive rows. All
// bytes of a panel are contiguous, so a thread that owns a range of panels reads one stream of
// codes and one stream of scales. Lane r of a vector always belongs to row 16 * panel + r: no
// kernel ever sums across lanes.
//
//   q4    one 64-byte line holds 8 columns k0..k0+7 of 16 rows. Byte j belongs to row j / 4; with
//         t = j % 4 its low nibble is column k0 + t, its high nibble column k0 + 4 + t.
//   q8    one 64-byte line holds 4 columns k0..k0+3 of 16 rows. Byte j is row j / 4, column
//         k0 + j % 4. Codes are unsigned.
//   iq4, iq3_xxs, iq3_s, fp4    as q4, but what lies in the nibbles are indices of code_table().
//   q5    32 columns k0..k0+31 are four lines of q4 with the low four bits of the codes, and a line
//         of their upper bits: bit p of byte j is that of row j / 4, column k0 + 4p + j % 4.
//   q6    16 columns are two lines of q4, and a line of the upper two bits: bits 2p and 2p + 1 of
//         byte j are those of row j / 4, column k0 + 4p + j % 4.
//   q2    one line holds 16 columns, as the last line of q6 does.
//   q3    16 columns are a line of q2 with the low two bits, and half a line of upper ones: for
//         p = 0, 1, 2, 3 and a = 0, 1, 4, 5, bit a + 2 of byte j is that of row j / 2, column
//         k0 + 4p + j % 2, and bit a that of column k0 + 4p + j % 2 + 2.
//   iq1, iq2    as q3, but codes are indices of code_table().
//   f16, bf16, f32    column after column, 16 values each: [cols][16].
//
// A quantized weight is w = s * (q - z) or w = s * q + m with s, z, m per row and group of `group`
// columns (its *scheme*). Rows beyond `rows` have s = m = 0; columns beyond `cols` have any code
// and meet activations that are exactly zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {

inline constexpr size_t kPanelRows = 16;
inline constexpr size_t kLineBytes = 64;
inline constexpr size_t kSuperCols = 256;  // columns that share one pair of fp16 in the k schemes

/// What one weight is stored as.
enum class Codes : uint8_t {
  f32,
  f16,
  bf16,
  q2,
  q3,
  iq1,
  iq2,
  q4,
  iq3_xxs,
  iq3_s,
  fp4,
  iq4,
  q5,
  q6,
  q8
};

constexpr bool is_quantized(Codes codes) { return codes >= Codes::q2; }
/// Bits of a code, or of a float; 0 for what is no Codes (a file may hold any byte).
constexpr size_t code_bits(Codes codes) {
  constexpr size_t kBits[] = {32, 16, 16, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 6, 8};
  const auto i = static_cast<size_t>(codes);
  return i < sizeof kBits / sizeof *kBits ? kBits[i] : 0;
}

/// Bytes of a column of a panel.
constexpr size_t column_bytes(Codes codes) { return kPanelRows * code_bits(codes) / 8; }

/// The columns that share a scale, where codes go with groups of one size only; else 0.
constexpr size_t only_group(Codes codes) {
  switch (codes) {
    case Codes::q2:
    case Codes::q3:
    case Codes::iq1:
    case Codes::iq2:
    case Codes::q6:
      return 16;
    case Codes::iq3_xxs:
    case Codes::iq3_s:
    case Codes::fp4:
    case Codes::iq4:
    case Codes::q5:
      return 32;
    default:
      return 0;
  }
}

/// Codes that are not evenly spaced: the index that a panel holds stands for codes[index]. The zero
/// of iq4 is 128. The others take seven bits or six, their zero is 64 or kIq3Zero: AVX2 then needs
/// no signs. Scheme k8 multiplies d by `unit`, a power of two, where d alone may be too small for
/// fp16.
struct CodeTable {
  uint8_t codes[16];
  float unit;
};

inline constexpr uint8_t kIq3Zero = 32;  // of iq3_xxs, iq3_s and fp4

/// IQ4_NL and IQ4_XS.
inline constexpr CodeTable kIq4Table = {
    {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241}, 1};
// The others are magnitudes and the same with the sign changed.
inline constexpr CodeTable kIq3SmallTable = {
    {34, 38, 42, 46, 50, 54, 58, 63, 30, 26, 22, 18, 14, 10, 6, 1}, 0.5f};
inline constexpr CodeTable kIq3Table = {
    {33, 35, 37, 39, 41, 43, 45, 47, 31, 29, 27, 25, 23, 21, 19, 17}, 1};
inline constexpr CodeTable kFp4Table = {  // MXFP4, twice the values of E2M1
    {32, 33, 34, 35, 36, 38, 40, 44, 32, 31, 30, 29, 28, 26, 24, 20},
    1};
inline constexpr CodeTable kIq2Table = {  // 8, 25, 43
    {72, 89, 107, 64, 56, 39, 21, 64},
    0.125f};
inline constexpr CodeTable kIq1Table = {  // eighths: -1, 0, 1 with 1/8 added, or taken off
    {57, 65, 73, 64, 55, 63, 71, 64},
    0.125f};

/// The table of `codes`; of those that have none only the unit counts, which is 1.
constexpr const CodeTable& code_table(Codes codes) {
  switch (codes) {
    case Codes::iq1:
      return kIq1Table;
    case Codes::iq2:
      return kIq2Table;
    case Codes::iq3_xxs:
      return kIq3SmallTable;
    case Codes::iq3_s:
      return kIq3Table;
    case Codes::fp4:
      return kFp4Table;
    default:
      return kIq4Table;
  }
}

/// The codes whose kernels serve `codes`, too: they differ in their table alone.
constexpr Codes kernel_codes(Codes codes) {
  switch (codes) {
    case Codes::iq1:
      return Codes::iq2;
    case Codes::iq3_xxs:
    case Codes::fp4:
      return Codes::iq3_s;
    default:
      return codes;
  }
}

// Templates below take kernel_codes() only.

/// Codes that are indices of a table.
template <Codes C>
constexpr bool kTableCodes = C == Codes::iq2 || C == Codes::iq3_s || C == Codes::iq4;
/// Codes that take a whole byte once they are unpacked.
template <Codes C>
constexpr bool kByteCodes = C == Codes::q8 || C == Codes::iq4;
/// Bits of a code that lie in lines of their own, the lowest, and bits behind those lines.
template <Codes C>
constexpr unsigned kLowBits = C == Codes::q8      ? 8
                              : code_bits(C) <= 3 ? 2
                                                  : 4;
template <Codes C>
constexpr unsigned kUpperBits = static_cast<unsigned>(code_bits(C)) - kLowBits<C>;
/// So many ones.
constexpr unsigned ones(unsigned bits) { return ~(~0u << bits); }

/// Columns of a line of low bits: 4, 8 or 16.
template <Codes C>
constexpr size_t kLineCols = 32 / kLowBits<C>;
/// A unit: the lines that hold whole codes, and their columns.
template <Codes C>
constexpr size_t kUnitCols = C == Codes::q5   ? 32
                             : C == Codes::q6 ? 16
                                              : kLineCols<C>;
template <Codes C>
constexpr size_t kUnitBytes = column_bytes(C) * kUnitCols<C>;
/// Where the upper bits of a unit begin.
template <Codes C>
constexpr size_t kUpperOffset = size_t{kLineBytes} * kUnitCols<C> / kLineCols<C>;
/// Whether a row has 16 upper bits in a unit, not 32. x | x << 18 brings those of columns 4p + t to
/// bits 2, 3, 6, 7 of byte t for p = 0, 1, 2, 3: with the low bits they make codes in nibbles.
template <Codes C>
constexpr bool kHalfUpper = C == Codes::q3 || C == Codes::iq2;

/// The bit at which column c of a line lies in the 32-bit word of its row.
template <Codes C>
constexpr unsigned column_shift(size_t c) {
  return static_cast<unsigned>(8 * (c % 4) + c / 4 * kLowBits<C>);
}
/// The bit at which the upper bits of column c of a unit lie in such a word, spread as kHalfUpper
/// says.
template <Codes C>
constexpr unsigned upper_shift(size_t c) {
  const size_t p = c / 4;
  return static_cast<unsigned>(8 * (c % 4) +
                               (kHalfUpper<C> ? p % 2 + p / 2 * 4 + 2 : p * kUpperBits<C>));
}

/// The code of row r, column c of a quantized panel, or its index in the table.
template <Codes C>
constexpr uint8_t code_at(const uint8_t* panel, size_t c, size_t r) {
  const uint8_t* unit = panel + c / kUnitCols<C> * kUnitBytes<C>;
  c %= kUnitCols<C>;
  const size_t byte = 4 * r + c % 4, in_line = c % kLineCols<C>;
  const unsigned line = unit[c / kLineCols<C> * kLineBytes + byte];
  unsigned code = (line >> (in_line / 4 * kLowBits<C>)) & ones(kLowBits<C>);
  if constexpr (kHalfUpper<C>) {
    const uint8_t* two = unit + kUpperOffset<C> + 2 * r;
    const unsigned x = two[0] | unsigned{two[1]} << 8;
    code |= (((x | x << 18) >> upper_shift<C>(c)) & 1) << kLowBits<C>;
  } else if constexpr (kUpperBits<C> != 0) {
    const unsigned upper = unit[kUpperOffset<C> + byte] >> (c / 4 * kUpperBits<C>);
    code |= (upper & ones(kUpperBits<C>)) << kLowBits<C>;
  }
  return static_cast<uint8_t>(code);
}
constexpr uint8_t code_at(Codes codes, const uint8_t* panel, size_t c, size_t r) {
  switch (kernel_codes(codes)) {
    case Codes::q2:
      return code_at<Codes::q2>(panel, c, r);
    case Codes::q3:
      return code_at<Codes::q3>(panel, c, r);
    case Codes::q4:
      return code_at<Codes::q4>(panel, c, r);
    case Codes::iq2:
      return code_table(codes).codes[code_at<Codes::iq2>(panel, c, r)];
    case Codes::iq3_s:
    case Codes::iq4:
      return code_table(codes).codes[code_at<Codes::iq4>(panel, c, r)];
    case Codes::q5:
      return code_at<Codes::q5>(panel, c, r);
    case Codes::q6:
      return code_at<Codes::q6>(panel, c, r);
    default:
      return code_at<Codes::q8>(panel, c, r);
  }
}

/// How codes become weights. Each has one struct below; `per` says how many columns it serves.
enum class Scheme : uint8_t {
  none,      // f32, f16, bf16
  f16,       // w = s * (q - zero),    zero is one constant of the matrix       per group
  f16_zero,  // w = s * (q - z),       z an 8-bit integer                       per group
  f32_zero,  // the same with s an f32, for scales that fp16 does not hold      per group
  f16_min,   // w = s * q + m,         m fp16                                   per group
  k6,        // w = d*sc * q - dmin*mn, sc and mn 6 bits per 32 columns         per 256
  k8,        // w = d*unit*sc * (q - zero), sc signed 8 bits per 16 or 32       per 256
  k8_min,    // w = d*sc * q - dmin*mn, sc and mn unsigned 8 bits per 16        per 256
  k4_min,    // the same with sc and mn of 4 bits                               per 256
};

/// Which codes go with which scheme; beside q4 and q8 those that GGUF has.
constexpr bool codes_fit(Codes codes, Scheme scheme) {
  switch (codes) {
    case Codes::f32:
    case Codes::f16:
    case Codes::bf16:
      return scheme == Scheme::none;
    case Codes::q2:
      return scheme == Scheme::k4_min;
    case Codes::q3:
    case Codes::iq1:
    case Codes::iq2:
      return scheme == Scheme::k8;
    case Codes::q4:
      return scheme != Scheme::none && scheme != Scheme::k4_min;
    case Codes::q8:
      return scheme != Scheme::none && scheme != Scheme::k8_min && scheme != Scheme::k4_min;
    case Codes::iq3_xxs:
    case Codes::iq3_s:
    case Codes::fp4:
    case Codes::iq4:
      return scheme == Scheme::f16 || scheme == Scheme::k8;
    case Codes::q5:
      return scheme == Scheme::f16 || scheme == Scheme::f16_min || scheme == Scheme::k6;
    case Codes::q6:
      return scheme == Scheme::k8;
  }
  return false;
}

// fp16 values travel as their bits.
struct ScaleF16 {
  uint16_t s[kPanelRows];
};
struct ScaleF16Zero {
  uint16_t s[kPanelRows];
  uint8_t z[kPanelRows];
};
struct ScaleF32Zero {
  float s[kPanelRows];
  uint8_t z[kPanelRows];
};
struct ScaleF16Min {
  uint16_t s[kPanelRows];
  uint16_t m[kPanelRows];
};
/// Q4_K and Q5_K. Pair p (0..3) holds the groups 2p and 2p + 1 of the 256 columns, i.e. columns
/// 64p..64p+31 and 64p+32..64p+63. `sc[p][r]`: low four bits of the scale of group 2p (low nibble)
/// and 2p + 1 (high nibble) of row r; `mn[p][r]` likewise for the minimum. `hi[p][r]`: bits 1:0 and
/// 3:2 are bits 5:4 of the two scales, bits 5:4 and 7:6 those of the two minima.
struct ScaleK6 {
  uint16_t d[kPanelRows];
  uint16_t dmin[kPanelRows];
  uint8_t sc[4][kPanelRows];
  uint8_t mn[4][kPanelRows];
  uint8_t hi[4][kPanelRows];
};
/// Q6_K, Q3_K, IQ1 and IQ2 (groups of 16), IQ3 and IQ4_XS (groups of 32: only the first 8 rows of
/// sc are stored).
struct ScaleK8x16 {
  uint16_t d[kPanelRows];
  int8_t sc[16][kPanelRows];
};
struct ScaleK8x32 {
  uint16_t d[kPanelRows];
  int8_t sc[8][kPanelRows];
};
/// Q2_K in files from before q2.
struct ScaleK8Min {
  uint16_t d[kPanelRows];
  uint16_t dmin[kPanelRows];
  uint8_t sc[16][kPanelRows];
  uint8_t mn[16][kPanelRows];
};
/// Q2_K: sc in the low nibble, mn in the high one.
struct ScaleK4Min {
  uint16_t d[kPanelRows];
  uint16_t dmin[kPanelRows];
  uint8_t sc_mn[16][kPanelRows];
};
static_assert(sizeof(ScaleF16) == 32 && sizeof(ScaleF16Zero) == 48 && sizeof(ScaleF16Min) == 64);
static_assert(sizeof(ScaleF32Zero) == 80);
static_assert(sizeof(ScaleK6) == 256 && sizeof(ScaleK8x16) == 288 && sizeof(ScaleK8x32) == 160);
static_assert(sizeof(ScaleK8Min) == 576 && sizeof(ScaleK4Min) == 320);

/// The shape and format of a packed matrix. Everything about its bytes follows from this.
struct PackedShape {
  uint32_t rows = 0;
  uint32_t cols = 0;
  Codes codes = Codes::f32;
  Scheme scheme = Scheme::none;
  uint16_t group = 0;  // columns per scale: 16, 32, 64 or 128; 0 for f32, f16, bf16
  uint8_t zero = 0;    // the constant of Scheme::f16 and k8: 8 for Q4_0, 128 for Q8_0, ...
};

/// Calls fn.operator()<kernel_codes(codes), scheme>() for the format of a quantized shape.
template <class Fn>
constexpr void with_format(const PackedShape& shape, const Fn& fn) {
  const auto try_format = [&]<Codes kCodes, Scheme kScheme>() {
    if constexpr (codes_fit(kCodes, kScheme))
      if (kernel_codes(shape.codes) == kCodes && shape.scheme == kScheme)
        fn.template operator()<kCodes, kScheme>();
  };
  const auto try_codes = [&]<Codes kCodes>() {
    try_format.template operator()<kCodes, Scheme::f16>();
    try_format.template operator()<kCodes, Scheme::f16_zero>();
    try_format.template operator()<kCodes, Scheme::f32_zero>();
    try_format.template operator()<kCodes, Scheme::f16_min>();
    try_format.template operator()<kCodes, Scheme::k6>();
    try_format.template operator()<kCodes, Scheme::k8>();
    try_format.template operator()<kCodes, Scheme::k8_min>();
    try_format.template operator()<kCodes, Scheme::k4_min>();
  };
  try_codes.template operator()<Codes::q2>();
  try_codes.template operator()<Codes::q3>();
  try_codes.template operator()<Codes::iq2>();
  try_codes.template operator()<Codes::q4>();
  try_codes.template operator()<Codes::iq3_s>();
  try_codes.template operator()<Codes::iq4>();
  try_codes.template operator()<Codes::q5>();
  try_codes.template operator()<Codes::q6>();
  try_codes.template operator()<Codes::q8>();
}

/// A packed matrix as kernels see it: a view, valid as long as its bytes are.
struct PackedView {
  PackedShape shape;
  uint32_t cols_padded = 0;  // multiple of group (of 256 in the k schemes); cols if unquantized
  size_t code_stride = 0;    // bytes from one panel's codes to the next
  size_t scale_stride = 0;   // bytes from one panel's scales to the next
  const uint8_t* codes = nullptr;   // 64-byte aligned
  const uint8_t* scales = nullptr;  // 64-byte aligned; null if unquantized
};

}  // namespace nibble
