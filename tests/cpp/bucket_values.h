// What members contribute in tests of backends, and whether what came of it is right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "core/bucket.h"
#include "core/dtype.h"
#include "core/types.h"
#include "reference_reduce.h"

namespace rueda::testing {

// Elements repeat, so that most of a large result can be checked by comparing it with itself; the
// period is a prime, so a shifted result does not pass.
inline constexpr int64_t kPeriod = 4093;

// One value: floats within 2^-4 .. 2^4, or near 1 for products; integers small where factors go
// through double.
template <typename Kind>
typename Kind::Storage DrawValue(const Bucket& bucket, uint64_t bits) {
  const bool product = bucket.op == ReduceOp::kProduct;
  const bool scaled = bucket.divisor != 1 || bucket.prescale != 1.0 || bucket.postscale != 1.0;
  if constexpr (requires { typename Kind::Accumulator; }) {
    const int exponent = product ? 0 : static_cast<int>(bits % 9) - 4;
    return Kind::Make((bits & 16) != 0, exponent, bits);
  } else if constexpr (std::is_same_v<Kind, Boolean>) {
    return static_cast<uint8_t>(bits >> 63);
  } else {
    return static_cast<typename Kind::Storage>(scaled ? bits % 50 : bits);
  }
}

// The elements of one member, as bytes. What is only moved is any bytes.
inline std::vector<uint8_t> DrawElements(const Bucket& bucket, uint64_t seed, int64_t count) {
  const size_t element = SizeOf(bucket.dtype);
  std::vector<uint8_t> row(static_cast<size_t>(count) * element);
  std::mt19937_64 random(seed);
  const size_t period = std::min(row.size(), static_cast<size_t>(kPeriod) * element);
  if (Reduces(bucket.kind)) {
    VisitDType(bucket.dtype, [&]<typename Kind>(Kind) {
      for (size_t at = 0; at < period; at += element) {
        const auto value = DrawValue<Kind>(bucket, random());
        std::memcpy(row.data() + at, &value, sizeof(value));
      }
    });
  } else {
    std::generate_n(row.begin(), period, [&random] { return static_cast<uint8_t>(random()); });
  }
  for (size_t at = period; at < row.size(); at += period) {
    std::memcpy(row.data() + at, row.data(), std::min(period, row.size() - at));
  }
  return row;
}

// Whether one element is the reduction of the members' elements at byte `in` of their rows. Absent
// members have no row: zeros stand at their place of a sum, the other operations leave them out.
inline bool IsRightAt(const Bucket& bucket, const std::vector<std::vector<uint8_t>>& rows,
                      size_t in, const uint8_t* found, bool canonical) {
  return VisitDType(bucket.dtype, [&]<typename Kind>(Kind kind) {
    using Storage = typename Kind::Storage;
    const bool adds = bucket.op == ReduceOp::kSum || bucket.op == ReduceOp::kAverage;
    PerRank<Storage> inputs;
    for (size_t member = 0; member < rows.size(); ++member) {
      Storage value{};
      const bool absent = bucket.IsAbsent(static_cast<int>(member));
      if (absent && !adds) continue;
      if (!absent) std::memcpy(&value, rows[member].data() + in, sizeof(value));
      inputs.push_back(value);
    }
    Storage result;
    std::memcpy(&result, found, sizeof(result));
    return IsRight(kind, bucket, inputs, result, canonical);
  });
}

// "" if `found` is the reduction of the rows from element `first` on, or what is wrong.
inline std::string WrongReduction(const Bucket& bucket,
                                  const std::vector<std::vector<uint8_t>>& rows, int64_t first,
                                  const std::vector<uint8_t>& found, bool canonical) {
  const size_t element = SizeOf(bucket.dtype);
  const size_t period = static_cast<size_t>(kPeriod) * element;
  for (size_t at = 0; at < found.size(); at += period) {
    const size_t bytes = std::min(period, found.size() - at);
    if (at > 0 && std::memcmp(found.data() + at, found.data(), bytes) == 0) continue;
    for (size_t i = at; i < at + bytes; i += element) {
      if (at > 0 && std::memcmp(&found[i], &found[i % period], element) == 0) continue;
      const size_t in = static_cast<size_t>(first) * element + i;
      if (!IsRightAt(bucket, rows, in, &found[i], canonical)) {
        return "element " + std::to_string(i / element) + " is wrong";
      }
    }
  }
  return "";
}

// "" if the bytes are the same, or where they differ.
inline std::string Difference(const std::vector<uint8_t>& found,
                              const std::vector<uint8_t>& expected) {
  if (found.size() != expected.size()) {
    return "has " + std::to_string(found.size()) + " bytes, not " + std::to_string(expected.size());
  }
  if (found == expected) return "";  // at once: ThreadSanitizer looks at each byte of a loop
  const auto different = std::mismatch(found.begin(), found.end(), expected.begin());
  return "byte " + std::to_string(different.first - found.begin()) + " differs";
}

}  // namespace rueda::testing
