// What an AArch64 machine offers to reduce.cc: its kernel set and its floating-point mode.
#include <array>
#include <bit>
#include <cstdint>

#include "device/kernel_set.h"
#include "device/reduce.h"

namespace rueda::device {
namespace {

// As in cpu_generic.cc: pairs of 16-bit floats are split by shifts.
static_assert(std::endian::native == std::endian::little, "rueda runs on little-endian machines");

// NEON is part of the architecture.
bool HasNeon() { return true; }

constexpr std::array<KernelSet, 1> kSets{{{"neon", 16, &HasNeon, &neon::FindLoops}}};

// FPCR after reset: round to nearest, denormals kept, NaN and float16 as in IEEE 754, no traps.
constexpr uint64_t kDefaultMode = 0;

uint64_t Mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}

void SetMode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }

}  // namespace

std::span<const KernelSet> KernelSets() { return kSets; }

bool IsDefaultFloatingPointMode() { return Mode() == kDefaultMode; }

// Not by fesetenv(FE_DFL_ENV): it leaves bits alone, such as that of a float16 without infinities.
void UseDefaultFloatingPointMode() { SetMode(kDefaultMode); }

}  // namespace rueda::device
