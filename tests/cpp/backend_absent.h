// The backend contract's part on members that have joined: they contribute the identity, get
// nothing, and take part again later. On 2 to 4 ranks.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <random>
#include <vector>

#include "backend_buckets.h"
#include "seeds.h"

namespace rueda::testing {

// Calls visit(absent) for every set of members that leaves one.
template <typename Visit>
void ForEachAbsence(int size, Visit&& visit) {
  for (int bits = 1; bits < (1 << size) - 1; ++bits) {
    std::vector<int> absent;
    for (int member = 0; member < size; ++member) {
      if ((bits >> member & 1) != 0) absent.push_back(member);
    }
    visit(absent);
  }
}

inline int FirstPresent(const std::vector<int>& absent) {
  int member = 0;
  while (std::find(absent.begin(), absent.end(), member) != absent.end()) ++member;
  return member;
}

// A bucket without the absent members, then the same with all of them.
inline void AddWithAndWithout(std::vector<BackendCase>& cases, Bucket bucket,
                              const std::vector<int>& absent, int size,
                              const std::vector<int64_t>& counts) {
  const Memory memory = cases.size() % 4 < 2 ? Memory::kApart : Memory::kShared;
  bucket.absent = absent;
  std::vector<int64_t> without = counts;
  EmptyAbsentParts(bucket, size, without);
  cases.emplace_back(bucket, without, memory, cases.size());
  bucket.absent.clear();
  cases.emplace_back(bucket, counts, memory, cases.size());
}

inline void AbsentMembersAddNothing(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    ForEachAbsence(size, [&](const std::vector<int>& absent) {
      const int root = FirstPresent(absent);
      for (const DType dtype : {DType::kFloat16, DType::kFloat32, DType::kFloat64, DType::kInt32,
                                DType::kUInt8, DType::kBool}) {
        for (const ReduceOp op : kAllReduceOps) {
          for (const OpKind kind : {OpKind::kAllreduce, OpKind::kReduce, OpKind::kReducescatter}) {
            Bucket bucket = ReducingBucket(kind, dtype, op, size, root);
            if (cases.size() % 3 == 0) bucket.prescale = 2.5;
            std::vector<int64_t> counts{301, 0, 97, 5};
            if (!KeepsShape(kind)) counts.resize(static_cast<size_t>(size));
            AddWithAndWithout(cases, bucket, absent, size, counts);
          }
        }
      }
    });
  });
}

// Of every dtype, on sizes from 0 to one over a chunk of 512 KiB and several; the result of an
// absent member's part of a reducescatter goes nowhere.
inline void AbsentMembersAddNothingToBucketsOfAnySize(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(23);
    for (int index = 0; size > 1 && index < kReducibleDTypeCount; ++index) {
      const auto dtype = static_cast<DType>(index);
      const int64_t chunk = 524'288 / static_cast<int64_t>(SizeOf(dtype));
      std::vector<int64_t> sizes{0, 1, 997, chunk + 1};
      if (index % 3 == 0) sizes.push_back(4 * chunk);
      for (const int64_t count : sizes) {
        for (const OpKind kind : {OpKind::kAllreduce, OpKind::kReduce, OpKind::kReducescatter}) {
          const ReduceOp op = kAllReduceOps[random() % std::size(kAllReduceOps)];
          const int root = static_cast<int>(RandomCount(random, size));
          const Bucket bucket = ReducingBucket(kind, dtype, op, size, root);
          std::vector<int64_t> counts{count};
          if (kind == OpKind::kReducescatter) {
            counts.assign(static_cast<size_t>(size), count / size);
            counts[static_cast<size_t>(root)] += count % size;
          }
          std::vector<int> absent = RandomAbsent(random, size, root, 2);
          if (absent.empty()) absent = {root == 0 ? 1 : 0};
          AddWithAndWithout(cases, bucket, absent, size, counts);
        }
      }
    }
  });
}

inline void AbsentMembersGetNothingMoved(const BackendFixture& fixture) {
  ForEachSize(fixture, [](int size, std::vector<BackendCase>& cases) {
    std::mt19937_64 random(29);
    ForEachAbsence(size, [&](const std::vector<int>& absent) {
      for (const OpKind kind :
           {OpKind::kAllgather, OpKind::kAlltoall, OpKind::kBroadcast, OpKind::kBarrier}) {
        const int root = kind == OpKind::kBroadcast ? FirstPresent(absent) : -1;
        for (const DType dtype : {DType::kInt16, DType::kComplex128, DType::kFloat8E4M3FN}) {
          const Bucket bucket = MovingBucket(kind, dtype, root);
          for (const int64_t largest : {1, 2, 1'009, 80'000}) {
            AddWithAndWithout(cases, bucket, absent, size,
                              RandomCounts(random, bucket, size, largest));
          }
        }
      }
    });
  });
}

inline void MembersComeAndGo(const BackendFixture& fixture) {
  for (uint64_t seed = 20'27; seed < 20'27 + SeedsOf(3u); ++seed) {
    INFO("seed " << seed);
    ForEachSize(fixture, [seed](int size, std::vector<BackendCase>& cases) {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 300; ++i) {
        const int64_t largest = i % 25 == 0 ? 300'000 : 3'000;
        cases.push_back(RandomCase(random, size, 3, largest));
      }
    });
  }
}

// Runs a case, and rings when it has to wait.
inline Status RunAndTellWaits(BackendWorld& world, int rank, const BackendCase& one, Bell& waits) {
  const Result<backends::Run*> run = one.Begin(world, rank);
  if (!run.ok()) return run.status();
  Result<backends::Progress> progress = backends::Progress::kMoved;
  while (progress.ok() && *progress == backends::Progress::kMoved) progress = (*run)->Step();
  if (!progress.ok() || *progress == backends::Progress::kDone) return progress.status();
  waits.Ring();
  return Drive(world, rank, **run, Patience());
}

// The first case is stepped as far as it goes before the others come, and then left alone until one
// of them waits, or all of them are through everything.
inline Status RunLate(BackendWorld& world, int rank, const std::vector<BackendCase>& cases,
                      Bell& begun, Bell& waits) {
  const Result<backends::Run*> run = cases[0].Begin(world, rank);
  if (!run.ok()) return run.status();
  Result<backends::Progress> progress = backends::Progress::kMoved;
  while (progress.ok() && *progress == backends::Progress::kMoved) progress = (*run)->Step();
  begun.Ring();
  if (!waits.WaitPast(0, Patience())) return {StatusCode::kTimedOut, "nobody waits or is through"};
  RUEDA_RETURN_IF_ERROR(Drive(world, rank, **run, Patience()));
  for (size_t i = 1; i < cases.size(); ++i) RUEDA_RETURN_IF_ERROR(cases[i].Run(world, rank));
  return Status::Ok();
}

// The last member dawdles as root of a large reduce and is absent from the buckets after it. The
// others, whom a reduce lets go early, may not take away what it has still to read. (With two ranks
// nobody waits by mistake, so that a backend which does not wait at all is found out.)
inline void WhatASlowMemberHasYetToReadStays(const BackendFixture& fixture) {
  for (int size = 2; size <= kMostRanks; ++size) {
    const int slow = size - 1;
    BackendWorld world = fixture.make(size);
    std::vector<BackendCase> cases;
    Bucket bucket = ReducingBucket(OpKind::kReduce, DType::kFloat32, ReduceOp::kSum, size, slow);
    cases.emplace_back(bucket, std::vector<int64_t>{524'288}, Memory::kApart, 1);
    bucket = AllreduceBucket(DType::kFloat32, ReduceOp::kSum, size);
    bucket.absent = {slow};
    for (const uint64_t seed : {2u, 3u, 4u, 5u}) {
      cases.emplace_back(bucket, std::vector<int64_t>{524'288}, Memory::kApart, seed);
    }
    PrepareAll(world, cases);
    Bell begun, waits;
    CHECK(FirstFailure(OnEachRank(size, [&](int rank) -> Status {
            if (rank == slow) return RunLate(world, rank, cases, begun, waits);
            if (!begun.WaitPast(0, Patience())) return {StatusCode::kTimedOut, "no beginning"};
            for (const BackendCase& one : cases) {
              RUEDA_RETURN_IF_ERROR(RunAndTellWaits(world, rank, one, waits));
            }
            waits.Ring();
            return Status::Ok();
          })) == "");
    CHECK(VerifyAll(fixture, cases) == "");
  }
}

}  // namespace rueda::testing
