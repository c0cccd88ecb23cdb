// What the backend contract runs: buckets of every kind, size and element type, on 1 to 4 ranks.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <iterator>
#include <memory>
#include <random>
#include <vector>

#include "backend_case.h"
#include "backend_world.h"

namespace rueda::testing {

inline constexpr ReduceOp kAllReduceOps[] = {ReduceOp::kAverage, ReduceOp::kSum, ReduceOp::kMin,
                                             ReduceOp::kMax, ReduceOp::kProduct};
inline constexpr int kMostRanks = 4;

inline Bucket AllreduceBucket(DType dtype, ReduceOp op, int size) {
  Bucket bucket;
  bucket.kind = OpKind::kAllreduce;
  bucket.dtype = dtype;
  bucket.op = op;
  bucket.divisor = op == ReduceOp::kAverage ? size : 1;
  return bucket;
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

inline void ReducesEveryDTypeWithEveryOp(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
      for (const ReduceOp op : kAllReduceOps) {
        const Bucket bucket = AllreduceBucket(static_cast<DType>(dtype), op, size);
        for (const int64_t count : {0, 1, 997}) {
          cases.emplace_back(bucket, std::vector{count}, Memory::kApart, cases.size());
          cases.emplace_back(bucket, std::vector{count}, Memory::kShared, cases.size());
        }
      }
    }
  });
}

inline void ScalesBeforeAndAfter(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
      for (const ReduceOp op : kAllReduceOps) {
        Bucket bucket = AllreduceBucket(static_cast<DType>(dtype), op, size);
        bucket.prescale = 2.5;
        cases.emplace_back(bucket, std::vector<int64_t>{257}, Memory::kShared, cases.size());
        bucket.postscale = 0.3;
        cases.emplace_back(bucket, std::vector<int64_t>{257}, Memory::kApart, cases.size());
        bucket.prescale = 1.0;
        cases.emplace_back(bucket, std::vector<int64_t>{100, 157}, Memory::kShared, cases.size());
      }
    }
  });
}

// One over a chunk of 512 KiB, and about 3 MiB.
inline void ReducesLargeBuckets(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
      const auto element = static_cast<int64_t>(SizeOf(dtype));
      for (const int64_t bytes : {int64_t{524'288}, int64_t{3'145'700}}) {
        const std::vector<int64_t> pieces{bytes / element + 1};
        const Bucket bucket = AllreduceBucket(dtype, ReduceOp::kAverage, size);
        cases.emplace_back(bucket, pieces, Memory::kApart, cases.size());
        cases.emplace_back(bucket, pieces, Memory::kShared, cases.size());
      }
    }
  });
}

inline std::vector<int64_t> RandomPieces(std::mt19937_64& random, int64_t largest) {
  std::vector<int64_t> pieces(random() % 12 + 1);
  for (int64_t& piece : pieces) {
    piece = static_cast<int64_t>(random() % static_cast<uint64_t>(largest >> (random() % 12)));
  }
  return pieces;
}

inline void ReducesTensorsThatCrossEveryBorder(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(7);
    for (const DType dtype : {DType::kFloat16, DType::kFloat32, DType::kInt32, DType::kBool}) {
      for (int i = 0; i < 6; ++i) {
        const Memory memory = i % 2 == 0 ? Memory::kApart : Memory::kShared;
        cases.emplace_back(AllreduceBucket(dtype, ReduceOp::kSum, size),
                           RandomPieces(random, 200'000), memory, random());
      }
    }
  });
}

inline void ReducesPlacedBucketsWhereTheyLie(const BackendFixture& fixture) {
  for (int size = 1; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    std::vector<BackendCase> cases;
    for (const DType dtype : {DType::kFloat16, DType::kFloat32, DType::kInt64}) {
      for (const int64_t count : {1, 997, 131'073, 393'241}) {
        if (world.place == nullptr) {
          world.place = [](int rank, int64_t bytes) -> PlacedMemory {
            return {{new uint8_t[static_cast<size_t>(bytes)], std::default_delete<uint8_t[]>()},
                    4096 * rank};
          };
        }
        cases.emplace_back(AllreduceBucket(dtype, ReduceOp::kAverage, size), std::vector{count},
                           Memory::kPlaced, cases.size());
      }
    }
    CHECK(RunCases(fixture, world, cases) == "");
  }
}

inline void GathersUnevenParts(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    const std::vector<std::vector<int64_t>> all_counts{{3, 0, 5, 1},
                                                       {0, 0, 0, 7},
                                                       {0, 0, 0, 0},
                                                       {1, 1, 1, 1},
                                                       {997, 1009, 0, 991},
                                                       {131'073, 0, 1, 7},
                                                       {9, 393'241, 200'000, 0}};
    for (const DType dtype : {DType::kUInt8, DType::kBFloat16, DType::kFloat32, DType::kInt64}) {
      for (const std::vector<int64_t>& counts : all_counts) {
        cases.emplace_back(MovingBucket(OpKind::kAllgather, dtype),
                           std::vector(counts.begin(), counts.begin() + size), Memory::kApart,
                           cases.size());
      }
    }
  });
}

inline void BroadcastsFromEachRoot(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(11);
    for (int root = 0; root < size; ++root) {
      for (const DType dtype : {DType::kUInt8, DType::kFloat16, DType::kFloat64}) {
        const Bucket bucket = MovingBucket(OpKind::kBroadcast, dtype, root);
        for (const int64_t count : {0, 1, 997, 65'537}) {
          cases.emplace_back(bucket, std::vector{count}, Memory::kShared, random());
        }
        cases.emplace_back(bucket, RandomPieces(random, 100'000), Memory::kShared, random());
        cases.emplace_back(bucket, RandomPieces(random, 100'000), Memory::kApart, random());
      }
    }
    cases.emplace_back(MovingBucket(OpKind::kBroadcast, DType::kUInt8, size - 1),
                       std::vector<int64_t>{3'145'733}, Memory::kApart, random());
  });
}

inline void RunsBucketsOfAllKindsBackToBack(const BackendFixture& fixture) {
  const uint64_t seed = 20'26;
  INFO("seed " << seed);
  ForEachSize(fixture, [seed](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(seed);
    const auto ranks = static_cast<uint64_t>(size);
    for (int i = 0; i < 150; ++i) {
      const auto dtype = static_cast<DType>(random() % kDTypeCount);
      const auto kind = static_cast<OpKind>(random() % kOpKindCount);
      const Memory memory = random() % 2 == 0 ? Memory::kApart : Memory::kShared;
      const int root = kind == OpKind::kBroadcast ? static_cast<int>(random() % ranks) : -1;
      std::vector<int64_t> pieces = RandomPieces(random, 20'000);
      Bucket bucket = MovingBucket(kind, dtype, root);
      if (kind == OpKind::kAllreduce) {
        bucket = AllreduceBucket(dtype, kAllReduceOps[random() % std::size(kAllReduceOps)], size);
      }
      if (kind == OpKind::kAllgather) pieces.resize(ranks, 17);
      if (kind == OpKind::kBarrier) pieces.clear();
      cases.emplace_back(bucket, pieces, kind == OpKind::kAllgather ? Memory::kApart : memory,
                         random());
    }
  });
}

}  // namespace rueda::testing
