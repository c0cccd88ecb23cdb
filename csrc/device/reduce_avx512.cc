// The reduction loops for AVX-512 (F, BW, VL, DQ): 64-byte vectors.
#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::avx512 {
namespace {

#include "device/avx512_vectors.inc"
#include "device/elements.inc"
// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  return Find(dtype, op, factors);
}

}  // namespace rueda::device::avx512
