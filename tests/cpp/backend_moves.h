// The backend contract's part on what only moves: allgather, broadcast, alltoall, on 1 to 4 ranks.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <random>
#include <vector>

#include "backend_buckets.h"

namespace rueda::testing {

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

// An alltoall to which one member alone contributes, or whose result one member alone gets.
inline std::vector<int64_t> OneRow(int size, int root, const std::vector<int64_t>& parts) {
  std::vector<int64_t> counts(static_cast<size_t>(size * size));
  std::copy_n(parts.begin(), size, counts.begin() + root * size);
  return counts;
}
inline std::vector<int64_t> OneColumn(int size, int root, const std::vector<int64_t>& parts) {
  std::vector<int64_t> counts(static_cast<size_t>(size * size));
  for (int from = 0; from < size; ++from) {
    counts[static_cast<size_t>(from * size + root)] = parts[static_cast<size_t>(from)];
  }
  return counts;
}

inline void ExchangesAllToAll(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(17);
    const auto add = [&](DType dtype, const std::vector<int64_t>& counts) {
      cases.emplace_back(MovingBucket(OpKind::kAlltoall, dtype), counts, Memory::kApart,
                         cases.size());
    };
    const auto pairs = static_cast<size_t>(size * size);
    for (const DType dtype : {DType::kUInt8, DType::kFloat16, DType::kFloat32, DType::kInt64}) {
      const int64_t chunk = 524'288 / static_cast<int64_t>(SizeOf(dtype));
      for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{997}, chunk + 1}) {
        add(dtype, std::vector(pairs, count));
      }
      for (int i = 0; i < 10; ++i) add(dtype, RandomMatrix(random, size, 300));
      for (int i = 0; i < 3; ++i) add(dtype, RandomMatrix(random, size, 300'000));
    }
    for (int root = 0; root < size; ++root) {
      for (const int64_t large : {5, 262'145, 1'500'000}) {
        add(DType::kBFloat16, OneRow(size, root, {large, 0, 1, 997}));
        add(DType::kBFloat16, OneColumn(size, root, {3, large, 0, 991}));
      }
    }
  });
}

// Among them those that are never added: complex and float8 ones.
inline void MovesEveryDType(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(19);
    for (int index = 0; index < kDTypeCount; ++index) {
      const auto dtype = static_cast<DType>(index);
      for (const OpKind kind : {OpKind::kAllgather, OpKind::kAlltoall, OpKind::kBroadcast}) {
        const int root = kind == OpKind::kBroadcast ? size - 1 : -1;
        const Bucket bucket = MovingBucket(kind, dtype, root);
        for (const int64_t largest : {2, 1'009, 70'000}) {
          cases.emplace_back(bucket, RandomCounts(random, bucket, size, largest), Memory::kApart,
                             cases.size());
        }
      }
    }
  });
}

// Tensors of several element types share a broadcast of bytes.
inline void BroadcastsTensorsAsBytes(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    for (int root = 0; root < size; ++root) {
      const Bucket bucket = MovingBucket(OpKind::kBroadcast, DType::kUInt8, root);
      for (const DType dtype : {DType::kComplex128, DType::kFloat16}) {
        cases.push_back(BackendCase(bucket, {16, 0, 15'952, 524'304}, Memory::kShared, cases.size())
                            .ViewedAs(dtype));
      }
    }
  });
}

// What cannot be added is refused before it begins, so that it is the tensor's own error.
inline void RefusesToAddWhatIsOnlyMoved(const BackendFixture& fixture) {
  const BackendWorld world = fixture.make(1);
  for (int index = kReducibleDTypeCount; index < kDTypeCount; ++index) {
    for (const OpKind kind : {OpKind::kAllreduce, OpKind::kReducescatter, OpKind::kReduce}) {
      Bucket bucket = ReducingBucket(kind, static_cast<DType>(index), ReduceOp::kSum, 1, 0);
      bucket.counts = {4};
      const Status status = world.backend(0).Supports(bucket);
      CHECK(status.code() == StatusCode::kUnsupported);
      CHECK_THAT(status.message(), Catch::Contains(std::string(NameOf(bucket.dtype))));
    }
  }
}

inline void RunsBucketsOfAllKindsBackToBack(const BackendFixture& fixture) {
  const uint64_t seed = 20'26;
  INFO("seed " << seed);
  ForEachSize(fixture, [seed](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 200; ++i) cases.push_back(RandomCase(random, size, 0, 20'000));
  });
}

}  // namespace rueda::testing
