// src/base: utf8, half, checked arithmetic, mapped files; and Error.
#include <sys/stat.h>

#include <bit>
#include <chrono>
#include <clocale>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "base/checked.h"
#include "base/half.h"
#include "base/mapped_file.h"
#include "base/number.h"
#include "base/read_ahead.h"
#include "base/utf8.h"
#include "check.h"
#include "files.h"
#include "nibble/error.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// --- UTF-8

constexpr const char* kReplacement = "\xef\xbf\xbd";

// The definition, bit by bit: the code point of a whole character, or nothing.
bool reference_decode(std::string_view s, uint32_t& c) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  for (size_t i = 1; i < s.size(); ++i)
    if ((byte(i) & 0xc0) != 0x80) return false;
  if (s.size() == 1) return (c = byte(0)) < 0x80;
  if (s.size() == 2 && (byte(0) & 0xe0) == 0xc0)
    return (c = (byte(0) & 0x1fu) << 6 | (byte(1) & 0x3fu)) >= 0x80;
  if (s.size() == 3 && (byte(0) & 0xf0) == 0xe0) {
    c = (byte(0) & 0xfu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    return c >= 0x800 && (c < 0xd800 || c > 0xdfff);
  }
  if (s.size() == 4 && (byte(0) & 0xf8) == 0xf0) {
    c = (byte(0) & 7u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
    return c >= 0x10000 && c <= 0x10ffff;
  }
  return false;
}

void decode_agrees_with_definition() {
  // All starts of two bytes, with tails that are right, wrong and at the borders.
  for (uint32_t start = 0; start < 0x10000; ++start) {
    for (const char* tail : {"", "\x80", "\xbf\x80", "\x80\x80\x80", "a\x80", "\x80\xc0"}) {
      std::string text = {static_cast<char>(start >> 8), static_cast<char>(start & 0xff)};
      text += tail;
      uint32_t expected = 0;
      size_t length = 1;
      while (length <= std::min<size_t>(4, text.size()) &&
             !reference_decode(std::string_view(text).substr(0, length), expected))
        ++length;
      const bool valid = length <= std::min<size_t>(4, text.size());
      const DecodedChar found = decode_utf8(text, 0);
      if (found.valid != valid || found.length != (valid ? length : 1) ||
          found.code_point != (valid ? expected : 0xfffd))
        fail("start " + std::to_string(start) + ", tail of " + std::to_string(std::strlen(tail)));
    }
  }
}

void append_and_decode_agree() {
  for (uint32_t c = 0; c <= 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    const bool scalar = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    const DecodedChar found = decode_utf8(text, 0);
    if (!found.valid || found.length != text.size() || found.code_point != (scalar ? c : 0xfffd))
      fail("code point " + std::to_string(c));
  }
}

void validity_and_repair() {
  check(is_valid_utf8(""));
  check(is_valid_utf8("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"));
  for (const char* text : {"\x80", "\xc3", "a\xe4\xb8", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                           "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff"})
    check(!is_valid_utf8(text), text);
  const std::string r = kReplacement;
  check_eq(repair_utf8("a\xff\xc3\xa9\xe4\xb8"), "a" + r + "\xc3\xa9" + r + r);
  check_eq(repair_utf8(""), "");
  check_eq(terminal_text("a\x1b]0;x\x07\n\tb\r\x7f\xc2\x80\xc2\x9f\xc2\xa0"), "a]0;x\n\tb\xc2\xa0");
  check_eq(terminal_text("\xc2\x07\x9b\xc3\xa9"), r + r + "\xc3\xa9", "no control of two halves");
  check_eq(without_controls("a\x1b[m\x7f\xc2\x9b\xc2\xa0\xc2"), "a [m   \xc2\xa0\xc2");
}

void numbers() {
  for (const auto& [text, value] : {std::pair{"0", 0.0},
                                    {"-1.5", -1.5},
                                    {"1e3", 1000.0},
                                    {".5", 0.5},
                                    {"5.", 5.0},
                                    {"0.1", 0.1},
                                    {"1e-310", 1e-310},
                                    {"1.7976931348623157e308", 1.7976931348623157e308},
                                    {"-inf", -std::numeric_limits<double>::infinity()}})
    check_eq(parse_double(text).value_or(99), value, text);
  check(std::isnan(parse_double("nan").value_or(0)));
  for (const char* text :
       {"", " 1", "1 ", "+1", "--1", "0x10", "1e", "1,5", "x", "-", ".", "1e400", "-1e400"})
    check(!parse_double(text), text);
  // Also where the locale has another decimal point, if there is such a locale.
  const char* german = std::setlocale(LC_ALL, "de_DE.UTF-8");
  check_eq(parse_double("2.5").value_or(99), 2.5, german ? german : "C");
  std::setlocale(LC_ALL, "C");
}

void complete_prefix() {
  const auto prefix = [](const char* text) { return complete_utf8_prefix(text); };
  check_eq(prefix(""), size_t{0});
  check_eq(prefix("abc"), size_t{3});
  check_eq(prefix("a\xc3"), size_t{1});
  check_eq(prefix("a\xc3\xa9"), size_t{3});
  check_eq(prefix("\xe4"), size_t{0});
  check_eq(prefix("\xe4\xb8"), size_t{0});
  check_eq(prefix("\xf0\x9f\x98"), size_t{0});
  check_eq(prefix("x\xf0\x9f\x98\x80"), size_t{5});
  check_eq(prefix("\xe4\xb8\xad\xe4"), size_t{3});
  // What can never become a character is not held back.
  check_eq(prefix("a\x80"), size_t{2});
  check_eq(prefix("\x80\x80\x80\x80"), size_t{4});
  check_eq(prefix("\xff"), size_t{1});
  check_eq(prefix("\xc0"), size_t{1});
  check_eq(prefix("\xe0\x80"), size_t{2});
  check_eq(prefix("\xed\xa0"), size_t{2});
  check_eq(prefix("\xf4\x90"), size_t{2});
  check_eq(prefix("\xe4\xb8x"), size_t{3});
}

// --- fp16 and bf16

// The value by the definition of the format.
double half_value(uint32_t h) {
  const int exponent = static_cast<int>(h >> 10 & 31);
  const double mantissa = h & 0x3ff;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa > 0 ? std::nan("") : HUGE_VAL)
                                            : std::ldexp(1024 + mantissa, exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

void every_half() {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const double expected = half_value(h);
    const float found = half_to_float(static_cast<uint16_t>(h));
    const uint16_t back = float_to_half(found);
    if (std::isnan(expected)) {
      check(std::isnan(found) && std::isnan(half_value(back)), "a NaN stays one");
      continue;
    }
    if (static_cast<double>(found) != expected || std::signbit(found) != (h >= 0x8000) || back != h)
      fail("half " + std::to_string(h));
  }
}

// Between two neighbours: below the middle down, above it up, in the middle to the even one.
void half_rounds_to_nearest_even() {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const double low = half_value(h), high = h == 0x7bff ? 65536.0 : half_value(h + 1);
    const float middle = static_cast<float>((low + high) / 2);  // exact
    const auto up = static_cast<uint16_t>(h + 1), down = static_cast<uint16_t>(h);
    const uint16_t even = h % 2 ? up : down;
    const auto rounds = [&](float f, uint16_t expected) {
      if (float_to_half(f) != expected || float_to_half(-f) != (expected | 0x8000))
        fail("between halves " + std::to_string(h) + " and the next");
    };
    rounds(middle, even);
    rounds(std::nextafter(middle, 0.f), down);
    rounds(std::nextafter(middle, 1e30f), up);
  }
  check_eq(float_to_half(1e30f), uint16_t{0x7c00});
  check_eq(float_to_half(-HUGE_VALF), uint16_t{0xfc00});
  check_eq(float_to_half(std::numeric_limits<float>::denorm_min()), uint16_t{0});
}

void bf16() {
  for (uint32_t b = 0; b < 0x10000; ++b)
    check_eq(std::bit_cast<uint32_t>(bf16_to_float(static_cast<uint16_t>(b))), b << 16);
}

// --- Checked arithmetic

void checked_arithmetic() {
  constexpr uint64_t kMax = ~uint64_t{0}, k32 = uint64_t{1} << 32;
  check_eq(checked_mul(k32, k32 - 1, "w"), kMax - k32 + 1);
  check_eq(checked_mul(0, kMax, "w"), uint64_t{0});
  check_error([] { checked_mul(k32, k32, "w"); }, "w: a size overflows 64 bits");
  check_eq(checked_add(kMax - 1, 1, "w"), kMax);
  check_error([] { checked_add(kMax, 1, "w"); }, "overflows");
  check_eq(checked_cast<int8_t>(-128, "w"), int8_t{-128});
  check_error([] { checked_cast<uint64_t>(-1, "w"); }, "the number -1 is out of range");
  check_error([] { checked_cast<int64_t>(kMax, "w"); }, "18446744073709551615 is out of range");
  check_error([] { checked_cast<int>(int64_t{1} << 31, "w"); }, "2147483648");
  check_eq(round_up(0, 32), uint64_t{0});
  check_eq(round_up(1, 32), uint64_t{32});
  check_eq(round_up(64, 32), uint64_t{64});
  check_eq(ceil_div(65, 32), uint64_t{3});
}

// --- Files and memory

void mapped_file() {
  const TempDir dir;
  std::string text(100'000, 'a');
  text.back() = 'z';
  write_file(dir / "x", text);
  MappedFile file(dir / "x");
  check_eq(file.path(), dir / "x");
  const auto bytes = file.bytes();
  check(bytes.size() == text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0);
  MappedFile moved = std::move(file);
  check(moved.bytes().data() == bytes.data(), "the bytes stay where they are");
  moved.release(moved.bytes().subspan(10, 99'990));
  moved.release({});
  check(moved.bytes().back() == std::byte{'z'}, "it can be read after release()");
  write_file(dir / "y", "other");
  MappedFile other(dir / "y");
  other = std::move(moved);
  check(other.bytes().data() == bytes.data());
  std::filesystem::remove(dir / "x");
  check(other.bytes()[99'999] == std::byte{'z'}, "it outlives its name");
}

void files_that_are_refused() {
  const TempDir dir;
  check_error([&] { MappedFile(dir / "absent"); }, "absent: cannot open the file: No such file");
  check_error([&] { MappedFile{dir.path()}; }, "is not a regular file");
  write_file(dir / "empty", "");
  check_error([&] { MappedFile(dir / "empty"); }, "is empty");
  check(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  check_error([&] { MappedFile(dir / "pipe"); }, "is not a regular file");
}

void anonymous_memory() {
  for (const size_t size : {size_t{1}, size_t{5000}, size_t{9'000'001}}) {
    AnonymousMemory memory(size);
    check(memory.size() >= size, "whole pages");
    check_eq(reinterpret_cast<uintptr_t>(memory.data()) % 64, uintptr_t{0});
    check(memory.data()[0] == std::byte{0} && memory.data()[size - 1] == std::byte{0});
    memory.data()[0] = memory.data()[size - 1] = std::byte{7};
    const std::byte* const at = memory.data();
    AnonymousMemory moved = std::move(memory);
    check(moved.data() == at && moved.data()[size - 1] == std::byte{7});
    AnonymousMemory assigned;
    assigned = std::move(moved);
    check(assigned.data() == at);
  }
  check(AnonymousMemory(0).data() == nullptr);
  check_error([] { AnonymousMemory(SIZE_MAX); }, "memory: cannot have");
  check_error([] { AnonymousMemory(SIZE_MAX / 2); }, "memory: cannot have");
}

void error_text() {
  const Error error("file", "is bad", "try another");
  check_eq(std::string(error.what()), "file: is bad (try another)");
  check_eq(error.where() + "|" + error.why() + "|" + error.hint(), "file|is bad|try another");
  check_eq(std::string(Error("", "why").what()), "why");
  // A file's name for something is no command of the terminal, and has an end.
  check_eq(std::string(Error("a\x1b[2J",
                             "b\xc2\x9b"
                             "2J\n\x7f\xc3\x9b")
                           .what()),
           "a [2J: b  2J  \xc3\x9b");
  const std::string endless =
      Error("", std::string(7999, 'x') + "\xc3\xa9" + std::string(9000, 'x')).why();
  check_eq(endless, std::string(7999, 'x') + "...");
  check_eq(std::string(Error::mismatch("w", "its size", "2", "3").what()),
           "w: its size is 3, expected 2");
}

// --- Reading ahead

bool reaches(const ReadAhead& reader, size_t position) {
  for (int i = 0; i < 5000 && reader.position() < position; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return reader.position() >= position;
}

void read_ahead() {
  constexpr size_t kWindow = size_t{1} << 20, kSize = 5 * kWindow + 1000;
  const AnonymousMemory memory(2 * kSize);
  const std::byte* data = memory.data();
  // Two ranges with a gap, in any order.
  ReadAhead reader({{data + kSize, kSize - kWindow}, {data, kSize - kWindow}}, kWindow);
  check(reaches(reader, kWindow), "the first window is read");
  check_eq(reader.position(), kWindow, "and no more");
  reader.consumed(data + kWindow / 2);
  check(reaches(reader, kWindow + kWindow / 2), "half a window further");
  check_eq(reader.position(), kWindow + kWindow / 2, "and no more");
  reader.consumed(data);
  check_eq(reader.position(), kWindow + kWindow / 2, "never back");
  reader.consumed(data + kSize);  // the start of the second range
  check(reaches(reader, kSize), "into the second range");
  check(reader.position() < kSize + 2 * kWindow, "as far as the window");
  reader.consumed(data + 2 * kSize);
  check(reaches(reader, 2 * (kSize - kWindow)), "everything");
  const ReadAhead waiting({{data, kSize}}, kWindow);  // its end does not wait
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"utf8: decoding agrees with the definition", decode_agrees_with_definition},
              {"utf8: every code point", append_and_decode_agree},
              {"utf8: validity and repair", validity_and_repair},
              {"numbers", numbers},
              {"utf8: complete prefix", complete_prefix},
              {"half: every value", every_half},
              {"half: rounds to nearest even", half_rounds_to_nearest_even},
              {"bf16", bf16},
              {"checked arithmetic", checked_arithmetic},
              {"mapped file", mapped_file},
              {"reading ahead", read_ahead},
              {"files that are refused", files_that_are_refused},
              {"anonymous memory", anonymous_memory},
              {"error text", error_text}});
}
