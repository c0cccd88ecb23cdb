// Half: float16 and bfloat16 to float32 and back, exact one way, to nearest even the other.
//
// The bit algorithms are written once, for a lane type that is a plain integer or a vector of them,
// and without a branch, so that the scalar functions and the vector kernels cannot disagree. They
// want round-to-nearest (UseDefaultFloatingPointMode). Any thread; nothing can fail.
//
// Source of the float16 forms: F. Giesen, "float->half variants" (half_to_float,
// float_to_half_fast3_rtne), public domain.
#pragma once

#include <cstdint>

namespace rueda::device {

// Always inlined: a copy compiled for AVX-512 must never be the one that the linker keeps for all.
#define RUEDA_INLINE [[gnu::always_inline]] inline

// Every lane the same value, whether Lanes is one integer or a vector of them.
template <typename Lanes>
RUEDA_INLINE Lanes Broadcast(uint32_t value) {
  return Lanes{} + value;
}

// The float32 that equals the float16 in the low 16 bits of each lane (high bits zero).
template <typename Floats, typename Lanes>
RUEDA_INLINE Floats WidenFloat16Bits(Lanes half) {
  constexpr uint32_t kExponent = 0x7c00u << 13;
  const Lanes shifted = (half & 0x7fffu) << 13;
  const Lanes exponent = shifted & kExponent;
  const Lanes normal = shifted + ((127u - 15u) << 23);
  const Lanes special = shifted + ((255u - 31u) << 23);
  // A denormal is renormalised by subtracting the hidden bit that it does not have. This form works
  // in any denormal mode, because no float32 denormal appears.
  const Floats hidden = __builtin_bit_cast(Floats, Broadcast<Lanes>(113u << 23));
  const Floats renormal = __builtin_bit_cast(Floats, normal + (1u << 23)) - hidden;
  const Lanes small = __builtin_bit_cast(Lanes, renormal);
  const Lanes finite = exponent == Broadcast<Lanes>(0u) ? small : normal;
  const Lanes magnitude = exponent == Broadcast<Lanes>(kExponent) ? special : finite;
  return __builtin_bit_cast(Floats, magnitude | ((half & 0x8000u) << 16));
}

// The nearest float16 in the low 16 bits of each lane; a NaN becomes the quiet one of its sign.
template <typename Lanes, typename Floats>
RUEDA_INLINE Lanes NarrowFloat16Bits(Floats value) {
  constexpr uint32_t kInfinity = 255u << 23;
  constexpr uint32_t kTooLarge = (127u + 16u) << 23;
  constexpr uint32_t kSmallestNormal = 113u << 23;
  constexpr uint32_t kShift = ((127u - 15u) + (23u - 10u) + 1u) << 23;
  const Lanes bits = __builtin_bit_cast(Lanes, value);
  const Lanes sign = bits & 0x80000000u;
  const Lanes magnitude = bits ^ sign;
  // The adder rounds a denormal: after adding 0.5 its last place is the float16's last place.
  const Floats shift = __builtin_bit_cast(Floats, Broadcast<Lanes>(kShift));
  const Floats shifted = __builtin_bit_cast(Floats, magnitude) + shift;
  const Lanes small = __builtin_bit_cast(Lanes, shifted) - kShift;
  const Lanes odd = (magnitude >> 13) & 1u;
  const Lanes normal = (magnitude - ((127u - 15u) << 23) + 0xfffu + odd) >> 13;
  const Lanes special = magnitude > Broadcast<Lanes>(kInfinity) ? Broadcast<Lanes>(0x7e00u)
                                                                : Broadcast<Lanes>(0x7c00u);
  const Lanes finite = magnitude < Broadcast<Lanes>(kSmallestNormal) ? small : normal;
  const Lanes half = magnitude >= Broadcast<Lanes>(kTooLarge) ? special : finite;
  return half | (sign >> 16);
}

// Rounds a float32's bits so that the high 16 are the nearest bfloat16. Not for a NaN whose payload
// is all ones: it would carry into the sign. The low 16 bits are left as they fall.
template <typename Lanes>
RUEDA_INLINE Lanes RoundToBFloat16(Lanes bits) {
  return bits + 0x7fffu + ((bits >> 16) & 1u);
}

inline float Float16ToFloat(uint16_t half) { return WidenFloat16Bits<float>(uint32_t{half}); }

inline uint16_t FloatToFloat16(float value) {
  return static_cast<uint16_t>(NarrowFloat16Bits<uint32_t>(value));
}

inline float BFloat16ToFloat(uint16_t half) {
  return __builtin_bit_cast(float, uint32_t{half} << 16);
}

inline uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t quiet = bits | (1u << 22);
  return static_cast<uint16_t>((value == value ? RoundToBFloat16(bits) : quiet) >> 16);
}

}  // namespace rueda::device
