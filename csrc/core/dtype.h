// DType: the element types that rueda moves and sums.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rueda {

// The numbers travel on the wire (docs/wire-format.md): append, never renumber.
enum class DType : uint8_t {
  kUInt8 = 0,
  kInt8 = 1,
  kInt16 = 2,
  kInt32 = 3,
  kInt64 = 4,
  kFloat16 = 5,
  kBFloat16 = 6,
  kFloat32 = 7,
  kFloat64 = 8,
  kBool = 9,
  kUInt16 = 10,
  kUInt32 = 11,
  kUInt64 = 12,
  // From here on rueda moves elements but does not add them; complex ones are added as pairs.
  kComplex64 = 13,
  kComplex128 = 14,
  kFloat8E4M3FN = 15,
  kFloat8E5M2 = 16,
  kFloat8E4M3FNUZ = 17,
  kFloat8E5M2FNUZ = 18,
};
inline constexpr int kDTypeCount = 19;
inline constexpr int kReducibleDTypeCount = 13;  // the first ones

constexpr bool IsValid(DType dtype) { return static_cast<int>(dtype) < kDTypeCount; }

// Not inside SizeOf: there the table would be written on the stack in each call.
inline constexpr std::array<uint8_t, kDTypeCount> kDTypeSizes{1, 1, 2, 4, 8,  2, 2, 4, 8, 1,
                                                              2, 4, 8, 8, 16, 1, 1, 1, 1};

// Bytes of one element.
constexpr size_t SizeOf(DType dtype) { return kDTypeSizes[static_cast<size_t>(dtype)]; }

// PyTorch's name without the prefix: "float32".
std::string_view NameOf(DType dtype);

// What device::Reduce takes.
constexpr bool IsReducible(DType dtype) { return static_cast<int>(dtype) < kReducibleDTypeCount; }

constexpr bool IsComplex(DType dtype) {
  return dtype == DType::kComplex64 || dtype == DType::kComplex128;
}

constexpr bool IsFloating(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat32 ||
         dtype == DType::kFloat64;
}

}  // namespace rueda
