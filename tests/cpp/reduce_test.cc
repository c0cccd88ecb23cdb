// Reduce: the same bits as the naive reference, for every dtype, op, number of ranks, place and
// instruction set.
#include "device/reduce.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "chosen_set.h"
#include "naive_reduce.h"

namespace rueda::device {
namespace {

using test::AvailableSets;
using test::ChosenSet;
using Bytes = std::vector<char>;

constexpr ReduceOp kOps[] = {ReduceOp::kAverage, ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax,
                             ReduceOp::kProduct};

template <typename T>
T FromBits(std::mt19937_64& random) {
  const uint64_t bits = random();
  T value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Numbers of like size, so that sums round; now and then NaN, infinity, a denormal, -0 or the like.
template <typename T>
T RandomFloat(std::mt19937_64& random) {
  using Limits = std::numeric_limits<T>;
  const T specials[] = {Limits::quiet_NaN(),
                        -Limits::quiet_NaN(),
                        Limits::infinity(),
                        -Limits::infinity(),
                        Limits::denorm_min(),
                        -Limits::denorm_min() * 5,
                        Limits::min() / 3,
                        Limits::max(),
                        Limits::lowest(),
                        T(-0.0),
                        T(0.0)};
  const uint64_t kind = random() % 64;
  if (kind < std::size(specials)) return specials[kind];
  if (kind < 16) return FromBits<T>(random);
  return static_cast<T>(static_cast<double>(static_cast<int64_t>(random())) * 0x1p-62);
}

uint16_t RandomHalf(test::Format format, std::mt19937_64& random) {
  const auto bits = static_cast<uint16_t>(random());
  return random() % 8 == 0 ? bits : test::Encode(format, RandomFloat<float>(random));
}

template <typename T>
void Append(T value, Bytes* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof(T));
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

Bytes RandomTensor(DType dtype, int64_t count, std::mt19937_64& random) {
  Bytes bytes;
  for (int64_t i = 0; i < count; ++i) {
    if (dtype == DType::kFloat16) {
      Append(RandomHalf(test::kFloat16Format, random), &bytes);
    } else if (dtype == DType::kBFloat16) {
      Append(RandomHalf(test::kBFloat16Format, random), &bytes);
    } else if (dtype == DType::kFloat32) {
      Append(RandomFloat<float>(random), &bytes);
    } else if (dtype == DType::kFloat64) {
      Append(RandomFloat<double>(random), &bytes);
    } else if (dtype == DType::kBool) {
      Append(static_cast<uint8_t>(random() % 2), &bytes);
    } else {
      const uint64_t bits = random();
      const char* begin = reinterpret_cast<const char*>(&bits);
      bytes.insert(bytes.end(), begin, begin + SizeOf(dtype));
    }
  }
  return bytes;
}

std::vector<Bytes> RandomTensors(DType dtype, int n, int64_t count, std::mt19937_64& random) {
  std::vector<Bytes> tensors;
  for (int i = 0; i < n; ++i) tensors.push_back(RandomTensor(dtype, count, random));
  return tensors;
}

// Whole ranges at once: under ThreadSanitizer a loop over bytes takes a minute.
bool SameBytes(const char* a, const char* b, size_t size) {
  return size == 0 || std::memcmp(a, b, size) == 0;
}

// A tensor at an address of our choosing, between guards that must not change.
class Placed {
 public:
  Placed(const Bytes& bytes, size_t misalignment)
      : size_(bytes.size()), misalignment_(misalignment), memory_(size_ + 2 * kGuard, kFill) {
    if (size_ > 0) std::memcpy(data(), bytes.data(), size_);
  }

  char* data() { return memory_.data() + kGuard - 128 + Aligned() + misalignment_; }
  bool Holds(const Bytes& bytes) { return SameBytes(data(), bytes.data(), size_); }
  bool GuardsHold() {
    static const Bytes untouched(2 * kGuard, kFill);
    const auto before = static_cast<size_t>(data() - memory_.data());
    return SameBytes(memory_.data(), untouched.data(), before) &&
           SameBytes(data() + size_, untouched.data(), 2 * kGuard - before);
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr char kFill = 0x5a;
  // How far the first multiple of 64 lies behind kGuard - 128.
  size_t Aligned() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data() + kGuard - 128);
    return (64 - address % 64) % 64;
  }

  size_t size_;
  size_t misalignment_;
  Bytes memory_;
};

// Where the results go: `in_place` of the sources from the last one on, then `apart` other buffers.
struct Place {
  int in_place;
  int apart;
  size_t misalignment;
};

// Empty, or what went wrong.
std::string Mismatch(const ReduceSpec& spec, const std::vector<Bytes>& inputs, int64_t count,
                     const Place& place, const Bytes& expected) {
  std::vector<Placed> sources;
  std::vector<Placed> others;
  for (size_t i = 0; i < inputs.size(); ++i) {
    sources.emplace_back(inputs[i], place.misalignment * (i % 61 + 1));
  }
  for (int i = 0; i < place.apart; ++i) {
    others.emplace_back(Bytes(expected.size(), 1), place.misalignment * 3);
  }
  std::vector<const void*> from;
  for (Placed& source : sources) from.push_back(source.data());
  std::vector<void*> to;
  for (int i = 0; i < place.in_place; ++i) to.push_back(sources[sources.size() - 1 - i].data());
  for (Placed& other : others) to.push_back(other.data());

  Reduce(spec, from, to, count);

  const size_t kept = sources.size() - static_cast<size_t>(place.in_place);
  std::string what;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].Holds(i < kept ? inputs[i] : expected)) what += " source " + std::to_string(i);
    if (!sources[i].GuardsHold()) what += " guard of source " + std::to_string(i);
  }
  for (Placed& other : others) {
    if (!other.Holds(expected) || !other.GuardsHold()) what += " destination";
  }
  if (what.empty()) return what;
  return "wrong:" + what + ", " + std::to_string(inputs.size()) + " sources, " +
         std::to_string(place.in_place) + " in place, " + std::to_string(place.apart) +
         " apart, count " + std::to_string(count) + ", misaligned by " +
         std::to_string(place.misalignment);
}

std::vector<ReduceSpec> Specs(DType dtype, ReduceOp op, int n) {
  ReduceSpec plain{.dtype = dtype, .op = op};
  if (op == ReduceOp::kAverage) plain.divisor = n;
  ReduceSpec scaled = plain;
  scaled.prescale = 0.7;
  scaled.postscale = -1.9;
  return {plain, scaled};
}

// Empty, or the first mismatch on any instruction set.
std::string MismatchAnywhere(const std::vector<std::string>& sets, const ReduceSpec& spec,
                             const std::vector<Bytes>& inputs, int64_t count) {
  const Bytes expected = test::NaiveReduce(spec, inputs, count);
  const int n = static_cast<int>(inputs.size());
  for (const std::string& set : sets) {
    if (!ForceInstructionSet(set)) return "no " + set;
    for (const Place& place :
         {Place{n, 0, 0}, {n, 0, 1}, {1, 0, 0}, {1, 1, 1}, {0, 1, 1}, {0, 3, 0}}) {
      const std::string what = Mismatch(spec, inputs, count, place, expected);
      if (!what.empty()) return set + ": " + what;
    }
  }
  return "";
}

TEST_CASE("Reduce gives the reference's bits for every dtype and op", "[reduce][one-thread]") {
  const ChosenSet restore;
  const std::vector<std::string> sets = AvailableSets();
  const auto dtype = static_cast<DType>(GENERATE(range(0, kReducibleDTypeCount)));
  std::mt19937_64 random(static_cast<uint64_t>(dtype) + 1);
  for (const ReduceOp op : kOps) {
    std::string what;
    for (const int n : {1, 2, 3, 4, 5, 7, 8, 13}) {
      for (const int64_t count : {0, 1, 7, 31, 64, 1021, 4097}) {
        const std::vector<Bytes> inputs = RandomTensors(dtype, n, count, random);
        for (const ReduceSpec& spec : Specs(dtype, op, n)) {
          if (what.empty()) what = MismatchAnywhere(sets, spec, inputs, count);
        }
      }
    }
    INFO(NameOf(dtype) << " " << NameOf(op));
    CHECK(what == "");
  }
}

TEST_CASE("Reduce keeps the tree's order with many ranks", "[reduce][one-thread]") {
  const ChosenSet restore;
  const std::vector<std::string> sets = AvailableSets();
  const auto dtype = GENERATE(DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64);
  std::mt19937_64 random(3);
  for (const int n : {16, 17, 31, 64, 100, 1023, 4096}) {
    const int64_t count = n < 1000 ? 1100 : 11;
    const std::vector<Bytes> inputs = RandomTensors(dtype, n, count, random);
    INFO(NameOf(dtype) << " from " << n);
    CHECK(MismatchAnywhere(sets, Specs(dtype, ReduceOp::kAverage, n)[0], inputs, count) == "");
  }
}

// Every 16-bit float in one tensor.
Bytes AllHalves() {
  Bytes bytes;
  for (uint32_t i = 0; i < (1u << 16); ++i) Append(static_cast<uint16_t>(i), &bytes);
  return bytes;
}

TEST_CASE("the kernels widen and round every 16-bit float like the reference",
          "[reduce][one-thread]") {
  const ChosenSet restore;
  const auto dtype = GENERATE(DType::kFloat16, DType::kBFloat16);
  const Bytes halves = AllHalves();
  const auto count = static_cast<int64_t>(halves.size() / 2);
  const test::Format format =
      dtype == DType::kFloat16 ? test::kFloat16Format : test::kBFloat16Format;
  for (const double addend : {-0.0, 1.0, 0.333, 1e-6, 3e-39, 60000.0}) {
    Bytes others;
    for (int64_t i = 0; i < count; ++i) Append(test::Encode(format, addend), &others);
    for (const double factor : {1.0, 0.5, 0.01}) {
      const ReduceSpec spec{.dtype = dtype, .op = ReduceOp::kSum, .postscale = factor};
      INFO(NameOf(dtype) << " + " << addend << ", times " << factor);
      CHECK(MismatchAnywhere(AvailableSets(), spec, {halves, others}, count) == "");
    }
  }
}

}  // namespace
}  // namespace rueda::device
