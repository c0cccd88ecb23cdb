// The backend contract's part on process sets: backends split from that of 1 to 4 ranks, their
// buckets one after another in an order that all ranks share. At once: backend_at_once.h.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "backend_buckets.h"
#include "backend_sets.h"

namespace rueda::testing {

// Cases of every kind for a set, small and large, then one in place.
inline std::vector<BackendCase> CasesForSet(TestSet& set, uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  std::vector<BackendCase> cases;
  for (int i = 0; i < count; ++i) {
    const int64_t largest = i % 10 == 0 ? 300'000 : 3'000;
    cases.push_back(RandomCase(random, set.size(), 4, largest, set.process_set()));
  }
  cases.push_back(PlacedCase(set.world(), set.process_set(), 70'001, seed));
  PrepareAll(set.world(), cases);
  return cases;
}

// Every set there is, one after another. Its members split, run buckets and take part in one of all
// ranks, whose other ranks have done nothing else.
inline void SplitsIntoEverySet(const BackendFixture& fixture) {
  for (int size = 1; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    for (uint64_t bits = 1; bits < uint64_t{1} << size; ++bits) {
      TestSet set(world, static_cast<uint32_t>(bits), MembersOf(bits));
      const std::vector<BackendCase> cases = CasesForSet(set, bits, 40);
      BackendCase of_all(AllreduceBucket(DType::kFloat32, ReduceOp::kSum, size), {997},
                         Memory::kApart, bits);
      of_all.Prepare(world);
      CHECK(FirstFailure(OnEachRank(size, [&](int rank) -> Status {
              const int place = set.PlaceOf(rank);
              if (place >= 0) {
                RUEDA_RETURN_IF_ERROR(set.Split(rank));
                for (const BackendCase& one : cases) {
                  RUEDA_RETURN_IF_ERROR(one.Run(set.world(), place));
                }
              }
              RUEDA_RETURN_IF_ERROR(of_all.Run(world, rank));
              if (place >= 0) set.Destroy(rank);
              return Status::Ok();
            })) == "");
      CHECK(VerifyAll(fixture, cases) == "");
      CHECK(of_all.Verify(fixture.canonical) == "");
    }
  }
}

// One step of a program that all ranks run in one order.
struct SetStep {
  enum class What { kSplit, kRun, kDestroy };
  What what = What::kRun;
  TestSet* set = nullptr;             // null: all ranks
  std::optional<BackendCase> bucket;  // of kRun
};

inline Status RunStep(BackendWorld& world, const SetStep& step, int rank) {
  const int place = step.set == nullptr ? rank : step.set->PlaceOf(rank);
  if (place < 0) return Status::Ok();
  switch (step.what) {
    case SetStep::What::kSplit:
      return step.set->Split(rank);
    case SetStep::What::kRun:
      return step.bucket->Run(step.set == nullptr ? world : step.set->world(), place);
    case SetStep::What::kDestroy:
      step.set->Destroy(rank);
  }
  return Status::Ok();
}

// A few sets at a time, over the same ranks or not, come and go between buckets of all ranks.
class SetProgram {
 public:
  SetProgram(BackendWorld& world, uint64_t seed) : world_(world), random_(seed) {
    for (int i = 0; i < 300; ++i) AddStep();
    while (!live_.empty()) Destroy();
  }

  // "" or what went wrong.
  std::string Run(const BackendFixture& fixture) {
    const std::string failure = FirstFailure(OnEachRank(world_.size(), [&](int rank) -> Status {
      for (const SetStep& step : steps_) RUEDA_RETURN_IF_ERROR(RunStep(world_, step, rank));
      return Status::Ok();
    }));
    if (!failure.empty()) return failure;
    for (const SetStep& step : steps_) {
      if (!step.bucket.has_value()) continue;
      const std::string wrong = step.bucket->Verify(fixture.canonical);
      if (!wrong.empty()) return wrong;
    }
    return "";
  }

 private:
  static constexpr size_t kMostLive = 5;
  static constexpr size_t kMostSets = 12;  // memory of a set is kept to the end

  void AddStep() {
    const uint64_t dice = random_() % 20;
    if (dice == 0 && live_.size() < kMostLive && sets_.size() < kMostSets) return Split();
    if (dice == 1 && !live_.empty()) return Destroy();
    TestSet* const set = dice < 6 || live_.empty() ? nullptr : live_[random_() % live_.size()];
    BackendWorld& world = set == nullptr ? world_ : set->world();
    const uint32_t process_set = set == nullptr ? 0 : set->process_set();
    const int64_t largest = random_() % 20 == 0 ? 200'000 : 2'000;
    steps_.push_back(
        {SetStep::What::kRun, set, RandomCase(random_, world.size(), 4, largest, process_set)});
    steps_.back().bucket->Prepare(world);
  }

  void Split() {
    const auto process_set = static_cast<uint32_t>(sets_.size() + 1);
    sets_.push_back(
        std::make_unique<TestSet>(world_, process_set, RandomMembers(random_, world_.size())));
    live_.push_back(sets_.back().get());
    steps_.push_back({SetStep::What::kSplit, live_.back(), std::nullopt});
  }

  void Destroy() {
    const auto at = live_.begin() + static_cast<int64_t>(random_() % live_.size());
    steps_.push_back({SetStep::What::kDestroy, *at, std::nullopt});
    live_.erase(at);
  }

  BackendWorld& world_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<TestSet>> sets_;
  std::vector<TestSet*> live_;
  std::vector<SetStep> steps_;
};

inline void RunsBucketsOfSeveralSetsInOneOrder(const BackendFixture& fixture) {
  for (int size = 1; size <= kMostRanks; ++size) {
    for (const uint64_t seed : {20'30u, 20'31u}) {
      CAPTURE(size, seed);
      BackendWorld world = fixture.make(size);
      SetProgram program(world, seed);
      CHECK(program.Run(fixture) == "");
    }
  }
}

inline int64_t OpenDescriptors() {
  const std::filesystem::directory_iterator descriptors("/proc/self/fd");
  return std::distance(begin(descriptors), end(descriptors));
}

inline void SplitsAndDestroysManyTimes(const BackendFixture& fixture) {
  constexpr int kCycles = 200;
  const int size = 3;
  BackendWorld world = fixture.make(size);
  std::mt19937_64 random(41);
  int64_t descriptors = 0;
  for (uint32_t cycle = 0; cycle < kCycles; ++cycle) {
    CAPTURE(cycle);
    TestSet set(world, cycle + 1, RandomMembers(random, size));
    std::vector<BackendCase> cases;
    for (int i = 0; i < 3; ++i) {
      cases.push_back(RandomCase(random, set.size(), 4, 2'000, set.process_set()));
    }
    PrepareAll(set.world(), cases);
    REQUIRE(FirstFailure(OnEachRank(set.size(), [&](int place) -> Status {
              const int rank = set.members()[static_cast<size_t>(place)];
              RUEDA_RETURN_IF_ERROR(set.Split(rank));
              for (const BackendCase& one : cases) {
                RUEDA_RETURN_IF_ERROR(one.Run(set.world(), place));
              }
              return Status::Ok();
            })) == "");
    CHECK(VerifyAll(fixture, cases) == "");
    for (const int rank : set.members()) set.Destroy(rank);
    if (cycle == 20) descriptors = OpenDescriptors();
  }
  CHECK(OpenDescriptors() == descriptors);
}

// All but the last member are in the middle of a set's bucket when the last one aborts the backend
// of all ranks.
inline void AbortReachesSplitBackends(const BackendFixture& fixture) {
  const Status why = Status(StatusCode::kPeerLost, "rank 9 was lost").Blame(9);
  for (int size = 2; size <= kMostRanks; ++size) {
    BackendWorld world = fixture.make(size);
    TestSet set(world, 1, MembersOf((uint64_t{1} << size) - 1));
    BackendCase one(AllreduceBucket(DType::kFloat32, ReduceOp::kSum, size), {400'000},
                    Memory::kShared, 1);
    one.Prepare(set.world());
    Bell begun;
    std::vector<Status> later(static_cast<size_t>(size));
    const std::vector<Status> statuses = OnEachRank(size, [&](int rank) -> Status {
      RUEDA_RETURN_IF_ERROR(set.Split(rank));
      Status status;
      if (rank == size - 1) {
        if (!begun.WaitPast(static_cast<uint64_t>(size - 2), Patience())) return status;
        world.Abort(why);
        status = why;
      } else {
        Result<backends::Run*> run = one.Begin(set.world(), rank);
        begun.Ring();
        status = run.ok() ? Drive(set.world(), rank, **run, Patience()) : run.status();
      }
      const Result<backends::Run*> next = one.Begin(set.world(), rank);
      later[static_cast<size_t>(rank)] =
          next.ok() ? Drive(set.world(), rank, **next, Patience()) : next.status();
      return status;
    });
    for (int rank = 0; rank < size; ++rank) {
      CHECK(statuses[static_cast<size_t>(rank)] == why);
      CHECK(later[static_cast<size_t>(rank)] == why);
    }
  }
}

}  // namespace rueda::testing
