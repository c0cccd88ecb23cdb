// The reduction loops for any machine: 16-byte vectors, float16 by integer arithmetic.
#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::baseline {
namespace {

constexpr int kVectorBytes = 16;

#include "device/vectors.inc"

RUEDA_INLINE FloatPair LoadFloat16(const char* from) {
  const Raw raw = LoadVector<uint32_t>(from);
  return {
      {WidenFloat16Bits<Vector<float>>(raw & 0xffffu), WidenFloat16Bits<Vector<float>>(raw >> 16)}};
}

RUEDA_INLINE Raw NarrowFloat16(FloatPair x) {
  return NarrowFloat16Bits<Raw>(x.at[0]) | (NarrowFloat16Bits<Raw>(x.at[1]) << 16);
}

// Always: the check would need an instruction that not every machine has.
RUEDA_INLINE bool MayHaveNaN(const FloatPair&) { return true; }

#include "device/elements.inc"
// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  return Find(dtype, op, factors);
}

}  // namespace rueda::device::baseline
