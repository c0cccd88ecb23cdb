// KernelSets: which instruction sets there are, which one is chosen, and that all of them round
// every kind of float32 alike.
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "chosen_set.h"
#include "device/kernel_set.h"
#include "device/reduce.h"
#include "naive_reduce.h"

namespace rueda::device {
namespace {

TEST_CASE("the build has its architecture's sets, the widest first", "[kernel_sets]") {
  std::vector<std::string> names;
  for (const KernelSet& set : KernelSets()) names.emplace_back(set.name);
#if defined(__x86_64__)
  CHECK(names == std::vector<std::string>{"avx512bf16", "avx512", "avx2", "baseline"});
#elif defined(__aarch64__)
  CHECK(names == std::vector<std::string>{"neon"});
#else
  CHECK(names == std::vector<std::string>{"baseline"});
#endif
}

TEST_CASE("every machine can run the last set", "[kernel_sets]") {
  CHECK(KernelSets().back().supported());
}

TEST_CASE("the first set that the machine can run is chosen", "[kernel_sets]") {
  CHECK(InstructionSet() == test::AvailableSets().at(0));
}

TEST_CASE("a set can be forced where the machine can run it", "[kernel_sets]") {
  const test::ChosenSet restore;
  for (const KernelSet& set : KernelSets()) {
    INFO(set.name);
    const std::string before(InstructionSet());
    CHECK(ForceInstructionSet(set.name) == set.supported());
    CHECK(InstructionSet() == (set.supported() ? set.name : before));
  }
}

// What a sum may have to round: every upper half of a float32, so every sign, exponent and last
// place of a bfloat16, NaN, infinities and denormals among them, with lower halves that are
// nothing, little, a tie of either format, all, or next to one of these.
std::vector<uint32_t> KindsOfFloat() {
  std::vector<uint32_t> kinds;
  for (uint32_t upper = 0; upper < (1u << 16); ++upper) {
    for (const uint32_t lower :
         {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      kinds.push_back((upper << 16) | lower);
    }
  }
  return kinds;
}

// A tensor of which each vector mixes small and large, whatever they are multiplied by.
class MixedTensor {
 public:
  explicit MixedTensor(DType dtype)
      : dtype_(dtype),
        format_(dtype == DType::kFloat16 ? test::kFloat16Format : test::kBFloat16Format),
        values_{1.0f, -1.0f, 0.0f, dtype == DType::kFloat16 ? 0x1p15f : 0x1p100f} {
    for (size_t i = 0; i < kCount; ++i) inputs_[i] = test::Encode(format_, Value(i));
  }

  // Whether each element times the factor comes out as the nearest of its format.
  bool RoundsTimes(float factor) const {
    uint16_t expected[std::size(kPattern)];
    for (size_t i = 0; i < std::size(kPattern); ++i) {
      expected[i] = test::Encode(format_, Value(i) * factor);
    }
    uint16_t results[kCount] = {};
    const void* const source = inputs_;
    void* const destination = results;
    const ReduceSpec spec{.dtype = dtype_, .op = ReduceOp::kSum, .prescale = factor};
    Reduce(spec, {&source, 1}, {&destination, 1}, kCount);
    for (size_t i = 0; i < kCount; ++i) {
      if (results[i] != expected[i % std::size(kPattern)]) return false;
    }
    return true;
  }

 private:
  // A prime period, so that each stands in each lane.
  static constexpr size_t kPattern[] = {0, 0, 1, 2, 3, 0, 1};
  static constexpr size_t kCount = 71;

  float Value(size_t i) const { return values_[kPattern[i % std::size(kPattern)]]; }

  const DType dtype_;
  const test::Format format_;
  const float values_[4];
  uint16_t inputs_[kCount];
};

TEST_CASE("all sets round every kind of float32 to the nearest 16-bit float",
          "[kernel_sets][one-thread]") {
  const test::ChosenSet restore;
  const auto dtype = GENERATE(DType::kFloat16, DType::kBFloat16);
  const MixedTensor tensor(dtype);
  const std::vector<uint32_t> kinds = KindsOfFloat();
  for (const std::string& set : test::AvailableSets()) {
    REQUIRE(ForceInstructionSet(set));
    std::vector<uint32_t> wrong;
    for (const uint32_t bits : kinds) {
      float factor;
      std::memcpy(&factor, &bits, sizeof(factor));
      if (!tensor.RoundsTimes(factor)) wrong.push_back(bits);
    }
    INFO(NameOf(dtype) << " by " << set);
    CHECK(wrong.empty());
  }
}

}  // namespace
}  // namespace rueda::device
