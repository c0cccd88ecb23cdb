// The backend contract's part on what adds: allreduce, reducescatter, reduce, on 1 to 4 ranks.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "backend_buckets.h"

namespace rueda::testing {

inline void ReducesEveryDTypeWithEveryOp(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    for (int dtype = 0; dtype < kReducibleDTypeCount; ++dtype) {
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
    for (int dtype = 0; dtype < kReducibleDTypeCount; ++dtype) {
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
    if (world.place == nullptr) {
      world.place = [](int rank, int64_t bytes) -> PlacedMemory {
        return {{new uint8_t[static_cast<size_t>(bytes)], std::default_delete<uint8_t[]>()},
                4096 * rank};
      };
    }
    for (const DType dtype : {DType::kFloat16, DType::kFloat32, DType::kInt64}) {
      for (const int64_t count : {1, 997, 131'073, 393'241}) {
        cases.emplace_back(AllreduceBucket(dtype, ReduceOp::kAverage, size), std::vector{count},
                           Memory::kPlaced, cases.size());
      }
    }
    CHECK(RunCases(fixture, world, cases) == "");
  }
}

// Parts by member: none, few, one over a chunk of 512 KiB, and several chunks.
inline void ReducescattersUnevenParts(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    const auto add = [&](DType dtype, ReduceOp op, std::vector<int64_t> parts) {
      parts.resize(static_cast<size_t>(size));
      cases.emplace_back(ReducingBucket(OpKind::kReducescatter, dtype, op, size), parts,
                         Memory::kApart, cases.size());
    };
    for (int dtype = 0; dtype < kReducibleDTypeCount; ++dtype) {
      for (const ReduceOp op : kAllReduceOps) {
        add(static_cast<DType>(dtype), op, {3, 0, 5, 1});
        add(static_cast<DType>(dtype), op, {0, 991, 0, 997});
      }
    }
    for (const DType dtype : {DType::kUInt8, DType::kBFloat16, DType::kFloat32, DType::kInt64}) {
      const int64_t chunk = 524'288 / static_cast<int64_t>(SizeOf(dtype));
      add(dtype, ReduceOp::kSum, {0, 0, 0, 0});
      add(dtype, ReduceOp::kSum, {1, 1, 1, 1});
      add(dtype, ReduceOp::kAverage, {chunk + 1, chunk + 1, chunk + 1, chunk + 1});
      add(dtype, ReduceOp::kSum, {7, 3 * chunk + 1, 0, chunk - 1});
      add(dtype, ReduceOp::kMax, {2 * chunk + 3, 0, 0, 0});
    }
  });
}

inline void ReducesToEachRoot(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(13);
    for (int root = 0; root < size; ++root) {
      const auto add = [&](DType dtype, ReduceOp op, const std::vector<int64_t>& pieces) {
        const Bucket bucket = ReducingBucket(OpKind::kReduce, dtype, op, size, root);
        cases.emplace_back(bucket, pieces, Memory::kApart, cases.size());
        cases.emplace_back(bucket, pieces, Memory::kShared, cases.size());
      };
      for (int dtype = 0; dtype < kReducibleDTypeCount; ++dtype) {
        for (const ReduceOp op : kAllReduceOps) add(static_cast<DType>(dtype), op, {257});
      }
      for (const DType dtype : {DType::kUInt8, DType::kFloat16, DType::kFloat64}) {
        const int64_t chunk = 524'288 / static_cast<int64_t>(SizeOf(dtype));
        for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{997}, chunk + 1, 3 * chunk}) {
          add(dtype, ReduceOp::kAverage, {count});
        }
        add(dtype, ReduceOp::kSum, RandomPieces(random, 200'000));
      }
    }
  });
}

// Tensors of another element type than their bucket: complex numbers are added as pairs.
inline void AddsComplexTensorsAsPairs(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    const auto add = [&](OpKind kind, DType dtype, DType viewed_as, std::vector<int64_t> counts) {
      if (!KeepsShape(kind)) counts.resize(static_cast<size_t>(size));
      const Bucket bucket = ReducingBucket(kind, dtype, ReduceOp::kAverage, size, size - 1);
      for (const Memory memory : {Memory::kApart, Memory::kShared}) {
        cases.push_back(BackendCase(bucket, counts, memory, cases.size()).ViewedAs(viewed_as));
      }
    };
    for (const OpKind kind : {OpKind::kAllreduce, OpKind::kReducescatter, OpKind::kReduce}) {
      for (const int64_t count : {2, 1'994, 262'146}) {
        add(kind, DType::kFloat32, DType::kComplex64, {count, 6, 0, 2});
        add(kind, DType::kFloat64, DType::kComplex128, {8, count, 0, 4});
      }
    }
  });
}

}  // namespace rueda::testing
