// What an all-reduce must give, computed one element at a time in the plainest way.
//
// Shares no code with csrc/device: 16-bit floats are decoded with ldexp, and instead of an encoder
// there is the definition of rounding to nearest even. docs/architecture.md, "Numbers", says what
// the results are.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/bucket.h"
#include "core/dtype.h"

namespace rueda::testing {

template <typename T>
struct PlainFloat {
  using Storage = T;
  using Accumulator = T;
  static constexpr bool kRounds = false;
  static T Decode(T value) { return value; }
  static T Make(bool negative, int exponent, uint64_t bits) {
    const T fraction = static_cast<T>(bits >> 44) / static_cast<T>(1 << 20);
    return std::ldexp(negative ? T{-1} - fraction : T{1} + fraction, exponent);
  }
};

template <int kExponentBits, int kMantissaBits>
struct SmallFloat {
  using Storage = uint16_t;
  using Accumulator = float;
  static constexpr bool kRounds = true;
  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr long double kHalfUlp = 0.5L / (1 << kMantissaBits);  // relative
  static inline const long double kHalfOfSmallest = std::ldexp(0.5L, 1 - kBias - kMantissaBits);

  static float Decode(uint16_t bits) {
    const int mantissa = bits & ((1 << kMantissaBits) - 1);
    const int exponent = (bits >> kMantissaBits) & ((1 << kExponentBits) - 1);
    const int whole = exponent == 0 ? mantissa : mantissa + (1 << kMantissaBits);
    const float value =
        std::ldexp(static_cast<float>(whole), std::max(exponent, 1) - kBias - kMantissaBits);
    return (bits >> 15) != 0 ? -value : value;
  }
  static uint16_t Make(bool negative, int exponent, uint64_t bits) {
    return static_cast<uint16_t>((negative ? 0x8000 : 0) | ((kBias + exponent) << kMantissaBits) |
                                 static_cast<int>(bits >> (64 - kMantissaBits)));
  }
  // Whether `bits` is the one nearest to `value`, or the even one of two.
  static bool IsNearest(uint16_t bits, float value) {
    const double distance = std::fabs(double{Decode(bits)} - value);
    for (const int step : {-1, 1}) {
      const auto neighbour = static_cast<uint16_t>(bits + step);
      const double other = std::fabs(double{Decode(neighbour)} - value);
      if (other < distance || (other == distance && (bits & 1) != 0)) return false;
    }
    return true;
  }
};

template <typename T>
struct Integer {
  using Storage = T;
};
struct Boolean {
  using Storage = uint8_t;
};

// Calls visit with the kind of number that `dtype` is.
template <typename Visit>
auto VisitDType(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::kInt8:
      return visit(Integer<int8_t>{});
    case DType::kInt16:
      return visit(Integer<int16_t>{});
    case DType::kInt32:
      return visit(Integer<int32_t>{});
    case DType::kInt64:
      return visit(Integer<int64_t>{});
    case DType::kFloat16:
      return visit(SmallFloat<5, 10>{});
    case DType::kBFloat16:
      return visit(SmallFloat<8, 7>{});
    case DType::kFloat32:
      return visit(PlainFloat<float>{});
    case DType::kFloat64:
      return visit(PlainFloat<double>{});
    case DType::kBool:
      return visit(Boolean{});
    case DType::kUInt16:
      return visit(Integer<uint16_t>{});
    case DType::kUInt32:
      return visit(Integer<uint32_t>{});
    case DType::kUInt64:
      return visit(Integer<uint64_t>{});
    default:  // uint8, and what is never added: bytes
      return visit(Integer<uint8_t>{});
  }
}

// One value of each rank; no allocation, for there are many elements to check.
template <typename T>
class PerRank {
 public:
  void push_back(T value) { values_.at(size_++) = value; }
  T operator[](size_t rank) const { return values_[rank]; }
  size_t size() const { return size_; }
  const T* begin() const { return values_.data(); }
  const T* end() const { return values_.data() + size_; }

 private:
  std::array<T, 16> values_{};
  size_t size_ = 0;
};

// The canonical tree: sum(lo, hi) = sum(lo, mid) + sum(mid, hi).
template <typename T, typename Combine>
T Tree(const PerRank<T>& values, size_t lo, size_t hi, Combine combine) {
  if (hi - lo == 1) return values[lo];
  size_t half = 1;
  while (half * 2 < hi - lo) half *= 2;
  return combine(Tree(values, lo, lo + half, combine), Tree(values, lo + half, hi, combine));
}

template <typename T>
T Combined(ReduceOp op, T a, T b) {
  switch (op) {
    case ReduceOp::kMin:
      return std::min(a, b);
    case ReduceOp::kMax:
      return std::max(a, b);
    case ReduceOp::kProduct:
      return static_cast<T>(a * b);
    default:
      return static_cast<T>(a + b);
  }
}

// Whether `found` is a right result of reducing `inputs`, one of each rank. `canonical`: of the
// tree and nothing else; otherwise any order of summation will do, within the error it can make.
template <typename T>
bool IsRight(Integer<T>, const Bucket& bucket, const PerRank<T>& inputs, T found, bool) {
  const auto scaled = [](T value, double divisor, double factor) {
    if (divisor == 1.0 && factor == 1.0) return value;
    return static_cast<T>(static_cast<double>(value) / divisor * factor);  // truncates
  };
  const auto combine = [&bucket](T a, T b) {
    if (bucket.op == ReduceOp::kMin || bucket.op == ReduceOp::kMax)
      return Combined(bucket.op, a, b);
    // Unsigned and wide, for signed and narrow ones may not overflow.
    return static_cast<T>(Combined(bucket.op, static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  };
  PerRank<T> values;
  for (const T input : inputs) values.push_back(scaled(input, 1.0, bucket.prescale));
  return found == scaled(Tree(values, 0, values.size(), combine), bucket.divisor, bucket.postscale);
}

inline bool IsRight(Boolean, const Bucket& bucket, const PerRank<uint8_t>& inputs, uint8_t found,
                    bool) {
  const bool all = bucket.op == ReduceOp::kMin || bucket.op == ReduceOp::kProduct;
  const auto set = std::count_if(inputs.begin(), inputs.end(), [](uint8_t x) { return x != 0; });
  return found == (all ? set == static_cast<int64_t>(inputs.size()) : set > 0);
}

template <typename Kind>
bool IsRight(Kind, const Bucket& bucket, const PerRank<typename Kind::Storage>& inputs,
             typename Kind::Storage found, bool canonical) {
  using T = typename Kind::Accumulator;
  PerRank<T> values;
  PerRank<long double> exact;
  long double magnitude = 0;
  for (const auto input : inputs) {
    values.push_back(Kind::Decode(input) * static_cast<T>(bucket.prescale));
    exact.push_back(static_cast<long double>(Kind::Decode(input)) *
                    static_cast<T>(bucket.prescale));
    magnitude += std::fabs(exact[exact.size() - 1]);
  }
  const auto add = [&bucket](auto a, auto b) { return Combined(bucket.op, a, b); };
  const bool any_order = bucket.op == ReduceOp::kMin || bucket.op == ReduceOp::kMax;
  if (canonical || any_order) {
    const T value = Tree(values, 0, values.size(), add) / static_cast<T>(bucket.divisor) *
                    static_cast<T>(bucket.postscale);
    if constexpr (Kind::kRounds) return Kind::IsNearest(found, value);
    return std::memcmp(&found, &value, sizeof(found)) == 0;
  }
  // n values scaled, n - 1 sums (or products) in some order, a division, a factor: each rounds by
  // at most half an ulp of what it is given, which no partial sum exceeds.
  const long double factor =
      static_cast<T>(bucket.postscale) / static_cast<long double>(bucket.divisor);
  const long double result = Tree(exact, 0, exact.size(), add) * factor;
  if (bucket.op != ReduceOp::kProduct) magnitude *= std::fabs(factor);
  if (bucket.op == ReduceOp::kProduct) magnitude = std::fabs(result);
  const long double unit = std::numeric_limits<T>::epsilon() / 2.0L;
  long double bound = static_cast<long double>(2 * inputs.size() + 3) * unit * magnitude;
  if constexpr (Kind::kRounds) {
    bound += std::max(Kind::kHalfUlp * (std::fabs(result) + bound), Kind::kHalfOfSmallest);
  }
  return std::fabs(static_cast<long double>(Kind::Decode(found)) - result) <= bound;
}

}  // namespace rueda::testing
