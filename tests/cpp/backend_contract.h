// The contract that every Backend passes. An implementation instantiates it in its own test file:
//
//   RUEDA_BACKEND_CONTRACT("gloo", GlooFixture())
//
// where GlooFixture() returns a BackendFixture (backend_world.h).
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <vector>

#include "backend_absent.h"
#include "backend_at_once.h"
#include "backend_buckets.h"
#include "backend_case.h"
#include "backend_moves.h"
#include "backend_reductions.h"
#include "backend_splits.h"
#include "backend_world.h"
#include "deadline.h"
#include "status_text.h"

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
      world.Abort(status);
      return status;
    };
    const std::vector<Status> statuses = OnEachRank(size, [&](int rank) -> Status {
      for (int round = 0; round < kRounds; ++round) {
        const bool last = round % size == rank;
        const auto others = static_cast<uint64_t>(size - 1);
        const uint64_t all = others * static_cast<uint64_t>(round + 1);
        if (last && all > 0 && !begun.WaitPast(all - 1, Patience())) return fail("none began");
        arrived.fetch_add(1);
        Result<backends::Run*> run = BeginBucket(world, rank, bucket, nothing);
        if (!run.ok()) return run.status();
        if (!last) begun.Ring();
        RUEDA_RETURN_IF_ERROR(Drive(world, rank, **run, Patience()));
        if (arrived.load() < size * (round + 1)) return fail("left before the last had come");
      }
      return Status::Ok();
    });
    CHECK(FirstFailure(statuses) == "");
  }
}

inline Status RunAgain(BackendWorld& world, const BackendCase& one, int rank) {
  const Result<backends::Run*> run = one.Begin(world, rank);
  return run.ok() ? Drive(world, rank, **run, Patience()) : run.status();
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
        world.Abort(why);
      } else {
        Result<backends::Run*> run = one.Begin(world, rank);
        if (!run.ok()) return run.status();
        const Result<backends::Progress> first = (*run)->Step();
        begun.Ring();
        if (!first.ok()) return first.status();
        const Status status = Drive(world, rank, **run, Patience());
        later[index] = RunAgain(world, one, rank);
        return status;
      }
      return later[index] = RunAgain(world, one, rank);
    });
    for (int rank = 0; rank < size; ++rank) {
      CHECK(statuses[static_cast<size_t>(rank)] == why);
      CHECK(later[static_cast<size_t>(rank)] == why);
    }
  }
}

// One test of the contract, under a deadline that says where every thread stood.
#define RUEDA_BACKEND_TEST(name, function, fixture)                             \
  TEST_CASE(name) {                                                             \
    const ::rueda::testing::Deadline deadline(name, std::chrono::seconds(280)); \
    ::rueda::testing::function(fixture);                                        \
  }

#define RUEDA_BACKEND_CONTRACT(name, fixture)                                                      \
  RUEDA_BACKEND_TEST(name ": reduces every dtype with every op", ReducesEveryDTypeWithEveryOp,     \
                     fixture)                                                                      \
  RUEDA_BACKEND_TEST(name ": scales before and after", ScalesBeforeAndAfter, fixture)              \
  RUEDA_BACKEND_TEST(name ": reduces large buckets", ReducesLargeBuckets, fixture)                 \
  RUEDA_BACKEND_TEST(name ": reduces tensors that cross every border",                             \
                     ReducesTensorsThatCrossEveryBorder, fixture)                                  \
  RUEDA_BACKEND_TEST(name ": reduces placed buckets where they lie",                               \
                     ReducesPlacedBucketsWhereTheyLie, fixture)                                    \
  RUEDA_BACKEND_TEST(name ": adds complex tensors as pairs", AddsComplexTensorsAsPairs, fixture)   \
  RUEDA_BACKEND_TEST(name ": reducescatters uneven parts", ReducescattersUnevenParts, fixture)     \
  RUEDA_BACKEND_TEST(name ": reduces to each root", ReducesToEachRoot, fixture)                    \
  RUEDA_BACKEND_TEST(name ": refuses to add what is only moved", RefusesToAddWhatIsOnlyMoved,      \
                     fixture)                                                                      \
  RUEDA_BACKEND_TEST(name ": gathers uneven parts", GathersUnevenParts, fixture)                   \
  RUEDA_BACKEND_TEST(name ": broadcasts from each root", BroadcastsFromEachRoot, fixture)          \
  RUEDA_BACKEND_TEST(name ": broadcasts tensors as bytes", BroadcastsTensorsAsBytes, fixture)      \
  RUEDA_BACKEND_TEST(name ": exchanges all to all", ExchangesAllToAll, fixture)                    \
  RUEDA_BACKEND_TEST(name ": moves every dtype", MovesEveryDType, fixture)                         \
  RUEDA_BACKEND_TEST(name ": barrier holds until the last has come",                               \
                     BarrierHoldsUntilTheLastHasCome, fixture)                                     \
  RUEDA_BACKEND_TEST(name ": runs buckets of all kinds back to back",                              \
                     RunsBucketsOfAllKindsBackToBack, fixture)                                     \
  RUEDA_BACKEND_TEST(name ": absent members add nothing", AbsentMembersAddNothing, fixture)        \
  RUEDA_BACKEND_TEST(name ": absent members add nothing to buckets of any size",                   \
                     AbsentMembersAddNothingToBucketsOfAnySize, fixture)                           \
  RUEDA_BACKEND_TEST(name ": absent members get nothing moved", AbsentMembersGetNothingMoved,      \
                     fixture)                                                                      \
  RUEDA_BACKEND_TEST(name ": what a slow member has yet to read stays",                            \
                     WhatASlowMemberHasYetToReadStays, fixture)                                    \
  RUEDA_BACKEND_TEST(name ": members come and go", MembersComeAndGo, fixture)                      \
  RUEDA_BACKEND_TEST(name ": splits into every set", SplitsIntoEverySet, fixture)                  \
  RUEDA_BACKEND_TEST(name ": runs buckets of several sets in one order",                           \
                     RunsBucketsOfSeveralSetsInOneOrder, fixture)                                  \
  RUEDA_BACKEND_TEST(name ": runs buckets of several sets at once",                                \
                     RunsBucketsOfSeveralSetsAtOnce, fixture)                                      \
  RUEDA_BACKEND_TEST(name ": a stuck set holds up no other", AStuckSetHoldsUpNoOther, fixture)     \
  RUEDA_BACKEND_TEST(name ": splits and destroys many times", SplitsAndDestroysManyTimes, fixture) \
  RUEDA_BACKEND_TEST(name ": abort ends every run with its reason",                                \
                     AbortEndsEveryRunWithItsReason, fixture)                                      \
  RUEDA_BACKEND_TEST(name ": abort reaches split backends", AbortReachesSplitBackends, fixture)

}  // namespace rueda::testing
