// Reduce: the rules for integers, bool and NaN, each by an example.
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "chosen_set.h"
#include "device/reduce.h"

namespace rueda::device {
namespace {

template <typename T>
T ReduceOne(ReduceSpec spec, std::vector<T> values) {
  std::vector<const void*> sources;
  for (const T& value : values) sources.push_back(&value);
  T result{};
  void* const destination = &result;
  Reduce(spec, sources, {&destination, 1}, 1);
  return result;
}

TEST_CASE("integer sums and products wrap", "[reduce]") {
  const ReduceSpec bytes{.dtype = DType::kInt8, .op = ReduceOp::kSum};
  CHECK(ReduceOne<int8_t>(bytes, {127, 1}) == -128);
  const ReduceSpec longs{.dtype = DType::kInt64, .op = ReduceOp::kSum};
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  CHECK(ReduceOne<int64_t>(longs, {kMost, 2}) == std::numeric_limits<int64_t>::min() + 1);
  const ReduceSpec words{.dtype = DType::kInt32, .op = ReduceOp::kProduct};
  CHECK(ReduceOne<int32_t>(words, {65536, 65536, 3}) == 0);
}

TEST_CASE("unscaled int64 sums are exact beyond 2^53", "[reduce]") {
  const ReduceSpec spec{.dtype = DType::kInt64, .op = ReduceOp::kSum};
  constexpr int64_t kLarge = (int64_t{1} << 53) + 1;
  CHECK(ReduceOne<int64_t>(spec, {kLarge, 2}) == kLarge + 2);
}

TEST_CASE("scaled integers truncate toward zero and saturate", "[reduce]") {
  ReduceSpec average{.dtype = DType::kInt32, .op = ReduceOp::kAverage, .divisor = 2};
  CHECK(ReduceOne<int32_t>(average, {-4, -3}) == -3);
  CHECK(ReduceOne<int32_t>(average, {4, 3}) == 3);
  average.postscale = 1e10;
  CHECK(ReduceOne<int32_t>(average, {1, 1}) == std::numeric_limits<int32_t>::max());
  CHECK(ReduceOne<int32_t>(average, {-1, -1}) == std::numeric_limits<int32_t>::lowest());
  average.postscale = std::numeric_limits<double>::quiet_NaN();
  CHECK(ReduceOne<int32_t>(average, {1, 1}) == 0);
  const ReduceSpec unsigned_sum{.dtype = DType::kUInt64, .op = ReduceOp::kSum, .prescale = -1.0};
  CHECK(ReduceOne<uint64_t>(unsigned_sum, {5, 7}) == 0);
}

TEST_CASE("bool reduces by or and and, whatever byte stands for true", "[reduce]") {
  ReduceSpec spec{.dtype = DType::kBool, .op = ReduceOp::kProduct};
  CHECK(ReduceOne<uint8_t>(spec, {1, 2}) == 1);
  spec.op = ReduceOp::kSum;
  CHECK(ReduceOne<uint8_t>(spec, {4, 2, 0}) == 1);
  CHECK(ReduceOne<uint8_t>(spec, {0, 0, 0}) == 0);
}

TEST_CASE("every instruction set writes the same NaN", "[reduce]") {
  const test::ChosenSet restore;
  const ReduceSpec spec{.dtype = DType::kFloat32, .op = ReduceOp::kSum};
  for (const std::string& set : test::AvailableSets()) {
    REQUIRE(ForceInstructionSet(set));
    for (const float other : {1.0f, -std::numeric_limits<float>::signaling_NaN()}) {
      const float sum = ReduceOne<float>(spec, {-std::numeric_limits<float>::quiet_NaN(), other});
      uint32_t bits;
      std::memcpy(&bits, &sum, sizeof(bits));
      INFO(set);
      CHECK(bits == 0x7fc00000);
    }
  }
}

TEST_CASE("Reduce without elements or destinations does nothing", "[reduce]") {
  const float one = 1;
  float result = 7;
  const void* const source = &one;
  void* const destination = &result;
  Reduce({}, {&source, 1}, {&destination, 1}, 0);
  Reduce({}, {&source, 1}, {}, 1);
  CHECK(result == 7);
}

TEST_CASE("threads reduce at the same time", "[reduce]") {
  constexpr int kThreads = 4;
  std::vector<float> results(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([i, &results] {
      UseDefaultFloatingPointMode();
      const ReduceSpec spec;
      results[static_cast<size_t>(i)] = ReduceOne<float>(spec, {1.0f, 2.0f, static_cast<float>(i)});
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(results == std::vector<float>{3, 4, 5, 6});
}

TEST_CASE("an unknown instruction set is refused and changes nothing", "[reduce]") {
  const std::string before(InstructionSet());
  CHECK_FALSE(ForceInstructionSet("avx1024"));
  CHECK(InstructionSet() == before);
}

}  // namespace
}  // namespace rueda::device
