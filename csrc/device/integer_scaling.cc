#include "device/integer_scaling.h"

#include <cstdint>
#include <cstring>
#include <limits>

namespace rueda::device {
namespace {

template <typename T>
T Saturate(double value) {
  using Limits = std::numeric_limits<T>;
  // Both limits are exact in double: the lowest value, and one past the largest.
  constexpr auto kLowest = static_cast<double>(Limits::lowest());
  constexpr double kPastLargest = 2.0 * static_cast<double>(uint64_t{1} << (Limits::digits - 1));
  if (value >= kPastLargest) return Limits::max();
  if (value <= kLowest) return Limits::lowest();
  return value == value ? static_cast<T>(value) : T{0};
}

template <typename T>
void ScaleBlock(void* block, int64_t bytes, double divisor, double factor) {
  char* const begin = static_cast<char*>(block);
  for (char* at = begin; at != begin + bytes; at += sizeof(T)) {
    T x;
    std::memcpy(&x, at, sizeof(T));
    x = Saturate<T>(static_cast<double>(x) / divisor * factor);
    std::memcpy(at, &x, sizeof(T));
  }
}

}  // namespace

BlockScaler IntegerScaler(DType dtype) {
  switch (dtype) {
    case DType::kUInt8:
      return &ScaleBlock<uint8_t>;
    case DType::kInt8:
      return &ScaleBlock<int8_t>;
    case DType::kInt16:
      return &ScaleBlock<int16_t>;
    case DType::kInt32:
      return &ScaleBlock<int32_t>;
    case DType::kInt64:
      return &ScaleBlock<int64_t>;
    case DType::kUInt16:
      return &ScaleBlock<uint16_t>;
    case DType::kUInt32:
      return &ScaleBlock<uint32_t>;
    case DType::kUInt64:
      return &ScaleBlock<uint64_t>;
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kBool:
    default:  // not reducible
      return nullptr;
  }
}

}  // namespace rueda::device
