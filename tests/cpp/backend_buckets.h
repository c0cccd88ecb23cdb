// The buckets that the backend contract runs: of every kind, size and element type.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <iterator>
#include <random>
#include <vector>

#include "backend_case.h"
#include "backend_world.h"

namespace rueda::testing {

inline constexpr ReduceOp kAllReduceOps[] = {ReduceOp::kAverage, ReduceOp::kSum, ReduceOp::kMin,
                                             ReduceOp::kMax, ReduceOp::kProduct};
// What a bucket can be.
inline constexpr OpKind kBucketKinds[] = {
    OpKind::kAllreduce, OpKind::kAllgather,     OpKind::kBroadcast, OpKind::kBarrier,
    OpKind::kAlltoall,  OpKind::kReducescatter, OpKind::kReduce};
inline constexpr int kMostRanks = 4;

inline Bucket ReducingBucket(OpKind kind, DType dtype, ReduceOp op, int size, int root = -1) {
  Bucket bucket;
  bucket.kind = kind;
  bucket.dtype = dtype;
  bucket.op = op;
  bucket.divisor = op == ReduceOp::kAverage ? size : 1;
  bucket.root = root;
  return bucket;
}

inline Bucket AllreduceBucket(DType dtype, ReduceOp op, int size) {
  return ReducingBucket(OpKind::kAllreduce, dtype, op, size);
}

inline Bucket MovingBucket(OpKind kind, DType dtype, int root = -1) {
  Bucket bucket;
  bucket.kind = kind;
  bucket.dtype = dtype;
  bucket.root = root;
  return bucket;
}

// Calls fill(size, cases) for 1 to 4 ranks and runs the cases it made.
template <typename Fill>
void ForEachSize(const BackendFixture& fixture, Fill&& fill) {
  for (int size = 1; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    REQUIRE(world.size() == size);
    std::vector<BackendCase> cases;
    fill(size, cases);
    CHECK(RunCases(fixture, world, cases) == "");
  }
}

inline int64_t RandomCount(std::mt19937_64& random, int64_t below) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(below, 1)));
}

// 1 to 12 tensors, most of them small.
inline std::vector<int64_t> RandomPieces(std::mt19937_64& random, int64_t largest) {
  std::vector<int64_t> pieces(random() % 12 + 1);
  for (int64_t& piece : pieces) piece = RandomCount(random, largest >> (random() % 12));
  return pieces;
}

// A part for each member; about every third is empty.
inline std::vector<int64_t> RandomParts(std::mt19937_64& random, int size, int64_t largest) {
  std::vector<int64_t> parts(static_cast<size_t>(size));
  for (int64_t& part : parts) {
    part = random() % 3 == 0 ? 0 : RandomCount(random, largest >> (random() % 6));
  }
  return parts;
}

// The counts of an alltoall: n x n, about every third empty.
inline std::vector<int64_t> RandomMatrix(std::mt19937_64& random, int size, int64_t largest) {
  return RandomParts(random, size * size, largest);
}

// Each member but `root` (-1: but a random one) is absent with one chance in `odds`; none for 0.
inline std::vector<int> RandomAbsent(std::mt19937_64& random, int size, int root, uint64_t odds) {
  std::vector<int> absent;
  const int stays = root >= 0 ? root : static_cast<int>(RandomCount(random, size));
  for (int member = 0; odds > 0 && member < size; ++member) {
    if (member != stays && random() % odds == 0) absent.push_back(member);
  }
  return absent;
}

// Takes out of an allgather or alltoall what absent members would contribute or get.
inline void EmptyAbsentParts(const Bucket& bucket, int size, std::vector<int64_t>& counts) {
  for (const int member : bucket.absent) {
    for (int other = 0; other < size; ++other) {
      if (bucket.kind == OpKind::kAlltoall) {
        counts[static_cast<size_t>(member * size + other)] = 0;
        counts[static_cast<size_t>(other * size + member)] = 0;
      }
    }
    if (bucket.kind == OpKind::kAllgather) counts[static_cast<size_t>(member)] = 0;
  }
}

// Counts that fit a bucket, of up to `largest` elements each.
inline std::vector<int64_t> RandomCounts(std::mt19937_64& random, const Bucket& bucket, int size,
                                         int64_t largest) {
  if (KeepsShape(bucket.kind)) return RandomPieces(random, largest);
  std::vector<int64_t> counts = bucket.kind == OpKind::kAlltoall
                                    ? RandomMatrix(random, size, largest)
                                    : RandomParts(random, size, largest);
  EmptyAbsentParts(bucket, size, counts);
  return counts;
}

// Any bucket for a set of `size` members; each is absent with one chance in `odds`.
inline BackendCase RandomCase(std::mt19937_64& random, int size, uint64_t odds, int64_t largest,
                              uint32_t process_set = 0) {
  const OpKind kind = kBucketKinds[random() % std::size(kBucketKinds)];
  const bool reduces = Reduces(kind);
  const auto dtype =
      static_cast<DType>(RandomCount(random, reduces ? kReducibleDTypeCount : kDTypeCount));
  const ReduceOp op = kAllReduceOps[random() % std::size(kAllReduceOps)];
  const bool rooted = kind == OpKind::kBroadcast || kind == OpKind::kReduce;
  const int root = rooted ? static_cast<int>(RandomCount(random, size)) : -1;
  Bucket bucket =
      reduces ? ReducingBucket(kind, dtype, op, size, root) : MovingBucket(kind, dtype, root);
  bucket.process_set = process_set;
  bucket.absent = RandomAbsent(random, size, root, odds);
  if (reduces && random() % 4 == 0) bucket.prescale = 2.5;
  if (reduces && random() % 4 == 0) bucket.postscale = 0.3;
  const Memory memory = random() % 2 == 0 ? Memory::kApart : Memory::kShared;
  std::vector<int64_t> counts = RandomCounts(random, bucket, size, largest);
  return {bucket, std::move(counts), memory, random() % 1'000'000'007};
}

}  // namespace rueda::testing
