// A second, naive implementation of Reduce to test the first one against: one element at a time,
// the tree by recursion, 16-bit floats by arithmetic on doubles instead of bits. Shares no code
// with it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/dtype.h"
#include "core/types.h"
#include "device/reduce.h"

namespace rueda::test {

// A 16-bit float: 1 sign bit, `exponent_bits`, the rest mantissa.
struct Format {
  int exponent_bits;

  int mantissa_bits() const { return 15 - exponent_bits; }
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t infinity() const {
    return static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits());
  }
  // The quiet NaN that kernels write.
  uint16_t nan() const { return static_cast<uint16_t>(infinity() | (1 << (mantissa_bits() - 1))); }
};
inline constexpr Format kFloat16Format{5};
inline constexpr Format kBFloat16Format{8};

inline double Decode(Format format, uint16_t bits) {
  const int magnitude = bits & 0x7fff;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (magnitude > format.infinity()) return std::numeric_limits<double>::quiet_NaN();
  if (magnitude == format.infinity()) return sign * std::numeric_limits<double>::infinity();
  const int exponent = magnitude >> format.mantissa_bits();
  const int mantissa = magnitude & ((1 << format.mantissa_bits()) - 1);
  const int smallest = 1 - format.bias() - format.mantissa_bits();
  if (exponent == 0) return sign * std::ldexp(mantissa, smallest);
  return sign * std::ldexp(mantissa + (1 << format.mantissa_bits()), smallest + exponent - 1);
}

// To nearest, ties to even: nearbyint does that to the number of units in the last place.
inline uint16_t Encode(Format format, double value) {
  if (std::isnan(value)) return format.nan();
  const int sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return static_cast<uint16_t>(sign | format.infinity());
  const int smallest_exponent = 1 - format.bias();
  const int exponent =
      magnitude == 0 ? smallest_exponent : std::max(std::ilogb(magnitude), smallest_exponent);
  const double unit = std::ldexp(1.0, exponent - format.mantissa_bits());
  // A normal number has its hidden bit among these units; adding them to the exponent of the
  // denormals below it counts that bit, and carries into the exponent, up to infinity.
  const auto units = static_cast<int>(std::nearbyint(magnitude / unit));
  const int steps = exponent - smallest_exponent;
  const int bits = (steps << format.mantissa_bits()) + units;
  return static_cast<uint16_t>(sign | std::min(bits, static_cast<int>(format.infinity())));
}

// How one dtype is stored, and what it is accumulated in.
template <typename S, typename A = S>
struct PlainType {
  using Stored = S;
  using Accumulator = A;
  static A Widen(S x) { return x; }
  static S Narrow(A x) {
    if constexpr (std::is_floating_point_v<A>) {
      if (std::isnan(x)) return std::numeric_limits<A>::quiet_NaN();
    }
    return x;
  }
};

template <int kExponentBits>
struct HalfType {
  using Stored = uint16_t;
  using Accumulator = float;
  static float Widen(uint16_t x) { return static_cast<float>(Decode({kExponentBits}, x)); }
  static uint16_t Narrow(float x) { return Encode({kExponentBits}, x); }
};

struct BoolType {
  using Stored = uint8_t;
  using Accumulator = bool;
  static bool Widen(uint8_t x) { return x != 0; }
  static uint8_t Narrow(bool x) { return x ? 1 : 0; }
};

inline bool Combine(ReduceOp op, bool a, bool b) {
  return op == ReduceOp::kMin || op == ReduceOp::kProduct ? a && b : a || b;
}

template <typename T>
T Combine(ReduceOp op, T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (op == ReduceOp::kProduct) return a * b;
    if (op != ReduceOp::kMin && op != ReduceOp::kMax) return a + b;
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  } else {
    // Modulo 2^64, then modulo 2^bits: what wrap-around means.
    const auto wide_a = static_cast<uint64_t>(a);
    const auto wide_b = static_cast<uint64_t>(b);
    if (op == ReduceOp::kProduct) return static_cast<T>(wide_a * wide_b);
    if (op != ReduceOp::kMin && op != ReduceOp::kMax) return static_cast<T>(wide_a + wide_b);
  }
  return op == ReduceOp::kMin ? (a < b ? a : b) : (a > b ? a : b);
}

// x / divisor * factor.
template <typename T>
T Scale(T x, double divisor, double factor) {
  if constexpr (std::is_same_v<T, bool>) {
    return x;
  } else if constexpr (std::is_floating_point_v<T>) {
    return x / static_cast<T>(divisor) * static_cast<T>(factor);
  } else {
    if (divisor == 1.0 && factor == 1.0) return x;
    const double value = std::trunc(static_cast<double>(x) / divisor * factor);
    if (std::isnan(value)) return 0;
    // long double holds every 64-bit integer.
    const auto exact = static_cast<long double>(value);
    if (exact >= static_cast<long double>(std::numeric_limits<T>::max())) {
      return std::numeric_limits<T>::max();
    }
    if (exact <= static_cast<long double>(std::numeric_limits<T>::lowest())) {
      return std::numeric_limits<T>::lowest();
    }
    return static_cast<T>(value);
  }
}

template <typename Type>
typename Type::Accumulator TreeSum(const device::ReduceSpec& spec,
                                   const std::vector<typename Type::Accumulator>& x, size_t lo,
                                   size_t hi) {
  if (hi - lo == 1)
    return Scale(static_cast<typename Type::Accumulator>(x[lo]), 1.0, spec.prescale);
  size_t half = 1;
  while (half * 2 < hi - lo) half *= 2;
  return Combine(spec.op, TreeSum<Type>(spec, x, lo, lo + half),
                 TreeSum<Type>(spec, x, lo + half, hi));
}

// The expected bytes of every destination.
template <typename Type>
std::vector<char> NaiveReduce(const device::ReduceSpec& spec,
                              const std::vector<std::vector<char>>& sources, int64_t count) {
  using Stored = typename Type::Stored;
  const double divisor = spec.op == ReduceOp::kAverage ? spec.divisor : 1.0;
  const bool scaled = divisor != 1.0 || spec.prescale != 1.0 || spec.postscale != 1.0;
  if (sources.size() == 1 && (!scaled || spec.dtype == DType::kBool)) return sources[0];
  std::vector<char> result(static_cast<size_t>(count) * sizeof(Stored));
  std::vector<typename Type::Accumulator> inputs(sources.size());
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    for (size_t rank = 0; rank < sources.size(); ++rank) {
      Stored x;
      std::memcpy(&x, sources[rank].data() + i * sizeof(Stored), sizeof(Stored));
      inputs[rank] = Type::Widen(x);
    }
    const auto sum = TreeSum<Type>(spec, inputs, 0, inputs.size());
    const Stored stored = Type::Narrow(Scale(sum, divisor, spec.postscale));
    std::memcpy(result.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
  return result;
}

inline std::vector<char> NaiveReduce(const device::ReduceSpec& spec,
                                     const std::vector<std::vector<char>>& sources, int64_t count) {
  switch (spec.dtype) {
    case DType::kUInt8:
      return NaiveReduce<PlainType<uint8_t>>(spec, sources, count);
    case DType::kInt8:
      return NaiveReduce<PlainType<int8_t>>(spec, sources, count);
    case DType::kInt16:
      return NaiveReduce<PlainType<int16_t>>(spec, sources, count);
    case DType::kInt32:
      return NaiveReduce<PlainType<int32_t>>(spec, sources, count);
    case DType::kInt64:
      return NaiveReduce<PlainType<int64_t>>(spec, sources, count);
    case DType::kFloat16:
      return NaiveReduce<HalfType<5>>(spec, sources, count);
    case DType::kBFloat16:
      return NaiveReduce<HalfType<8>>(spec, sources, count);
    case DType::kFloat32:
      return NaiveReduce<PlainType<float>>(spec, sources, count);
    case DType::kFloat64:
      return NaiveReduce<PlainType<double>>(spec, sources, count);
    case DType::kBool:
      return NaiveReduce<BoolType>(spec, sources, count);
    case DType::kUInt16:
      return NaiveReduce<PlainType<uint16_t>>(spec, sources, count);
    case DType::kUInt32:
      return NaiveReduce<PlainType<uint32_t>>(spec, sources, count);
    case DType::kUInt64:
      return NaiveReduce<PlainType<uint64_t>>(spec, sources, count);
    default:
      return {};  // not reducible
  }
}

}  // namespace rueda::test
