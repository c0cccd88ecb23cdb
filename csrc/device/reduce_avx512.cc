// The reduction loops for AVX-512 (F, BW, VL, DQ): 64-byte vectors.
//
// AVX512-BF16 is not used: its conversion flushes denormals, so its bits would differ.
#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::avx512 {
namespace {

constexpr int kVectorBytes = 64;

#include "device/vectors.inc"

RUEDA_INLINE FloatPair LoadFloat16(const char* from) {
  const auto* halves = reinterpret_cast<const __m256i_u*>(from);
  return {{_mm512_cvtph_ps(_mm256_loadu_si256(halves)),
           _mm512_cvtph_ps(_mm256_loadu_si256(halves + 1))}};
}

// Joined to one 64-byte store: two of 32 bytes halve the rate.
RUEDA_INLINE Raw NarrowFloat16(FloatPair x) {
  const __m256i low = _mm512_cvtps_ph(x.at[0], _MM_FROUND_TO_NEAREST_INT);
  const __m256i high = _mm512_cvtps_ph(x.at[1], _MM_FROUND_TO_NEAREST_INT);
  return __builtin_bit_cast(Raw, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
}

RUEDA_INLINE bool MayHaveNaN(const FloatPair& x) {
  return _mm512_cmp_ps_mask(x.at[0], x.at[1], _CMP_UNORD_Q) != 0;
}

#include "device/elements.inc"
// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  return Find(dtype, op, factors);
}

}  // namespace rueda::device::avx512
