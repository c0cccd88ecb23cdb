// The reduction loops for AVX2 with F16C: 32-byte vectors.
#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::avx2 {
namespace {

constexpr int kVectorBytes = 32;

#include "device/vectors.inc"

RUEDA_INLINE FloatPair LoadFloat16(const char* from) {
  const auto* halves = reinterpret_cast<const __m128i_u*>(from);
  return {{_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))}};
}

RUEDA_INLINE Raw NarrowFloat16(FloatPair x) {
  const __m128i low = _mm256_cvtps_ph(x.at[0], _MM_FROUND_TO_NEAREST_INT);
  const __m128i high = _mm256_cvtps_ph(x.at[1], _MM_FROUND_TO_NEAREST_INT);
  return __builtin_bit_cast(Raw, _mm256_set_m128i(high, low));
}

RUEDA_INLINE bool MayHaveNaN(const FloatPair& x) {
  return _mm256_movemask_ps(_mm256_cmp_ps(x.at[0], x.at[1], _CMP_UNORD_Q)) != 0;
}

#include "device/elements.inc"
// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  return Find(dtype, op, factors);
}

}  // namespace rueda::device::avx2
