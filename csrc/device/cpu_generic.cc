// What any other machine offers to reduce.cc: the baseline kernels, the C library's mode.
#include <array>
#include <bit>
#include <cfenv>

#include "device/kernel_set.h"
#include "device/reduce.h"

namespace rueda::device {
namespace {

// bfloat16 and float16 pairs are split by shifts of 32-bit lanes, and the bits travel between
// ranks.
static_assert(std::endian::native == std::endian::little, "rueda runs on little-endian machines");

bool HasBaseline() { return true; }

constexpr std::array<KernelSet, 1> kSets{{{"baseline", 16, &HasBaseline, &baseline::FindLoops}}};

}  // namespace

std::span<const KernelSet> KernelSets() { return kSets; }

// Nobody can tell.
bool IsDefaultFloatingPointMode() { return false; }

// The default environment keeps denormals and rounds to nearest.
void UseDefaultFloatingPointMode() { std::fesetenv(FE_DFL_ENV); }

}  // namespace rueda::device
