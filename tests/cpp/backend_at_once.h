// The backend contract's part on buckets of several sets under way at once, for backends that say
// they can (Backend::concurrent); the others run the same buckets in one order.
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend_buckets.h"
#include "backend_sets.h"
#include "seeds.h"

namespace rueda::testing {

// The buckets of one set, or of all ranks, which run one after another.
struct Queue {
  TestSet* set = nullptr;  // null: all ranks
  std::vector<BackendCase> cases;

  int PlaceOf(int rank) const { return set == nullptr ? rank : set->PlaceOf(rank); }
  BackendWorld& world(BackendWorld& all) const { return set == nullptr ? all : set->world(); }
};

// One rank's way through one queue.
struct Lane {
  const Queue* queue = nullptr;
  BackendWorld* world = nullptr;
  int place = 0;
  const std::atomic<bool>* may_finish = nullptr;  // an error before it is true
  size_t next = 0;                                // bucket to run, or under way
  backends::Run* run = nullptr;

  bool done() const { return next == queue->cases.size(); }

  // Begins a bucket, or takes one step of it. kWaiting when nothing could be done.
  Result<backends::Progress> Advance() {
    if (done()) return backends::Progress::kWaiting;
    if (run == nullptr) {
      Result<backends::Run*> begun = queue->cases[next].Begin(*world, place);
      if (!begun.ok()) return begun.status();
      run = *begun;
      return backends::Progress::kMoved;
    }
    Result<backends::Progress> progress = run->Step();
    if (!progress.ok() || *progress != backends::Progress::kDone) return progress;
    if (may_finish != nullptr && !may_finish->load()) {
      return Status(StatusCode::kCorrupt, "finished without one of its members");
    }
    run = nullptr;
    ++next;
    return backends::Progress::kMoved;
  }
};

// Advances all lanes, each a few times in an order drawn anew, until all are through.
inline Status RunLanes(Alarm& alarm, std::vector<Lane*> lanes, uint64_t seed) {
  std::mt19937_64 random(seed);
  const TimePoint deadline = Patience();
  while (!std::all_of(lanes.begin(), lanes.end(), [](const Lane* lane) { return lane->done(); })) {
    const uint64_t seen = alarm.rings();
    std::shuffle(lanes.begin(), lanes.end(), random);
    bool moved = false;
    for (Lane* lane : lanes) {
      for (uint64_t times = 1 + random() % 4; times > 0; --times) {
        const Result<backends::Progress> progress = lane->Advance();
        if (!progress.ok()) return progress.status();
        if (*progress == backends::Progress::kWaiting) break;
        moved = true;
      }
    }
    if (!moved && !alarm.WaitPast(seen, deadline)) {
      return {StatusCode::kTimedOut, "the test lost patience"};
    }
  }
  return Status::Ok();
}

// Advances one bucket of each lane in turn to its end.
inline Status RunLanesInOneOrder(const std::vector<Lane*>& lanes) {
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (Lane* lane : lanes) {
      if (lane == nullptr || lane->done()) continue;
      RUEDA_RETURN_IF_ERROR(lane->queue->cases[lane->next++].Run(*lane->world, lane->place));
      all_done = all_done && lane->done();
    }
  }
  return Status::Ok();
}

// The lanes of one rank, by queue; null where it is no member.
inline std::vector<std::unique_ptr<Lane>> LanesOf(BackendWorld& world,
                                                  const std::vector<Queue>& queues, int rank) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (const Queue& queue : queues) {
    const int place = queue.PlaceOf(rank);
    lanes.push_back(nullptr);
    if (place < 0) continue;
    lanes.back() = std::make_unique<Lane>(Lane{&queue, &queue.world(world), place});
  }
  return lanes;
}

inline std::vector<Lane*> Present(const std::vector<std::unique_ptr<Lane>>& lanes) {
  std::vector<Lane*> present;
  for (const auto& lane : lanes) {
    if (lane != nullptr) present.push_back(lane.get());
  }
  return present;
}

inline Queue RandomQueue(BackendWorld& all, TestSet* set, uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  Queue queue{set, {}};
  BackendWorld& world = queue.world(all);
  const uint32_t process_set = set == nullptr ? 0 : set->process_set();
  for (int i = 0; i < count; ++i) {
    const int64_t largest = i % 8 == 0 ? 600'000 : 3'000;
    queue.cases.push_back(RandomCase(random, world.size(), 5, largest, process_set));
  }
  queue.cases.push_back(PlacedCase(world, process_set, 300'001, seed));
  PrepareAll(world, queue.cases);
  return queue;
}

inline std::string VerifyQueues(const BackendFixture& fixture, const std::vector<Queue>& queues) {
  for (const Queue& queue : queues) {
    const std::string wrong = VerifyAll(fixture, queue.cases);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

inline Status RunQueues(BackendWorld& world, const std::vector<Queue>& queues, int rank,
                        uint64_t seed) {
  for (const Queue& queue : queues) {
    if (queue.set == nullptr || queue.PlaceOf(rank) < 0) continue;
    RUEDA_RETURN_IF_ERROR(queue.set->Split(rank));
  }
  const auto lanes = LanesOf(world, queues, rank);
  const Status status =
      world.backend(rank).concurrent()
          ? RunLanes(world.alarm(rank), Present(lanes), seed + static_cast<uint64_t>(rank))
          : RunLanesInOneOrder(Present(lanes));
  if (!status.ok()) world.Abort(status);
  return status;
}

// Several sets and all ranks, each with buckets of its own; every rank goes through them in another
// order.
inline void RunsBucketsOfSeveralSetsAtOnce(const BackendFixture& fixture) {
  for (int size = 1; size <= kMostRanks; ++size) {
    for (uint64_t seed = 20'32; seed < 20'32 + SeedsOf(3u); ++seed) {
      CAPTURE(size, seed);
      std::mt19937_64 random(seed);
      BackendWorld world = fixture.make(size);
      std::vector<std::unique_ptr<TestSet>> sets;
      std::vector<Queue> queues;
      queues.push_back(RandomQueue(world, nullptr, random(), 40));
      for (uint32_t i = 1; i <= 5; ++i) {
        sets.push_back(std::make_unique<TestSet>(world, i, RandomMembers(random, size)));
        queues.push_back(RandomQueue(world, sets.back().get(), random(), 40));
      }
      CHECK(FirstFailure(OnEachRank(
                size, [&](int rank) { return RunQueues(world, queues, rank, seed * 10); })) == "");
      CHECK(VerifyQueues(fixture, queues) == "");
    }
  }
}

// What RunsWithoutTheStuck runs: queue 0 is stuck, queue 1 gets through.
inline std::vector<Queue> StuckQueues(BackendWorld& world, TestSet* stuck, TestSet* other) {
  std::vector<Queue> queues{{stuck, {}}, RandomQueue(world, other, 43, 40)};
  BackendWorld& of_stuck = queues[0].world(world);
  for (const int64_t count : {7, 400'000}) {
    queues[0].cases.emplace_back(AllreduceBucket(DType::kFloat32, ReduceOp::kSum, world.size()),
                                 std::vector{count}, Memory::kApart, 47);
  }
  PrepareAll(of_stuck, queues[0].cases);
  return queues;
}

// The last rank takes no step of queue 0, which it may have begun, until it is through queue 1.
inline Status RunWithoutTheStuck(BackendWorld& world, const std::vector<Queue>& queues, int rank,
                                 bool begins, std::atomic<bool>& released) {
  for (const Queue& queue : queues) {
    if (queue.set != nullptr) RUEDA_RETURN_IF_ERROR(queue.set->Split(rank));
  }
  const auto lanes = LanesOf(world, queues, rank);
  Lane& stuck = *lanes[0];
  Lane& other = *lanes[1];
  stuck.may_finish = &released;
  Status status;
  if (rank == world.size() - 1) {
    if (begins) status = stuck.Advance().status();
    if (status.ok()) status = RunLanes(world.alarm(rank), {&other}, 53);
    released = true;
  }
  if (status.ok()) status = RunLanes(world.alarm(rank), {&stuck, &other}, 59);
  if (!status.ok()) world.Abort(status);
  return status;
}

inline void AStuckSetHoldsUpNoOther(const BackendFixture& fixture) {
  for (int size = 2; size <= kMostRanks; ++size) {
    for (const int variant : {0, 1, 2, 3, 4, 5}) {
      CAPTURE(size, variant);
      BackendWorld world = fixture.make(size);
      if (!world.backend(0).concurrent()) return;  // whose caller never begins two at once
      const std::vector<int> everybody = MembersOf((uint64_t{1} << size) - 1);
      TestSet one(world, 1, everybody), two(world, 2, everybody);
      TestSet* const stuck = variant < 2 ? nullptr : &one;
      TestSet* const other = variant >= 2 && variant < 4 ? nullptr : &two;
      const std::vector<Queue> queues = StuckQueues(world, stuck, other);
      std::atomic<bool> released{false};
      CHECK(FirstFailure(OnEachRank(size, [&](int rank) {
              return RunWithoutTheStuck(world, queues, rank, variant % 2 == 0, released);
            })) == "");
      CHECK(VerifyQueues(fixture, queues) == "");
    }
  }
}

}  // namespace rueda::testing
