// BackendCase: one bucket of a test, every rank's memory for it, and whether the result is right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "core/bucket.h"
#include "core/dtype.h"
#include "core/types.h"
#include "reference_reduce.h"

namespace rueda::testing {

enum class Memory {
  kApart,   // outputs are other memory than inputs
  kShared,  // each output is its input
  kPlaced,  // shared, and where the backend's own placements say
};

// One rank's side of a case.
struct RankMemory {
  std::vector<std::shared_ptr<uint8_t>> owners;
  std::vector<uint8_t> original;  // what the inputs held, as one row
  BucketBuffers buffers;
};

class BackendCase {
 public:
  // `pieces`: elements of each tensor in the bucket, for allgather of each rank. The values are
  // drawn from `seed`; every rank's differ.
  BackendCase(Bucket bucket, std::vector<int64_t> pieces, Memory memory, uint64_t seed)
      : bucket_(std::move(bucket)), pieces_(std::move(pieces)), memory_(memory), seed_(seed) {
    const bool gathers = bucket_.kind == OpKind::kAllgather;
    bucket_.counts = gathers ? pieces_ : std::vector{Total(pieces_)};
    if (bucket_.kind == OpKind::kBarrier) bucket_.counts.clear();
  }

  void Prepare(BackendWorld& world) {
    ranks_.assign(static_cast<size_t>(world.size()), {});
    if (memory_ == Memory::kPlaced) bucket_.placements.resize(ranks_.size());
    for (int rank = 0; rank < world.size(); ++rank) PrepareRank(world, rank);
  }

  Status Run(BackendWorld& world, int rank) const {
    return RunBucket(world, rank, bucket_, ranks_[static_cast<size_t>(rank)].buffers);
  }

  Result<backends::Run*> Begin(BackendWorld& world, int rank) const {
    const auto index = static_cast<size_t>(rank);
    return world.backends[index]->Begin(bucket_, ranks_[index].buffers);
  }

  // "" or the first thing that is wrong. Every rank must have the same bits, whatever the order of
  // summation, or parameters would drift apart.
  std::string Verify(bool canonical) const {
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      const RankMemory& memory = ranks_[rank];
      const std::vector<uint8_t> found = Row(memory.buffers.outputs);
      std::string wrong;
      if (rank > 0) {
        wrong = found == Row(ranks_[0].buffers.outputs) ? "" : "not the same as on rank 0";
      } else {
        wrong = bucket_.kind == OpKind::kAllreduce ? WrongReduction(found, canonical)
                                                   : WrongBytes(found);
      }
      if (memory_ == Memory::kApart && Row(memory.buffers.inputs) != memory.original) {
        wrong = "the inputs were written";
      }
      if (!wrong.empty()) return Describe() + ", rank " + std::to_string(rank) + ": " + wrong;
    }
    return "";
  }

  std::string Describe() const {
    std::string text = std::string(NameOf(bucket_.kind)) + " " + std::string(NameOf(bucket_.op)) +
                       " " + std::string(NameOf(bucket_.dtype)) + " [";
    for (const int64_t piece : pieces_) text += " " + std::to_string(piece);
    return text + " ] root " + std::to_string(bucket_.root) + " seed " + std::to_string(seed_) +
           " memory " + std::to_string(static_cast<int>(memory_)) + " ranks " +
           std::to_string(ranks_.size());
  }

 private:
  static int64_t Total(const std::vector<int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), int64_t{0});
  }
  size_t element() const { return SizeOf(bucket_.dtype); }

  static std::vector<uint8_t> Row(const std::vector<TensorView>& views) {
    std::vector<uint8_t> row;
    for (const TensorView& view : views) {
      const auto* data = static_cast<const uint8_t*>(view.data);
      row.insert(row.end(), data, data + view.bytes());
    }
    return row;
  }

  // Tensors start anywhere in memory: one element into an allocation. What is never written stays
  // wrong.
  TensorView Allocate(RankMemory& memory, int64_t count) const {
    const size_t bytes = static_cast<size_t>(count + 1) * element();
    memory.owners.emplace_back(new uint8_t[bytes], std::default_delete<uint8_t[]>());
    std::memset(memory.owners.back().get(), 0xa5, bytes);
    return {memory.owners.back().get() + element(), count, bucket_.dtype};
  }

  void PrepareRank(BackendWorld& world, int rank) {
    RankMemory& memory = ranks_[static_cast<size_t>(rank)];
    const bool gathers = bucket_.kind == OpKind::kAllgather;
    const std::vector<int64_t> inputs =
        gathers ? std::vector{pieces_[static_cast<size_t>(rank)]} : pieces_;
    if (memory_ == Memory::kPlaced) {
      const int64_t bytes = Total(pieces_) * static_cast<int64_t>(element());
      PlacedMemory placed = world.place(rank, bytes);
      bucket_.placements[static_cast<size_t>(rank)] = placed.offset;
      memory.buffers.inputs = {{placed.data.get(), Total(pieces_), bucket_.dtype}};
      memory.owners.push_back(std::move(placed.data));
    } else {
      for (const int64_t count : inputs) memory.buffers.inputs.push_back(Allocate(memory, count));
    }
    memory.original = Draw(rank, Total(inputs));
    const uint8_t* from = memory.original.data();
    for (const TensorView& view : memory.buffers.inputs) {
      std::copy_n(from, view.bytes(), static_cast<uint8_t*>(view.data));
      from += view.bytes();
    }
    if (gathers) {
      memory.buffers.outputs = {Allocate(memory, Total(pieces_))};
    } else if (memory_ == Memory::kApart) {
      for (const int64_t count : inputs) memory.buffers.outputs.push_back(Allocate(memory, count));
    } else {
      memory.buffers.outputs = memory.buffers.inputs;
    }
  }

  // One rank's elements: floats within 2^-4 .. 2^4, or near 1 for products; integers small where
  // factors go through double. They repeat, so that most of a large result can be checked by
  // comparing it with itself; the period is a prime, so a shifted result does not pass.
  static constexpr int64_t kPeriod = 4093;
  std::vector<uint8_t> Draw(int rank, int64_t count) const {
    std::vector<uint8_t> row(static_cast<size_t>(count) * element());
    std::mt19937_64 random(seed_ * 1000 + static_cast<uint64_t>(rank));
    const bool product = bucket_.op == ReduceOp::kProduct;
    const bool scaled = bucket_.divisor != 1 || bucket_.prescale != 1.0 || bucket_.postscale != 1.0;
    VisitDType(bucket_.dtype, [&]<typename Kind>(Kind) {
      for (int64_t i = 0; i < std::min(count, kPeriod); ++i) {
        const uint64_t bits = random();
        typename Kind::Storage value;
        if constexpr (requires { typename Kind::Accumulator; }) {
          const int exponent = product ? 0 : static_cast<int>(bits % 9) - 4;
          value = Kind::Make((bits & 16) != 0, exponent, bits);
        } else if constexpr (std::is_same_v<Kind, Boolean>) {
          value = static_cast<uint8_t>(bits >> 63);
        } else {
          value = static_cast<typename Kind::Storage>(scaled ? bits % 50 : bits);
        }
        std::memcpy(row.data() + static_cast<size_t>(i) * sizeof(value), &value, sizeof(value));
      }
    });
    for (size_t period = kPeriod * element(), at = period; at < row.size(); at += period) {
      std::memcpy(row.data() + at, row.data(), std::min(period, row.size() - at));
    }
    return row;
  }

  std::string WrongReduction(const std::vector<uint8_t>& found, bool canonical) const {
    const size_t period = kPeriod * element();
    for (size_t at = 0; at < found.size(); at += period) {
      const size_t bytes = std::min(period, found.size() - at);
      if (at > 0 && std::memcmp(found.data() + at, found.data(), bytes) == 0) continue;
      for (size_t i = at; i < at + bytes; i += element()) {
        if (at > 0 && std::memcmp(&found[i], &found[i % period], element()) == 0) continue;
        if (!IsRightAt(i, found, canonical)) {
          return "element " + std::to_string(i / element()) + " is wrong";
        }
      }
    }
    return "";
  }

  bool IsRightAt(size_t byte, const std::vector<uint8_t>& found, bool canonical) const {
    return VisitDType(bucket_.dtype, [&]<typename Kind>(Kind kind) {
      const auto load = [byte](const std::vector<uint8_t>& row) {
        typename Kind::Storage value;
        std::memcpy(&value, row.data() + byte, sizeof(value));
        return value;
      };
      PerRank<typename Kind::Storage> inputs;
      for (const RankMemory& rank : ranks_) inputs.push_back(load(rank.original));
      return IsRight(kind, bucket_, inputs, load(found), canonical);
    });
  }

  // For what only moves bytes.
  std::string WrongBytes(const std::vector<uint8_t>& found) const {
    std::vector<uint8_t> expected;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      const bool contributes =
          bucket_.kind == OpKind::kAllgather ||
          (bucket_.kind == OpKind::kBroadcast && static_cast<int>(rank) == bucket_.root);
      const std::vector<uint8_t>& row = ranks_[rank].original;
      if (contributes) expected.insert(expected.end(), row.begin(), row.end());
    }
    if (found.size() != expected.size()) return "has " + std::to_string(found.size()) + " bytes";
    const auto different = std::mismatch(found.begin(), found.end(), expected.begin());
    if (different.first == found.end()) return "";
    return "byte " + std::to_string(different.first - found.begin()) + " differs";
  }

  Bucket bucket_;
  std::vector<int64_t> pieces_;
  Memory memory_;
  uint64_t seed_;
  std::vector<RankMemory> ranks_;
};

// Runs the cases one after another on every rank, without a pause between them; "" if all are
// right.
inline std::string RunCases(const BackendFixture& fixture, BackendWorld& world,
                            std::vector<BackendCase>& cases) {
  for (BackendCase& one : cases) one.Prepare(world);
  const std::string failure = FirstFailure(OnEachRank(world.size(), [&](int rank) {
    for (const BackendCase& one : cases) {
      Status status = one.Run(world, rank);
      if (!status.ok()) return Status(status.code(), one.Describe() + ": " + status.message());
    }
    return Status::Ok();
  }));
  if (!failure.empty()) return failure;
  for (const BackendCase& one : cases) {
    const std::string wrong = one.Verify(fixture.canonical);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace rueda::testing
