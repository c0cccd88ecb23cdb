// What an x86-64 machine offers to reduce.cc: its kernel sets and its floating-point mode.
#include <xmmintrin.h>

#include <array>
#include <cfenv>

#include "device/kernel_set.h"
#include "device/reduce.h"

namespace rueda::device {
namespace {

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("f16c");
}

bool HasAvx512Bf16() { return HasAvx512() && __builtin_cpu_supports("avx512bf16"); }

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }

bool HasBaseline() { return true; }

constexpr std::array<KernelSet, 4> kSets{{
    {"avx512bf16", 64, &HasAvx512Bf16, &avx512bf16::FindLoops},
    {"avx512", 64, &HasAvx512, &avx512::FindLoops},
    {"avx2", 32, &HasAvx2, &avx2::FindLoops},
    {"baseline", 16, &HasBaseline, &baseline::FindLoops},
}};

// MXCSR after reset: round to nearest, denormals kept, no exception traps.
constexpr unsigned kDefaultMode = 0x1f80;

}  // namespace

std::span<const KernelSet> KernelSets() { return kSets; }

// The flags of exceptions that have occurred are no mode.
bool IsDefaultFloatingPointMode() {
  constexpr unsigned kFlags = 0x3f;
  return (_mm_getcsr() & ~kFlags) == kDefaultMode;
}

void UseDefaultFloatingPointMode() {
  std::fesetround(FE_TONEAREST);  // of the x87 unit too, which is what fegetround looks at
  _mm_setcsr(kDefaultMode);
}

}  // namespace rueda::device
