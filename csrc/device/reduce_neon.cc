// The reduction loops for AArch64: NEON, which every such processor has, with its conversions of
// float16.
#include <arm_neon.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::neon {
namespace {

constexpr int kVectorBytes = 16;

#include "device/vectors.inc"

// FCVTL and FCVTL2. Exact, also of denormals.
RUEDA_INLINE FloatPair LoadFloat16(const char* from) {
  const auto halves = __builtin_bit_cast(float16x8_t, LoadVector<uint32_t>(from));
  return {{__builtin_bit_cast(Vector<float>, vcvt_f32_f16(vget_low_f16(halves))),
           __builtin_bit_cast(Vector<float>, vcvt_high_f32_f16(halves))}};
}

// FCVTN and FCVTN2, which round as the floating-point mode says: to nearest even.
RUEDA_INLINE Raw NarrowFloat16(FloatPair x) {
  const float16x4_t low = vcvt_f16_f32(__builtin_bit_cast(float32x4_t, x.at[0]));
  const float32x4_t high = __builtin_bit_cast(float32x4_t, x.at[1]);
  return __builtin_bit_cast(Raw, vcvt_high_f16_f32(low, high));
}

// Always: a check would have to cross from vectors to flags, which takes longer than two selects.
RUEDA_INLINE bool MayHaveNaN(const FloatPair&) { return true; }

#include "device/elements.inc"
// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  return Find(dtype, op, factors);
}

}  // namespace rueda::device::neon
