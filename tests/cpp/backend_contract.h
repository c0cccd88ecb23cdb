// The contract that every Backend passes. An implementation instantiates it in its own test file:
//
//   RUEDA_BACKEND_CONTRACT("gloo", GlooFixture())
//
// where GlooFixture() returns a BackendFixture (backend_world.h).
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "backend_buckets.h"
#include "backend_case.h"
#include "backend_world.h"

namespace rueda::testing {

// The last rank comes only after the others have begun, a different one each round.
inline void BarrierHoldsUntilTheLastHasCome(const BackendFixture& fixture) {
  constexpr int kRounds = 20;
  for (int size = 1; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    const Bucket bucket = MovingBucket(OpKind::kBarrier, DType::kUInt8);
    const BucketBuffers nothing;
    Bell begun;
    std::atomic<int> arrived{0};
    const auto fail = [&world](const char* why) {
      const Status status(StatusCode::kTimedOut, why);
      for (const auto& backend : world.backends) backend->Abort(status);
      return status;
    };
    const std::vector<Status> statuses = OnEachRank(size, [&](int rank) -> Status {
      for (int round = 0; round < kRounds; ++round) {
        const bool last = round % size == rank;
        const auto others = static_cast<uint64_t>(size - 1);
        const uint64_t all = others * static_cast<uint64_t>(round + 1);
        if (last && all > 0 && !begun.WaitPast(all - 1, Patience())) return fail("none began");
        arrived.fetch_add(1);
        backends::Backend& backend = *world.backends[static_cast<size_t>(rank)];
        Result<backends::Run*> run = backend.Begin(bucket, nothing);
        if (!run.ok()) return run.status();
        if (!last) begun.Ring();
        RUEDA_RETURN_IF_ERROR(world.drive(rank, **run, Patience()));
        if (arrived.load() < size * (round + 1)) return fail("left before the last had come");
      }
      return Status::Ok();
    });
    CHECK(FirstFailure(statuses) == "");
  }
}

// All but the last rank are in the middle of a bucket, which the last one then aborts everywhere.
inline void AbortEndsEveryRunWithItsReason(const BackendFixture& fixture) {
  const Status why = Status(StatusCode::kPeerLost, "rank 9 was lost").Blame(9);
  for (int size = 2; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    BackendCase one(AllreduceBucket(DType::kFloat32, ReduceOp::kSum, size), {400'000},
                    Memory::kShared, 1);
    one.Prepare(world);
    Bell begun;
    std::vector<Status> later(static_cast<size_t>(size));
    const std::vector<Status> statuses = OnEachRank(size, [&](int rank) -> Status {
      const auto index = static_cast<size_t>(rank);
      if (rank == size - 1) {
        if (!begun.WaitPast(static_cast<uint64_t>(size - 2), Patience())) return {};
        for (const auto& backend : world.backends) backend->Abort(why);
      } else {
        Result<backends::Run*> run = one.Begin(world, rank);
        if (!run.ok()) return run.status();
        const Result<backends::Progress> first = (*run)->Step();
        begun.Ring();
        if (!first.ok()) return first.status();
        const Status status = world.drive(rank, **run, Patience());
        later[index] = one.Run(world, rank);
        return status;
      }
      return later[index] = one.Run(world, rank);
    });
    for (int rank = 0; rank < size; ++rank) {
      CHECK(statuses[static_cast<size_t>(rank)] == why);
      CHECK(later[static_cast<size_t>(rank)] == why);
    }
  }
}

#define RUEDA_BACKEND_CONTRACT(name, fixture)                                                      \
  TEST_CASE(name ": reduces every dtype with every op") {                                          \
    ::rueda::testing::ReducesEveryDTypeWithEveryOp(fixture);                                       \
  }                                                                                                \
  TEST_CASE(name ": scales before and after") { ::rueda::testing::ScalesBeforeAndAfter(fixture); } \
  TEST_CASE(name ": reduces large buckets") { ::rueda::testing::ReducesLargeBuckets(fixture); }    \
  TEST_CASE(name ": reduces tensors that cross every border") {                                    \
    ::rueda::testing::ReducesTensorsThatCrossEveryBorder(fixture);                                 \
  }                                                                                                \
  TEST_CASE(name ": reduces placed buckets where they lie") {                                      \
    ::rueda::testing::ReducesPlacedBucketsWhereTheyLie(fixture);                                   \
  }                                                                                                \
  TEST_CASE(name ": gathers uneven parts") { ::rueda::testing::GathersUnevenParts(fixture); }      \
  TEST_CASE(name ": broadcasts from each root") {                                                  \
    ::rueda::testing::BroadcastsFromEachRoot(fixture);                                             \
  }                                                                                                \
  TEST_CASE(name ": barrier holds until the last has come") {                                      \
    ::rueda::testing::BarrierHoldsUntilTheLastHasCome(fixture);                                    \
  }                                                                                                \
  TEST_CASE(name ": runs buckets of all kinds back to back") {                                     \
    ::rueda::testing::RunsBucketsOfAllKindsBackToBack(fixture);                                    \
  }                                                                                                \
  TEST_CASE(name ": abort ends every run with its reason") {                                       \
    ::rueda::testing::AbortEndsEveryRunWithItsReason(fixture);                                     \
  }

}  // namespace rueda::testing
