// The bfloat16 loops for AVX-512 with its BF16 extension; all others are AVX-512's.
//
// VCVTNE2PS2BF16 rounds two vectors to nearest even at once, where integers take ten instructions.
// It differs from them in what it takes for zero, whatever the floating-point mode says, and in the
// NaN that it writes (Intel, "Architecture Instruction Set Extensions", VCVTNE2PS2BF16). Vectors
// that hold such a value are rounded by integers, so the bits are AVX-512's.
#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "device/half.h"
#include "device/kernel_set.h"

namespace rueda::device::avx512bf16 {
namespace {

#include "device/avx512_vectors.inc"
#include "device/elements.inc"

// A denormal is flushed, a NaN keeps sign and payload. No other float32 rounds to a denormal
// bfloat16: both kinds begin at the same exponent.
RUEDA_INLINE bool IsConvertedAlike(const FloatPair& x) {
  constexpr int kQuietNaN = 0x01, kDenormal = 0x20, kSignalingNaN = 0x80;
  constexpr int kOther = kQuietNaN | kDenormal | kSignalingNaN;
  return _kortestz_mask16_u8(_mm512_fpclass_ps_mask(x.at[0], kOther),
                             _mm512_fpclass_ps_mask(x.at[1], kOther)) != 0;
}

// Of the converted vector's elements, all of at[0] and then all of at[1], to how they were loaded:
// taken in turn.
RUEDA_INLINE Raw Interleaved(Raw converted) {
  alignas(kVectorBytes) static constexpr uint16_t kFrom[] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i from = _mm512_load_si512(kFrom);
  return __builtin_bit_cast(Raw,
                            _mm512_permutexvar_epi16(from, __builtin_bit_cast(__m512i, converted)));
}

struct ConvertedBFloat16 : BFloat16 {
  RUEDA_INLINE static Raw Narrow(Accumulators x) {
    if (!IsConvertedAlike(x)) [[unlikely]]
      return BFloat16::Narrow(x);
    return Interleaved(__builtin_bit_cast(Raw, _mm512_cvtne2ps_pbh(x.at[1], x.at[0])));
  }
};

// After the elements that it is made of.
#include "device/reduce_loops.inc"

}  // namespace

const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors) {
  if (dtype != DType::kBFloat16) return avx512::FindLoops(dtype, op, factors);
  return FloatLoops<ConvertedBFloat16, float>(op, factors);
}

}  // namespace rueda::device::avx512bf16
