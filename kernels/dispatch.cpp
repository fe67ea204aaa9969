// Which kernel sets this build has and which of them this machine can run. A row may ask for more
// than its file is compiled with, never for less.
#include <cstring>

#include "sets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace nibble {
namespace {

bool always() { return true; }

#if defined(__x86_64__)

struct Cpuid {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Cpuid cpuid(unsigned leaf, unsigned subleaf = 0) {
  Cpuid r;
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

/// All bits of `wanted` are set.
bool has(unsigned word, unsigned wanted) { return (word & wanted) == wanted; }

/// What the operating system saves at a context switch (XCR0).
bool os_saves(unsigned state) {
  if (!has(cpuid(1).c, bit_OSXSAVE)) return false;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return has(low, state);
}

constexpr unsigned kYmmState = 0x06;  // xmm, upper halves of ymm
constexpr unsigned kZmmState = 0xe6;  // and mask registers, upper halves of zmm, zmm16..31

/// avx2*.cpp: AVX2, FMA, F16C.
bool has_avx2() {
  return has(cpuid(1).c, bit_AVX | bit_FMA | bit_F16C) && has(cpuid(7).b, bit_AVX2) &&
         os_saves(kYmmState);
}

/// avxvnni.cpp: AVX-VNNI besides those of AVX2.
bool has_avxvnni() { return has_avx2() && has(cpuid(7, 1).a, 1u << 4); }

/// avx512*.cpp: AVX-512 F, BW, DQ, VL and VNNI besides those of AVX2.
bool has_avx512() {
  return has_avx2() && has(cpuid(7).b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) &&
         has(cpuid(7).c, bit_AVX512VNNI) && os_saves(kZmmState);
}

/// amx.cpp: tiles of bf16 besides what avx512.cpp needs.
bool has_amx() { return has_avx512() && amx_usable(); }

// Best first.
constexpr KernelSet kSets[] = {
    {&kAmxKernels, has_amx},   {&kAvx512Kernels, has_avx512}, {&kAvxVnniKernels, has_avxvnni},
    {&kAvx2Kernels, has_avx2}, {&kScalarKernels, always},
};

#elif defined(__aarch64__)

#if defined(__APPLE__)
/// All of these system values exist and are not 0.
template <size_t N>
bool has_features(const char* const (&names)[N]) {
  for (const char* name : names) {
    int value = 0;
    size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, nullptr, 0) != 0 || value == 0) return false;
  }
  return true;
}
#endif

/// neon_dot.cpp: the dot product instructions of ARMv8.2 (and its fp16 arithmetic).
bool has_dot() {
#if defined(__linux__)
  constexpr unsigned long kWanted = HWCAP_ASIMDDP | HWCAP_ASIMDHP | HWCAP_FPHP;
  return (getauxval(AT_HWCAP) & kWanted) == kWanted;
#elif defined(__APPLE__)
  return has_features({"hw.optional.arm.FEAT_DotProd", "hw.optional.arm.FEAT_FP16"});
#else
  return false;
#endif
}

/// neon_i8mm.cpp: besides, the integer matrix instructions of ARMv8.6.
bool has_i8mm() {
#if defined(__linux__)
  constexpr unsigned long kI8mm = 1ul << 13;  // HWCAP2_I8MM, which older headers lack
  return has_dot() && (getauxval(AT_HWCAP2) & kI8mm) != 0;
#elif defined(__APPLE__)
  return has_dot() && has_features({"hw.optional.arm.FEAT_I8MM"});
#else
  return false;
#endif
}

// Best first. Plain NEON is part of every arm64 CPU.
constexpr KernelSet kSets[] = {
    {&kNeonI8mmKernels, has_i8mm},
    {&kNeonDotKernels, has_dot},
    {&kNeonKernels, always},
    {&kScalarKernels, always},
};

#else

constexpr KernelSet kSets[] = {{&kScalarKernels, always}};

#endif

}  // namespace

const KernelSet* kernel_sets(size_t& count) {
  count = sizeof kSets / sizeof kSets[0];
  return kSets;
}

const Kernels* find_kernels(const char* name) {
  const bool best = name == nullptr || *name == '\0';
  for (const KernelSet& set : kSets)
    if ((best || std::strcmp(name, set.kernels->name) == 0) && set.supported()) return set.kernels;
  return nullptr;
}

}  // namespace nibble
